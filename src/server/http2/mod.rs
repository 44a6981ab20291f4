//! HTTP/2 towards clients (RFC 9113): hyper speaks it, and here is what it leaves open: deadlines, floods, and clients that
//! take nothing.

mod frames;
mod stream;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::frames::Counted;
use self::stream::Answer;
pub(super) use self::stream::Streams;
use super::Handler;
use super::connection::Hall;
use super::drain::{Stage, Watch};
use super::span::Span;
use crate::body::Incoming;
use crate::deadline::{self, LazyTimer};
use crate::head::HeadError;
use crate::peer::Peer;
use crate::quota::Ticket;
use crate::refusal::Refusal;

/// How long a connection that was told to end may take over it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How clients are spoken to.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) builder: http2::Builder<Streams>,
    /// From the start of the connection to its first request.
    pub(super) first: Duration,
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// Without any request under way.
    pub(super) idle: Duration,
    /// Control frames a second, beyond what requests and answers call for.
    pub(super) control_frames: u32,
    /// How long a connection is used.
    pub(super) span: Span,
}

/// Serves one client until one of the two has had enough.
pub(super) async fn serve<T, H>(
    io: T,
    rules: &Rules,
    (hall, peer): (Arc<Hall<H>>, Peer),
    watch: Watch,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let client = Arc::new(Client::new(peer));
    let io = TokioIo::new(Counted::new(io, rules.control_frames, rules.head));
    let service = service(hall, Arc::clone(&client), rules.head);
    let connection = pin!(rules.builder.serve_connection(io, service));
    let stop = http2::Connection::graceful_shutdown;
    drive(connection, &client, rules, watch, stop).await;
}

/// One connection, and how its requests stand.
#[derive(Debug)]
struct Client {
    peer: Peer,
    opened: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    /// When the last request ended, in milliseconds from `opened`.
    ended_at: AtomicU64,
}

impl Client {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            opened: Instant::now(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ended_at: AtomicU64::new(0),
        }
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Since when no request is under way; `None` while one is.
    fn idle_since(&self) -> Option<Instant> {
        let ended = self.ended.load(Ordering::Acquire);
        let at = Duration::from_millis(self.ended_at.load(Ordering::Relaxed));
        (self.begun() == ended).then(|| self.opened + at)
    }
}

/// One request, from its head to the end of its answer.
#[derive(Debug)]
struct UnderWay {
    client: Arc<Client>,
    /// `None` if there are too many.
    ticket: Option<Ticket>,
}

impl UnderWay {
    fn begin(client: &Arc<Client>, ticket: Option<Ticket>) -> Self {
        client.begun.fetch_add(1, Ordering::Relaxed);
        Self {
            client: Arc::clone(client),
            ticket,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let client = &self.client;
        let now = u64::try_from(client.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        client.ended_at.store(now, Ordering::Relaxed);
        client.ended.fetch_add(1, Ordering::Release);
    }
}

fn service<H: Handler>(
    hall: Arc<Hall<H>>,
    client: Arc<Client>,
    patience: Duration,
) -> impl Service<
    Request<hyper::body::Incoming>,
    Response = Response<Answer>,
    Error = Infallible,
    Future: Future<Output = Result<Response<Answer>, Infallible>> + Send + 'static,
> {
    service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Incoming::Http2);
        let under_way = UnderWay::begin(&client, hall.rooms.begin());
        let handler = hall.handler.load_full();
        async move {
            let peer = &under_way.client.peer;
            let fault = match under_way.ticket {
                Some(_) => await_nothing(request.body_mut(), patience).await.err(),
                None => Some(Refusal::Overloaded),
            };
            let mut response = match fault {
                None => handler.handle(request, peer).await,
                Some(refusal) => handler.refuse(request, peer, refusal).await,
            };
            peer.promise(response.headers_mut());
            Ok(response.map(|body| Answer::new(body, under_way)))
        }
    })
}

/// Waits for the end of a body that is announced as empty but has not ended yet. If something comes after all, the
/// request is malformed, and must not have gone upstream by then (RFC 9113 section 8.1.1).
///
/// # Errors
/// Something came, or the end did not come in time.
async fn await_nothing(body: &mut Incoming, patience: Duration) -> Result<(), Refusal> {
    if body.is_end_stream() || body.size_hint().exact() != Some(0) {
        return Ok(());
    }
    let end = async {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
            match frame {
                None => return Ok(()),
                Some(Ok(frame)) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
                Some(Ok(_) | Err(_)) => return Err(HeadError::Length),
            }
        }
    };
    let ended = tokio::time::timeout(patience, end).await;
    ended.unwrap_or(Err(HeadError::Late))?;
    *body = Incoming::None;
    Ok(())
}

/// Drives a connection to its end; at the word to stop, or when it has been idle for too long, it is told to come to one.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    client: &Client,
    rules: &Rules,
    mut watch: Watch,
    stop: fn(Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut timer = LazyTimer::default();
    let (mut aging, old) = (LazyTimer::default(), rules.span.end());
    // Until when it may live, once it was told to end.
    let mut told: Option<Instant> = None;
    let ended = poll_fn(|cx: &mut Context<'_>| {
        let stage = watch.poll(cx);
        let done = || stage >= Stage::Closing || rules.span.is_spent(client.begun());
        // GOAWAY loses no request, wherever it meets it.
        let asked = loop {
            let asked = client.begun() > 0;
            if told.is_none() && asked && (done() || aging.poll(cx, old).is_ready()) {
                told = Some(deadline::after(Duration::MAX));
                stop(connection.as_mut());
            }
            if !asked && stage == Stage::Closed {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // It may have taken in its last request just now.
            if told.is_some() || client.begun() == 0 || !done() {
                break asked;
            }
        };
        loop {
            let Some(since) = client.idle_since() else {
                // It may become idle without this task being told.
                timer.wake_within(cx, rules.idle);
                return Poll::Pending;
            };
            let until = match told {
                Some(until) => until.min(deadline::later(since, rules.idle + LAST_WORDS)),
                None if asked => deadline::later(since, rules.idle),
                None => deadline::later(since, rules.first),
            };
            if timer.poll(cx, until).is_pending() {
                return Poll::Pending;
            }
            if told.is_some() || !asked {
                return Poll::Ready(Ok(()));
            }
            told = Some(deadline::after(LAST_WORDS));
            stop(connection.as_mut());
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection broke off");
    }
}
