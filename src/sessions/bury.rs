//! What was ended stays ended, whatever becomes of the record that says so. See [`crate::tombstone`].
//!
//! Three things bring a session back that the user's record alone would have to keep dead:
//! * *the store loses the last write*: a replica takes over without it, or a server comes back with an older dump. Every
//!   gateway that is running has heard of the tombstone and goes on refusing; and each of them writes into the store
//!   again what it lacks, so that a gateway that starts later refuses too. [`Sessions::repeat`].
//! * *somebody else writes a token's record back*, having read it before it was deleted. That is only possible with
//!   tokens that are not ours, which have no entry in a list. So theirs is looked for in the store, together with the
//!   record, for as long as the token might have lived.
//! * *an old access token outlives its refresh* because its record could not be shortened, or came back: it has a
//!   tombstone from the moment on that its grace is over.
//!
//! Under a session's end lies a second line: the age of what is kept in memory. A tombstone bounds nothing in time; it
//! keeps what was acknowledged from being undone.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::sleep;

use super::memory::left;
use super::{Sessions, Users};
use crate::clock::{millis, now};
use crate::safeguard::Safeguard;
use crate::session::Why;
use crate::store::{Key, SessionStore, StoreError};
use crate::tombstone::{KEPT, Tombstone, Tombstones};
use crate::user::{Entry, Glance, Moment, Rules, User};

/// What lies under the key of a tombstone: the key says it all.
pub(super) const TOMBSTONE: &[u8] = b"1";
/// So long a tombstone stays in the store that nobody looks for there, in milliseconds: it was heard when it was put there,
/// and whoever starts later has the user's record.
const HEARD: u64 = 60_000;
/// The longest that a tombstone stays in the store, in milliseconds: that of a token without an end.
const LONGEST: u64 = 30 * 24 * 3_600_000;

impl Sessions {
    /// Leaves these tombstones. Says whether all of them are in the store; this process knows of them in any case.
    pub(super) async fn bury(&self, dead: Vec<Tombstone>) -> bool {
        let now = now();
        let mut all = true;
        for tombstone in dead {
            let key = self.keys.tombstone_at(&tombstone, now);
            all &= self
                .put_tombstone(tombstone, &key, now.saturating_add(HEARD))
                .await;
        }
        all
    }

    /// Leaves one of a token that is not ours and would have ended then (Unix milliseconds; `None` is never). It has to
    /// outlast the token, also if whoever writes the record back lets it live longer.
    pub(super) async fn bury_foreign(&self, tombstone: Tombstone, end: Option<u64>) -> bool {
        let (slack, latest) = (millis(KEPT), now().saturating_add(LONGEST));
        let end = end.map_or(latest, |end| end.max(now()).saturating_add(slack));
        let key = self.keys.tombstone(&tombstone);
        self.put_tombstone(tombstone, &key, end.min(latest)).await
    }

    async fn put_tombstone(&self, tombstone: Tombstone, key: &Key, end: u64) -> bool {
        let Some(tombstones) = self.store.tombstones() else {
            return true;
        };
        tombstones.keep(tombstone);
        put(&self.store, key, end).await.is_ok()
    }

    /// Leaves a tombstone of the token with this SHA-256 when its time has come (Unix milliseconds), without anybody
    /// waiting for it. By itself it would have ended at `end`.
    pub(super) fn bury_then(&self, digest: String, when: u64, end: u64) {
        let Some(tombstones) = self.store.tombstones().cloned() else {
            return;
        };
        let tombstone = Tombstone::Refreshed(digest);
        let (store, key) = (
            Arc::clone(&self.store),
            self.keys.tombstone_at(&tombstone, when),
        );
        tokio::spawn(async move {
            sleep(left(when)).await;
            tombstones.keep(tombstone);
            if let Err(error) = put(&store, &key, end.min(now().saturating_add(HEARD))).await {
                tracing::debug!(%error, "the tombstone of a refreshed token could not be written");
            }
        });
    }

    /// Leaves tombstones of these sessions.
    pub(super) async fn bury_sessions(&self, user_id: &str, ended: &[Entry]) -> bool {
        let dead = ended.iter().map(|entry| Tombstone::Session {
            sid: entry.sid.clone(),
            user_id: user_id.to_owned(),
        });
        self.bury(dead.collect()).await
    }

    /// Writes into the store again what it has lost of that which was ended.
    ///
    /// # Errors
    /// If that was not possible; what could not be written is still known here.
    pub async fn repeat(&self) -> Result<(), StoreError> {
        let Some(tombstones) = self.store.tombstones() else {
            return Ok(());
        };
        let mut users = BTreeSet::new();
        for tombstone in tombstones.all() {
            match &tombstone {
                Tombstone::Realm { epoch } => self.repeat_realm(*epoch).await?,
                Tombstone::Session { user_id, .. } => {
                    users.insert((user_id.clone(), false));
                }
                Tombstone::User { user_id, .. } => {
                    users.insert((user_id.clone(), true));
                }
                // It would be over before the loss of one could matter again.
                Tombstone::Refreshed(_) => {}
                Tombstone::Token(_) => {
                    // Put back only where it is missing: the one that is there may have long to live.
                    let key = self.keys.tombstone(&tombstone);
                    let end = Some(now().saturating_add(LONGEST));
                    self.store.put_new(&key, TOMBSTONE, end).await?;
                }
            }
        }
        for (user_id, create) in users {
            let rules = &self.users()?.rules;
            let bury = |user: &mut User, moment| bury(tombstones, user, rules, moment);
            self.change(&user_id, create, bury).await?;
        }
        Ok(())
    }

    async fn repeat_realm(&self, epoch: u64) -> Result<(), StoreError> {
        self.change_realm(|realm, now| {
            if realm.epoch < epoch {
                realm.epoch = epoch;
                realm.why = Some(Why::Realm);
                realm.at = now;
            }
        })
        .await
        .map(|_| ())
    }
}

async fn put(store: &SessionStore, key: &Key, end: u64) -> Result<(), StoreError> {
    if !Safeguard::Tombstone.holds() {
        return Ok(());
    }
    store.put(key, TOMBSTONE, Some(end)).await
}

/// Ends what has tombstones, as if the record said so.
pub(super) fn bury(tombstones: &Tombstones, user: &mut User, rules: &Rules, moment: Moment) {
    let epoch = tombstones.user_epoch(&user.user_id);
    user.bury(epoch, |sid| tombstones.has_session(sid), rules, moment);
}

impl Users {
    pub(super) fn bury(&self, glance: &mut Glance) {
        if let Some(tombstones) = &self.tombstones {
            let epoch = tombstones.user_epoch(&glance.user_id);
            glance.bury(epoch, |sid| tombstones.has_session(sid));
        }
    }

    /// What is known of a user without a record, if anything.
    pub(super) fn without_record(&self, user_id: &str) -> Option<Glance> {
        let epoch = self.tombstones.as_ref()?.user_epoch(user_id);
        (epoch > 0).then(|| Glance::of_epoch(user_id, epoch))
    }

    /// Whether the token with this SHA-256 has a tombstone that this process knows of.
    pub(super) fn has_tombstone(&self, digest: impl FnOnce() -> String) -> bool {
        let tombstones = self.tombstones.as_ref();
        tombstones.is_some_and(|tombstones| tombstones.has_token(digest))
    }
}
