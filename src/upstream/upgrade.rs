//! Upgraded connections: from the 101 on, bytes both ways.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::pool::Stay;
use crate::deadline::{self, LazyTimer};
use crate::headers::ClientUpgrade;
use crate::upgraded::{Duplex, OnUpgrade, Upgraded};

/// Joins the two sides once both have switched; ends when both have ended, or after `idle` without a byte. It outlives the
/// upstream, which a new configuration may replace, and holds the slot of its client until its end. It is cut when its
/// session ends, if it may not outlive it.
pub(super) fn open(
    upgrade: ClientUpgrade,
    (upstream, stay): (Upgraded, Option<Stay>),
    idle: Duration,
) {
    let ClientUpgrade {
        client,
        slot,
        mut until,
        ..
    } = upgrade;
    tokio::spawn(async move {
        let cut = async {
            match &mut until {
                Some(until) => until.come().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            relayed = relay(client, upstream, idle) => {
                if let Err(error) = relayed {
                    tracing::debug!(%error, "an upgraded connection broke off");
                }
            }
            () = cut => tracing::debug!("an upgraded connection was cut: its session has ended"),
        }
        drop((slot, stay));
    });
}

/// Whether the answer switches to `protocol` and to nothing else.
pub(super) fn switches_to(headers: &HeaderMap, protocol: &str) -> bool {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    value
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(protocol.as_bytes())
}

async fn relay(client: OnUpgrade, upstream: Upgraded, idle: Duration) -> io::Result<()> {
    let traffic = Arc::new(Traffic::new());
    let mut upstream = Watched::new(upstream, &traffic);
    let client = client.await?;
    let mut client = Watched::new(client, &traffic);
    let copied = tokio::io::copy_bidirectional(&mut client, &mut upstream);
    let mut copied = std::pin::pin!(copied);
    let mut timer = LazyTimer::default();
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(ended) = copied.as_mut().poll(cx) {
            return Poll::Ready(ended.map(|_| ()));
        }
        loop {
            let deadline = deadline::later(traffic.last(), idle);
            ready!(timer.poll(cx, deadline));
            if deadline::later(traffic.last(), idle) <= deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
    })
    .await
}

/// When a byte last came from either side.
#[derive(Debug)]
struct Traffic {
    start: Instant,
    /// Milliseconds from `start`.
    last: AtomicU64,
}

impl Traffic {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

/// One side of a tunnel, whose reads are noted.
#[derive(Debug)]
struct Watched<T> {
    io: T,
    traffic: Arc<Traffic>,
}

impl<T> Watched<T> {
    fn new(io: T, traffic: &Arc<Traffic>) -> Self {
        Self {
            io,
            traffic: Arc::clone(traffic),
        }
    }
}

impl<T: Duplex> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.traffic.note();
        Poll::Ready(Ok(()))
    }
}

impl<T: Duplex> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
