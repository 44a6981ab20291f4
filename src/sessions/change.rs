//! How a record is changed: read, changed by a pure function, swapped, and again if somebody else was faster.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::bury::bury;
use super::{Sessions, Users};
use crate::clock::now;
use crate::store::{Ends, Key, StoreError, Swapped};
use crate::token::Anchor;
use crate::user::{Entry, Moment, REMEMBERED, Realm, User};

/// How often a change is tried again that another gateway got in the way of.
pub(super) const ATTEMPTS: u32 = 16;
/// So many of them follow at once on what was found instead. Whoever lost has it in hand while whoever won has to read it
/// first, so the two take turns; a pause would let the winner win again.
const AT_ONCE: u32 = 8;
/// The longest pause between two attempts in milliseconds.
const LONGEST_PAUSE: u64 = 32;

/// A user's record as it stands in the store, with the realm's.
pub(super) struct Held {
    pub(super) key: Key,
    pub(super) bytes: Option<Bytes>,
    pub(super) realm: Arc<Realm>,
}

/// What became of a change.
pub(super) struct Changed<T> {
    pub(super) outcome: T,
    key: Key,
    bytes: Bytes,
}

impl Held {
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: now(),
            realm_epoch: self.realm.epoch,
        }
    }

    /// The user, if there is a record.
    pub(super) fn user(&self, users: &Users) -> Result<Option<User>, StoreError> {
        let mut user = self.bytes.as_deref().map(User::decode).transpose()?;
        if let (Some(user), Some(tombstones)) = (&mut user, &users.tombstones) {
            bury(tombstones, user, &users.rules, self.moment());
        }
        Ok(user)
    }

    /// The user of this id, known or not.
    pub(super) fn user_called(
        &self,
        users: &Users,
        user_id: &str,
    ) -> Result<Option<User>, StoreError> {
        let user = self.user(users)?;
        if user.as_ref().is_some_and(|user| user.user_id != user_id) {
            return Err(StoreError::Mismatch);
        }
        Ok(user)
    }
}

impl Sessions {
    pub(super) async fn hold(&self, users: &Users, anchor: Anchor) -> Result<Held, StoreError> {
        let keys = [self.keys.user(anchor), self.keys.realm()];
        let mut found = self.store.get(&keys, Ends::None).await?.into_iter();
        let mut next = || found.next().flatten().map(|kept| kept.bytes);
        let (bytes, realm) = (next(), next());
        let [key, _] = keys;
        Ok(Held {
            key,
            bytes,
            realm: users.realm(realm)?,
        })
    }

    /// Puts this user in the place of the one held; says what is in the store now, or holds what was there instead.
    pub(super) async fn replace(
        &self,
        users: &Users,
        held: &mut Held,
        user: &User,
    ) -> Result<Option<Bytes>, StoreError> {
        let new = Bytes::from(user.encode()?);
        if held.bytes.as_ref() == Some(&new) {
            return Ok(Some(new));
        }
        let ends_at = user.ends_at(&users.rules);
        let swapped = self
            .swap(&held.key, held.bytes.as_deref(), &new, ends_at)
            .await?;
        Ok(match swapped {
            Swapped::Done => Some(new),
            Swapped::Conflict(other) => {
                held.bytes = other;
                None
            }
        })
    }

    /// Whether a swap whose answer was lost was carried out can be seen: nobody else writes the same bytes.
    async fn swap(
        &self,
        key: &Key,
        old: Option<&[u8]>,
        new: &Bytes,
        ends_at: Option<u64>,
    ) -> Result<Swapped, StoreError> {
        match self.store.swap(key, old, Some(new), ends_at).await {
            Err(lost @ (StoreError::Deadline | StoreError::Failed(_))) => {
                let found = self.store.get(std::slice::from_ref(key), Ends::None);
                let found = found.await.ok().and_then(|mut found| found.pop());
                match found {
                    Some(Some(kept)) if kept.bytes == *new => Ok(Swapped::Done),
                    Some(_) | None => Err(lost),
                }
            }
            swapped => swapped,
        }
    }

    /// Changes a user. `None` if there is no record of the user and `create` is off.
    pub(super) async fn change<T>(
        &self,
        user_id: &str,
        create: bool,
        mut deed: impl FnMut(&mut User, Moment) -> T,
    ) -> Result<Option<Changed<T>>, StoreError> {
        let users = self.users()?;
        let anchor = users.anchor(user_id);
        let _turn = users.queues.turn(anchor.as_str()).await?;
        let mut held = self.hold(users, anchor).await?;
        for attempt in 0..ATTEMPTS {
            let mut user = match held.user_called(users, user_id)? {
                Some(user) => user,
                None if create => User::new(user_id),
                None => return Ok(None),
            };
            let outcome = deed(&mut user, held.moment());
            if let Some(bytes) = self.replace(users, &mut held, &user).await? {
                return Ok(Some(Changed {
                    outcome,
                    key: held.key,
                    bytes,
                }));
            }
            self.look_again(users, &mut held, anchor, attempt).await?;
        }
        Err(StoreError::Busy)
    }

    /// After a swap that somebody else was faster with.
    pub(super) async fn look_again(
        &self,
        users: &Users,
        held: &mut Held,
        anchor: Anchor,
        attempt: u32,
    ) -> Result<(), StoreError> {
        if attempt >= AT_ONCE {
            pause(attempt - AT_ONCE).await;
            *held = self.hold(users, anchor).await?;
        }
        Ok(())
    }

    /// Changes the realm; tells its epoch.
    pub(super) async fn change_realm(
        &self,
        mut deed: impl FnMut(&mut Realm, u64),
    ) -> Result<Changed<u64>, StoreError> {
        let users = self.users()?;
        let (key, name) = (self.keys.realm(), self.keys.realm_name());
        let _turn = users.queues.turn(name).await?;
        let found = self.store.get(std::slice::from_ref(&key), Ends::None);
        let mut held = found.await?.pop().flatten().map(|kept| kept.bytes);
        for _ in 0..ATTEMPTS {
            let mut realm = match &held {
                Some(bytes) => Realm::decode(bytes)?,
                None => Realm::new(name),
            };
            deed(&mut realm, now());
            let new = Bytes::from(realm.encode()?);
            if held.as_ref() == Some(&new) {
                return Ok(Changed {
                    outcome: realm.epoch,
                    key,
                    bytes: new,
                });
            }
            match self.swap(&key, held.as_deref(), &new, None).await? {
                Swapped::Done => {
                    return Ok(Changed {
                        outcome: realm.epoch,
                        key,
                        bytes: new,
                    });
                }
                Swapped::Conflict(other) => held = other,
            }
        }
        Err(StoreError::Busy)
    }

    /// Whether the loss of a server can no longer undo this: its replicas have it.
    pub(super) async fn confirm<T>(&self, changed: &Changed<T>) -> bool {
        self.store.confirm(&changed.key, &changed.bytes).await
    }

    /// Lets the records of these sessions' tokens go, but not before whoever holds one could ask why. They are no longer
    /// in the list, so this is only to have them out of the way, and nobody waits for it.
    pub(super) fn clear_away(&self, ended: &[Entry]) {
        let end = now().saturating_add(REMEMBERED);
        for entry in ended {
            let names = [&entry.key].into_iter().chain(&entry.previous_key);
            for name in names.chain(&entry.others) {
                self.end_by(self.keys.named(name), end);
            }
        }
    }

    /// Makes a record end by then, without waiting for it.
    pub(super) fn end_by(&self, key: Key, end: u64) {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            if let Err(error) = store.shorten(&key, end).await {
                tracing::debug!(%error, "the record of an ended session could not be shortened");
            }
        });
    }
}

/// Lets the others go first, each time for longer, and not all of them at once.
async fn pause(attempt: u32) {
    let most = 1_u64.checked_shl(attempt).unwrap_or(LONGEST_PAUSE);
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let jitter = u64::from(clock.subsec_micros()) % most.min(LONGEST_PAUSE);
    tokio::time::sleep(Duration::from_millis(jitter)).await;
}
