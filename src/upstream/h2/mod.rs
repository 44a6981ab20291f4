//! HTTP/2 towards an endpoint (RFC 9113): hyper speaks it. One connection per endpoint and worker carries all requests.

mod head;
mod load;
mod reply;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::load::{Held, Load};
use super::UpstreamError;
use super::connect::{Link, LinkIo};
use super::error::whose_fault;
use super::exchange::{Again, Lost, Waits, response_deadline};
use super::pool::{Pool, Stay};
use super::service::Place;
use super::wire::Upload;
use crate::body::Body;
use crate::deadline::{LazyTimer, later};

/// Largest head of an answer, as for HTTP/1.1.
const MAX_HEAD: u32 = 64 << 10;
/// What one answer, and all answers of a connection, may send ahead of being taken.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How much of one request waits to be sent.
const SEND_BUFFER: usize = 256 << 10;
/// While requests are under way, the endpoint has to answer a PING this often, and within this time.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How often a connection is looked at that nobody may need any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A way into a connection.
pub(super) type Sender = SendRequest<Load>;

/// The connection of one worker to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Line {
    open: Mutex<Option<Open>>,
    /// Held by the one who opens it, so that a crowd opens one.
    pub(super) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Open {
    sender: Sender,
    address: SocketAddr,
    used: Instant,
}

impl Line {
    /// The connection, if one is open.
    pub(super) fn get(&self) -> Option<Sender> {
        let mut open = self.open.lock();
        let there = open.as_mut().filter(|open| !open.sender.is_closed())?;
        there.used = Instant::now();
        Some(there.sender.clone())
    }

    /// Begins to speak over a fresh connection, which is kept for those who come later.
    ///
    /// # Errors
    /// If the endpoint breaks off at once.
    pub(super) async fn begin(
        self: &Arc<Self>,
        link: Link,
        home: (&Arc<Pool>, &Arc<Place>),
    ) -> Result<Sender, UpstreamError> {
        let address = link.address;
        let broken = |error| UpstreamError::Connect(io::Error::other(error));
        let sender = match link.io {
            LinkIo::Plain(socket) => speak(socket).await.map_err(broken)?,
            LinkIo::Tls(stream) => speak(stream).await.map_err(broken)?,
        };
        let open = Open {
            sender: sender.clone(),
            address,
            used: Instant::now(),
        };
        // One that is replaced ends when its last request has.
        let before = self.open.lock().replace(open);
        if before.is_none() {
            tokio::spawn(sweep(
                Arc::downgrade(self),
                Arc::downgrade(home.0),
                Arc::clone(home.1),
            ));
        }
        Ok(sender)
    }

    /// Lets go of a connection that is closed, too old or leads elsewhere by now; false if there is none any more.
    fn sweep(&self, pool: &Pool, place: &Place) -> bool {
        let mut open = self.open.lock();
        let needed = open.as_ref().is_some_and(|open| {
            let fresh = open.used.elapsed() < pool.max_age() || pool.busy() > 0;
            fresh && !open.sender.is_closed() && place.dialer.names.lead_to(open.address)
        });
        if !needed {
            *open = None;
        }
        needed
    }
}

async fn sweep(line: Weak<Line>, pool: Weak<Pool>, place: Arc<Place>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let (Some(line), Some(pool)) = (line.upgrade(), pool.upgrade()) else {
            return;
        };
        if !line.sweep(&pool, &place) {
            return;
        }
    }
}

/// Starts HTTP/2. The task that drives the connection ends when all senders are dropped and all requests have ended.
async fn speak<T>(io: T) -> Result<Sender, hyper::Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends the request and waits for the head of the answer, as [`exchange::ask`](super::exchange::ask) does.
///
/// # Errors
/// [`Lost`]: there is no answer.
pub(super) async fn ask(
    mut sender: Sender,
    upload: &mut Upload,
    (tls, stay): (bool, Stay),
    began: Instant,
    waits: &Waits,
) -> Result<Response<Body>, Lost> {
    let progress = upload.body().progress();
    let request = upload
        .fresh_head()
        .and_then(|bytes| head::parse(bytes, tls));
    let Some(request) = request else {
        let error = io::Error::other("the request has no form in HTTP/2");
        return Err(Lost::for_good(UpstreamError::Broken(error.into()), false));
    };
    let held = Held::new(upload.take_body());
    let request = http::Request::from_parts(request, Load::new(&held));
    let sent = later(began, waits.response);
    let mut answer = pin!(sender.try_send_request(request));
    let mut timer = LazyTimer::default();
    let answered = poll_fn(|cx| {
        if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answered));
        }
        let due = || waits.by(response_deadline(progress.as_deref(), sent, waits.response));
        loop {
            let deadline = due();
            ready!(timer.poll(cx, deadline));
            if due() <= deadline {
                return Poll::Ready(None);
            }
        }
    })
    .await;
    match answered {
        Some(Ok(answer)) => Ok(reply::of(answer, (held, progress), stay, *waits)),
        None => Err(Lost::for_good(waits.late(), true)),
        Some(Err(mut failed)) => {
            let unsent = failed.take_message().is_some();
            Err(lost(failed.into_error(), unsent, &held, upload))
        }
    }
}

fn lost(error: hyper::Error, unsent: bool, held: &Held, upload: &mut Upload) -> Lost {
    if let Some(broken) = held.broken() {
        return Lost::for_good(whose_fault(broken), false);
    }
    let untouched = held.give_back().map(|body| upload.put_body(body)).is_some();
    let told = reason(&error);
    let unprocessed = unsent || matches!(told, Told::Unprocessed);
    let again = match told {
        _ if unprocessed && untouched => Again::Unsent,
        Told::Lost if untouched && upload.is_repeatable() => Again::Repeatable,
        Told::Lost | Told::Unprocessed | Told::Broken => Again::No,
    };
    Lost {
        error: UpstreamError::Broken(io::Error::other(error).into()),
        again,
        // An endpoint that says goodbye in time has not failed.
        blame: !unprocessed,
    }
}

/// What an endpoint has said of a request that it did not answer.
enum Told {
    /// That it has not looked at it (RFC 9113 section 8.7).
    Unprocessed,
    /// Nothing: the connection is gone.
    Lost,
    /// Something else.
    Broken,
}

fn reason(error: &hyper::Error) -> Told {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(found) = cause {
        if let Some(found) = found.downcast_ref::<h2::Error>() {
            let reason = found.reason();
            let refused = found.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            let leaves = found.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            return match () {
                () if found.is_remote() && (refused || leaves) => Told::Unprocessed,
                () if found.is_io() => Told::Lost,
                () => Told::Broken,
            };
        }
        if found.is::<io::Error>() {
            return Told::Lost;
        }
        cause = found.source();
    }
    match error.is_canceled() || error.is_closed() {
        true => Told::Lost,
        false => Told::Broken,
    }
}

/// What came over HTTP/2.
type Answer = Response<Incoming>;
