//! A connection to an endpoint that is driven by whoever waits for its answer, and by nobody while it is idle.
//!
//! A task of its own for each connection would be woken for each request and would wake the request's task for each
//! answer. Here the request's task does both: what hyper wants to be woken for goes to the connection's [`Signal`],
//! which remembers it and wakes the task that waits, if one does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::body::Body;

/// Largest head of an answer, and how much of an answer is read at a time at most.
const MAX_BUFFER: usize = 64 << 10;

/// The bytes of a connection.
pub(super) enum Io {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// hyper's side of a connection, with upgrades. Its type has no name.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// One HTTP/1.1 connection. Dropped, it is closed.
pub(super) struct Wire {
    pub(super) sender: SendRequest<Body>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    signal: Arc<Signal>,
    /// Wakes `signal`.
    waker: Waker,
}

/// Whether a connection has something to do, and who wants to know.
#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    waiter: Mutex<Option<Waker>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let waiter = self.waiter.lock().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("open", &self.driver.is_some())
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// Starts HTTP/1.1.
    ///
    /// # Errors
    /// None in practice: HTTP/1.1 has no handshake on the wire.
    pub(super) async fn new(io: Io) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(TokioIo::new(io))
            .await?;
        // What is new has everything still to do.
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(true),
            waiter: Mutex::default(),
        });
        let waker = Waker::from(Arc::clone(&signal));
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            signal,
            waker,
        })
    }

    /// Polls `wanted`, and drives the connection for as long as that may bring it about.
    pub(super) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            let mut own = Context::from_waker(&self.waker);
            if let Poll::Ready(ready) = wanted(&mut own) {
                return Poll::Ready(ready);
            }
            if !self.drive() && self.wait(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Lets the connection do what it was woken for; says whether it was.
    fn drive(&mut self) -> bool {
        if !self.signal.woken.swap(false, Ordering::Acquire) {
            return false;
        }
        if let Some(driver) = &mut self.driver {
            let polled = driver.as_mut().poll(&mut Context::from_waker(&self.waker));
            if let Poll::Ready(ended) = polled {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to an upstream ended");
                }
                self.driver = None;
            }
        }
        true
    }

    /// Has the caller woken from now on; says whether there is nothing to do until then.
    fn wait(&self, cx: &Context<'_>) -> bool {
        let mut waiter = self.signal.waiter.lock();
        if !waiter
            .as_ref()
            .is_some_and(|waiter| waiter.will_wake(cx.waker()))
        {
            *waiter = Some(cx.waker().clone());
        }
        !self.signal.woken.load(Ordering::Acquire)
    }

    /// Whether another request may be sent: not closed, and not busy with the rest of a request answered early. Nobody
    /// waits for it any more.
    pub(super) fn is_usable(&mut self) -> bool {
        *self.signal.waiter.lock() = None;
        // What came while nobody looked: most likely the word that the other side has closed.
        while self.drive() {}
        self.driver.is_some() && self.sender.is_ready() && !self.sender.is_closed()
    }

    /// Drives it to its end, which a switch of protocols is, too.
    pub(super) fn poll_end(&mut self, cx: &Context<'_>) -> Poll<()> {
        loop {
            if self.driver.is_none() {
                return Poll::Ready(());
            }
            if !self.drive() && self.wait(cx) {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
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
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}
