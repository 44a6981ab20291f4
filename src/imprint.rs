//! Knowing a record again, so that the same one need not be read twice.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::LazyLock;

/// Of the bytes of a record. Two records of the same imprint do not come about: it has 63 bits, and is made with a key that
/// nobody outside this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imprint(NonZeroU64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Imprint {
    /// Of these bytes.
    pub fn of(record: &[u8]) -> Self {
        Self(NonZeroU64::MIN | KEY.hash_one(record))
    }
}
