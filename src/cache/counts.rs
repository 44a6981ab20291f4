//! How often what happened.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one reader has counted. Each worker has its own, so that counting costs no fight over a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    /// Answered from memory.
    pub(super) hits: AtomicU64,
    /// The store was asked while the request waited.
    pub(super) misses: AtomicU64,
    /// The store was asked because the route wants no memory.
    pub(super) strict: AtomicU64,
    /// The store was asked in the background.
    pub(super) refreshes: AtomicU64,
    /// The store could not be asked, and a verdict that was doubted, but young enough, served.
    pub(super) doubted: AtomicU64,
}

/// The sum over all readers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Answered from memory.
    pub hits: u64,
    /// The store was asked while the request waited.
    pub misses: u64,
    /// The store was asked because the route wants no memory.
    pub strict: u64,
    /// The store was asked in the background.
    pub refreshes: u64,
    /// The store could not be asked, and a verdict that was doubted, but young enough, served.
    pub doubted: u64,
}

impl Total {
    pub(super) fn add(&mut self, counts: &Counts) {
        self.hits += counts.hits.load(Ordering::Relaxed);
        self.misses += counts.misses.load(Ordering::Relaxed);
        self.strict += counts.strict.load(Ordering::Relaxed);
        self.refreshes += counts.refreshes.load(Ordering::Relaxed);
        self.doubted += counts.doubted.load(Ordering::Relaxed);
    }
}

/// One more. The counter belongs to one thread, so no other can come between reading and writing it.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
