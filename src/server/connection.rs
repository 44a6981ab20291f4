//! One client connection, from accept to close.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Handler;
use super::drain::Watch;
use super::tls::Tls;
use crate::body::Body;
use crate::config::Limits;
use crate::deadline::ConnectionTimer;
use crate::peer::Peer;
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

/// Serves one client until it or the worker has had enough.
pub(super) async fn serve<H: Handler>(
    (stream, address): (TcpStream, SocketAddr),
    tls: Option<Tls>,
    speech: Arc<Speech>,
    handler: Arc<H>,
    mut watch: Watch,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let Ok(stream) = Socket::new(stream) else {
        return;
    };
    let Some(tls) = tls else {
        let peer = Peer::new(address, local, None);
        let service = service(handler, peer);
        return serve_http1(&speech.plain, stream, service, watch).await;
    };
    let handshake = tokio::time::timeout(speech.handshake_timeout, tls.accept(stream));
    let accepted = match until_closing(handshake, &mut watch).await {
        Some(Ok(Ok(accepted))) => accepted,
        Some(Ok(Err(error))) => {
            tracing::debug!(%address, %error, "the TLS handshake failed");
            return;
        }
        Some(Err(_)) | None => return,
    };
    let peer = Peer::new(address, local, Some(accepted.peer));
    let service = service(handler, peer);
    if accepted.h2 {
        let io = TokioIo::new(accepted.stream);
        let connection = pin!(speech.h2.serve_connection(io, service));
        drive(connection, watch, http2::Connection::graceful_shutdown).await;
    } else {
        serve_http1(&speech.encrypted, accepted.stream, service, watch).await;
    }
}

fn service<H: Handler>(
    handler: Arc<H>,
    peer: Peer,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> {
    let peer = Arc::new(peer);
    service_fn(move |request| {
        let (handler, peer) = (Arc::clone(&handler), Arc::clone(&peer));
        async move { Ok(handler.handle(request, &peer).await) }
    })
}

async fn serve_http1<T, S>(builder: &http1::Builder, stream: T, service: S, watch: Watch)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let io = TokioIo::new(stream);
    let mut builder = builder.clone();
    builder.timer(ConnectionTimer::default());
    let connection = pin!(builder.serve_connection(io, service).with_upgrades());
    drive(
        connection,
        watch,
        http1::UpgradeableConnection::graceful_shutdown,
    )
    .await;
}

/// Drives a connection to its end; at the word to stop it is asked to come to one.
async fn drive<C>(mut connection: Pin<&mut C>, mut watch: Watch, stop: fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut stopped = false;
    let ended = poll_fn(|cx: &mut Context<'_>| {
        if !stopped && watch.is_closing(cx) {
            stopped = true;
            stop(connection.as_mut());
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection broke off");
    }
}

/// What comes of `future`; `None` if the word to stop comes first.
async fn until_closing<F: Future>(future: F, watch: &mut Watch) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if watch.is_closing(cx) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
