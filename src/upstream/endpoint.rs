//! One endpoint, as one worker knows it: its connections, and one request over one of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::connect::{Link, LinkIo, Offer};
use super::exchange::{self, Again, Lost, Waits};
use super::gate::{Gate, Leave};
use super::h2;
use super::pool::{Connection, Pool, Stay};
use super::service::Place;
use super::wire::{Answer, Upload, Wire};
use super::{Admission, UpstreamError};
use crate::body::Body;
use crate::config::fault::Fault;
use crate::config::{self, Protocol};
use crate::metrics;

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) place: Arc<Place>,
    /// Its own `Host`.
    pub(super) authority: HeaderValue,
    pub(super) gate: Gate,
    pool: Arc<Pool>,
    line: Arc<h2::Line>,
    protocol: Protocol,
    cells: Arc<metrics::Upstream>,
}

/// A request on its way, and how long it may take.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    pub(super) upload: Upload,
    pub(super) waits: Waits,
    /// Whether it asks to switch protocols, which only HTTP/1.1 can.
    pub(super) upgrades: bool,
    pub(super) admission: Admission<'a>,
}

impl Errand<'_> {
    /// To be called whenever it may have had to wait, right before it is sent.
    async fn readmit(&mut self) -> Result<(), Lost> {
        match self.admission.holds().await {
            true => Ok(()),
            false => Err(Lost::for_good(UpstreamError::Withdrawn, false)),
        }
    }
}

/// The head of an answer.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would be one more allocation for each request"
)]
pub(super) enum Answered {
    H1(Connection, Answer),
    /// Its body streams by itself.
    H2(Response<Body>),
}

impl Answered {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::H1(_, answer) => answer.status,
            Self::H2(response) => response.status(),
        }
    }
}

impl Endpoint {
    pub(super) fn build(
        config: &config::Upstream,
        place: &Arc<Place>,
        cells: &Arc<metrics::Upstream>,
    ) -> Result<Self, Fault> {
        let origin = &place.origin;
        let authority = HeaderValue::try_from(origin.authority()).map_err(|_| {
            let mut endpoints = config.endpoints.iter();
            let at = endpoints.find(|endpoint| endpoint.get_ref() == origin);
            Fault::error(
                at.map(toml::Spanned::span),
                format!("`{origin}` cannot be sent as `Host`"),
            )
        })?;
        Ok(Self {
            place: Arc::clone(place),
            authority,
            gate: Gate::new(config),
            pool: Pool::new(config, place, cells),
            line: Arc::default(),
            protocol: match config.protocol {
                // Without TLS nobody can ask what an endpoint prefers.
                Protocol::Auto if !origin.tls => Protocol::H1,
                protocol @ (Protocol::H1 | Protocol::H2 | Protocol::Auto) => protocol,
            },
            cells: Arc::clone(cells),
        })
    }

    /// How many requests are under way.
    pub(super) fn busy(&self) -> u32 {
        self.pool.busy()
    }

    /// Sends the request over a connection that is there, or else over a fresh one.
    ///
    /// # Errors
    /// [`Lost`]: there is no answer.
    pub(super) async fn ask(
        &self,
        errand: &mut Errand<'_>,
        began: Instant,
    ) -> Result<Answered, Lost> {
        let mut leave = self.enter().await?;
        if self.protocol == Protocol::H1 || errand.upgrades {
            let taken = poll_fn(|cx| Poll::Ready(self.pool.take(cx, began, &mut leave)));
            if let Some(connection) = taken.await {
                if self.gate.is_bounded() {
                    Box::pin(errand.readmit()).await?;
                }
                self.cells.reused.one();
                let upload = &mut errand.upload;
                match exchange::ask(connection, upload, began, &errand.waits).await {
                    Ok((connection, answer)) => return Ok(Answered::H1(connection, answer)),
                    // It was closed while idle; what else is idle there is likely to be closed then, too.
                    Err(lost) if lost.again == Again::Unsent && !lost.blame => {
                        leave = self.enter().await?;
                    }
                    Err(lost) => return Err(lost),
                }
            }
            // Rare, and large: kept out of the future that every request carries.
            return Box::pin(self.ask_anew_with(errand, leave)).await;
        }
        Box::pin(self.ask_h2(errand, leave)).await
    }

    /// Sends the request over a fresh connection: what is there already may have been lost together with another one.
    ///
    /// # Errors
    /// [`Lost`]: there is no answer.
    pub(super) async fn ask_anew(&self, errand: &mut Errand<'_>) -> Result<Answered, Lost> {
        let leave = self.enter().await?;
        if self.protocol == Protocol::H1 || errand.upgrades {
            return self.ask_anew_with(errand, leave).await;
        }
        self.ask_h2(errand, leave).await
    }

    async fn enter(&self) -> Result<Leave, Lost> {
        let entered = self.gate.enter().await;
        entered.map_err(|error| Lost::for_good(error, false))
    }

    async fn ask_anew_with(&self, errand: &mut Errand<'_>, leave: Leave) -> Result<Answered, Lost> {
        if self.protocol == Protocol::H2 {
            let error = UpstreamError::WrongUpgrade;
            return Err(Lost::for_good(error, false));
        }
        let link = self.dial(Offer::H1, &errand.waits).await?;
        let connection = Connection::new(Wire::new(link.io), link.address, self.stay(leave));
        self.ask_over(connection, errand).await
    }

    async fn ask_over(
        &self,
        connection: Connection,
        errand: &mut Errand<'_>,
    ) -> Result<Answered, Lost> {
        errand.readmit().await?;
        let (upload, began) = (&mut errand.upload, Instant::now());
        let asked = exchange::ask(connection, upload, began, &errand.waits).await;
        asked.map(|(connection, answer)| Answered::H1(connection, answer))
    }

    async fn ask_h2(&self, errand: &mut Errand<'_>, leave: Leave) -> Result<Answered, Lost> {
        let stay = self.stay(leave);
        let sender = match self.line.get() {
            Some(sender) => {
                self.cells.reused.one();
                sender
            }
            None if self.protocol == Protocol::Auto => {
                let link = self.dial(Offer::Either, &errand.waits).await?;
                if !link.io.chose_h2() {
                    let connection = Connection::new(Wire::new(link.io), link.address, stay);
                    return self.ask_over(connection, errand).await;
                }
                self.begin_h2(link).await?
            }
            None => self.open_h2(&errand.waits).await?,
        };
        let secure = self.place.origin.tls;
        errand.readmit().await?;
        let (upload, began) = (&mut errand.upload, Instant::now());
        let asked = h2::ask(sender, upload, (secure, stay), began, &errand.waits).await;
        asked.map(Answered::H2)
    }

    /// The connection for HTTP/2, opened by the first who needs it.
    async fn open_h2(&self, waits: &Waits) -> Result<h2::Sender, Lost> {
        let _opening = self.line.opening.lock().await;
        match self.line.get() {
            Some(sender) => Ok(sender),
            None => {
                let link = self.dial(Offer::H2, waits).await?;
                self.begin_h2(link).await
            }
        }
    }

    async fn begin_h2(&self, link: Link) -> Result<h2::Sender, Lost> {
        let home = (&self.pool, &self.place);
        self.line.begin(link, home).await.map_err(unsent)
    }

    async fn dial(&self, offer: Offer, waits: &Waits) -> Result<Link, Lost> {
        let now = Instant::now();
        let end = waits.by(now + waits.connect);
        let dialed = self.place.dialer.dial(offer, end.duration_since(now)).await;
        let link = dialed.map_err(unsent)?;
        self.cells.opened.one();
        Ok(link)
    }

    fn stay(&self, leave: Leave) -> Stay {
        Stay::begin(&self.pool, leave)
    }
}

fn unsent(error: UpstreamError) -> Lost {
    Lost {
        error,
        again: Again::Unsent,
        blame: true,
    }
}

impl Wire {
    fn new(io: LinkIo) -> Self {
        match io {
            LinkIo::Plain(socket) => Self::plain(socket),
            LinkIo::Tls(stream) => Self::tls(*stream),
        }
    }
}
