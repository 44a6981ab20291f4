//! A TCP connection, written to in the cheapest way.
//!
//! `writev` goes through the kernel's file layer, `send` does not: for the one piece that a request or an answer
//! mostly is, that saves a few per cent of the whole request. The C library's `send` first makes it a place where its
//! threads can be cancelled; rustix's does not. Several pieces still go out together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What the system is told about bytes behind which the end of the connection follows at once: that they may leave in the
/// same packet.
#[cfg(target_os = "linux")]
const LAST: SendFlags = SendFlags::MORE.union(SendFlags::NOSIGNAL);
#[cfg(not(target_os = "linux"))]
const LAST: SendFlags = ALONE;
/// What it is told about others: that a connection which is closed is no reason to end the process. macOS is told so when a
/// socket is made, which std does.
#[cfg(target_os = "linux")]
const ALONE: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const ALONE: SendFlags = SendFlags::empty();

/// A TCP connection.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Takes a connection over. What is written leaves at once: it is written in one piece, and waiting for more would
    /// only delay it.
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Ready if something has come, or the other side has closed, as far as the last look at the system tells; asks
    /// the system nothing.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Writes bytes behind which the connection is shut down at once; without that they may never leave.
    pub fn poll_write_last(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes, LAST)
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let send = || Ok(rustix::net::send(&self.0, bytes, flags)?);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf, ALONE)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = bufs.iter().filter(|piece| !piece.is_empty());
        match (pieces.next(), pieces.next()) {
            (Some(only), None) => self.poll_send(cx, only, ALONE),
            (Some(_), Some(_)) | (None, _) => Pin::new(&mut self.0).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
