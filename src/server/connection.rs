//! One client connection, from accept to close.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Handler;
use super::drain::{Drain, Stage, Watch};
use super::tls::Tls;
use crate::body::Body;
use crate::config::Limits;
use crate::deadline::ConnectionTimer;
use crate::metrics;
use crate::peer::Peer;
use crate::slot::Slot;
use crate::socket::Socket;

/// HTTP/2 windows: what one stream, and one connection, may send unasked.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of answers held back per HTTP/2 stream while its client does not read.
const SEND_BUFFER: usize = 64 << 10;
/// A client that is gone without a word is found out after the sum of these.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams reset before we have seen them; more is an attack (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// hyper's least.
const MIN_BUFFER: usize = 8 << 10;

/// How connections are spoken to; the same for all of a worker.
#[derive(Debug, Clone)]
pub(super) struct Speech {
    plain: http1::Builder,
    encrypted: http1::Builder,
    h2: http2::Builder<TokioExecutor>,
    handshake_timeout: Duration,
}

impl Speech {
    pub(super) fn new(limits: &Limits) -> Self {
        let max_head = limits.max_head.as_usize().max(MIN_BUFFER);
        let mut plain = http1::Builder::new();
        plain
            .header_read_timeout(limits.header_timeout.get())
            .max_buf_size(max_head)
            .max_header_size(max_head);
        let mut encrypted = plain.clone();
        // A record is a copy anyway: gathering the pieces first makes it one record and one write.
        encrypted.writev(false);
        let mut h2 = http2::Builder::new(TokioExecutor::new());
        h2.timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
        Self {
            plain,
            encrypted,
            h2,
            handshake_timeout: limits.handshake_timeout.get(),
        }
    }
}

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) slot: Slot,
    pub(super) watch: Watch,
}

/// What all connections of a worker share.
pub(super) struct Hall<H> {
    /// Answers their requests. A request keeps the one that it began with.
    pub(super) handler: Arc<ArcSwap<H>>,
    pub(super) cells: Arc<metrics::Worker>,
}

/// Serves one client until it or the worker has had enough.
pub(super) async fn serve<H: Handler>(arrival: Arrival, speech: Arc<Speech>, hall: Arc<Hall<H>>) {
    let Arrival {
        stream,
        address,
        tls,
        slot,
        watch,
    } = arrival;
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let Ok(stream) = Socket::new(stream) else {
        return;
    };
    let Some(tls) = tls else {
        let peer = Peer::new(address, local, None).holding(slot);
        let client = Client::new(peer, &watch);
        return serve_http1(&speech.plain, stream, (hall, client), watch).await;
    };
    let handshakes = &hall.cells.clients;
    let accepted = match tokio::time::timeout(speech.handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            handshakes.failed_handshakes.one("tls");
            tracing::debug!(%address, %error, "the TLS handshake failed");
            return;
        }
        Err(_) => return handshakes.failed_handshakes.one("tls_timeout"),
    };
    match accepted.resumed {
        true => handshakes.resumptions.one(),
        false => handshakes.handshakes.one(),
    }
    let peer = Peer::new(address, local, Some(accepted.peer)).holding(slot);
    let client = Client::new(peer, &watch);
    if accepted.h2 {
        let io = TokioIo::new(accepted.stream);
        let service = service(hall, Arc::clone(&client));
        let connection = pin!(speech.h2.serve_connection(io, service));
        let stop = Stop {
            // GOAWAY loses no request, wherever it meets it.
            at: Stage::Closing,
            how: http2::Connection::graceful_shutdown,
        };
        drive(connection, &client, watch, stop).await;
    } else {
        serve_http1(&speech.encrypted, accepted.stream, (hall, client), watch).await;
    }
}

/// One client connection.
struct Client {
    peer: Peer,
    drain: Arc<Drain>,
    /// Whether it has asked for anything yet.
    asked: AtomicBool,
}

impl Client {
    fn new(peer: Peer, watch: &Watch) -> Arc<Self> {
        Arc::new(Self {
            peer,
            drain: Arc::clone(watch.drain()),
            asked: AtomicBool::new(false),
        })
    }
}

fn service<H: Handler>(
    hall: Arc<Hall<H>>,
    client: Arc<Client>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        client.asked.store(true, Ordering::Relaxed);
        let (handler, client) = (hall.handler.load_full(), Arc::clone(&client));
        let http2 = request.version() == Version::HTTP_2;
        async move {
            let mut response = handler.handle(request, &client.peer).await;
            let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if client.drain.stage() != Stage::Open && !http2 && !switching {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        }
    })
}

async fn serve_http1<T, H>(
    builder: &http1::Builder,
    stream: T,
    (hall, client): (Arc<Hall<H>>, Arc<Client>),
    watch: Watch,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let io = TokioIo::new(stream);
    let mut builder = builder.clone();
    builder.timer(ConnectionTimer::default());
    let service = service(hall, Arc::clone(&client));
    let connection = pin!(builder.serve_connection(io, service).with_upgrades());
    let stop = Stop {
        // An idle connection is closed, which loses the request that may be on its way: an answer tells the client first.
        at: Stage::Closed,
        how: http1::UpgradeableConnection::graceful_shutdown,
    };
    drive(connection, &client, watch, stop).await;
}

/// How a connection is told to come to its end, and when.
struct Stop<C> {
    at: Stage,
    how: fn(Pin<&mut C>),
}

/// Drives a connection to its end; at the word to stop it is asked to come to one.
async fn drive<C>(mut connection: Pin<&mut C>, client: &Client, mut watch: Watch, stop: Stop<C>)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut stopped = false;
    let ended = poll_fn(|cx: &mut Context<'_>| {
        let stage = watch.poll(cx);
        let asked = client.asked.load(Ordering::Relaxed);
        if !stopped && asked && stage >= stop.at {
            stopped = true;
            (stop.how)(connection.as_mut());
        }
        if !asked && stage == Stage::Closed {
            return Poll::Ready(Ok(()));
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection broke off");
    }
}
