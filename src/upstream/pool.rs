//! The idle connections to one endpoint.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::Wire;
use crate::deadline::LazyTimer;

/// How often idle connections are looked through for those that are closed or too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The idle connections of one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    max_idle: usize,
    max_age: Duration,
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
    idle_since: Instant,
    home: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(max_idle: u32, max_age: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            max_idle: usize::try_from(max_idle).unwrap_or(usize::MAX),
            max_age,
        })
    }

    /// The connection used last: it is the one least likely to be closed, and lets the others grow old.
    pub(super) fn take(&self, cx: &mut Context<'_>, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(mut connection) = idle.connections.pop_back() {
            if self.is_too_old(&connection, now) {
                // All others are older still.
                idle.connections.clear();
                return None;
            }
            if connection.wire.is_quiet(cx) {
                return Some(connection);
            }
        }
        None
    }

    fn is_too_old(&self, connection: &Connection, now: Instant) -> bool {
        now.duration_since(connection.idle_since) >= self.max_age
    }

    fn put(self: &Arc<Self>, mut connection: Connection) {
        connection.idle_since = Instant::now();
        connection.used = true;
        let mut idle = self.idle.lock();
        if idle.connections.len() >= self.max_idle {
            return;
        }
        idle.connections.push_back(connection);
        if !idle.swept {
            idle.swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is too old or was closed by the upstream; false if nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        // Nobody waits for an idle connection, so nobody is to be woken.
        let cx = &mut Context::from_waker(Waker::noop());
        let mut idle = self.idle.lock();
        let fit = |connection: &mut Connection| {
            !self.is_too_old(connection, now) && connection.wire.is_quiet(cx)
        };
        idle.connections.retain_mut(fit);
        idle.swept = !idle.connections.is_empty();
        idle.swept
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
    /// A new one that will go to `home` once its answer has been read.
    pub(super) fn new(wire: Wire, home: &Arc<Pool>) -> Self {
        Self {
            wire,
            timer: LazyTimer::default(),
            used: false,
            idle_since: Instant::now(),
            home: Arc::clone(home),
        }
    }

    /// The answer has ended: the next request may have the connection, unless something came behind the answer.
    pub(super) fn go_home(mut self) {
        if self.wire.is_drained() {
            self.wire.shrink();
            let home = Arc::clone(&self.home);
            home.put(self);
        }
    }
}
