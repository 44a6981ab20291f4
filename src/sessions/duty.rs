//! What a gateway does for the others, besides answering requests: it holds its place on the roll, answers roll calls, and
//! writes into the store again what it lacks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Sessions;
use crate::changes::Changes;
use crate::store::{Enrolled, StoreError};
use crate::tombstone::Tombstones;
use crate::uptime::Uptime;

/// Between two renewals of the place on the roll.
const RENEWAL: Duration = Duration::from_secs(1);
/// Between two attempts while the last one failed.
const RETRY: Duration = Duration::from_millis(100);
/// What a lease is longer than the bound: so long the store may be away before the memory is believed for less than the
/// bound allows.
const LEASE_SLACK: Duration = Duration::from_secs(3);
/// Our own clock ends the lease by so much earlier than the store's.
const MARGIN: Duration = Duration::from_millis(500);
/// How long an answer lies there.
const ANSWERED: Duration = Duration::from_secs(60);
/// How long giving up the place may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long a gateway stays on the roll whose longest bound is this.
pub(super) fn lease(bound: Duration) -> Duration {
    bound.saturating_add(LEASE_SLACK)
}

/// The duty of one process. Until [`Self::run`] is under way, nothing that is remembered is believed.
#[derive(Debug)]
pub struct Duty {
    sessions: Sessions,
    own: Enrolled,
    changes: Arc<Changes>,
    tombstones: Arc<Tombstones>,
    calls: Receiver<String>,
}

impl Duty {
    /// Of the gateway of this name, whose memory these changes judge. `None` where there are no others: without a Redis,
    /// and without `[sessions]`, where nobody ends anything.
    pub fn new(
        sessions: Sessions,
        name: String,
        changes: &Arc<Changes>,
        calls: Receiver<String>,
    ) -> Option<Self> {
        sessions.users().ok()?;
        let tombstones = Arc::clone(sessions.store.tombstones()?);
        changes.lease(Uptime::START);
        let bound = sessions.bound;
        Some(Self {
            sessions,
            own: Enrolled { name, bound },
            changes: Arc::clone(changes),
            tombstones,
            calls,
        })
    }

    /// Does it until `ended`, and then gives up the place on the roll.
    pub async fn run(mut self, ended: impl Future<Output = ()>) {
        let mut ended = std::pin::pin!(ended);
        let mut renewal = interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.sessions.store.settle(RENEWAL).await;
        let (mut refused, mut owes) = (false, false);
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(call) = self.calls.recv() => self.answer(&call).await,
                () = self.tombstones.lost() => {
                    self.enroll(&mut refused).await;
                    owes = !self.repeat().await;
                }
                _ = renewal.tick() => {
                    if !self.enroll(&mut refused).await {
                        renewal.reset_after(RETRY);
                    }
                    owes = owes && !self.repeat().await;
                }
            }
        }
        let (store, keys) = (&self.sessions.store, &self.sessions.keys);
        timeout(FAREWELL, store.strike(keys, &self.own.name))
            .await
            .ok();
    }

    /// Says whether it has a place on the roll now.
    async fn enroll(&self, refused: &mut bool) -> bool {
        let asked = Uptime::now();
        let (store, lease) = (&self.sessions.store, lease(self.own.bound));
        match store.enroll(&self.sessions.keys, &self.own, lease).await {
            Ok(()) => {
                self.changes.lease(asked.plus(lease.saturating_sub(MARGIN)));
                *refused = false;
                return true;
            }
            Err(error @ StoreError::Failed(_)) if !*refused => {
                *refused = true;
                tracing::warn!(
                    %error,
                    "this gateway cannot be put on the roll; while that lasts nothing is answered from memory"
                );
            }
            Err(error) => tracing::debug!(%error, "the place on the roll could not be renewed"),
        }
        false
    }

    async fn answer(&self, call: &str) {
        let (store, keys) = (&self.sessions.store, &self.sessions.keys);
        let own = (call, self.own.name.as_str());
        if let Err(error) = store.answer(keys, own, ANSWERED).await {
            tracing::debug!(%error, "a roll call could not be answered");
        }
    }

    /// Says whether the store has everything now.
    async fn repeat(&self) -> bool {
        match self.sessions.repeat().await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "what was ended could not be written again yet");
                false
            }
        }
    }
}
