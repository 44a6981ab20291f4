//! Streams whose client does not take what it asked for.
//!
//! A client that gives a stream no window lets its answer wait for ever, and the connection's own keep-alive goes on
//! being answered. hyper has no deadline for it, but it runs each stream as a task of its own, so the task has one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::UnderWay;
use crate::body::{Body, BodyError};
use crate::deadline::{self, LazyTimer};

tokio::task_local! {
    static SENDING: Arc<Sending>;
}

/// Since when the client is to take a piece of its answer.
#[derive(Debug)]
struct Sending {
    start: Instant,
    /// Milliseconds from `start`, or [`NOT`].
    since: AtomicU64,
}

/// It is the upstream that is waited for, or we ourselves.
const NOT: u64 = u64::MAX;

impl Sending {
    fn handed(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NOT - 1);
        self.since.store(now, Ordering::Relaxed);
    }

    fn waits_for_us(&self) {
        self.since.store(NOT, Ordering::Relaxed);
    }

    fn since(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        (since != NOT).then(|| self.start + Duration::from_millis(since))
    }
}

/// Runs hyper's streams, each no longer than its client takes something.
#[derive(Debug, Clone)]
pub(in crate::server) struct Streams {
    /// How long a piece may stay untaken.
    pub(in crate::server) patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let patience = self.patience;
        let sending = Arc::new(Sending {
            start: Instant::now(),
            since: AtomicU64::new(NOT),
        });
        let kept = Arc::clone(&sending);
        tokio::spawn(SENDING.scope(sending, async move {
            let mut stream = pin!(stream);
            let mut timer = LazyTimer::default();
            // Left at the deadline, the stream is dropped with all it holds, which resets it.
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match kept.since() {
                    Some(since) => timer.poll(cx, deadline::later(since, patience)),
                    None => Poll::Pending,
                }
            })
            .await;
        }));
    }
}

/// The body of an answer. Its request is under way until it is dropped.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    sending: Option<Arc<Sending>>,
    _under_way: UnderWay,
}

impl Answer {
    /// To be called in the task of the stream.
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        let sending = SENDING.try_with(Arc::clone).ok();
        if let Some(sending) = &sending {
            sending.handed();
        }
        Self {
            body,
            sending,
            _under_way: under_way,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(sending) = &this.sending {
            match polled {
                Poll::Ready(_) => sending.handed(),
                Poll::Pending => sending.waits_for_us(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
