//! A client's HTTP/2 connection below hyper: its frames are counted by their heads, so that a client cannot keep us busy
//! with what is no request (RFC 9113 section 10.5).
//!
//! # The budget
//! PING, SETTINGS, PRIORITY, empty DATA, CONTINUATION and frames nobody knows cost one each; a reset costs two, one of
//! which its request had earned. WINDOW_UPDATE costs one too, and every KiB that we send earns one, because it must be
//! acknowledged with them; so does every request. What is left over comes back within a second. A client beyond its
//! budget is told ENHANCE_YOUR_CALM and cut off. So is, with PROTOCOL_ERROR, one that promises a push (section 8.4): the
//! library would first wait for the rest of the promise. A frame of a size that its kind cannot have is told
//! FRAME_SIZE_ERROR, as section 4.2 wants it; the library's own word for it is PROTOCOL_ERROR.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::deadline::{self, LazyTimer};

/// What a client sends first (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
const FRAME_HEAD: usize = 9;
/// How long, and how much, is read from a client that was cut off, so that it gets to see why.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER: usize = 64 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Codes of errors (RFC 9113 section 7).
const PROTOCOL_ERROR: u8 = 1;
const FRAME_SIZE_ERROR: u8 = 6;
const ENHANCE_YOUR_CALM: u8 = 0x0b;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    /// The error that its head alone is (RFC 9113 sections 6.3 to 6.9).
    fn fault(self) -> Option<u8> {
        let sized = match self.kind {
            PUSH_PROMISE => return Some(PROTOCOL_ERROR),
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.flags & ACK != 0 => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            _ => true,
        };
        (!sized).then_some(FRAME_SIZE_ERROR)
    }
}

/// Finds the heads of frames in a stream.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; FRAME_HEAD],
    have: usize,
    /// Bytes until the next head.
    skip: u32,
}

impl Frames {
    /// In a stream that begins with so many other bytes.
    pub(super) fn behind(bytes: u32) -> Self {
        Self {
            head: [0; FRAME_HEAD],
            have: 0,
            skip: bytes,
        }
    }

    /// Whether the stream stands between two frames.
    fn between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Looks at the next bytes; `seen` is told of every head that is whole.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skip = usize::try_from(self.skip).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.skip -= u32::try_from(skip).unwrap_or(self.skip);
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            let take = (FRAME_HEAD - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            if let Some(place) = self.head.get_mut(self.have..self.have + take) {
                place.copy_from_slice(now);
            }
            self.have += take;
            bytes = rest;
            if self.have == FRAME_HEAD {
                let [a, b, c, kind, flags, s, t, u, v] = self.head;
                let frame = Frame {
                    length: u32::from_be_bytes([0, a, b, c]),
                    kind,
                    flags,
                    stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
                };
                (self.have, self.skip) = (0, frame.length);
                seen(frame);
            }
        }
    }
}

/// How many control frames a client may still send.
#[derive(Debug)]
pub(super) struct Budget {
    most: u32,
    left: u32,
    filled: Instant,
}

impl Budget {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            left: most,
            filled: Instant::now(),
        }
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    /// Takes what this frame costs; whether there was so much.
    fn pay(&mut self, frame: Frame) -> bool {
        let cost = match frame.kind {
            HEADERS => {
                self.earn(1);
                return true;
            }
            DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => return true,
            RST_STREAM => 2,
            _ => 1,
        };
        if self.left < cost {
            // The clock is looked at only here: most clients never get so far.
            let millis = self.filled.elapsed().as_millis();
            let back = u128::from(self.most) * millis / 1000;
            self.earn(u32::try_from(back).unwrap_or(u32::MAX));
            self.filled = Instant::now();
        }
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// A connection whose frames are counted.
pub(super) struct Counted<T> {
    io: T,
    theirs: Frames,
    ours: Frames,
    budget: Budget,
    /// Bytes sent that have not earned anything yet.
    sent: usize,
    last_stream: u32,
    /// Since when the rest of a head is waited for.
    heading: Option<Instant>,
    open_head: bool,
    head_patience: Duration,
    timer: LazyTimer,
    cut: Cut,
}

/// How far it is with a client that must go.
#[derive(Debug)]
enum Cut {
    No,
    /// It is told so, with this code.
    Telling(u8),
    /// It is read from until then, this much more.
    Lingering(Instant, usize),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Counted<T> {
    /// A new connection that may send so many control frames a second, and may take so long for a head in several frames.
    pub(super) fn new(io: T, most: u32, head_patience: Duration) -> Self {
        Self {
            io,
            theirs: Frames::behind(PREFACE),
            ours: Frames::behind(0),
            budget: Budget::new(most),
            sent: 0,
            last_stream: 0,
            heading: None,
            open_head: false,
            head_patience,
            timer: LazyTimer::default(),
            cut: Cut::No,
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        let Self {
            theirs,
            budget,
            last_stream,
            open_head,
            cut,
            ..
        } = self;
        theirs.scan(bytes, |frame| {
            if let HEADERS | CONTINUATION = frame.kind {
                *last_stream = frame.stream.max(*last_stream);
                *open_head = frame.flags & END_HEADERS == 0;
            }
            if let Some(code) = frame.fault() {
                *cut = Cut::Telling(code);
            } else if !budget.pay(frame) {
                *cut = Cut::Telling(ENHANCE_YOUR_CALM);
            }
        });
    }

    /// Tells a client why it must go, and is done with it. Ready when it was told, or cannot be.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Cut::Telling(code) = self.cut {
            tracing::debug!(code, "a client sent frames that it may not, or too many");
            // Within a frame of ours it would not be understood.
            if self.ours.between() {
                let goaway = goaway(self.last_stream, code);
                let told = Pin::new(&mut self.io).poll_write(cx, &goaway)?.is_ready();
                let flushed = Pin::new(&mut self.io).poll_flush(cx)?.is_ready();
                tracing::trace!(told, flushed, "told it why");
            }
            self.cut = Cut::Lingering(deadline::after(LINGER), MAX_LINGER);
        }
        let Cut::Lingering(until, left) = &mut self.cut else {
            return Poll::Pending;
        };
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() || *left == 0 => break,
                Poll::Ready(()) => *left = left.saturating_sub(buf.filled().len()),
                Poll::Pending => {
                    ready!(self.timer.poll(cx, *until));
                    break;
                }
            }
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Nothing has come. A head whose rest does not come holds up the whole connection.
    fn poll_head_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.open_head {
            self.heading = None;
            return Poll::Pending;
        }
        let since = *self.heading.get_or_insert_with(Instant::now);
        let until = deadline::later(since, self.head_patience);
        ready!(self.timer.poll(cx, until));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// GOAWAY with this code (RFC 9113 section 6.8).
fn goaway(last_stream: u32, code: u8) -> [u8; 17] {
    let [a, b, c, d] = last_stream.to_be_bytes();
    [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, code]
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Cut::No = this.cut {
            let start = buf.filled().len();
            if Pin::new(&mut this.io).poll_read(cx, buf)?.is_pending() {
                return this.poll_head_patience(cx);
            }
            this.count(buf.filled().get(start..).unwrap_or_default());
            if let Cut::No = this.cut {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(start);
        }
        this.poll_cut(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.ours
            .scan(buf.get(..written).unwrap_or_default(), |_| {});
        this.sent += written;
        this.budget
            .earn(u32::try_from(this.sent >> 10).unwrap_or(u32::MAX));
        this.sent &= (1 << 10) - 1;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: u32) -> Frame {
        Frame {
            length,
            kind,
            flags,
            stream,
        }
    }

    #[test]
    fn heads_of_frames_are_found_however_the_stream_is_cut() {
        let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        stream.extend([0, 0, 3, 0, 1, 0x80, 0, 0, 5, 9, 9, 9]);
        stream.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]);
        stream.extend([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let expected = [frame(0, 1, 5, 3), frame(4, 1, 0, 0), frame(6, 0, 0, 8)];

        for step in [1, 2, 5, 9, 100] {
            let (mut frames, mut seen) = (Frames::behind(PREFACE), Vec::new());
            for piece in stream.chunks(step) {
                frames.scan(piece, |frame| seen.push(frame));
            }
            assert_eq!(seen, expected, "{step}");
            assert!(frames.between());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_have_a_budget_that_requests_and_answers_fill() {
        let mut budget = Budget::new(10);
        let mut pays = |kind, flags, length, times: usize| {
            (0..times).all(|_| budget.pay(frame(kind, flags, 1, length)))
        };

        assert!(pays(DATA, 0, 5, 100) && pays(DATA, END_STREAM, 0, 100));
        assert!(pays(6, 0, 8, 10) && !pays(6, 0, 8, 1));
        assert!(pays(HEADERS, 0, 5, 3) && pays(8, 0, 4, 3));
        assert!(!pays(DATA, 0, 0, 1));
        assert!(pays(HEADERS, 0, 5, 1) && !pays(RST_STREAM, 0, 4, 1));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(pays(2, 0, 5, 6) && !pays(2, 0, 5, 1));
        assert!(!pays(CONTINUATION, END_HEADERS, 5, 1));
    }
}
