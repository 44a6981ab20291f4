//! What can be done with one key in a single step; see [`crate::store::SessionStore`] for what each promises.

use bytes::Bytes;
use redb::ReadableDatabase;

use super::change::{Change, Outcome};
use super::{EmbeddedStore, NEVER, SESSIONS, failed};
use crate::clock::now;
use crate::store::{Kept, Key, StoreError, Swapped};

impl EmbeddedStore {
    pub(in crate::store) fn get(&self, keys: &[Key]) -> Result<Vec<Option<Kept>>, StoreError> {
        let snapshot = self.0.database.begin_read().map_err(failed)?;
        let values = snapshot.open_table(SESSIONS).map_err(failed)?;
        let now = now();
        let one = |key: &Key| {
            let row = values.get(key.as_str()).map_err(failed)?;
            Ok(row.and_then(|row| {
                let (end, value) = row.value();
                (end > now).then(|| Kept {
                    bytes: Bytes::copy_from_slice(value),
                    ends_at: (end != NEVER).then_some(end),
                })
            }))
        };
        keys.iter().map(one).collect()
    }

    pub(in crate::store) async fn swap(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        ends_at: Option<u64>,
    ) -> Result<Swapped, StoreError> {
        let change = Change::Swap {
            key: key.as_str().to_owned(),
            end: ends_at.unwrap_or(NEVER),
            expected: expected.map(<[u8]>::to_vec),
            new: new.map(<[u8]>::to_vec),
        };
        match self.0.writer.write(change).await? {
            Outcome::Swapped(swapped) => Ok(swapped),
            Outcome::Done(_) | Outcome::Was(_) => Err(StoreError::Mismatch),
        }
    }

    pub(in crate::store) async fn put(
        &self,
        key: &Key,
        bytes: &[u8],
        ends_at: Option<u64>,
        only_new: bool,
    ) -> Result<bool, StoreError> {
        let (key, end) = (key.as_str().to_owned(), ends_at.unwrap_or(NEVER));
        let value = bytes.to_vec();
        if only_new {
            return self.done(Change::PutNew { key, end, value }).await;
        }
        self.done(Change::Put { key, end, value })
            .await
            .map(|_| true)
    }

    pub(in crate::store) async fn take(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let key = key.as_str().to_owned();
        match self.0.writer.write(Change::Remove { key }).await? {
            Outcome::Was(before) => Ok(before),
            Outcome::Done(_) | Outcome::Swapped(_) => Err(StoreError::Mismatch),
        }
    }

    pub(in crate::store) async fn shorten(&self, key: &Key, end: u64) -> Result<bool, StoreError> {
        let key = key.as_str().to_owned();
        self.done(Change::Shorten { key, end }).await
    }

    pub(in crate::store) async fn extend(&self, key: &Key, end: u64) -> Result<bool, StoreError> {
        let key = key.as_str().to_owned();
        self.done(Change::Extend { key, end }).await
    }

    async fn done(&self, change: Change) -> Result<bool, StoreError> {
        match self.0.writer.write(change).await? {
            Outcome::Done(done) => Ok(done),
            Outcome::Was(_) | Outcome::Swapped(_) => Err(StoreError::Mismatch),
        }
    }
}
