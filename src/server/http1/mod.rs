//! HTTP/1.1 towards clients (RFC 9112), in our own hand.
//!
//! # Why not a library
//! Two reasons, both measured. A head that can be read in two ways has to be refused before anything is decided about it,
//! and a library that is lenient hides what it forgave; reading everything twice to see it costs more than reading it
//! once, strictly. And an idle connection of a library holds the buffers of the last request; ours holds none.
//!
//! # What it promises
//! Requests of a connection are answered in their order. The first thing that cannot be understood ends the connection,
//! and nothing behind it is read as a request. A client that goes away ends the work for it.

mod head;
mod line;
mod reply;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::head::{Framing, Heading};
pub(super) use self::line::Line;
use self::reply::{Manner, Reply};
use super::Handler;
use super::drain::{Stage, Watch};
use crate::body::{Body, Incoming};
use crate::deadline::{self, LazyTimer};
use crate::head::{HeadError, HeadLimits};
use crate::peer::Peer;
use crate::upgraded::{self, Upgraded};

/// How long a connection is read from after its last answer, so that a client that is still sending gets to see it: to
/// close with unread bytes resets the connection, and the answer is lost with it.
const LINGER: Duration = Duration::from_secs(1);
/// How much is read then.
const MAX_LINGER: usize = 64 << 10;

/// How clients are spoken to.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) limits: HeadLimits,
    /// The whole head, in bytes.
    pub(super) max_head: usize,
    /// From the start of the connection to its first byte.
    pub(super) first: Duration,
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// From an answer to the next request.
    pub(super) idle: Duration,
    /// Without the client taking a byte of its answer.
    pub(super) write: Duration,
}

/// The line that a connection is served over.
///
/// Made before [`serve`] is called: a future keeps room for all that it was ever given, and a TLS stream is large.
pub(super) fn line<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> Arc<Mutex<Line<T>>> {
    Arc::new(Mutex::new(Line::new(io)))
}

/// Serves one client until one of the two has had enough.
pub(super) async fn serve<T, H>(
    line: Arc<Mutex<Line<T>>>,
    asked: Asked<'_, H>,
    mut watch: Watch,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let mut timer = LazyTimer::default();
    let rules = asked.rules;
    let mut waits = rules.first;
    loop {
        let mut next = NextHead::new(rules, waits);
        let found = poll_fn(|cx| next.poll(&line, &mut timer, &mut watch, cx)).await?;
        let heading = match found {
            Found::Request(heading) => heading,
            Found::Fault(error) => unreadable(error),
            Found::End => return close(&line, false).await,
        };
        waits = rules.idle;
        let faulty = heading.fault.is_some();
        // Boxed, so that an idle connection does not keep room for a request under way.
        let exchange = Box::pin(exchange(&line, *heading, &asked, (&mut timer, &watch)));
        match exchange.await? {
            Next::Request => {}
            Next::Close => return close(&line, faulty || !line.lock().skip_body()).await,
            Next::Switch(upgrading) => {
                if let Some(line) = Arc::into_inner(line) {
                    let Line { io, ahead, .. } = line.into_inner();
                    upgrading.switched(Upgraded::new(io, ahead.freeze()));
                }
                return Ok(());
            }
        }
    }
}

/// What a connection does behind an answer.
enum Next {
    Request,
    Close,
    Switch(upgraded::Upgrading),
}

/// Who answers, whom, and how.
pub(super) struct Asked<'a, H> {
    pub(super) rules: &'a Rules,
    /// A request keeps the one that it began with.
    pub(super) handler: &'a ArcSwap<H>,
    pub(super) peer: &'a Peer,
}

/// One request and its answer.
async fn exchange<T, H>(
    line: &Arc<Mutex<Line<T>>>,
    heading: Heading,
    asked: &Asked<'_, H>,
    (timer, watch): (&mut LazyTimer, &Watch),
) -> io::Result<Next>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Heading {
        request,
        framing,
        keep_alive,
        expects,
        fault,
    } = heading;
    let manner = Manner {
        head: request.method() == Method::HEAD,
        modern: request.version() == Version::HTTP_11,
        keep_alive,
    };
    let body = begin(line, framing, expects);
    let (request, upgrading) = with_upgrade(request.map(|()| body));
    let handler = asked.handler.load_full();
    let response = {
        let work = async {
            match fault {
                None => handler.handle(request, asked.peer).await,
                Some(fault) => handler.refuse(request, asked.peer, fault.into()).await,
            }
        };
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(response) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            line.lock().poll_gone(cx).map(|()| None)
        })
        .await
    };
    let response = response.ok_or(io::ErrorKind::ConnectionAborted)?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let held = Arc::strong_count(line) > 1;
    let read = held || line.lock().skip_body();
    let closing = watch.drain().stage() != Stage::Open;
    let manner = Manner {
        keep_alive: keep_alive && read && !closing && !says_close(&response),
        ..manner
    };
    let mut reply = Reply::new(response, manner);
    let keep_alive = manner.keep_alive && !reply.closes();
    send(line, &mut reply, asked.rules.write, timer).await?;
    drop(reply);
    match upgrading.filter(|_| switches) {
        Some(upgrading) => Ok(Next::Switch(upgrading)),
        // A body that the upstream stopped reading leaves the stream in the middle of it.
        None if keep_alive && Arc::strong_count(line) == 1 && line.lock().skip_body() => {
            Ok(Next::Request)
        }
        None => Ok(Next::Close),
    }
}

fn begin<T>(line: &Arc<Mutex<Line<T>>>, framing: Framing, expects: bool) -> Incoming
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if matches!(framing, Framing::None) {
        return Incoming::None;
    }
    let mut open = line.lock();
    (open.framing, open.expects) = (framing, expects);
    drop(open);
    Incoming::Http1(Arc::clone(line) as _)
}

/// Leaves with the request the place where its connection will come from, if it asks for a switch of protocols.
fn with_upgrade(
    mut request: Request<Incoming>,
) -> (Request<Incoming>, Option<upgraded::Upgrading>) {
    if !head::asks_to_switch(&request) {
        return (request, None);
    }
    let (upgrading, offer) = upgraded::switch();
    request.extensions_mut().insert(offer);
    (request, Some(upgrading))
}

fn says_close(response: &Response<Body>) -> bool {
    response.headers().get(CONNECTION) == Some(&HeaderValue::from_static("close"))
}

/// Writes an answer, for as long as the client takes it.
async fn send<T: AsyncRead + AsyncWrite + Unpin>(
    line: &Mutex<Line<T>>,
    reply: &mut Reply,
    patience: Duration,
    timer: &mut LazyTimer,
) -> io::Result<()> {
    let mut stalled: Option<(u64, Instant)> = None;
    poll_fn(|cx| {
        let mut line = line.lock();
        if let Poll::Ready(sent) = reply.poll_send(&mut line, cx) {
            return Poll::Ready(sent);
        }
        if line.unsent.is_empty() && !reply.writes() {
            // It is the upstream that is waited for, and it has a deadline of its own.
            stalled = None;
            return Poll::Pending;
        }
        let since = match stalled {
            Some((taken, since)) if taken == line.taken() => since,
            Some(_) | None => Instant::now(),
        };
        stalled = Some((line.taken(), since));
        ready!(timer.poll(cx, deadline::later(since, patience)));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// Ends a connection. A client that may still be sending is read from for a moment.
async fn close<T: AsyncRead + AsyncWrite + Unpin>(
    line: &Mutex<Line<T>>,
    linger: bool,
) -> io::Result<()> {
    let ending = async {
        poll_fn(|cx| {
            let mut line = line.lock();
            ready!(line.poll_flush(cx))?;
            std::pin::Pin::new(&mut line.io).poll_shutdown(cx)
        })
        .await?;
        let mut read = 0;
        while linger && read < MAX_LINGER {
            let more = poll_fn(|cx| line.lock().poll_read(cx, |_, bytes| bytes.len())).await?;
            if more == 0 {
                return Ok(());
            }
            read += more;
        }
        Ok(())
    };
    tokio::time::timeout(LINGER, ending).await.unwrap_or(Ok(()))
}

/// A request that stands for one that could not be read, so that its refusal is written like all others.
fn unreadable(error: HeadError) -> Box<Heading> {
    Box::new(Heading {
        request: Request::new(()),
        framing: Framing::Unknown,
        keep_alive: false,
        expects: false,
        fault: Some(error),
    })
}

/// What came of waiting for a request.
enum Found {
    Request(Box<Heading>),
    /// Bytes that no request can be made of.
    Fault(HeadError),
    /// The client is done, or its time is over, or ours.
    End,
}

/// The wait for one request.
struct NextHead<'a> {
    rules: &'a Rules,
    /// Until the first byte.
    until: Instant,
    begun: bool,
    /// Bytes of it in which no end of a line is left that has not been looked at.
    seen: usize,
}

impl<'a> NextHead<'a> {
    fn new(rules: &'a Rules, waits: Duration) -> Self {
        Self {
            rules,
            until: deadline::after(waits),
            begun: false,
            seen: 0,
        }
    }

    fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &Mutex<Line<T>>,
        timer: &mut LazyTimer,
        watch: &mut Watch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Found>> {
        let mut line = line.lock();
        let line = &mut *line;
        loop {
            if let Some(found) = self.look(line) {
                return Poll::Ready(Ok(found));
            }
            if line.ahead.is_empty() && watch.poll(cx) == Stage::Closed {
                return Poll::Ready(Ok(Found::End));
            }
            match line.poll_read(cx, |line, bytes| self.take(line, bytes)) {
                Poll::Ready(Ok(Some(found))) => return Poll::Ready(Ok(found)),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if !self.begun && !line.ahead.is_empty() {
            self.begun = true;
            self.until = deadline::after(self.rules.head);
        }
        ready!(timer.poll(cx, self.until));
        Poll::Ready(Ok(match self.begun {
            true => Found::Fault(HeadError::Late),
            false => Found::End,
        }))
    }

    /// A request in what was just read. What is left is kept; mostly nothing is.
    fn take<T>(&mut self, line: &mut Line<T>, bytes: &[u8]) -> Option<Found> {
        if bytes.is_empty() {
            return Some(Found::End);
        }
        if !line.ahead.is_empty() {
            line.ahead.extend_from_slice(bytes);
            return None;
        }
        let (found, used) = self.parse(bytes);
        line.ahead
            .extend_from_slice(bytes.get(used..).unwrap_or_default());
        self.seen = line.ahead.len();
        found
    }

    /// A request in what was read before.
    fn look<T>(&mut self, line: &mut Line<T>) -> Option<Found> {
        let fresh = line.ahead.get(self.seen..).unwrap_or_default();
        // A head is over at the end of a line, and has few lines: whoever sends it byte by byte costs little.
        if !fresh.contains(&b'\n') {
            let full = line.ahead.len() >= self.rules.max_head;
            self.seen = line.ahead.len();
            return full.then_some(Found::Fault(HeadError::TooLarge));
        }
        let (found, used) = self.parse(&line.ahead);
        if line.ahead.len() == used {
            line.ahead = BytesMut::new();
        } else {
            bytes::Buf::advance(&mut line.ahead, used);
        }
        self.seen = line.ahead.len();
        found
    }

    fn parse(&self, bytes: &[u8]) -> (Option<Found>, usize) {
        match head::parse(bytes, &self.rules.limits) {
            Ok(Some((heading, length))) if length <= self.rules.max_head => {
                (Some(Found::Request(Box::new(heading))), length)
            }
            Ok(None) if bytes.len() < self.rules.max_head => (None, 0),
            Ok(_) => (Some(Found::Fault(HeadError::TooLarge)), 0),
            Err(error) => (Some(Found::Fault(error)), 0),
        }
    }
}
