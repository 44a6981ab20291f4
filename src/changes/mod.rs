//! What has been heard of changes in the store, and whether that says anything about what was read before.
//!
//! Whoever reads takes a [`Basis`] **before** the question is sent. A change that is heard of after that makes the basis
//! void, whether the answer has arrived meanwhile or not: so it does not matter which of the two overtakes the other on
//! the way, and no list of reads under way is needed.
//!
//! # How it is kept
//! Every key falls on one of many counters, and a change counts it up; a basis remembers what its keys' counters said.
//! Two keys may share a counter: then a change of one costs the other a look-up, and never more than that. What is known
//! of a whole server (its connection broke, it was emptied) is kept per part of the keys that moves as one: all keys for
//! a single server, one of the 16,384 slots in a cluster.

mod watch;

#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;

pub use self::watch::Watch;
use self::watch::Watches;
use crate::safeguard::Safeguard;
use crate::uptime::Uptime;

/// Counters of keys: 256 KiB, which stay in a core's cache. At 1,000 changes a second a session of three records is read
/// again for nothing every 22 seconds; it is read again every few seconds anyway.
const COUNTERS: usize = 1 << 16;

/// As many records may be behind one verdict: four that Sa-Token writes, the user's, and the realm's.
pub const MOST_KEYS: usize = 6;

/// Where no key is; there are fewer parts than this.
const NO_PART: u16 = u16::MAX;

/// What is known of the store's changes; one for all workers.
#[derive(Debug)]
pub struct Changes {
    counters: Box<[AtomicU32]>,
    hash: RandomState,
    parts: Box<[Part]>,
    part_of: fn(&[u8]) -> usize,
    /// Until when the server that is asked is known to be the master.
    proven_until: AtomicU64,
    /// Until when this process may believe its memory without having been heard of; see [`Self::lease`].
    leased_until: AtomicU64,
    /// For so long a server may be asked that is not the master any more; nanoseconds.
    margin: AtomicU64,
    watches: Arc<Watches>,
    tally: Tally,
}

/// Keys that are doubted together.
#[derive(Debug)]
struct Part {
    /// Odd while every change of its keys is heard of; a new number whenever one may have been missed.
    epoch: AtomicU32,
    /// What was read in an earlier epoch is known to be worthless, and not only doubted.
    worthless_before: AtomicU32,
}

/// How often things have happened.
#[derive(Debug, Default)]
pub struct Tally {
    /// Keys that were heard to have changed.
    pub changes: AtomicU64,
    /// Times when everything of a server was doubted.
    pub doubts: AtomicU64,
}

/// What a key's counter and part said at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    counter: u16,
    part: u16,
    count: u32,
    epoch: u32,
}

/// The moment at which some records were asked for: what is read after it counts from here.
#[derive(Debug, Clone, Copy)]
pub struct Basis {
    sent_at: Uptime,
    /// As many as there are keys, and then [`Mark::NONE`].
    marks: [Mark; MOST_KEYS],
}

/// What a basis is worth by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Nothing has changed, and a change would have been heard of.
    Firm,
    /// A change may have been missed: the store has to be asked, and only if it cannot be, the basis may serve on.
    Doubted,
    /// Something has changed, or the server is not known to be the master.
    Void,
}

impl Changes {
    /// For keys that fall into so many parts, each below `parts`. Nothing is heard of before [`Self::hear`] says so.
    pub fn new(parts: usize, part_of: fn(&[u8]) -> usize) -> Self {
        let part = || Part {
            epoch: AtomicU32::new(0),
            worthless_before: AtomicU32::new(0),
        };
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            hash: RandomState::default(),
            parts: (0..parts.max(1)).map(|_| part()).collect(),
            part_of,
            proven_until: AtomicU64::new(Uptime::NEVER.as_nanos()),
            leased_until: AtomicU64::new(Uptime::NEVER.as_nanos()),
            margin: AtomicU64::new(0),
            watches: Arc::default(),
            tally: Tally::default(),
        }
    }

    /// For a store whose keys are doubted together.
    pub fn whole() -> Self {
        Self::new(1, |_| 0)
    }

    /// Into how many parts the keys fall.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// How often things have happened.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// To be called before these keys (at most [`MOST_KEYS`]) are asked for.
    pub fn basis<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Basis {
        let mut basis = Basis {
            sent_at: Uptime::now(),
            marks: [Mark::NONE; MOST_KEYS],
        };
        for key in keys {
            basis.add(self.mark(key));
        }
        basis
    }

    fn mark(&self, key: &[u8]) -> Mark {
        let counter = self.counter_of(key);
        let part = (self.part_of)(key);
        Mark {
            counter,
            count: self.count(counter),
            part: u16::try_from(part).unwrap_or(NO_PART).min(NO_PART - 1),
            epoch: self
                .parts
                .get(part)
                .map_or(0, |part| part.epoch.load(Ordering::Acquire)),
        }
    }

    /// What this basis is worth at `now`.
    #[inline]
    pub fn judge(&self, basis: &Basis, now: Uptime) -> Worth {
        if !self.is_proven(now) || !self.is_leased(now) {
            return Worth::Void;
        }
        let mut worth = Worth::Firm;
        for mark in basis.marks() {
            match self.worth(mark) {
                Worth::Firm => {}
                Worth::Doubted => worth = Worth::Doubted,
                Worth::Void => return Worth::Void,
            }
        }
        worth
    }

    #[inline]
    fn worth(&self, mark: &Mark) -> Worth {
        if self.count(mark.counter) != mark.count {
            return Worth::Void;
        }
        let Some(part) = self.parts.get(usize::from(mark.part)) else {
            return Worth::Void;
        };
        let epoch = part.epoch.load(Ordering::Acquire);
        if (epoch == mark.epoch && epoch % 2 == 1) || !Safeguard::Epoch.holds() {
            return Worth::Firm;
        }
        if mark.epoch < part.worthless_before.load(Ordering::Acquire) {
            return Worth::Void;
        }
        Worth::Doubted
    }

    /// The basis as if the records had been asked for now; what the in-flight marker is there to prevent.
    pub(crate) fn renewed(&self, basis: &Basis) -> Basis {
        let mut renewed = *basis;
        for mark in renewed.marks.iter_mut().take_while(|mark| mark.is_some()) {
            mark.count = self.count(mark.counter);
        }
        renewed
    }

    /// This key has changed.
    pub fn change(&self, key: &[u8]) {
        let counter = self.counter_of(key);
        if let Some(count) = self.counters.get(usize::from(counter)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        self.tally.changes.fetch_add(1, Ordering::Relaxed);
        self.watches.wake(counter);
    }

    /// Every key of these parts may have changed, and what was read before is worth nothing.
    pub fn empty(&self, parts: impl IntoIterator<Item = usize>) {
        for part in self.these(parts) {
            let before = part.epoch.fetch_add(2, Ordering::AcqRel);
            let after = before.wrapping_add(2);
            part.worthless_before.fetch_max(after, Ordering::AcqRel);
        }
        self.watches.wake_all();
    }

    /// From now on every change in these parts is heard of. What was read before is doubted.
    pub fn hear(&self, parts: impl IntoIterator<Item = usize>) {
        for part in self.these(parts) {
            let step = |epoch: u32| Some(epoch + 1 + epoch % 2);
            part.epoch
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
                .ok();
        }
    }

    /// Changes in these parts are not heard of any more, and may have been missed already.
    pub fn lose(&self, parts: impl IntoIterator<Item = usize>) {
        let mut lost = false;
        for part in self.these(parts) {
            let step = |epoch: u32| (epoch % 2 == 1).then(|| epoch + 1);
            let before = part
                .epoch
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
            lost |= before.is_ok();
        }
        if lost {
            self.tally.doubts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether every change in this part is heard of.
    pub fn hears(&self, part: usize) -> bool {
        let part = self.parts.get(part);
        part.is_some_and(|part| part.epoch.load(Ordering::Acquire) % 2 == 1)
    }

    /// Whether every change in every part is heard of.
    pub fn hears_all(&self) -> bool {
        (0..self.parts.len()).all(|part| self.hears(part))
    }

    /// The server that is asked is known to be the master until this moment. Never called where there is only one.
    pub fn prove(&self, until: Uptime) {
        self.proven_until.store(until.as_nanos(), Ordering::Release);
    }

    /// Whether the server that is asked is known to be the master at this moment.
    #[inline]
    pub fn is_proven(&self, now: Uptime) -> bool {
        now.as_nanos() < self.proven_until.load(Ordering::Acquire) || !Safeguard::Fence.holds()
    }

    /// Until this moment, others know of this process and ask it whether it has heard of what they did. Afterwards they
    /// rely on its believing nothing that it remembers. Never called where nobody asks.
    pub fn lease(&self, until: Uptime) {
        self.leased_until.store(until.as_nanos(), Ordering::Release);
    }

    #[inline]
    fn is_leased(&self, now: Uptime) -> bool {
        now.as_nanos() < self.leased_until.load(Ordering::Acquire)
    }

    /// For so long a server may answer although another one is the master by now. What it says is that much older than it
    /// looks. [`Duration::MAX`] while nobody knows: then everything is too old.
    pub fn set_margin(&self, margin: Duration) {
        let nanos = u64::try_from(margin.as_nanos()).unwrap_or(u64::MAX);
        self.margin.store(nanos, Ordering::Release);
    }

    /// What was set, in nanoseconds.
    #[inline]
    pub fn margin(&self) -> u64 {
        self.margin.load(Ordering::Acquire)
    }

    /// Something that is woken by every change of the records of this basis that comes after this call. A change before
    /// it shows when the basis is judged afterwards.
    pub fn watch(&self, basis: &Basis) -> Watch {
        self.watches.add(basis.marks().map(|mark| mark.counter))
    }

    fn counter_of(&self, key: &[u8]) -> u16 {
        let hash = self.hash.hash_one(key) % COUNTERS as u64;
        u16::try_from(hash).expect("there are fewer counters")
    }

    fn count(&self, counter: u16) -> u32 {
        self.counters
            .get(usize::from(counter))
            .map_or(0, |count| count.load(Ordering::Acquire))
    }

    fn these(&self, parts: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &Part> {
        parts.into_iter().filter_map(|part| self.parts.get(part))
    }
}

impl Mark {
    const NONE: Self = Self {
        counter: 0,
        count: 0,
        part: NO_PART,
        epoch: 0,
    };

    fn is_some(&self) -> bool {
        self.part != NO_PART
    }
}

impl Basis {
    /// When the records were asked for.
    pub fn sent_at(&self) -> Uptime {
        self.sent_at
    }

    /// Both of them: a verdict that rests on what was read first and on what was read because of it. Its age counts from
    /// the earlier one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.sent_at = self.sent_at.min(other.sent_at);
        for mark in other.marks() {
            self.add(*mark);
        }
        self
    }

    fn add(&mut self, mark: Mark) {
        let place = self.marks.iter_mut().find(|mark| !mark.is_some());
        *place.expect("at most MOST_KEYS records are behind a verdict") = mark;
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().take_while(|mark| mark.is_some())
    }
}
