//! The body of an answer, taken out of its framing (RFC 9112 section 6.3).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use super::WireError;
use crate::chunked::{Chunks, Part};
use crate::headers;

/// Takes a body out of what came. What follows the body is left.
#[derive(Debug)]
pub(in crate::upstream) struct Decoder {
    framing: Framing,
    /// What has been taken out already, to see whether it is the end.
    peeked: Option<Decoded>,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
}

/// A part of a body.
#[derive(Debug)]
pub(in crate::upstream) enum Decoded {
    /// Never empty.
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Decoder {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            peeked: None,
        }
    }

    pub(super) fn length(length: u64) -> Self {
        Self::new(Framing::Length(length))
    }

    pub(super) fn chunked() -> Self {
        Self::new(Framing::Chunked(Box::default()))
    }

    pub(super) fn until_close() -> Self {
        Self::new(Framing::UntilClose)
    }

    /// Whether only the end of the connection ends the body.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self.framing, Framing::UntilClose)
    }

    /// How many bytes are still to come, if that is known.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// The next part of the body in `input`; `None` if more has to come first.
    ///
    /// # Errors
    /// If the framing is broken.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded>, WireError> {
        if let Some(peeked) = self.peeked.take() {
            return Ok(Some(peeked));
        }
        Ok(match &mut self.framing {
            Framing::Chunked(chunks) => match chunks.next(input)? {
                Part::Data(data) => Some(Decoded::Data(data)),
                Part::End(fields) => Some(end(fields)),
                Part::More => None,
            },
            Framing::Length(0) => Some(Decoded::End),
            Framing::Length(left) => {
                let data = split(input, *left);
                *left -= data.as_ref().map_or(0, |data| data.len() as u64);
                data.map(Decoded::Data)
            }
            Framing::UntilClose => split(input, u64::MAX).map(Decoded::Data),
        })
    }

    /// Whether the body has ended without trailers, as far as `input` tells.
    ///
    /// # Errors
    /// If the framing is broken.
    pub(super) fn is_at_end(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        match self.framing {
            Framing::Length(left) => return Ok(left == 0),
            Framing::UntilClose => return Ok(false),
            Framing::Chunked(_) if self.peeked.is_none() => self.peeked = self.decode(input)?,
            Framing::Chunked(_) => {}
        }
        Ok(matches!(self.peeked, Some(Decoded::End)))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// If the body has not.
    pub(super) fn close(&mut self) -> Result<Decoded, WireError> {
        if !self.takes_all() {
            return Err(WireError::Closed);
        }
        self.framing = Framing::Length(0);
        Ok(Decoded::End)
    }
}

fn end(mut trailers: HeaderMap) -> Decoded {
    let barred =
        |name: &http::HeaderName| name == CONTENT_LENGTH || headers::is_hop_by_hop(name.as_str());
    while let Some(name) = trailers.keys().find(|name| barred(name)).cloned() {
        trailers.remove(name);
    }
    if trailers.is_empty() {
        Decoded::End
    } else {
        Decoded::Trailers(trailers)
    }
}

/// At most `most` bytes off the front; `None` if there are none.
fn split(input: &mut BytesMut, most: u64) -> Option<Bytes> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let length = input.len().min(most);
    (length > 0).then(|| input.split_to(length).freeze())
}
