//! The services behind the gateway: pick an endpoint, check out a connection, send, hand the answer back.
//!
//! A request is sent at most once. It is tried again elsewhere only while not one byte of it has left: the connection
//! could not be made, or turned out to be closed before the request was written.

mod all;
mod connect;
mod direct;
mod error;
mod fetch;
mod pool;
mod tls;
mod upgrade;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use toml::Spanned;

use self::all::Made;
pub use self::all::{UpstreamId, Upstreams};
pub use self::direct::{Direct, DirectError};
pub use self::error::UpstreamError;
use self::error::whose_fault;
pub use self::fetch::{Document, FetchError};
use self::pool::{Connection, Pool};
use self::tls::{Tls, Trust};
use crate::body::{Body, Progress};
use crate::config::fault::Fault;
use crate::config::value::Origin;
use crate::config::{self, HostHeader, Timeouts};
use crate::deadline;
use crate::headers::{ClientUpgrade, Outbound};

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
        let (request, upgrade, timeouts) = outbound.into_parts();
        self.send(request, upgrade, timeouts).await
    }

    async fn send(
        &self,
        mut request: Request<Body>,
        upgrade: Option<ClientUpgrade>,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, UpstreamError> {
        frame(&mut request);
        let mut unsent = Some(request);
        let (connection, response) = self.exchange(&mut unsent, timeouts).await?;
        let (mut parts, incoming) = response.into_parts();
        parts.version = Version::HTTP_11;
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let response = Response::from_parts(parts, Body::Empty);
            return self.switch(response, upgrade, timeouts);
        }
        let idle = timeouts.idle.get();
        let mut taken = Some((incoming, connection));
        let body = poll_fn(|cx| {
            let (incoming, connection) = taken.take().expect("polled once: always ready");
            Poll::Ready(pool::body(cx, incoming, connection, idle))
        })
        .await
        .map_err(UpstreamError::Broken)?;
        Ok(Response::from_parts(parts, body))
    }

    /// Gets the head of an answer from the first endpoint that can be reached. The request is large, so it stays where
    /// it is until it is sent.
    async fn exchange(
        &self,
        unsent: &mut Option<Request<Body>>,
        timeouts: Timeouts,
    ) -> Result<(Connection, Response<Incoming>), UpstreamError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoint = self.endpoint(turn)?;
        if let Some(pooled) = endpoint.pool.take(Instant::now()) {
            match self.ask(endpoint, pooled, unsent, timeouts).await? {
                Asked::Answered(connection, response) => return Ok((connection, response)),
                // It was closed while idle; what else is idle there is likely to be closed, too.
                Asked::Unsent(_) => {}
            }
        }
        // Rare, and large: kept out of the future that every request carries.
        Box::pin(self.exchange_anew(turn, unsent, timeouts)).await
    }

    async fn exchange_anew(
        &self,
        turn: usize,
        unsent: &mut Option<Request<Body>>,
        timeouts: Timeouts,
    ) -> Result<(Connection, Response<Incoming>), UpstreamError> {
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
            match self.ask(endpoint, connection, unsent, timeouts).await? {
                Asked::Answered(connection, response) => return Ok((connection, response)),
                Asked::Unsent(_) if tried < tries => {}
                Asked::Unsent(error) => return Err(UpstreamError::Broken(error)),
            }
        }
    }

    fn endpoint(&self, turn: usize) -> Result<&Endpoint, UpstreamError> {
        turn.checked_rem(self.endpoints.len())
            .and_then(|index| self.endpoints.get(index))
            .ok_or_else(|| UpstreamError::Connect(io::ErrorKind::AddrNotAvailable.into()))
    }

    /// Sends the request and waits for the head of the answer, at most `timeouts.response` from the moment when the
    /// upstream took the last piece of the request. Time in which the client is waited for does not count: the client's
    /// body has a deadline of its own.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        unsent: &mut Option<Request<Body>>,
        timeouts: Timeouts,
    ) -> Result<Asked, UpstreamError> {
        let mut request = unsent
            .take()
            .expect("it comes back whenever it was not sent");
        if matches!(self.host, HostHeader::Endpoint) {
            request
                .headers_mut()
                .insert(HOST, endpoint.authority.clone());
        }
        let progress = request.body().progress();
        let wait = timeouts.response.get();
        let sent = deadline::after(wait);
        let timer = &mut connection.timer;
        let mut answer = pin!(connection.sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answered));
            }
            loop {
                let deadline = response_deadline(progress.as_deref(), sent, wait);
                ready!(timer.poll(cx, deadline));
                if response_deadline(progress.as_deref(), sent, wait) <= deadline {
                    return Poll::Ready(None);
                }
            }
        })
        .await
        .ok_or(UpstreamError::ResponseTimeout)?;
        match answered {
            Ok(response) => Ok(Asked::Answered(connection, response)),
            Err(mut failed) => match failed.take_message() {
                Some(request) => {
                    *unsent = Some(request);
                    Ok(Asked::Unsent(failed.into_error()))
                }
                None => Err(whose_fault(failed.into_error())),
            },
        }
    }

    fn switch(
        &self,
        mut response: Response<Body>,
        upgrade: Option<ClientUpgrade>,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, UpstreamError> {
        let upgrade = upgrade
            .filter(|asked| upgrade::switches_to(response.headers(), &asked.protocol))
            .ok_or(UpstreamError::WrongUpgrade)?;
        let upstream = hyper::upgrade::on(&mut response);
        upgrade::open(upgrade, upstream, timeouts.idle.get());
        Ok(response)
    }
}

/// What came of sending a request.
enum Asked {
    /// The head of an answer.
    Answered(Connection, Response<Incoming>),
    /// The connection was closed before a byte of the request was written.
    Unsent(hyper::Error),
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
            let stream = connect::dial(&self.host, self.port).await?;
            match &self.tls {
                None => connect::speak(stream).await.map_err(io::Error::other),
                Some(tls) => {
                    let stream = tls.connect(stream).await?;
                    connect::speak(stream).await.map_err(io::Error::other)
                }
            }
        };
        let sender = tokio::time::timeout(timeouts.connect.get(), connecting)
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        Ok(Connection::new(sender, &self.pool))
    }
}

/// States how long the body is where hyper would leave it out: it takes a GET for one without a body.
fn frame(request: &mut Request<Body>) {
    *request.version_mut() = Version::HTTP_11;
    if request.body().is_end_stream() {
        let method = request.method();
        let expects_body = *method == Method::POST || *method == Method::PUT;
        if expects_body && !request.headers().contains_key(CONTENT_LENGTH) {
            // RFC 9110 section 8.6: otherwise some servers wait for a body or answer 411.
            let none = HeaderValue::from_static("0");
            request.headers_mut().insert(CONTENT_LENGTH, none);
        }
    } else if request.body().size_hint().exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

/// When the upstream is late, as things stand.
fn response_deadline(
    progress: Option<&Progress>,
    sent: Instant,
    wait: std::time::Duration,
) -> Instant {
    match progress.map(Progress::last) {
        None => sent,
        Some(Some(last)) => sent.max(deadline::later(last, wait)),
        Some(None) => deadline::after(wait),
    }
}
