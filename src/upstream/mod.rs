//! The services behind the gateway: pick an endpoint, check out a connection, send, hand the answer back.
//!
//! A request is carried out at most once, unless it makes no difference. It is sent again only while not one byte of it has
//! left, or if it may be repeated (RFC 9110 section 9.2.2), has no body, and its connection was closed without a byte of an
//! answer; then to another endpoint, if there is one, and within a budget.

mod admission;
mod all;
mod balance;
mod budget;
mod connect;
mod direct;
mod endpoint;
mod error;
mod exchange;
mod fetch;
mod gate;
mod h2;
mod names;
mod pool;
mod reply;
mod service;
mod standing;
mod tls;
mod upgrade;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::time::Instant;

pub use self::admission::{Admission, Judge, SOON};
pub use self::all::{UpstreamId, Upstreams};
use self::balance::{Draw, Lot};
use self::budget::Budget;
pub use self::direct::{Direct, DirectError};
use self::endpoint::{Answered, Endpoint, Errand};
pub use self::error::UpstreamError;
use self::exchange::{Again, Lost, Waits};
pub use self::fetch::{Document, FetchError};
use self::pool::Connection;
use self::reply::Source;
use self::service::Service;
pub use self::service::Services;
use self::wire::Upload;
pub use self::wire::WireError;
use crate::body::Body;
use crate::config::fault::Fault;
use crate::config::{HostHeader, Timeouts};
use crate::deadline;
use crate::headers::{ClientUpgrade, Outbound, Parcel, Sender};
use crate::metrics;

/// One named service, as one worker knows it.
#[derive(Debug)]
pub struct Upstream {
    service: Arc<Service>,
    endpoints: Vec<Endpoint>,
    draw: Draw,
    budget: Budget,
    cells: Arc<metrics::Upstream>,
}

/// Which endpoints a request has been sent to, as bits; of more than 64 endpoints the others count as never asked.
#[derive(Debug, Clone, Copy, Default)]
struct Asked(u64);

impl Asked {
    fn has(self, number: usize) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    fn add(&mut self, number: usize) {
        if number < 64 {
            self.0 |= 1 << number;
        }
    }
}

impl Upstream {
    fn build(service: Arc<Service>, cells: Arc<metrics::Upstream>) -> Result<Self, Vec<Fault>> {
        let config = &service.made.config;
        let mut endpoints = Vec::with_capacity(service.places.len());
        let mut faults = Vec::new();
        for place in &service.places {
            match Endpoint::build(config, place, &cells) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            endpoints,
            draw: Draw::new(config),
            budget: Budget::new(config.retry_budget),
            cells,
            service,
        })
    }

    /// Sends the request and hands back the head of the answer with its body still streaming, and when it came. If it had to
    /// wait before, it is judged again.
    ///
    /// # Errors
    /// If there is no answer; see [`UpstreamError`] for whose fault it is.
    pub fn forward<'a>(
        &'a self,
        outbound: Outbound,
        admission: Admission<'a>,
    ) -> impl Future<Output = Result<(Response<Body>, Instant), UpstreamError>> + Send + use<'a>
    {
        self.carry(outbound.into_parcel(), admission)
    }

    /// Not an `async fn`, as are some others on the way of every request: that would keep what it is given twice, once as it
    /// was given and once as it is used.
    fn carry<'a>(
        &'a self,
        parcel: Parcel,
        admission: Admission<'a>,
    ) -> impl Future<Output = Result<(Response<Body>, Instant), UpstreamError>> + Send + use<'a>
    {
        let Parcel {
            head,
            body,
            upgrade,
            timeouts,
            sender,
        } = parcel;
        let began = admission.began;
        let mut errand = Errand {
            upload: Upload::new(head, body),
            waits: Waits::new(timeouts, began),
            upgrades: upgrade.is_some(),
            admission,
        };
        self.budget.earn();
        let lot = self.draw.lot(sender.as_ref().map(key));
        async move {
            let mut asked = Asked::default();
            let number = self.pick(lot, asked, began)?;
            let answered = match self.endpoint(number) {
                Ok(endpoint) => {
                    self.address(endpoint, &mut errand);
                    let answered = endpoint.ask(&mut errand, began).await;
                    self.judge(endpoint, &answered, began);
                    answered
                }
                Err(lost) => Err(lost),
            };
            let answered = match answered {
                Ok(answered) => answered,
                // Rare, and large: kept out of the future that every request carries.
                Err(lost) => {
                    asked.add(number);
                    Box::pin(self.ask_again(lost, (lot, asked), &mut errand)).await?
                }
            };
            let now = Instant::now();
            let reply = self.hand_back(answered, errand, (upgrade, timeouts), now)?;
            Ok((reply, now))
        }
    }

    /// Which endpoint is next: one that is fit and not full, rather than one that would have to be waited for, rather than
    /// one that has failed, rather than one that was asked already.
    fn pick(&self, lot: Lot, asked: Asked, now: Instant) -> Result<usize, UpstreamError> {
        if let [_] = self.endpoints.as_slice() {
            return Ok(0);
        }
        let at = |number: usize| self.endpoints.get(number);
        let fit = |number| at(number).is_some_and(|one| one.place.standing.is_fit(now));
        let free = |number| at(number).is_some_and(|one| !one.gate.is_full());
        let fresh = |number| !asked.has(number);
        let busy = |number| at(number).map_or(0, Endpoint::busy);
        let picked = self
            .draw
            .pick(lot, |n| fresh(n) && fit(n) && free(n), busy)
            .or_else(|| self.draw.pick(lot, |n| fresh(n) && fit(n), busy))
            .or_else(|| self.draw.pick(lot, fresh, busy))
            .or_else(|| self.draw.pick(lot, fit, busy))
            .or_else(|| self.draw.pick(lot, |_| true, busy));
        picked.ok_or_else(|| UpstreamError::Connect(io::ErrorKind::AddrNotAvailable.into()))
    }

    /// Sends it again, as often as it may be.
    async fn ask_again(
        &self,
        mut lost: Lost,
        (lot, mut asked): (Lot, Asked),
        errand: &mut Errand<'_>,
    ) -> Result<Answered, UpstreamError> {
        for _ in 0..self.service.made.config.retries {
            let began = Instant::now();
            if lost.again == Again::No || !self.budget.pay(began) {
                break;
            }
            let number = self.pick(lot, asked, began)?;
            // A connection that could not be made once will not be made at once.
            if asked.has(number)
                && matches!(
                    lost.error,
                    UpstreamError::Connect(_) | UpstreamError::ConnectTimeout
                )
            {
                break;
            }
            asked.add(number);
            let endpoint = self.endpoint(number).map_err(|lost| lost.error)?;
            tracing::debug!(endpoint = ?endpoint.authority, error = %lost.error, "sending a request again");
            self.cells.retries.one();
            self.address(endpoint, errand);
            let again = endpoint.ask_anew(errand).await;
            self.judge(endpoint, &again, began);
            match again {
                Ok(answered) => return Ok(answered),
                Err(again) => lost = again,
            }
        }
        Err(lost.error)
    }

    fn endpoint(&self, number: usize) -> Result<&Endpoint, Lost> {
        self.endpoints.get(number).ok_or_else(|| {
            let nowhere = UpstreamError::Connect(io::ErrorKind::AddrNotAvailable.into());
            Lost::for_good(nowhere, false)
        })
    }

    fn address(&self, endpoint: &Endpoint, errand: &mut Errand<'_>) {
        if self.service.made.config.host == HostHeader::Endpoint {
            errand.upload.set_host(&endpoint.authority);
        }
    }

    /// Remembers what this answer, or its absence, says of the endpoint.
    fn judge(&self, endpoint: &Endpoint, asked: &Result<Answered, Lost>, began: Instant) {
        let failed = match asked {
            Ok(answered) => self.is_failure(answered.status()),
            Err(lost) if lost.blame => true,
            Err(_) => return,
        };
        if !failed {
            endpoint.place.standing.answered(began);
        } else if self.service.failed(&endpoint.place, Instant::now()) {
            self.cells.ejections.one();
        }
    }

    fn is_failure(&self, status: StatusCode) -> bool {
        let statuses = self.service.made.config.ejection.statuses.iter();
        status.is_server_error() && statuses.clone().any(|bad| bad.get() == status)
    }

    fn hand_back(
        &self,
        answered: Answered,
        errand: Errand<'_>,
        (upgrade, timeouts): (Option<ClientUpgrade>, Timeouts),
        now: Instant,
    ) -> Result<Response<Body>, UpstreamError> {
        let (connection, answer) = match answered {
            Answered::H1(connection, answer) => (connection, answer),
            Answered::H2(response) => return Ok(response),
        };
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return switch(response, upgrade, connection, timeouts);
        }
        let sent = errand.upload.is_done();
        let source = Source {
            connection,
            decoder: answer.body,
            keeps: answer.keeps && sent,
            upload: (!sent).then(|| Box::new(errand.upload)),
            waits: errand.waits,
        };
        *response.body_mut() = reply::body(source, now).map_err(UpstreamError::Broken)?;
        Ok(response)
    }
}

fn switch(
    response: Response<Body>,
    upgrade: Option<ClientUpgrade>,
    connection: Connection,
    timeouts: Timeouts,
) -> Result<Response<Body>, UpstreamError> {
    let upgrade = upgrade
        .filter(|asked| upgrade::switches_to(response.headers(), &asked.protocol))
        .ok_or(UpstreamError::WrongUpgrade)?;
    upgrade::open(upgrade, connection.into_upgraded(), timeouts.idle.get());
    Ok(response)
}

/// What the load is shared by.
fn key(sender: &Sender) -> u64 {
    match sender {
        Sender::User(id) => balance::mark(id.as_bytes()),
        Sender::Client(address) => balance::mark(address.to_canonical().to_string().as_bytes()),
    }
}
