//! Buckets of shared limits where there is one process only: in its memory, never on disk.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::EmbeddedStore;
use crate::limit::{Buckets, Meter, Metered};

/// The buckets by name.
#[derive(Debug, Default)]
pub(super) struct Meters {
    buckets: Buckets,
    hash: RandomState,
}

impl EmbeddedStore {
    /// See [`crate::store::SessionStore::meter`]. Answers at once.
    pub fn meter(&self, questions: &[(String, Meter)]) -> Vec<Metered> {
        let Meters { buckets, hash } = &self.0.meters;
        let take = |(bucket, meter): &(String, Meter)| buckets.take(hash.hash_one(bucket), *meter);
        questions.iter().map(take).collect()
    }
}
