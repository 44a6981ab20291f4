//! A request on its way to the upstream: the head and the first piece of the body in one write, then piece by piece.

use std::io::{self, IoSlice, Write as _};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::Io;
use crate::body::{Body, BodyError};
use crate::headers::{Framing, RequestHead};

/// A request, and how much of it has been sent.
#[derive(Debug)]
pub(in crate::upstream) struct Upload {
    method: Method,
    framing: Framing,
    /// The head; later the line before a chunk.
    front: Vec<u8>,
    /// Where in the head the value of `Host` is.
    host: Range<usize>,
    /// How much of `front` has been sent.
    sent: usize,
    /// The piece of the body behind `front`.
    piece: Bytes,
    body: Body,
    /// Whether a byte has been sent.
    touched: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of the body has been asked for.
    Head,
    /// A chunk has been begun, so its line end comes before the next line.
    Chunks,
    /// So many bytes of the body are still to come.
    Length(u64),
    /// All of the body is in `front` and `piece`.
    Whole,
    /// Everything has been sent.
    Done,
}

/// Why a request could not be sent.
#[derive(Debug)]
pub(in crate::upstream) enum UploadError {
    /// The body ended with an error, or not where it said.
    Body(BodyError),
    /// The connection broke.
    Io(io::Error),
}

impl Upload {
    pub(in crate::upstream) fn new(head: RequestHead, body: Body) -> Self {
        Self {
            method: head.method().clone(),
            framing: head.framing(),
            host: head.host(),
            front: head.into_bytes(),
            sent: 0,
            piece: Bytes::new(),
            body,
            touched: false,
            stage: Stage::Head,
        }
    }

    pub(in crate::upstream) fn body(&self) -> &Body {
        &self.body
    }

    pub(in crate::upstream) fn to_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether all of it has been sent.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether a byte of it has left.
    pub(in crate::upstream) fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether it does not matter if it is carried out twice: it is idempotent (RFC 9110 section 9.2.2) and has no body.
    pub(in crate::upstream) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() && self.framing == Framing::None
    }

    /// The head, while nothing has been sent and nothing of the body been asked for.
    pub(in crate::upstream) fn fresh_head(&self) -> Option<&[u8]> {
        let fresh = !self.touched && self.stage == Stage::Head;
        fresh.then_some(&self.front)
    }

    /// Takes the body out, for another protocol.
    pub(in crate::upstream) fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// Puts it back.
    pub(in crate::upstream) fn put_body(&mut self, body: Body) {
        self.body = body;
    }

    /// Puts another host in the place of the one in the head, of which nothing has been sent.
    pub(in crate::upstream) fn set_host(&mut self, host: &HeaderValue) {
        let end = self.host.start + host.len();
        self.front
            .splice(self.host.clone(), host.as_bytes().iter().copied());
        self.host.end = end;
    }

    /// Makes it new, after a connection that it could not be sent over.
    pub(in crate::upstream) fn rewind(&mut self) {
        if self.touched {
            self.touched = false;
            self.sent = 0;
            self.stage = Stage::Head;
        }
    }

    /// Sends what can be sent. Ready once all of it is on its way.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut io: Pin<&mut Io>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            let waits = self.piece.is_empty() && self.poll_body(cx)?.is_pending();
            if self.sent < self.front.len() || !self.piece.is_empty() {
                ready!(self.poll_write(cx, io.as_mut())).map_err(UploadError::Io)?;
            } else if waits || self.stage == Stage::Whole {
                ready!(io.as_mut().poll_flush(cx)).map_err(UploadError::Io)?;
                if waits {
                    return Poll::Pending;
                }
                self.stage = Stage::Done;
            } else if self.stage == Stage::Done {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, io: Pin<&mut Io>) -> Poll<io::Result<()>> {
        let front = self.front.get(self.sent..).unwrap_or_default();
        let written = if self.piece.is_empty() {
            ready!(io.poll_write(cx, front))?
        } else {
            let pieces = [IoSlice::new(front), IoSlice::new(&self.piece)];
            ready!(io.poll_write_vectored(cx, &pieces))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.touched = true;
        let of_front = written.min(front.len());
        self.sent += of_front;
        self.piece.advance(written - of_front);
        Poll::Ready(Ok(()))
    }

    /// Asks for the next piece of the body, if it is time to.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        let front_is_sent = self.sent == self.front.len();
        match self.stage {
            Stage::Whole | Stage::Done => return Poll::Ready(Ok(())),
            Stage::Head => {}
            Stage::Chunks | Stage::Length(_) if front_is_sent => {}
            Stage::Chunks | Stage::Length(_) => return Poll::Ready(Ok(())),
        }
        if self.framing == Framing::None {
            self.stage = Stage::Whole;
            return Poll::Ready(Ok(()));
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = polled.transpose().map_err(UploadError::Body)?;
        if front_is_sent {
            self.front.clear();
            self.sent = 0;
        }
        Poll::Ready(self.stage(frame).map_err(UploadError::Body))
    }

    /// Puts a piece of the body in its framing. `None` is the end.
    fn stage(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), BodyError> {
        match self.framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.stage_length(frame, length),
            Framing::Chunked => {
                self.stage_chunk(frame);
                Ok(())
            }
        }
    }

    fn stage_length(&mut self, frame: Option<Frame<Bytes>>, length: u64) -> Result<(), BodyError> {
        let left = match self.stage {
            Stage::Length(left) => left,
            Stage::Head | Stage::Chunks | Stage::Whole | Stage::Done => length,
        };
        let ends = frame.is_none();
        let data = frame.and_then(|frame| frame.into_data().ok());
        let data = data.unwrap_or_default();
        let left = left
            .checked_sub(data.len() as u64)
            .filter(|left| *left == 0 || !ends)
            .ok_or("the body is not as long as it was announced to be")?;
        self.piece = data;
        self.stage = match left {
            0 => Stage::Whole,
            left => Stage::Length(left),
        };
        Ok(())
    }

    fn stage_chunk(&mut self, frame: Option<Frame<Bytes>>) {
        let begun = self.stage == Stage::Chunks;
        let (data, trailers) = match frame.map(Frame::into_data) {
            None => (None, None),
            Some(Ok(data)) => (Some(data), None),
            Some(Err(frame)) => (None, frame.into_trailers().ok()),
        };
        // An empty chunk would be the last one.
        if data.as_ref().is_some_and(Bytes::is_empty) {
            return;
        }
        if begun {
            self.front.extend_from_slice(b"\r\n");
        }
        if let Some(data) = data {
            write!(self.front, "{:x}\r\n", data.len()).expect("memory takes everything");
            self.piece = data;
            self.stage = Stage::Chunks;
        } else {
            self.front.extend_from_slice(b"0\r\n");
            append(&mut self.front, &trailers.unwrap_or_default());
            self.stage = Stage::Whole;
        }
    }
}

/// A trailer section.
fn append(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
