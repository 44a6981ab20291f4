//! One connection: what has been read ahead, what the body under way still lacks, what is not written yet.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::head::Framing;
use crate::body::Source;
use crate::chunked::Part;
use crate::server::transport::Transport;

/// What a client is told that waits before it sends its body (RFC 9110 section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection.
pub(in crate::server) struct Line<T> {
    pub(super) io: T,
    /// Read, and not yet used.
    pub(super) ahead: BytesMut,
    /// What is left of the body under way.
    pub(super) framing: Framing,
    /// The client waits for a 100.
    pub(super) expects: bool,
    /// To be written before anything else.
    pub(super) unsent: BytesMut,
    /// Bytes that the client has taken.
    taken: u64,
    /// The client has been told that nothing more will come.
    ended: bool,
}

impl<T> fmt::Debug for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> Line<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            ahead: BytesMut::new(),
            framing: Framing::None,
            expects: false,
            unsent: BytesMut::new(),
            taken: 0,
            ended: false,
        }
    }

    /// The connection itself, for another protocol; nothing has been read from it.
    pub(in crate::server) fn into_io(self) -> T {
        self.io
    }

    /// So many bytes were written.
    pub(super) fn written(&mut self, count: usize) {
        self.taken = self.taken.wrapping_add(count as u64);
    }

    /// Grows whenever the client takes something.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Reads once and hands what came to `take`, with what was read before. Ready with an empty slice at the end of the
    /// stream.
    pub(super) fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut BytesMut, &[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        let Self { io, ahead, .. } = self;
        io.poll_take(cx, |bytes| take(ahead, bytes))
    }

    /// Reads more; `false` at the end of the stream.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_read(cx, |ahead, bytes| {
            ahead.extend_from_slice(bytes);
            !bytes.is_empty()
        })
    }

    /// Writes what is left to write.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
            self.unsent.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is left to write, and sees to it that the system has it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Writes what is left to write, and that nothing more will come.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.poll_unsent(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has gone away while its request is under way. Once it has sent the start of another one it is
    /// not read from: it is clearly there, and may have nothing more to say.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.framing, Framing::None) || !self.ahead.is_empty() {
            return Poll::Pending;
        }
        ready!(self.io.poll_readable(cx));
        match ready!(self.poll_more(cx)) {
            Ok(true) => Poll::Pending,
            Ok(false) | Err(_) => Poll::Ready(()),
        }
    }

    /// The next part of the body under way.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(part) = self.take_body().transpose() {
                if part.is_err() {
                    self.framing = Framing::Unknown;
                }
                return Poll::Ready(Some(part));
            }
            if matches!(self.framing, Framing::None) {
                return Poll::Ready(None);
            }
            if std::mem::take(&mut self.expects) {
                self.unsent.extend_from_slice(CONTINUE);
            }
            if !self.unsent.is_empty() {
                ready!(self.poll_flush(cx))?;
            }
            if !ready!(self.poll_more(cx))? {
                self.framing = Framing::Unknown;
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// What of the body has been read already; `None` if there is nothing, or nothing more.
    fn take_body(&mut self) -> io::Result<Option<Frame<Bytes>>> {
        match &mut self.framing {
            Framing::None => Ok(None),
            Framing::Unknown => Err(io::ErrorKind::InvalidData.into()),
            Framing::Length(_) if self.ahead.is_empty() => Ok(None),
            Framing::Length(left) => {
                let there = self.ahead.len();
                let length = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= length as u64;
                let data = self.ahead.split_to(length).freeze();
                if *left == 0 {
                    self.framing = Framing::None;
                }
                Ok(Some(Frame::data(data)))
            }
            Framing::Chunked(chunks) => match chunks.next(&mut self.ahead) {
                Ok(Part::Data(data)) => Ok(Some(Frame::data(data))),
                Ok(Part::More) => Ok(None),
                Ok(Part::End(fields)) => {
                    self.framing = Framing::None;
                    Ok((!fields.is_empty()).then(|| Frame::trailers(fields)))
                }
                Err(malformed) => Err(io::Error::new(io::ErrorKind::InvalidData, malformed)),
            },
        }
    }

    /// Drops what is there of a body that nobody read; says whether that was all of it.
    pub(super) fn skip_body(&mut self) -> bool {
        while let Ok(Some(_)) = self.take_body() {}
        matches!(self.framing, Framing::None)
    }
}

impl<T: Transport> Source for Mutex<Line<T>> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.lock().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.lock().framing, Framing::None)
    }

    fn size_hint(&self) -> SizeHint {
        match self.lock().framing {
            Framing::None => SizeHint::with_exact(0),
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunked(_) | Framing::Unknown => SizeHint::default(),
        }
    }
}
