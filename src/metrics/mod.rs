//! Names and numbers: what the gateway counts about itself, and how Prometheus reads it.
//!
//! Every worker counts in [`Worker`] cells of its own; they are summed when somebody looks. What is counted for a route or
//! an upstream is found by name once, when the configuration is loaded, so that a request only adds to a number.
//! Labels hold names of the configuration and codes of the program, never anything that a client has sent.

mod cell;
mod exposition;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

pub use self::cell::{Count, Level, Reasons, Timing};

/// Everything that is counted in this process.
#[derive(Debug)]
pub struct Metrics {
    workers: Vec<Arc<Worker>>,
    /// What belongs to no worker.
    pub process: Process,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Worker {
    /// Client connections.
    pub clients: Clients,
    /// Look-ups of sessions.
    pub lookups: Lookups,
    /// Requests that were turned away unread because there were too many, by reason.
    pub shed: Reasons,
    /// Requests that no route was found for.
    pub unrouted: Arc<Route>,
    routes: Mutex<Named<Route>>,
    upstreams: Mutex<Named<Upstream>>,
}

type Named<T> = BTreeMap<Arc<str>, Arc<T>>;

/// Requests of one route.
#[derive(Debug, Default)]
pub struct Route {
    /// Requests whose answer came from the upstream.
    pub forwarded: Count,
    /// Requests that the gateway answered itself.
    pub refused: Refused,
    /// From the head of the request to the head of the answer, whoever gave it.
    pub time: Timing,
}

/// Refusals, by what they mean and why.
#[derive(Debug, Default)]
pub struct Refused {
    /// 401: there is no such session.
    pub unauthenticated: Reasons,
    /// 403: the session does not allow it.
    pub forbidden: Reasons,
    /// 503: nobody could tell.
    pub unavailable: Reasons,
    /// Any other 4xx: the request itself.
    pub rejected: Reasons,
    /// Any other 5xx: something of ours, or the upstream.
    pub failed: Reasons,
}

impl Refused {
    /// One more refusal with this status and reason code.
    pub fn one(&self, status: u16, reason: &'static str) {
        let counted = match status {
            401 => &self.unauthenticated,
            403 => &self.forbidden,
            503 => &self.unavailable,
            500.. => &self.failed,
            _ => &self.rejected,
        };
        counted.one(reason);
    }
}

/// Client connections of one worker.
#[derive(Debug, Default)]
pub struct Clients {
    /// Accepted so far.
    pub accepted: Count,
    /// Open now.
    pub open: Level,
    /// Finished TLS handshakes of a new session.
    pub handshakes: Count,
    /// Finished TLS handshakes that took up an earlier session.
    pub resumptions: Count,
    /// Handshakes, TLS or PROXY, that came to nothing, by reason.
    pub failed_handshakes: Reasons,
}

/// Look-ups of sessions.
#[derive(Debug, Default)]
pub struct Lookups {
    /// There is such a session.
    pub found: Count,
    /// There is none.
    pub absent: Count,
    /// Nobody could tell.
    pub failed: Count,
    /// How long they took.
    pub time: Timing,
}

/// What the memory of sessions has counted so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Requests answered from memory.
    pub hits: u64,
    /// Requests that waited for the store because nothing was known that could be used.
    pub misses: u64,
    /// Requests that waited for the store because their route wants that.
    pub strict: u64,
    /// Requests served from memory although a change may have been missed, because the store could not be asked.
    pub doubted: u64,
    /// Questions to the store in the background.
    pub refreshes: u64,
    /// Records that were heard to have changed.
    pub changes: u64,
    /// Times that everything of a server was doubted because changes may have been missed.
    pub doubts: u64,
    /// Sessions in memory now.
    pub entries: u64,
}

/// The memory of sessions, looked at when somebody asks for the numbers.
pub trait Memory: fmt::Debug + Send + Sync {
    /// What it has counted.
    fn remembered(&self) -> Remembered;

    /// How long the store took to answer.
    fn store(&self) -> &Timing;

    /// From the end of a session to the moment when this process heard of it, by the clocks of both gateways. Nothing where
    /// nobody tells.
    fn revocation(&self) -> Option<&Timing>;
}

/// Requests sent to one upstream.
#[derive(Debug, Default)]
pub struct Upstream {
    /// Answers, by the first digit of their status, from 1.
    pub answers: [Count; 5],
    /// Requests without an answer, by reason code.
    pub failed: Reasons,
    /// From handing the request over to the head of the answer.
    pub time: Timing,
    /// Connections made.
    pub opened: Count,
    /// Requests sent over a connection that was there already.
    pub reused: Count,
    /// Requests sent a second time.
    pub retries: Count,
    /// Endpoints taken out of turn because they failed.
    pub ejections: Count,
    /// Connections that are idle now.
    pub idle: Level,
}

impl Upstream {
    /// One more answer with this status.
    pub fn answered(&self, status: u16) {
        let place = usize::from(status / 100).checked_sub(1);
        if let Some(count) = place.and_then(|place| self.answers.get(place)) {
            count.one();
        }
    }
}

/// What belongs to no worker.
#[derive(Debug, Default)]
pub struct Process {
    /// Configurations taken over while running.
    pub reloads: Count,
    /// Configurations that were not taken over because they have faults.
    pub failed_reloads: Count,
    /// When the configuration in use was taken over, in Unix seconds.
    pub configured_at: Level,
    /// Lines of the access log that were dropped because their reader was too slow.
    pub lost_lines: Arc<Count>,
    /// The memory of sessions, if there is one.
    pub memory: OnceLock<Box<dyn Memory>>,
    /// What clients are shown, or will be: as the configuration in use says.
    pub certificates: Mutex<Vec<Certificate>>,
    /// Certificates that were ordered.
    pub certificate_orders: Arc<CertificateOrders>,
}

/// What came of ordering certificates.
#[derive(Debug, Default)]
pub struct CertificateOrders {
    /// There is a new one.
    pub obtained: Count,
    /// There is none, for whatever reason; it is tried again.
    pub failed: Count,
}

impl Process {
    /// Notes that the configuration in use was taken over now.
    pub fn configured(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.configured_at
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// Names that a certificate is ordered for and that have none yet; each once.
    pub fn without_certificate(&self) -> BTreeSet<String> {
        let all = self.certificates.lock();
        let absent = all.iter().filter(|one| one.expires.get() == 0);
        absent.filter_map(|one| one.ordered.clone()).collect()
    }
}

/// One certificate that clients are shown.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The address it is shown at.
    pub listener: String,
    /// The file it was read from, or is kept in.
    pub file: String,
    /// The name it is ordered for; `None` if it is not ordered.
    pub ordered: Option<String>,
    /// When it expires, in Unix seconds; 0 while there is none.
    pub expires: Arc<Level>,
}

impl Metrics {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            process: Process::default(),
        })
    }

    /// The cells of the worker with this number; of nobody, if there is no such worker.
    pub fn worker(&self, number: usize) -> Arc<Worker> {
        self.workers.get(number).cloned().unwrap_or_default()
    }

    /// Forgets the routes and upstreams that nobody holds any more. To be called after each change of the configuration: else
    /// they would grow in number with every one that brings new names.
    pub fn forget_unused(&self) {
        for worker in &self.workers {
            worker.forget_unused();
        }
    }

    /// Everything, in the OpenMetrics text format.
    pub fn render(self: &Arc<Self>) -> String {
        exposition::render(self)
    }
}

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Worker {
    /// The cells of the route with this name: those that were there before, if there were.
    pub fn route(&self, name: &str) -> Arc<Route> {
        named(&self.routes, name)
    }

    /// The cells of the upstream with this name: those that were there before, if there were.
    pub fn upstream(&self, name: &str) -> Arc<Upstream> {
        named(&self.upstreams, name)
    }

    fn forget_unused(&self) {
        let used = |cells: &Arc<Route>| Arc::strong_count(cells) > 1;
        self.routes.lock().retain(|_, cells| used(cells));
        let used = |cells: &Arc<Upstream>| Arc::strong_count(cells) > 1;
        self.upstreams.lock().retain(|_, cells| used(cells));
    }
}

fn named<T: Default>(all: &Mutex<Named<T>>, name: &str) -> Arc<T> {
    let mut all = all.lock();
    if let Some(cells) = all.get(name) {
        return Arc::clone(cells);
    }
    let cells = Arc::<T>::default();
    all.insert(name.into(), Arc::clone(&cells));
    cells
}
