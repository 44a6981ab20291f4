//! What streams through: a client's body on its way up, an upstream's on its way down, or a short text of our own.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::deadline::{self, LazyTimer};
use crate::pace::{Credit, Pace};

/// Any error that a body can end with.
pub type BodyError = Box<dyn StdError + Send + Sync>;

/// A body in either direction.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A short text of our own.
    Text(Option<Bytes>),
    /// What a client sends.
    Client(Box<ClientBody>),
    /// Something else that streams.
    Stream(Pin<Box<dyn Stream>>),
}

/// What a client sends behind the head of its request.
#[derive(Debug, Default)]
pub enum Incoming {
    /// Nothing.
    #[default]
    None,
    /// Over HTTP/1.1.
    Http1(Arc<dyn Source>),
    /// Over HTTP/2.
    Http2(hyper::body::Incoming),
}

/// Where the body of an HTTP/1.1 request comes from: its connection.
pub trait Source: Send + Sync + fmt::Debug {
    /// The next part; nothing at the end.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>>;
    /// Whether nothing more will come.
    fn is_end_stream(&self) -> bool;
    /// How much is still to come.
    fn size_hint(&self) -> SizeHint;
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(source) => source.poll_frame(cx).map_err(BodyError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(source) => source.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(source) => source.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// Takes out of a client's trailers what must not go upstream.
pub type TrailerFilter = Arc<dyn Fn(&mut HeaderMap) + Send + Sync>;

/// A body that streams, and can be printed while debugging.
pub trait Stream: HttpBody<Data = Bytes, Error = BodyError> + Send + fmt::Debug {}

impl<T: HttpBody<Data = Bytes, Error = BodyError> + Send + fmt::Debug> Stream for T {}

impl Body {
    /// A short text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// Something that streams.
    pub fn stream(stream: impl Stream + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }

    /// A client's body within these bounds, its trailers filtered.
    ///
    /// While it streams it ends with [`BodyTooLarge`] or [`ClientGone`] if one of these is broken.
    ///
    /// # Errors
    /// If the client announces more bytes than it may send.
    pub fn from_client(
        incoming: Incoming,
        Bounds { max, idle, pace }: Bounds,
        trailers: TrailerFilter,
    ) -> Result<Self, BodyTooLarge> {
        if incoming.is_end_stream() {
            return Ok(Self::Empty);
        }
        let left = match incoming.size_hint().exact() {
            Some(length) if length > max => return Err(BodyTooLarge),
            // The client is held to the length it announced, so nothing needs counting.
            Some(_) => None,
            None => Some(max),
        };
        Ok(Self::Client(Box::new(ClientBody {
            incoming,
            left,
            idle,
            trailers,
            timer: LazyTimer::default(),
            stalls_at: None,
            credit: Credit::new(pace),
            progress: Arc::default(),
        })))
    }

    /// How far a client's body has come; `None` for one that is there as a whole.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Client(body) => Some(Arc::clone(&body.progress)),
            Self::Empty | Self::Text(_) | Self::Stream(_) => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Client(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.is_none(),
            Self::Client(body) => body.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Client(body) => body.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// What a client's body may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub max: u64,
    /// Between two pieces.
    pub idle: Duration,
    /// How slow it may be.
    pub pace: Pace,
}

/// The client sent more than the route's `max_body`. Found in a chain of causes, it means 413.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body is larger than the route's max_body")]
pub struct BodyTooLarge;

/// The client did not finish its request body. Found in a chain of causes, it means 400.
#[derive(Debug, thiserror::Error)]
pub enum ClientGone {
    /// It closed the connection, reset the stream or broke the framing.
    #[error("the client broke off its request body")]
    Broken(#[source] BodyError),
    /// It sent nothing for as long as the route's `timeouts.idle`.
    #[error("the client stalled within its request body")]
    Stalled,
}

/// The client was too slow with its request body. Found in a chain of causes, it means 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client sent its request body slower than limits.min_body_rate, or longer than limits.body_timeout"
)]
pub struct ClientSlow;

/// A client's body on its way up; made by [`Body::from_client`].
pub struct ClientBody {
    incoming: Incoming,
    /// Bytes that may still come; `None` if the length was announced.
    left: Option<u64>,
    idle: Duration,
    trailers: TrailerFilter,
    timer: LazyTimer,
    /// Set while the client is waited for.
    stalls_at: Option<Instant>,
    credit: Credit,
    progress: Arc<Progress>,
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl ClientBody {
    fn admit(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(trailers) = frame.trailers_mut() {
            (self.trailers)(trailers);
        }
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.checked_sub(data.len() as u64).ok_or(BodyTooLarge)?;
        }
        Ok(frame)
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(polled) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            this.progress.wait_for_client();
            if this.progress.is_talk() {
                return Poll::Pending;
            }
            let idle = this.idle;
            let stalls_at = *this.stalls_at.get_or_insert_with(|| deadline::after(idle));
            let slow_at = this.credit.wait().filter(|slow_at| *slow_at < stalls_at);
            ready!(this.timer.poll(cx, slow_at.unwrap_or(stalls_at)));
            return Poll::Ready(Some(Err(match slow_at {
                Some(_) => ClientSlow.into(),
                None => ClientGone::Stalled.into(),
            })));
        };
        this.stalls_at = None;
        this.progress.advance();
        Poll::Ready(polled.map(|frame| match frame {
            Ok(frame) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.credit.came(length);
                this.progress
                    .bytes
                    .fetch_add(length as u64, Ordering::Relaxed);
                this.admit(frame)
            }
            Err(error) => Err(ClientGone::Broken(error).into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Who holds up a client's body: the client, or whoever reads it.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    /// Milliseconds from `start` to the last piece taken.
    last: AtomicU64,
    bytes: AtomicU64,
    /// Whether the client has been asked for more and has not sent it.
    waiting: AtomicBool,
    /// Whether the client may be silent while it listens.
    talk: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            talk: AtomicBool::new(false),
        }
    }
}

impl Progress {
    /// When the last piece was taken; `None` while the client is the one that is waited for.
    pub fn last(&self) -> Option<Instant> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        (!waiting).then(|| self.moved())
    }

    /// When the last piece was taken, whoever is waited for since.
    pub fn moved(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// The body is one side of a conversation by now: its client may be silent, and whoever holds the other side sees to
    /// it that not both are silent for too long.
    pub fn talk(&self) {
        self.talk.store(true, Ordering::Relaxed);
    }

    fn is_talk(&self) -> bool {
        self.talk.load(Ordering::Relaxed)
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
    }

    fn wait_for_client(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }
}
