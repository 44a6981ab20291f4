//! Buckets of shared limits where there is one process only: in its memory, never on disk.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::EmbeddedStore;
use crate::limit::{Buckets, Meter, Metered};
use crate::store::Key;

/// The buckets by key.
#[derive(Debug, Default)]
pub(super) struct Meters {
    buckets: Buckets,
    hash: RandomState,
}

impl EmbeddedStore {
    /// See [`crate::store::SessionStore::meter`]. Answers at once.
    pub fn meter(&self, questions: &[(Key, Meter)]) -> Vec<Metered> {
        let Meters { buckets, hash } = &self.0.meters;
        let take = |(key, meter): &(Key, Meter)| buckets.take(hash.hash_one(key), *meter);
        questions.iter().map(take).collect()
    }

    /// See [`crate::store::SessionStore::meters`].
    pub fn meters(&self, questions: &[(Key, Meter)]) -> Vec<Metered> {
        let Meters { buckets, hash } = &self.0.meters;
        let state = |(key, meter): &(Key, Meter)| buckets.state(hash.hash_one(key), *meter);
        questions.iter().map(state).collect()
    }

    /// See [`crate::store::SessionStore::fill`].
    pub fn fill(&self, key: &Key) -> bool {
        let Meters { buckets, hash } = &self.0.meters;
        buckets.fill(hash.hash_one(key))
    }
}
