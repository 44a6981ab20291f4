//! What goes on beside the requests, once for all workers: names are looked up, and endpoints asked how they are.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::connect::{LinkIo, Offer};
use super::service::{Place, Service};
use crate::config::{Health, Protocol};

/// Watches the endpoints of this upstream for as long as somebody holds it.
pub(super) fn start(service: &Arc<Service>, runtime: &Handle) {
    let config = &service.made.config;
    for (number, place) in service.places.iter().enumerate() {
        if place.dialer.names.changes() {
            runtime.spawn(look_up(Watched::new(service, number), config.resolve.get()));
        }
        if let Some(health) = &config.health {
            let check = Check {
                protocol: config.protocol,
                health: health.clone(),
            };
            runtime.spawn(ask(Watched::new(service, number), check));
        }
    }
}

/// One endpoint, and the name of its upstream, for as long as that is in use.
struct Watched {
    service: Weak<Service>,
    number: usize,
}

impl Watched {
    fn new(service: &Arc<Service>, number: usize) -> Self {
        Self {
            service: Arc::downgrade(service),
            number,
        }
    }

    /// `None` once nobody uses it any more.
    fn get(&self) -> Option<(Arc<Service>, Arc<Place>)> {
        let service = self.service.upgrade()?;
        let place = service.places.get(self.number).map(Arc::clone)?;
        Some((service, place))
    }
}

async fn look_up(watched: Watched, every: Duration) {
    // The same trouble again and again is told once.
    let mut failing = false;
    while let Some((service, place)) = watched.get() {
        let (upstream, endpoint) = (&service.name, &place.origin);
        match place.dialer.names.look_up().await {
            Ok(changed) => {
                if changed || failing {
                    tracing::info!(upstream, %endpoint, "looked up");
                }
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(upstream, %endpoint, %error, "the name cannot be looked up; what was found before stays in use");
                }
                failing = true;
            }
        }
        drop((service, place));
        sleep(every).await;
    }
}

/// What an endpoint is asked.
struct Check {
    protocol: Protocol,
    health: Health,
}

async fn ask(watched: Watched, check: Check) {
    let health = &check.health;
    let (mut well, mut in_a_row) = (true, 0_u32);
    while let Some((service, place)) = watched.get() {
        let found = match timeout(health.timeout.get(), check.ask(&place)).await {
            Ok(found) => found,
            Err(_) => Err("no answer in time".to_owned()),
        };
        in_a_row = match found.is_ok() == well {
            true => 0,
            false => in_a_row.saturating_add(1),
        };
        let enough = if well {
            health.unhealthy_after
        } else {
            health.healthy_after
        };
        if in_a_row >= enough {
            well = !well;
            in_a_row = 0;
        }
        if place.standing.found(well) {
            let (upstream, endpoint) = (&service.name, &place.origin);
            match found {
                Ok(()) => tracing::info!(upstream, %endpoint, "an endpoint is well again"),
                Err(why) => {
                    tracing::warn!(upstream, %endpoint, why, "an endpoint is not well and gets no requests");
                }
            }
        }
        drop((service, place));
        sleep(health.interval.get()).await;
    }
}

impl Check {
    /// One question over a connection of its own.
    async fn ask(&self, place: &Place) -> Result<(), String> {
        let offer = match self.protocol {
            Protocol::H1 => Offer::H1,
            Protocol::H2 => Offer::H2,
            Protocol::Auto => Offer::Either,
        };
        let link = place.dialer.dial(offer, self.health.timeout.get()).await;
        let link = link.map_err(|error| told(&error))?;
        let h2 = self.protocol == Protocol::H2 || link.io.chose_h2();
        let request = self.request(place, h2).map_err(|error| told(&error))?;
        let status = match link.io {
            LinkIo::Plain(io) => status(io, request, h2).await,
            LinkIo::Tls(io) => status(io, request, h2).await,
        };
        let status = status.map_err(|error| told(&error))?;
        let statuses = &self.health.statuses;
        let fine = match statuses.is_empty() {
            true => status.is_success(),
            false => statuses.iter().any(|fine| fine.get() == status),
        };
        match fine {
            true => Ok(()),
            false => Err(format!("the answer was {status}")),
        }
    }

    fn request(&self, place: &Place, h2: bool) -> Result<Request<Empty<Bytes>>, http::Error> {
        let path = self.health.path.get().clone();
        let authority = place.origin.authority();
        let mut request = Request::new(Empty::new());
        if h2 {
            let scheme = if place.origin.tls { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(authority);
            *request.uri_mut() = uri.path_and_query(path).build()?;
            *request.version_mut() = Version::HTTP_2;
        } else {
            *request.uri_mut() = path.into();
            let host = HeaderValue::try_from(authority)?;
            request.headers_mut().insert(HOST, host);
        }
        Ok(request)
    }
}

/// The status of the answer. The connection ends with it.
async fn status<T>(
    io: T,
    request: Request<Empty<Bytes>>,
    h2: bool,
) -> Result<StatusCode, hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(io);
    if h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        return Ok(sender.send_request(request).await?.status());
    }
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.status())
}

/// An error with what it comes from.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(cause) => format!("{error}: {}", told(cause)),
    }
}
