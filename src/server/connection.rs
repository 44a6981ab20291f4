//! One client connection, from accept to close.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;

use super::drain::Watch;
use super::http2::{self, Streams};
use super::introduction::{self, Ends, Unintroduced};
use super::span::Span;
use super::tls::{Accepted, Encrypted, Tls};
use super::transport::Transport;
use super::{Handler, Terms, http1};
use crate::config::{ForwardAuth, Network, ProxyProtocol, Telling};
use crate::crowd::{Crowd, Guest};
use crate::head::HeadLimits;
use crate::limit;
use crate::metrics;
use crate::peer::{Peer, TlsPeer};
use crate::quota::{Share, Ticket};
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
/// Streams that we reset because of what their client did on them.
const MAX_LOCAL_RESETS: usize = 128;
/// hyper's least.
const MIN_BUFFER: usize = 8 << 10;

/// How connections are spoken to; the same for all of a worker.
#[derive(Debug, Clone)]
pub(super) struct Speech {
    http1: http1::Rules,
    http2: http2::Rules,
    handshake_timeout: Duration,
    /// Who may have any number of connections; what the others may have.
    trusted: Vec<Network>,
    per_client: u32,
}

impl Speech {
    pub(super) fn new(terms: &Terms) -> Self {
        let (limits, span) = (&terms.limits, Span::new(&terms.limits));
        let max_head = limits.max_head.as_usize().max(MIN_BUFFER);
        let http1 = http1::Rules {
            limits: HeadLimits::new(limits),
            max_head,
            first: limits.first_byte_timeout.get(),
            head: limits.header_timeout.get(),
            idle: limits.idle_timeout.get(),
            write: limits.write_timeout.get(),
            span,
        };
        let streams = Streams {
            patience: limits.write_timeout.get(),
        };
        let mut builder = Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_LOCAL_RESETS);
        let http2 = http2::Rules {
            builder,
            // The preface and the settings come before it.
            first: http1.first + http1.head,
            head: http1.head,
            idle: http1.idle,
            control_frames: limits.max_control_frames,
            span,
        };
        Self {
            http1,
            http2,
            handshake_timeout: limits.handshake_timeout.get(),
            trusted: terms.trusted.clone(),
            per_client: limits.max_connections_per_client,
        }
    }
}

impl Speech {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|proxy| proxy.contains(address))
    }
}

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) proxy: ProxyProtocol,
    /// How a proxy asks there, if clients do not connect there.
    pub(super) asks: Option<Arc<ForwardAuth>>,
    pub(super) slot: Slot,
    pub(super) watch: Watch,
}

/// What all connections of a worker share.
pub(super) struct Hall<H> {
    /// Answers their requests. A request keeps the one that it began with.
    pub(super) handler: Arc<ArcSwap<H>>,
    pub(super) rooms: Rooms,
}

/// What a worker counts in: by itself, and together with the others.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) cells: Arc<metrics::Worker>,
    /// Connections.
    pub(super) crowd: Arc<Crowd>,
    /// Requests under way.
    pub(super) requests: Arc<Share>,
}

impl Rooms {
    /// Counts a connection of this client; `None`, and told, if it has too many.
    fn enter(&self, client: IpAddr, most: u32) -> Option<Guest> {
        let guest = self.crowd.enter(limit::network(client), most);
        if guest.is_none() {
            self.cells.shed.one("connections_per_client");
            tracing::debug!(%client, "a client has too many connections");
        }
        guest
    }

    /// Counts a request; `None`, and told, if there are too many.
    pub(super) fn begin(&self) -> Option<Ticket> {
        let ticket = self.requests.take();
        if ticket.is_none() {
            self.cells.shed.one("overloaded");
        }
        ticket
    }
}

/// Serves one client until it or the worker has had enough.
pub(super) async fn serve<H: Handler>(arrival: Arrival, speech: Arc<Speech>, hall: Arc<Hall<H>>) {
    let Arrival {
        mut stream,
        address,
        tls,
        proxy,
        asks,
        slot,
        watch,
    } = arrival;
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let mut ends = Ends {
        client: address,
        local,
    };
    if proxy != ProxyProtocol::Off {
        let introduced = Box::pin(introduce(&mut stream, proxy, ends, &speech)).await;
        ends = match introduced {
            Ok(ends) => ends,
            Err(reason) => {
                hall.rooms.cells.clients.failed_handshakes.one(reason);
                tracing::debug!(%address, reason, "a connection was not introduced");
                return;
            }
        };
    }
    let client = ends.client.ip().to_canonical();
    // A proxy has many connections, for many clients.
    let is_proxy = speech.trusts(client) || asks.as_ref().is_some_and(|asks| asks.trusts(client));
    let slot = match is_proxy {
        true => slot,
        false => match hall.rooms.enter(client, speech.per_client) {
            Some(guest) => slot.of(guest),
            None => return,
        },
    };
    let Ok(stream) = Socket::new(stream) else {
        return;
    };
    let Some(tls) = tls else {
        let messages = asks
            .as_ref()
            .is_some_and(|asks| asks.proxy.telling() == Telling::Message);
        let peer = Peer::new(ends.client, ends.local, None)
            .holding(slot)
            .asking(asks);
        if messages {
            // Without TLS there is nothing to agree on HTTP/2 with, and gRPC is spoken over nothing else.
            return Box::pin(http2::serve(stream, &speech.http2, (hall, peer), watch)).await;
        }
        let line = http1::line(stream);
        return serve_http1(line, &speech.http1, (&hall, &peer), watch).await;
    };
    // What is boxed here is large and short-lived, or rare: the others do not keep room for it.
    let shaking = tokio::time::timeout(speech.handshake_timeout, tls.accept(stream));
    let Some((line, peer, h2)) = Box::pin(shake(shaking, &hall, ends.client)).await else {
        return;
    };
    let peer = Peer::new(ends.client, ends.local, Some(peer))
        .holding(slot)
        .asking(asks);
    if !h2 {
        return serve_http1(line, &speech.http1, (&hall, &peer), watch).await;
    }
    if let Some(line) = Arc::into_inner(line) {
        let io = line.into_inner().into_io();
        Box::pin(http2::serve(io, &speech.http2, (hall, peer), watch)).await;
    }
}

/// Hears from a proxy whose connection it passes on.
async fn introduce(
    stream: &mut TcpStream,
    proxy: ProxyProtocol,
    ends: Ends,
    speech: &Speech,
) -> Result<Ends, &'static str> {
    let must = proxy == ProxyProtocol::Required;
    if !speech.trusts(ends.client.ip()) {
        // What it sends is read as everybody's, so a header of its own is no request.
        return if must {
            Err("proxy_untrusted")
        } else {
            Ok(ends)
        };
    }
    let reading = introduction::read(stream, must, ends);
    match tokio::time::timeout(speech.handshake_timeout, reading).await {
        Ok(Ok(ends)) => Ok(ends),
        Ok(Err(Unintroduced::Missing)) => Err("proxy_missing"),
        Ok(Err(Unintroduced::Malformed)) => Err("proxy_malformed"),
        Ok(Err(Unintroduced::Io(_))) => Err("proxy_broken"),
        Err(_) => Err("proxy_timeout"),
    }
}

/// Finishes a handshake: the line, who is on it, and whether HTTP/2 was agreed on.
async fn shake<H>(
    shaking: impl Future<Output = Result<io::Result<Option<Accepted>>, Elapsed>>,
    hall: &Hall<H>,
    address: SocketAddr,
) -> Option<(Arc<Mutex<http1::Line<Encrypted>>>, TlsPeer, bool)> {
    let handshakes = &hall.rooms.cells.clients;
    let accepted = match shaking.await {
        Ok(Ok(Some(accepted))) => accepted,
        Ok(Ok(None)) => {
            tracing::debug!(%address, "a certificate authority has seen our answer");
            return None;
        }
        Ok(Err(error)) => {
            handshakes.failed_handshakes.one("tls");
            tracing::debug!(%address, %error, "the TLS handshake failed");
            return None;
        }
        Err(_) => {
            handshakes.failed_handshakes.one("tls_timeout");
            return None;
        }
    };
    match accepted.resumed {
        true => handshakes.resumptions.one(),
        false => handshakes.handshakes.one(),
    }
    Some((http1::line(accepted.stream), accepted.peer, accepted.h2))
}

async fn serve_http1<T, H>(
    line: Arc<Mutex<http1::Line<T>>>,
    rules: &http1::Rules,
    (hall, peer): (&Hall<H>, &Peer),
    watch: Watch,
) where
    T: Transport,
    H: Handler,
{
    let asked = http1::Asked { rules, hall, peer };
    if let Err(error) = http1::serve(line, asked, watch).await {
        tracing::debug!(%error, "a client connection broke off");
    }
}
