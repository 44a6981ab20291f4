//! What HTTP/1.1 is spoken over.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;

/// The most that is read at once.
const SCRATCH: usize = 32 << 10;

thread_local! {
    /// Of all connections of a thread: only what came is kept, so that an idle connection holds no memory for it.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// A connection with a client.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Reads once and hands what came to `take`, where it lies. Ready with an empty slice at the end of the stream.
    fn poll_take<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>>;

    /// Ready if there may be more to read than has been received; asks the system nothing.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// What is written from now on is the last, and the end of the connection follows at once: it may wait for that.
    fn write_last(&mut self);
}

impl Transport for Socket {
    fn poll_take<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        READ.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(self).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(take(buf.filled())))
        })
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }

    fn write_last(&mut self) {}
}
