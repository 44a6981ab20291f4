//! How a request reads the records that decide: in one place, so that whatever remembers them stands here.

use std::sync::Arc;

use bytes::Bytes;

use super::{Sessions, Users};
use crate::store::{Ends, Kept, Key, StoreError};
use crate::token::{Anchor, Token};
use crate::user::{Glance, Realm};

/// A user's record, if there is one, and the realm's.
pub(super) type Background = (Option<Arc<Glance>>, Arc<Realm>);

impl Sessions {
    /// The keys of all that a verdict on this token rests on.
    pub(super) fn grounds(&self, token: &Token, anchor: Anchor) -> [Key; 3] {
        [
            self.keys.token(token),
            self.keys.user(anchor),
            self.keys.realm(),
        ]
    }

    /// A token's record, its user's and the realm's, in one write.
    pub(super) async fn records(
        &self,
        users: &Users,
        keys: &[Key; 3],
        ends: Ends,
    ) -> Result<(Option<Kept>, Background), StoreError> {
        let found = self.store.get(keys, ends).await?;
        let found: [Option<Kept>; 3] = found.try_into().map_err(|_| StoreError::Mismatch)?;
        let [record, user, realm] = found;
        Ok((record, users.background(user, realm)?))
    }

    /// A token's record alone.
    pub(super) async fn token_record(&self, token: &Token) -> Result<Option<Kept>, StoreError> {
        let found = self
            .store
            .get(&[self.keys.token(token)], Ends::First)
            .await?;
        Ok(found.into_iter().next().flatten())
    }
}

impl Users {
    pub(super) fn background(
        &self,
        user: Option<Kept>,
        realm: Option<Kept>,
    ) -> Result<Background, StoreError> {
        let user = user
            .map(|kept| Glance::decode(&kept.bytes).map(Arc::new))
            .transpose()?;
        Ok((user, self.realm(realm.map(|kept| kept.bytes))?))
    }

    /// The realm in these bytes. They hardly ever change and may be long, so they are compared with those read last.
    pub(super) fn realm(&self, bytes: Option<Bytes>) -> Result<Arc<Realm>, StoreError> {
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
