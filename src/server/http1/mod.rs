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

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod head;
mod line;
mod reply;
#[cfg(test)]
mod tests;
mod wait;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::head::{Framing, Heading};
pub(super) use self::line::Line;
use self::reply::{Manner, Reply};
use self::wait::{Found, NextHead};
use super::Handler;
use super::connection::Hall;
use super::drain::{Stage, Watch};
use super::span::Span;
use super::transport::Transport;
use crate::body::{Body, Incoming};
use crate::deadline::{self, LazyTimer};
use crate::head::{HeadError, HeadLimits};
use crate::peer::Peer;
use crate::refusal::Refusal;
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
    /// How long a connection is used.
    pub(super) span: Span,
}

/// The line that a connection is served over.
///
/// Made before [`serve`] is called: a future keeps room for all that it was ever given, and a TLS stream is large.
pub(super) fn line<T: Transport>(io: T) -> Arc<Mutex<Line<T>>> {
    Arc::new(Mutex::new(Line::new(io)))
}

/// Serves one client until one of the two has had enough.
pub(super) async fn serve<T, H>(
    line: Arc<Mutex<Line<T>>>,
    asked: Asked<'_, H>,
    mut watch: Watch,
) -> io::Result<()>
where
    T: Transport,
    H: Handler,
{
    let mut timer = LazyTimer::default();
    let rules = asked.rules;
    let (mut waits, mut since) = (rules.first, Instant::now());
    let (old, mut requests) = (rules.span.end(), 0);
    loop {
        let mut next = NextHead::new(rules, deadline::later(since, waits));
        let found = poll_fn(|cx| next.poll(&line, &mut timer, &mut watch, cx)).await?;
        let heading = match found {
            Found::Request(heading) => heading,
            Found::Fault(error) => unreadable(error),
            Found::End => return close(&line, false).await,
        };
        waits = rules.idle;
        let faulty = heading.fault.is_some();
        requests += 1;
        let last = rules.span.is_spent(requests);
        // Boxed, so that an idle connection does not keep room for a request under way; and made where it will be: it is
        // too large to be moved there.
        let exchange = Box::write(
            Box::new_uninit(),
            exchange(&line, *heading, &asked, (&mut timer, &watch), (last, old)),
        );
        match Box::into_pin(exchange).await? {
            Next::Request(answered) => since = answered,
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
    /// Another request; the last one was answered at this moment.
    Request(Instant),
    Close,
    Switch(upgraded::Upgrading),
}

/// Who answers, whom, and how.
pub(super) struct Asked<'a, H> {
    pub(super) rules: &'a Rules,
    pub(super) hall: &'a Hall<H>,
    pub(super) peer: &'a Peer,
}

/// One request and its answer.
#[inline(never)]
fn exchange<T, H>(
    line: &Arc<Mutex<Line<T>>>,
    heading: Heading,
    asked: &Asked<'_, H>,
    (timer, watch): (&mut LazyTimer, &Watch),
    (last, old): (bool, Instant),
) -> impl Future<Output = io::Result<Next>> + Send
where
    T: Transport,
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
    let handler = asked.hall.handler.load_full();
    // Under way until its answer is written.
    let ticket = asked.hall.rooms.begin();
    let refusal = fault.map(Refusal::from);
    let refusal = refusal.or(ticket.is_none().then_some(Refusal::Overloaded));
    async move {
        let response = {
            let work = async {
                match refusal {
                    None => handler.handle(request, asked.peer).await,
                    Some(refusal) => handler.refuse(request, asked.peer, refusal).await,
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
        let mut response = response.ok_or(io::ErrorKind::ConnectionAborted)?;
        asked.peer.promise(response.headers_mut());
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let held = Arc::strong_count(line) > 1;
        let read = held || line.lock().skip_body();
        let mut now = Instant::now();
        let closing = last || watch.drain().stage() != Stage::Open || now >= old;
        let manner = Manner {
            keep_alive: keep_alive && read && !closing && !says_close(&response),
            ..manner
        };
        let mut reply = Reply::new(response, manner);
        let keep_alive = manner.keep_alive && !reply.closes();
        if send(line, &mut reply, asked.rules.write, timer).await? {
            now = Instant::now();
        }
        drop(reply);
        let next = match upgrading.filter(|_| switches) {
            Some(upgrading) => Ok(Next::Switch(upgrading)),
            // A body that the upstream stopped reading leaves the stream in the middle of it.
            None if keep_alive && Arc::strong_count(line) == 1 && line.lock().skip_body() => {
                Ok(Next::Request(now))
            }
            None => Ok(Next::Close),
        };
        drop(ticket);
        next
    }
}

fn begin<T>(line: &Arc<Mutex<Line<T>>>, framing: Framing, expects: bool) -> Incoming
where
    T: Transport,
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

/// Writes an answer, for as long as the client takes it. Says whether that took time.
async fn send<T: Transport>(
    line: &Mutex<Line<T>>,
    reply: &mut Reply,
    patience: Duration,
    timer: &mut LazyTimer,
) -> io::Result<bool> {
    let mut stalled: Option<(u64, Instant)> = None;
    let mut waited = false;
    poll_fn(|cx| {
        let mut line = line.lock();
        if let Poll::Ready(sent) = reply.poll_send(&mut line, cx) {
            return Poll::Ready(sent.map(|()| waited));
        }
        waited = true;
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
async fn close<T: Transport>(line: &Mutex<Line<T>>, linger: bool) -> io::Result<()> {
    let ending = async {
        poll_fn(|cx| line.lock().poll_end(cx)).await?;
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
