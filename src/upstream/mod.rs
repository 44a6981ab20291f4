//! The services behind the gateway: pick an endpoint, check out a connection, send, hand the answer back.
//!
//! A request is carried out at most once. It is sent again only while not one byte of it has left: the connection could
//! not be made, or turned out to be closed before the request was written. A safe request without a body is also sent
//! again when a connection that had been idle is closed without a byte of an answer (RFC 9112 section 9.3.1): that is how
//! an upstream ends an idle connection at the moment when it is used.

mod all;
mod connect;
mod direct;
mod error;
mod exchange;
mod fetch;
mod pool;
mod reply;
mod tls;
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;
use toml::Spanned;

use self::all::Made;
pub use self::all::{UpstreamId, Upstreams};
pub use self::direct::{Direct, DirectError};
pub use self::error::UpstreamError;
pub use self::fetch::{Document, FetchError};
use self::pool::{Connection, Pool};
use self::reply::Source;
use self::tls::{Tls, Trust};
pub use self::wire::WireError;
use self::wire::{Answer, Upload, Wire};
use crate::body::Body;
use crate::config::fault::Fault;
use crate::config::value::Origin;
use crate::config::{self, HostHeader, Timeouts};
use crate::deadline;
use crate::headers::{ClientUpgrade, Outbound, Parcel};

/// On how many endpoints a connection is tried for one request.
const MAX_TRIES: usize = 2;

/// One named service.
#[derive(Debug)]
pub struct Upstream {
    endpoints: Vec<Endpoint>,
    /// Counts requests; the endpoints take turns by it.
    turn: AtomicUsize,
    host: HostHeader,
    /// What it was made of; the same makes the same.
    origin: Made,
}

/// One address of a service, with the idle connections to it.
#[derive(Debug)]
struct Endpoint {
    host: String,
    port: u16,
    tls: Option<Tls>,
    authority: HeaderValue,
    pool: Arc<Pool>,
}

impl Upstream {
    fn build(config: &config::Upstream) -> Result<Self, Vec<Fault>> {
        let origin = Made::of(config);
        let encrypted = config.endpoints.iter().any(|origin| origin.get_ref().tls);
        let trust = match encrypted.then(|| Trust::load(&config.tls)).transpose() {
            Ok(trust) => trust,
            Err(fault) => return Err(vec![fault]),
        };
        let mut endpoints = Vec::with_capacity(config.endpoints.len());
        let mut faults = Vec::new();
        for origin in &config.endpoints {
            match Endpoint::build(origin, config, trust.as_ref()) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            endpoints,
            turn: AtomicUsize::new(0),
            host: config.host,
            origin,
        })
    }

    /// Sends the request and hands back the head of the answer with its body still streaming.
    ///
    /// # Errors
    /// If there is no answer; see [`UpstreamError`] for whose fault it is.
    pub async fn forward(&self, outbound: Outbound) -> Result<Response<Body>, UpstreamError> {
        self.send(outbound.into_parcel()).await
    }

    async fn send(&self, parcel: Parcel) -> Result<Response<Body>, UpstreamError> {
        let Parcel {
            mut head,
            body,
            upgrade,
            timeouts,
        } = parcel;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if matches!(self.host, HostHeader::Endpoint) {
            head.set_host(&self.endpoint(turn)?.authority);
        }
        let mut upload = Upload::new(head, body);
        let (connection, answer) = self.exchange(turn, &mut upload, timeouts).await?;
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(response, upgrade, connection, timeouts);
        }
        let sent = upload.is_done();
        let source = Source {
            connection,
            decoder: answer.body,
            keeps: answer.keeps && sent,
            upload: (!sent).then(|| Box::new(upload)),
            idle: timeouts.idle.get(),
        };
        *response.body_mut() = reply::body(source).map_err(UpstreamError::Broken)?;
        Ok(response)
    }

    /// Gets the head of an answer from the first endpoint that can be reached.
    async fn exchange(
        &self,
        turn: usize,
        upload: &mut Upload,
        timeouts: Timeouts,
    ) -> Result<(Connection, Answer), UpstreamError> {
        let endpoint = self.endpoint(turn)?;
        let now = Instant::now();
        let pooled = poll_fn(|cx| Poll::Ready(endpoint.pool.take(cx, now))).await;
        if let Some(pooled) = pooled {
            // It may have been closed while idle; what else is idle there is likely to be closed then, too.
            let asked = exchange::ask(pooled, upload, now, timeouts.response.get()).await?;
            if let Ok(answered) = asked {
                return Ok(answered);
            }
        }
        // Rare, and large: kept out of the future that every request carries.
        Box::pin(self.exchange_anew(turn, upload, timeouts)).await
    }

    async fn exchange_anew(
        &self,
        turn: usize,
        upload: &mut Upload,
        timeouts: Timeouts,
    ) -> Result<(Connection, Answer), UpstreamError> {
        let tries = self.endpoints.len().min(MAX_TRIES);
        let mut tried = 0;
        loop {
            let endpoint = self.endpoint(turn.wrapping_add(tried))?;
            tried += 1;
            let connection = match endpoint.connect(timeouts).await {
                Ok(connection) => connection,
                Err(error) if tried < tries => {
                    tracing::debug!(endpoint = ?endpoint.authority, %error, "trying the next endpoint");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let wait = timeouts.response.get();
            match exchange::ask(connection, upload, Instant::now(), wait).await? {
                Ok(answered) => return Ok(answered),
                Err(_) if tried < tries => {}
                Err(error) => return Err(UpstreamError::Broken(error)),
            }
        }
    }

    fn endpoint(&self, turn: usize) -> Result<&Endpoint, UpstreamError> {
        turn.checked_rem(self.endpoints.len())
            .and_then(|index| self.endpoints.get(index))
            .ok_or_else(|| UpstreamError::Connect(io::ErrorKind::AddrNotAvailable.into()))
    }

    fn switch(
        &self,
        response: Response<Body>,
        upgrade: Option<ClientUpgrade>,
        connection: Connection,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, UpstreamError> {
        let upgrade = upgrade
            .filter(|asked| upgrade::switches_to(response.headers(), &asked.protocol))
            .ok_or(UpstreamError::WrongUpgrade)?;
        upgrade::open(
            upgrade,
            connection.wire.into_upgraded(),
            timeouts.idle.get(),
        );
        Ok(response)
    }
}

impl Endpoint {
    fn build(
        origin: &Spanned<Origin>,
        config: &config::Upstream,
        trust: Option<&Trust>,
    ) -> Result<Self, Fault> {
        let span = origin.span();
        let origin = origin.get_ref();
        let authority = HeaderValue::try_from(origin.authority()).map_err(|_| {
            Fault::error(span.clone(), format!("`{origin}` cannot be sent as `Host`"))
        })?;
        let tls = match trust.filter(|_| origin.tls) {
            None => None,
            Some(trust) => {
                let named = config.tls.server_name.as_ref();
                let name = named.map_or(origin.host.as_str(), |name| name.get_ref());
                let span = named.map_or(span, Spanned::span);
                let tls = trust.towards(name).ok_or_else(|| {
                    Fault::error(
                        span,
                        format!("`{name}` is not a name that a certificate can be checked for"),
                    )
                })?;
                Some(tls)
            }
        };
        Ok(Self {
            host: origin.host.clone(),
            port: origin.port,
            tls,
            authority,
            pool: Pool::new(config.max_idle, config.idle_timeout.get()),
        })
    }

    async fn connect(&self, timeouts: Timeouts) -> Result<Connection, UpstreamError> {
        let connecting = async {
            let socket = connect::dial(&self.host, self.port).await?;
            match &self.tls {
                None => Ok(Wire::plain(socket)),
                Some(tls) => Ok(Wire::tls(tls.connect(socket).await?)),
            }
        };
        let wire = tokio::time::timeout(timeouts.connect.get(), connecting)
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        Ok(Connection::new(wire, &self.pool))
    }
}
