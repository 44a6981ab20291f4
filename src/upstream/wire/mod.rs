//! HTTP/1.1 towards an upstream, over a connection that belongs to one request at a time.
//!
//! # Threat model
//! An upstream is trusted with the request, not with the connection: an answer that can be read in two ways would let one
//! client's answer end up as another's. So framing is strict (RFC 9112 sections 6 and 7), what is ambiguous is an error,
//! and a connection is used again only after an answer that has ended for certain, with nothing behind it.
//!
//! It is our own because it is the hot path: a request is one write, an answer is one read and is cut, not copied.

mod answer;
mod body;
mod upload;

#[cfg(test)]
mod tests;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

pub(super) use self::answer::Answer;
pub(super) use self::body::{Decoded, Decoder};
pub(super) use self::upload::{Upload, UploadError};
use super::tls;
use crate::chunked;
use crate::socket::Socket;
use crate::upgraded::Upgraded;

/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Interim answers (1xx) before the one that counts.
const MAX_INTERIM: u8 = 16;
/// How much is read at a time: so much at first, and up to `MAX_READ` while every read comes back full.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 64 << 10;
/// With less room than this the buffer is made larger before it is read into.
const LITTLE: usize = 1 << 10;

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    /// What has come and has not been taken.
    input: BytesMut,
    /// How much to read next.
    read_size: usize,
    /// How much of `input` is known to be a part of a head that has not come to its end.
    scanned: usize,
    /// Whether a byte has come since the last request was begun.
    heard: bool,
    /// Interim answers since then.
    interim: u8,
}

/// The connection below.
#[derive(Debug)]
enum Io {
    Plain(Socket),
    Tls(Box<tls::Stream>),
}

/// What is wrong with what an upstream sends, or with the connection to it.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// It was closed before the answer was whole.
    #[error("the connection was closed before the answer was whole")]
    Closed,
    /// What came is not the head of an HTTP/1.x answer.
    #[error("what came is not the head of an answer: {0}")]
    Head(&'static str),
    /// The end of the body is told in no way, or in two.
    #[error("the framing of the answer is wrong: {0}")]
    Framing(&'static str),
    /// The head is larger than 64 KiB or has more than 100 fields.
    #[error("the head of the answer is too large")]
    TooLarge,
    /// It is not chunked as it says.
    #[error(transparent)]
    Chunks(#[from] chunked::Malformed),
}

impl Wire {
    pub(super) fn plain(socket: Socket) -> Self {
        Self::over(Io::Plain(socket))
    }

    pub(super) fn tls(stream: tls::Stream) -> Self {
        Self::over(Io::Tls(Box::new(stream)))
    }

    fn over(io: Io) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            read_size: MIN_READ,
            scanned: 0,
            heard: false,
            interim: 0,
        }
    }

    /// The connection after a switch of protocols.
    pub(super) fn into_upgraded(self) -> Upgraded {
        Upgraded::new(self.io, self.input.freeze())
    }

    /// To be called before a request is sent.
    pub(super) fn begin(&mut self) {
        self.scanned = 0;
        self.heard = false;
        self.interim = 0;
    }

    /// Whether a byte has come since the request was begun.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Whether it is open and nothing has come that nobody asked for. Costs a system call only if something has come.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let socket = match &self.io {
            Io::Plain(socket) => socket,
            Io::Tls(stream) => stream.get_ref().0,
        };
        // What has come may be a session ticket of TLS, which is no answer: only reading tells.
        socket.poll_read_ready(cx).is_pending() || self.poll_fill(cx).is_pending()
    }

    /// Whether everything that came has been taken.
    pub(super) fn is_drained(&self) -> bool {
        self.input.is_empty()
    }

    /// Gives back what a large answer needed and a small one does not.
    pub(super) fn shrink(&mut self) {
        if self.read_size > MIN_READ {
            self.read_size = MIN_READ;
            self.input = BytesMut::new();
        }
    }

    /// Sends what can be sent of the request. Ready once all of it is on its way.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Poll<Result<(), UploadError>> {
        upload.poll(cx, Pin::new(&mut self.io))
    }

    /// The head of the answer; interim ones (RFC 9110 section 15.2) are passed over, but for 101. `to_head`: the request
    /// was HEAD.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
    ) -> Poll<Result<Answer, WireError>> {
        loop {
            while let Some(head) = answer::cut(&mut self.input, &mut self.scanned)? {
                let answer = Answer::parse(&head, to_head)?;
                if !answer.is_interim() {
                    return Poll::Ready(Ok(answer));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(WireError::Head("one interim answer too many")));
                }
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(WireError::Closed));
            }
        }
    }

    /// The next piece of the body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
    ) -> Poll<Result<Decoded, WireError>> {
        loop {
            if let Some(decoded) = decoder.decode(&mut self.input)? {
                return Poll::Ready(Ok(decoded));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(decoder.close());
            }
        }
    }

    /// Whether the body has ended, as far as can be told from what is here already.
    pub(super) fn is_at_end(&mut self, decoder: &mut Decoder) -> Result<bool, WireError> {
        decoder.is_at_end(&mut self.input)
    }

    /// What is here already of the body.
    pub(super) fn decode(&mut self, decoder: &mut Decoder) -> Result<Option<Decoded>, WireError> {
        decoder.decode(&mut self.input)
    }

    /// Reads once; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.input.capacity() - self.input.len();
        // What came before is mostly gone by the time of the next answer, and its memory still close at hand.
        if room < LITTLE || (self.input.is_empty() && room < self.read_size) {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.io.read_buf(&mut self.input)).poll(cx);
        let read = ready!(read)?;
        self.heard |= read > 0;
        if read == room {
            self.read_size = MAX_READ.min(self.read_size * 2);
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
