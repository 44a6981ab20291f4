//! Records that leave together.
//!
//! A packet costs more than what is in it: most of what a new connection costs the system is packets. A session ticket is
//! nothing that a client waits for, so it leaves with the first answer, if the request is there already; the end of a
//! connection is told with the last one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::server::transport::Transport;
use crate::socket::Socket;

/// A connection after its handshake.
pub(in crate::server) type Encrypted = TlsStream<Bundle>;

/// More than this is not held back.
const MOST: usize = 32 << 10;

/// Ends a handshake whose client has said hello. The last that we say in TLS 1.3 is a ticket, which nobody waits for; in
/// earlier versions the client waits for it.
///
/// # Errors
/// As the handshake; the client has been told why.
pub(super) async fn shake(
    mut begun: StartHandshake<Bundle>,
    config: Arc<ServerConfig>,
) -> io::Result<Encrypted> {
    begun.io.holding = true;
    let mut stream = match begun.into_stream(config).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut connection)) => {
            connection.holding = false;
            connection.flush().await.ok();
            return Err(error);
        }
    };
    let (connection, session) = stream.get_mut();
    connection.holding = false;
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        stream.flush().await?;
    }
    Ok(stream)
}

/// The connection below TLS.
#[derive(Debug)]
pub(in crate::server) struct Bundle {
    socket: Socket,
    /// Written, and not yet handed to the system.
    held: Vec<u8>,
    /// What is written waits until something is to be read, or the connection is shut down.
    holding: bool,
}

impl Bundle {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            held: Vec::new(),
            holding: false,
        }
    }

    fn holds(&self, more: usize) -> bool {
        self.holding && self.held.len() + more <= MOST
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.held))?;
            self.gone(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// So many bytes have been written; says how many of them were not among what was held.
    fn gone(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let held = written.min(self.held.len());
        self.held.drain(..held);
        if self.held.is_empty() {
            // An idle connection keeps no room for it.
            self.held = Vec::new();
        }
        Ok(written - held)
    }
}

impl AsyncRead for Bundle {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The other side may say nothing before it has it: in a handshake because it needs it, afterwards because its
        // system sends little at a time until it hears that what was sent has come (Nagle), and we would not say so by
        // ourselves for 40 ms.
        if this.poll_held(cx)?.is_pending() && this.holding {
            return Poll::Pending;
        }
        Pin::new(&mut this.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Bundle {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = bufs.iter().map(|piece| piece.len()).sum();
        if this.holds(length) {
            this.held.reserve_exact(length);
            for piece in bufs {
                this.held.extend_from_slice(piece);
            }
            return Poll::Ready(Ok(length));
        }
        while !this.held.is_empty() && length > 0 {
            let mut all = Vec::with_capacity(bufs.len() + 1);
            all.push(IoSlice::new(&this.held));
            all.extend_from_slice(bufs);
            let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, &all))?;
            let written = this.gone(written)?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
        Pin::new(&mut this.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.holding {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_held(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.held.is_empty() {
            let written = ready!(this.socket.poll_write_last(cx, &this.held))?;
            this.gone(written)?;
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl Transport for Encrypted {
    fn poll_take<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        let bytes = ready!(Pin::new(&mut *self).poll_fill_buf(cx))?;
        let (taken, length) = (take(bytes), bytes.len());
        Pin::new(self).consume(length);
        Poll::Ready(Ok(taken))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.socket.poll_readable(cx)
    }

    fn write_last(&mut self) {
        self.get_mut().0.holding = true;
    }
}
