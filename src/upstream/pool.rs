//! The connections of one worker to one endpoint: those that are idle, and how many are not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::gate::Leave;
use super::service::Place;
use super::wire::Wire;
use crate::config;
use crate::deadline::LazyTimer;
use crate::metrics;

/// How often idle connections are looked through for those that are closed or too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    /// Requests under way.
    busy: AtomicU32,
    max_idle: usize,
    max_age: Duration,
    place: Arc<Place>,
    cells: Arc<metrics::Upstream>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The youngest last.
    connections: VecDeque<Connection>,
    /// Whether somebody looks through them from time to time.
    swept: bool,
}

/// One connection: asked once at a time, and by one request only.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// Lives as long as the connection, so that a request does not have to arm a new one.
    pub(super) timer: LazyTimer,
    /// Whether it has carried a request before.
    pub(super) used: bool,
    address: SocketAddr,
    idle_since: Instant,
    /// `None` while it is idle.
    stay: Option<Stay>,
}

/// A request that is under way; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Stay {
    home: Arc<Pool>,
    _leave: Leave,
}

impl Stay {
    pub(super) fn begin(home: &Arc<Pool>, leave: Leave) -> Self {
        home.busy.fetch_add(1, Ordering::Relaxed);
        Self {
            home: Arc::clone(home),
            _leave: leave,
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.home.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(
        config: &config::Upstream,
        place: &Arc<Place>,
        cells: &Arc<metrics::Upstream>,
    ) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            busy: AtomicU32::new(0),
            max_idle: usize::try_from(config.max_idle).unwrap_or(usize::MAX),
            max_age: config.idle_timeout.get(),
            place: Arc::clone(place),
            cells: Arc::clone(cells),
        })
    }

    /// How many requests are under way.
    pub(super) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// How long a connection may be idle.
    pub(super) fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The connection used last: it is the one least likely to be closed, and lets the others grow old. It takes
    /// the leave along.
    pub(super) fn take(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        now: Instant,
        leave: &mut Leave,
    ) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(mut connection) = idle.connections.pop_back() {
            self.cells.idle.down();
            if self.is_too_old(&connection, now) {
                // All others are older still.
                self.drop_all(&mut idle);
                return None;
            }
            if connection.wire.is_quiet(cx) {
                connection.stay = Some(Stay::begin(self, leave.take()));
                return Some(connection);
            }
        }
        None
    }

    fn drop_all(&self, idle: &mut Idle) {
        for _ in idle.connections.drain(..) {
            self.cells.idle.down();
        }
    }

    fn is_too_old(&self, connection: &Connection, now: Instant) -> bool {
        now.duration_since(connection.idle_since) >= self.max_age
    }

    fn put(self: &Arc<Self>, mut connection: Connection, now: Instant) {
        connection.idle_since = now;
        connection.used = true;
        let mut idle = self.idle.lock();
        if idle.connections.len() >= self.max_idle
            || !self.place.dialer.names.lead_to(connection.address)
        {
            return;
        }
        idle.connections.push_back(connection);
        self.cells.idle.up();
        if !idle.swept {
            idle.swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is too old, was closed by the upstream, or leads elsewhere by now; false if nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        // Nobody waits for an idle connection, so nobody is to be woken.
        let cx = &mut Context::from_waker(Waker::noop());
        let mut idle = self.idle.lock();
        let fit = |connection: &mut Connection| {
            let fit = !self.is_too_old(connection, now)
                && self.place.dialer.names.lead_to(connection.address)
                && connection.wire.is_quiet(cx);
            if !fit {
                self.cells.idle.down();
            }
            fit
        };
        idle.connections.retain_mut(fit);
        idle.swept = !idle.connections.is_empty();
        idle.swept
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in 0..self.idle.get_mut().connections.len() {
            self.cells.idle.down();
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

impl Connection {
    /// A new one that will go home once its answer has been read.
    pub(super) fn new(wire: Wire, address: SocketAddr, stay: Stay) -> Self {
        Self {
            wire,
            timer: LazyTimer::default(),
            used: false,
            address,
            idle_since: Instant::now(),
            stay: Some(stay),
        }
    }

    /// The answer has ended: the next request may have the connection, unless something came behind the answer.
    pub(super) fn go_home(mut self, now: Instant) {
        if self.wire.is_drained() {
            self.wire.shrink();
            if let Some(stay) = self.stay.take() {
                stay.home.put(self, now);
            }
        }
    }

    /// The connection after a switch of protocols, and the request that it still is.
    pub(super) fn into_upgraded(self) -> (crate::upgraded::Upgraded, Option<Stay>) {
        (self.wire.into_upgraded(), self.stay)
    }
}
