//! A connection that has left HTTP: handed from the side that spoke HTTP over it to the side that relays its bytes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection after its switch of protocols.
pub struct Upgraded {
    io: Box<dyn Duplex>,
    /// What came behind the head that switched.
    ahead: Bytes,
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl Upgraded {
    /// A connection of which these bytes have been read already.
    pub fn new(io: impl Duplex + 'static, ahead: Bytes) -> Self {
        Self {
            io: Box::new(io),
            ahead,
        }
    }
}

/// Where an upgraded connection will come from, once the answer that switches has been sent.
#[derive(Debug)]
pub struct OnUpgrade(oneshot::Receiver<Upgraded>);

/// Where it is put.
#[derive(Debug)]
pub struct Upgrading(oneshot::Sender<Upgraded>);

/// Travels with a request that asks to switch protocols, in its extensions.
#[derive(Debug, Clone)]
pub struct Offer(Arc<Mutex<Option<OnUpgrade>>>);

impl Offer {
    /// The client's side of the switch; there for the first who asks.
    pub fn take(&self) -> Option<OnUpgrade> {
        self.0.lock().take()
    }
}

/// The two ends of a switch of protocols.
pub fn switch() -> (Upgrading, Offer) {
    let (sender, receiver) = oneshot::channel();
    let on_upgrade = Arc::new(Mutex::new(Some(OnUpgrade(receiver))));
    (Upgrading(sender), Offer(on_upgrade))
}

impl Upgrading {
    /// Hands the connection over. If nobody waits for it any more, it is closed.
    pub fn switched(self, connection: Upgraded) {
        drop(self.0.send(connection));
    }
}

impl Future for OnUpgrade {
    type Output = io::Result<Upgraded>;

    /// The connection; an error if the switch did not take place.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let switched = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(switched.map_err(|_| io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..length).unwrap_or_default());
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
