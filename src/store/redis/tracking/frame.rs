//! RESP3, as far as a listener needs it: answers to our own commands, and invalidation pushes, whose keys are handed out
//! one by one so that a push of any length costs the memory of one key.
//!
//! # Threat model
//! Whoever may write to Redis chooses the keys, and whoever stands in between chooses every byte. Lengths are checked
//! before anything is reserved for them, nesting is bounded, and what cannot be understood ends the connection, which
//! casts doubt on everything read before.

use bytes::{Buf, Bytes, BytesMut};

/// The longest answer to a command of ours; a cluster of a thousand nodes tells its slots in less.
const MAX_ANSWER: usize = 4 << 20;
/// The longest key.
const MAX_KEY: usize = 1 << 20;
/// The longest line that is not the content of a string: a type, a number, a short text.
const MAX_LINE: usize = 64 << 10;
/// The deepest nesting. `CLUSTER SLOTS` has four levels.
const MAX_DEPTH: u8 = 8;
/// Elements that a list is given room for before they have arrived.
const ROOM: usize = 64;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The answer to the oldest command that has none.
    Answer(Frame),
    /// This key has changed.
    Changed(Bytes),
    /// Every key may have changed.
    Emptied,
    /// A push of another kind.
    Other,
}

/// A value. The many types of RESP3 are told apart only as far as anybody here wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A text, a string of bytes, a float, a big number.
    Text(Bytes),
    /// A refusal, from its code on.
    Error(Bytes),
    /// An integer.
    Number(i64),
    /// Nothing, or a truth value that nobody asks for.
    Null,
    /// An array, a set, or a map as keys and values in turn.
    List(Vec<Frame>),
}

/// Bytes that no server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak RESP3")]
pub(super) struct Garbled;

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Keys of the push at hand that are still to come.
    keys_left: u64,
}

impl Decoder {
    /// Where bytes from the wire go.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next event; nothing until more bytes have come.
    ///
    /// # Errors
    /// [`Garbled`]: this stream can never be understood again.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Garbled> {
        loop {
            if self.keys_left > 0 {
                let Some(key) = self.key()? else {
                    return Ok(None);
                };
                self.keys_left -= 1;
                return Ok(Some(Event::Changed(key)));
            }
            match self.start()? {
                Start::Event(event) => return Ok(Some(event)),
                Start::Keys(count) => self.keys_left = count,
                Start::Unfinished => return Ok(None),
            }
        }
    }

    fn key(&mut self) -> Result<Option<Bytes>, Garbled> {
        let mut at = Cursor::new(&self.buffer);
        let Some(line) = at.line()? else {
            return Ok(None);
        };
        let [b'$', length @ ..] = line else {
            return Err(Garbled);
        };
        let length = at_most(number(length)?, MAX_KEY)?;
        let Some(content) = at.content(length)? else {
            return Ok(None);
        };
        let (key, used) = (Bytes::copy_from_slice(content), at.used);
        self.buffer.advance(used);
        Ok(Some(key))
    }

    fn start(&mut self) -> Result<Start, Garbled> {
        let mut at = Cursor::new(&self.buffer);
        let start = if self.buffer.first() == Some(&b'>') {
            push(&mut at)?
        } else {
            match at.frame(0)? {
                Some(frame) => Start::Event(Event::Answer(frame)),
                None => Start::Unfinished,
            }
        };
        let used = at.used;
        if matches!(start, Start::Unfinished) {
            return if self.buffer.len() > MAX_ANSWER {
                Err(Garbled)
            } else {
                Ok(Start::Unfinished)
            };
        }
        self.buffer.advance(used);
        Ok(start)
    }
}

/// What the next bytes begin.
enum Start {
    Event(Event),
    Keys(u64),
    Unfinished,
}

/// `>2 invalidate [keys]`, with null for every key; or a push of another kind, which is skipped.
fn push(at: &mut Cursor<'_>) -> Result<Start, Garbled> {
    let Some(line) = at.line()? else {
        return Ok(Start::Unfinished);
    };
    let count = at_most(number(line.get(1..).unwrap_or_default())?, ROOM)?;
    if count == 0 {
        return Err(Garbled);
    }
    let Some(kind) = at.frame(1)? else {
        return Ok(Start::Unfinished);
    };
    if kind != Frame::Text(Bytes::from_static(b"invalidate")) || count != 2 {
        for _ in 1..count {
            if at.frame(1)?.is_none() {
                return Ok(Start::Unfinished);
            }
        }
        return Ok(Start::Event(Event::Other));
    }
    let Some(line) = at.line()? else {
        return Ok(Start::Unfinished);
    };
    match line {
        b"_" | b"*-1" => Ok(Start::Event(Event::Emptied)),
        [b'*', count @ ..] => u64::try_from(number(count)?)
            .map(Start::Keys)
            .map_err(|_| Garbled),
        _ => Err(Garbled),
    }
}

/// A place in bytes that may not all be there yet.
struct Cursor<'a> {
    bytes: &'a [u8],
    used: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Up to the next line end, without it.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Garbled> {
        let rest = self.rest();
        let Some(length) = memchr::memchr(b'\n', rest) else {
            return if rest.len() > MAX_LINE {
                Err(Garbled)
            } else {
                Ok(None)
            };
        };
        if length > MAX_LINE {
            return Err(Garbled);
        }
        let line = rest.get(..length).and_then(|line| line.strip_suffix(b"\r"));
        self.used += length + 1;
        line.map(Some).ok_or(Garbled)
    }

    /// So many bytes and a line end.
    fn content(&mut self, length: usize) -> Result<Option<&'a [u8]>, Garbled> {
        let rest = self.rest();
        let (Some(content), Some(end)) = (rest.get(..length), rest.get(length..length + 2)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Garbled);
        }
        self.used += length + 2;
        Ok(Some(content))
    }

    fn frame(&mut self, depth: u8) -> Result<Option<Frame>, Garbled> {
        if depth > MAX_DEPTH {
            return Err(Garbled);
        }
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let (kind, value) = line.split_first().ok_or(Garbled)?;
        match kind {
            b'+' | b',' | b'(' => Ok(Some(Frame::Text(Bytes::copy_from_slice(value)))),
            b'-' => Ok(Some(Frame::Error(Bytes::copy_from_slice(value)))),
            b':' => Ok(Some(Frame::Number(number(value)?))),
            b'_' | b'#' => Ok(Some(Frame::Null)),
            b'$' | b'=' | b'!' => self.string(*kind, number(value)?),
            b'*' | b'~' => self.list(number(value)?, depth),
            b'%' => self.list(pairs(number(value)?)?, depth),
            // Attributes precede the value that they are about, and say nothing that we ask for.
            b'|' => match self.list(pairs(number(value)?)?, depth)? {
                Some(_) => self.frame(depth + 1),
                None => Ok(None),
            },
            _ => Err(Garbled),
        }
    }

    fn string(&mut self, kind: u8, length: i64) -> Result<Option<Frame>, Garbled> {
        if length == -1 {
            return Ok(Some(Frame::Null));
        }
        let content = self.content(at_most(length, MAX_ANSWER)?)?;
        Ok(content.map(|content| match kind {
            b'!' => Frame::Error(Bytes::copy_from_slice(content)),
            // Three letters say what kind of text it is.
            b'=' => Frame::Text(Bytes::copy_from_slice(content.get(4..).unwrap_or_default())),
            _ => Frame::Text(Bytes::copy_from_slice(content)),
        }))
    }

    fn list(&mut self, count: i64, depth: u8) -> Result<Option<Frame>, Garbled> {
        if count == -1 {
            return Ok(Some(Frame::Null));
        }
        // Each element takes at least three bytes.
        let count = at_most(count, MAX_ANSWER / 3)?;
        let mut list = Vec::with_capacity(count.min(ROOM));
        for _ in 0..count {
            match self.frame(depth + 1)? {
                Some(element) => list.push(element),
                None => return Ok(None),
            }
        }
        Ok(Some(Frame::List(list)))
    }
}

fn number(digits: &[u8]) -> Result<i64, Garbled> {
    let text = std::str::from_utf8(digits).map_err(|_| Garbled)?;
    text.parse().map_err(|_| Garbled)
}

fn at_most(number: i64, most: usize) -> Result<usize, Garbled> {
    usize::try_from(number)
        .ok()
        .filter(|number| *number <= most)
        .ok_or(Garbled)
}

fn pairs(count: i64) -> Result<i64, Garbled> {
    count.checked_mul(2).ok_or(Garbled)
}

impl Frame {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Error(_) | Self::Number(_) | Self::Null | Self::List(_) => None,
        }
    }

    /// The elements; none if it is no list.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Text(_) | Self::Error(_) | Self::Number(_) | Self::Null => &[],
        }
    }

    /// The number, if it is one or a text that is one.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => self.text()?.parse().ok(),
            Self::Error(_) | Self::Null | Self::List(_) => None,
        }
    }

    /// The code of a refusal, such as `NOPERM`. The rest of its text may repeat what was sent.
    pub(super) fn refusal(&self) -> Option<&str> {
        let Self::Error(text) = self else {
            return None;
        };
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        Some(std::str::from_utf8(code).unwrap_or("an error"))
    }
}

#[cfg(test)]
mod tests;
