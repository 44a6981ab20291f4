//! How a request reads the records that decide: in one place, so that whatever remembers them stands here.

use std::sync::Arc;

use bytes::Bytes;

use super::find::Whose;
use super::{Sessions, Users};
use crate::safeguard::Safeguard;
use crate::session::Why;
use crate::store::{Ends, Kept, Key, StoreError};
use crate::token::Token;
use crate::tombstone::Tombstone;
use crate::user::{Glance, Realm};

/// All that a verdict on a token rests on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Option<Kept>,
    pub(super) user: Option<Arc<Glance>>,
    pub(super) realm: Arc<Realm>,
    /// Of whoever acts as the user.
    pub(super) actor: Option<Arc<Glance>>,
}

/// A user's record, if there is one, and the realm's.
pub(super) type Background = (Option<Arc<Glance>>, Arc<Realm>);

impl Sessions {
    /// The keys of all that a verdict on this token rests on.
    pub(super) fn grounds(&self, token: &Token, whose: &Whose) -> Vec<Key> {
        let mut keys = self.parts(token, whose.account.as_deref());
        keys.push(self.keys.user(whose.user));
        keys.push(self.keys.realm());
        keys.extend(whose.actor.map(|actor| self.keys.user(actor)));
        keys
    }

    /// What lies at these keys, in one write.
    pub(super) async fn records(
        &self,
        users: &Users,
        keys: &[Key],
        ends: Ends,
    ) -> Result<Found, StoreError> {
        let mut found = self.store.get(keys, ends).await?.into_iter();
        let mut next = || found.next().flatten();
        let record = next();
        let (user, realm) = users.background(next(), next())?;
        Ok(Found {
            record,
            user,
            realm,
            actor: next().map(|kept| users.glance(&kept)).transpose()?,
        })
    }

    /// Whether this token has a tombstone.
    pub(super) async fn is_buried(&self, token: &Token) -> Result<bool, StoreError> {
        let tombstone = Tombstone::Token(token.sha256_hex());
        let known = |users: &Users| users.has_tombstone(|| token.sha256_hex());
        if self.users.as_ref().is_some_and(known) {
            return Ok(true);
        }
        let key = self.keys.tombstone(&tombstone);
        let found = self.store.get(&[key], Ends::None).await?;
        Ok(found.iter().any(Option::is_some) && Safeguard::Tombstone.holds())
    }

    /// A token's record alone; nothing if the token has a tombstone.
    pub(super) async fn token_record(&self, token: &Token) -> Result<Option<Kept>, StoreError> {
        let tombstone = Tombstone::Token(token.sha256_hex());
        let keys = [self.keys.token(token), self.keys.tombstone(&tombstone)];
        let found = self.store.get(&keys, Ends::First).await?;
        let [record, dead] =
            <[Option<Kept>; 2]>::try_from(found).map_err(|_| StoreError::Mismatch)?;
        let known = || {
            self.users
                .as_ref()
                .is_some_and(|users| users.has_tombstone(|| token.sha256_hex()))
        };
        let dead = (dead.is_some() && Safeguard::Tombstone.holds()) || known();
        Ok(record.filter(|_| !dead))
    }
}

impl Users {
    /// A user's record, without what has a tombstone.
    pub(super) fn glance(&self, kept: &Kept) -> Result<Arc<Glance>, StoreError> {
        let mut glance = Glance::decode(&kept.bytes)?;
        self.bury(&mut glance);
        Ok(Arc::new(glance))
    }

    pub(super) fn background(
        &self,
        user: Option<Kept>,
        realm: Option<Kept>,
    ) -> Result<Background, StoreError> {
        let user = user.map(|kept| self.glance(&kept)).transpose()?;
        Ok((user, self.realm(realm.map(|kept| kept.bytes))?))
    }

    /// The realm in these bytes. They hardly ever change and may be long, so they are compared with those read last.
    pub(super) fn realm(&self, bytes: Option<Bytes>) -> Result<Arc<Realm>, StoreError> {
        let realm = self.realm_in(bytes)?;
        let epoch = self.tombstones.as_ref().map_or(0, |all| all.realm_epoch());
        if realm.epoch >= epoch {
            return Ok(realm);
        }
        Ok(Arc::new(Realm {
            epoch,
            why: Some(Why::Realm),
            at: epoch,
            ..Realm::clone(&realm)
        }))
    }

    fn realm_in(&self, bytes: Option<Bytes>) -> Result<Arc<Realm>, StoreError> {
        let Some(bytes) = bytes else {
            return Ok(Arc::clone(&self.empty_realm));
        };
        let mut last = self.last_realm.lock();
        if let Some((read, realm)) = &*last
            && *read == bytes
        {
            return Ok(Arc::clone(realm));
        }
        let realm = Arc::new(Realm::decode(&bytes)?);
        if realm.realm != self.realm {
            return Err(StoreError::Mismatch);
        }
        *last = Some((bytes, Arc::clone(&realm)));
        Ok(realm)
    }
}
