//! Clients that take nothing.

use std::pin::Pin;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

/// Takes what is written, as TLS does, and passes nothing on.
struct Stuck;

impl AsyncRead for Stuck {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl Transport for Stuck {
    fn poll_take<R>(
        &mut self,
        _: &mut Context<'_>,
        _: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        Poll::Pending
    }

    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn write_last(&mut self) {}
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_given_up_at_its_deadline_even_if_tls_has_it_all() {
    for keep_alive in [true, false] {
        let line = line(Stuck);
        let manner = Manner {
            head: false,
            modern: true,
            keep_alive,
        };
        let mut reply = Reply::new(Response::new(Body::text("whole".to_owned())), manner);
        let mut timer = LazyTimer::default();
        let patience = Duration::from_secs(30);

        let sending = send(&line, &mut reply, patience, &mut timer);
        let sent = tokio::time::timeout(10 * patience, sending).await;

        let error = sent.expect("it is given up").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
