//! Connections to one endpoint: the idle ones, and the one that an answer is still coming from.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::deadline::{self, LazyTimer};

/// The idle connections of one endpoint, the youngest last.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Connection>>,
    max_idle: usize,
    max_age: Duration,
}

/// One connection: asked once at a time.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    /// Lives as long as the connection, so that a request does not have to arm a new one.
    pub(super) timer: LazyTimer,
    idle_since: Instant,
    home: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(max_idle: u32, max_age: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            max_idle: usize::try_from(max_idle).unwrap_or(usize::MAX),
            max_age,
        })
    }

    /// The connection used last: it is the one least likely to be closed, and lets the others grow old.
    pub(super) fn take(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop_back() {
            if now.duration_since(connection.idle_since) >= self.max_age {
                // All others are older still.
                idle.clear();
                return None;
            }
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, mut connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let now = Instant::now();
        connection.idle_since = now;
        let mut idle = self.idle.lock();
        while idle
            .front()
            .is_some_and(|oldest| now.duration_since(oldest.idle_since) >= self.max_age)
        {
            idle.pop_front();
        }
        if idle.len() < self.max_idle {
            idle.push_back(connection);
        }
    }
}

impl Connection {
    /// A new one that will go to `home` once its answer has been read.
    pub(super) fn new(sender: SendRequest<Body>, home: &Arc<Pool>) -> Self {
        Self {
            sender,
            timer: LazyTimer::default(),
            idle_since: Instant::now(),
            home: Arc::clone(home),
        }
    }

    /// Not closed, and not busy sending the rest of a request that was answered early.
    fn is_usable(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }

    fn go_home(self) {
        let home = Arc::clone(&self.home);
        home.put(self);
    }
}

/// The body of an answer that comes over `connection`, which goes home once the body has ended.
///
/// A body that is there as a whole already is taken as a whole, which frees the connection at once.
///
/// # Errors
/// If the body breaks off before the answer has been handed on.
pub(super) fn body(
    cx: &mut Context<'_>,
    mut incoming: Incoming,
    connection: Connection,
    idle: Duration,
) -> Result<Body, hyper::Error> {
    if incoming.is_end_stream() {
        connection.go_home();
        return Ok(Body::Empty);
    }
    let mut first = None;
    if let Poll::Ready(polled) = Pin::new(&mut incoming).poll_frame(cx) {
        let Some(frame) = polled.transpose()? else {
            connection.go_home();
            return Ok(Body::Empty);
        };
        match frame.into_data() {
            Ok(data) if incoming.is_end_stream() => {
                connection.go_home();
                return Ok(Body::text(data));
            }
            Ok(data) => first = Some(Frame::data(data)),
            Err(frame) => first = Some(frame),
        }
    }
    Ok(Body::stream(Answer {
        first,
        incoming,
        connection: Some(connection),
        idle,
        stalls_at: None,
    }))
}

/// The body of an answer while it streams. Dropped before its end, it takes the connection with it.
#[derive(Debug)]
struct Answer {
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
    connection: Option<Connection>,
    idle: Duration,
    /// Set while the upstream is waited for.
    stalls_at: Option<Instant>,
}

/// The upstream sent nothing for as long as the route's `timeouts.idle`.
#[derive(Debug, thiserror::Error)]
#[error("the upstream stalled within its answer")]
struct Stalled;

impl Answer {
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.stalls_at = None;
            return Poll::Ready(polled.map(|frame| frame.map_err(BodyError::from)));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Pending;
        };
        let idle = self.idle;
        let stalls_at = *self.stalls_at.get_or_insert_with(|| deadline::after(idle));
        ready!(connection.timer.poll(cx, stalls_at));
        self.connection = None;
        Poll::Ready(Some(Err(Stalled.into())))
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
        let polled = ready!(this.poll_incoming(cx));
        match &polled {
            Some(Err(_)) => this.connection = None,
            Some(Ok(frame)) if !this.is_end_stream() && !frame.is_trailers() => {}
            Some(Ok(_)) | None => {
                if let Some(connection) = this.connection.take() {
                    connection.go_home();
                }
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        if let Some(first) = self.first.as_ref().and_then(Frame::data_ref) {
            let first = first.len() as u64;
            match hint.exact() {
                Some(rest) => hint.set_exact(rest.saturating_add(first)),
                None => hint.set_lower(hint.lower().saturating_add(first)),
            }
        }
        hint
    }
}
