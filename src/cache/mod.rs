//! Verdicts kept in memory, and when one may be used without asking the store.
//!
//! A verdict is used while all of this holds, and each rule covers what the others cannot see:
//! * *age*: its records were asked for no longer ago than the route allows. Holds whatever else fails.
//! * *changes*: none of its records has been heard to change since before they were asked for.
//! * *epoch*: every change would have been heard of. If not, the store is asked; only if it cannot be, the verdict serves
//!   on until it is too old.
//! * *fence*: the server is known to be the master.
//! * *end*: it has not run out by itself.
//!
//! A verdict in use is asked for again in the background when it has lived half its time, so it never gets too old.

mod counts;
mod flight;
mod front;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache as Map, DefaultLifecycle};

use crate::changes::{Basis, Changes, Worth};
use crate::imprint::Imprint;
use crate::metrics::Timing;
use crate::safeguard::Safeguard;
use crate::uptime::Uptime;

pub use self::counts::{Counts, Total};
pub use self::flight::Reader;

/// The first half of the SHA-256 of what the verdict is about; never a token. Whoever wants to be taken for somebody else
/// has to find a token with the same 128 bits, which is no easier than to guess the token; the other half would only take
/// room.
pub type Digest = [u8; 16];

/// What a verdict is kept under.
pub fn half(sha256: &[u8; 32]) -> Digest {
    let mut half = [0; 16];
    half.copy_from_slice(sha256.split_at(16).0);
    half
}

/// After a refresh that failed the next one waits for so long.
const RETRY: Duration = Duration::from_millis(200);

/// How old a verdict may be, counted from when its records were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxAge(u64);

impl MaxAge {
    /// The store is asked each time.
    pub const STRICT: Self = Self(0);

    /// This old, to the nanosecond.
    pub const fn new(age: Duration) -> Self {
        // More would be 584 years.
        let nanos = age.as_secs().saturating_mul(1_000_000_000);
        Self(nanos.saturating_add(age.subsec_nanos() as u64))
    }

    /// So many nanoseconds less; [`Self::STRICT`] if nothing is left.
    fn less(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// The same as a length of time.
    pub fn get(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Verdicts kept at most.
    pub entries: usize,
    /// Verdicts kept at most that say "there is no such session".
    pub misses: usize,
    /// How long one of those is used.
    pub misses_live: MaxAge,
}

/// The verdicts; one for all workers.
#[derive(Debug)]
pub struct Cache<V> {
    kept: Entries<V>,
    /// Apart, so that guessing tokens drives no session out.
    misses: Entries<V>,
    changes: Arc<Changes>,
    limits: Limits,
    readers: Mutex<Vec<Arc<Counts>>>,
    /// How long the store took to answer.
    store: Timing,
}

type Entries<V> = Map<Digest, Arc<Entry<V>>, UnitWeighter, RandomState>;

/// What is kept.
pub trait Verdict: Clone + PartialEq + Send + Sync + 'static {
    /// Has the processor fetch it from memory, and does not wait for it.
    fn fetch(&self) {}
}

/// A verdict and what it rests on.
#[derive(Debug)]
pub struct Entry<V> {
    verdict: V,
    basis: Basis,
    /// Of what it was read from.
    imprint: Option<Imprint>,
    /// How many milliseconds after its records were asked for it runs out by itself; [`ENDLESS`] if it does not.
    lasts: u32,
    /// When it was last asked for again, see [`moment`]; [`NEVER`], or [`REPLACED`] once there is a later one.
    refreshed_at: AtomicU32,
}

/// More than any verdict is used for.
const ENDLESS: u32 = u32::MAX;

/// No moment: it has not been asked for again.
const NEVER: u32 = 0;
/// No moment: another verdict has come in the place of this one.
const REPLACED: u32 = u32::MAX;

/// The milliseconds of uptime, as far as 32 bits tell them: enough to know two moments apart that are close together.
fn moment(now: Uptime) -> u32 {
    let millis = now.as_nanos() / 1_000_000 % u64::from(u32::MAX);
    u32::try_from(millis)
        .unwrap_or(REPLACED)
        .clamp(NEVER + 1, REPLACED - 1)
}

/// What the store said.
#[derive(Debug)]
pub struct Answer<V> {
    /// The verdict.
    pub verdict: V,
    /// What it rests on.
    pub basis: Basis,
    /// After this long, counted from when its records were asked for, it does not hold any more.
    pub lasts: Option<Duration>,
    /// Of what the verdict was read from, if that alone makes it: for whoever asks again.
    pub imprint: Option<Imprint>,
    /// Whether it says that there is no such session.
    pub is_miss: bool,
}

/// What is known without asking the store.
#[derive(Debug)]
enum Known<V> {
    /// It may be used. If it is due, it should be asked for again meanwhile.
    Good { entry: Arc<Entry<V>>, due: bool },
    /// It may be used if the store cannot be asked.
    Doubted(Arc<Entry<V>>),
    /// Nothing that may be used.
    Nothing,
}

impl<V> Entry<V> {
    /// The verdict.
    pub fn verdict(&self) -> &V {
        &self.verdict
    }

    /// What it rests on.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Of what it was read from; `None` if it has to be read again each time.
    pub fn imprint(&self) -> Option<Imprint> {
        self.imprint
    }

    /// When it runs out by itself.
    #[inline]
    pub fn ends_at(&self) -> Uptime {
        match self.lasts {
            ENDLESS => Uptime::NEVER,
            millis => self
                .basis
                .sent_at()
                .plus(Duration::from_millis(millis.into())),
        }
    }

    /// Whether it is neither too old at `now` nor at its end.
    #[inline]
    fn is_young(&self, now: Uptime, max_age: MaxAge) -> bool {
        let too_old = now.nanos_since(self.basis.sent_at()) > max_age.0 && Safeguard::Age.holds();
        !too_old && now < self.ends_at()
    }

    /// Whether the caller is the one who should ask for it again.
    #[inline]
    fn claim(&self, digest: &Digest, now: Uptime, max_age: MaxAge) -> bool {
        self.is_due(digest, now, max_age) && self.claim_due(now)
    }

    /// Whether it should be asked for again.
    #[inline]
    fn is_due(&self, digest: &Digest, now: Uptime, max_age: MaxAge) -> bool {
        // Verdicts that were made at the same time are not asked for again at the same time: the first at 7/16 of their
        // life, the last at 9/16.
        let [spread, ..] = *digest;
        let due = (max_age.0 / 2048).saturating_mul(896 + u64::from(spread));
        now.nanos_since(self.basis.sent_at()) >= due
    }

    fn is_replaced(&self) -> bool {
        self.refreshed_at.load(Ordering::Acquire) == REPLACED
    }

    fn claim_due(&self, now: Uptime) -> bool {
        let (last, now) = (self.refreshed_at.load(Ordering::Relaxed), moment(now));
        let lately = last != NEVER && u128::from(now.wrapping_sub(last)) < RETRY.as_millis();
        if last == REPLACED || lately {
            return false;
        }
        let mine =
            self.refreshed_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        mine.is_ok()
    }
}

impl<V: Verdict> Cache<V> {
    /// An empty one.
    pub fn new(limits: Limits, changes: Arc<Changes>) -> Self {
        Self {
            kept: entries(limits.entries),
            misses: entries(limits.misses),
            changes,
            limits,
            readers: Mutex::default(),
            store: Timing::default(),
        }
    }

    /// What has been heard of changes.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// How long the store took to answer.
    pub fn store(&self) -> &Timing {
        &self.store
    }

    /// What all readers have counted together.
    pub fn total(&self) -> Total {
        let mut total = Total::default();
        for counts in self.readers.lock().iter() {
            total.add(counts);
        }
        total
    }

    /// How many verdicts are kept, used or not.
    pub fn len(&self) -> usize {
        self.kept.len() + self.misses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this verdict may still be used at `now` without asking the store.
    pub fn is_good(&self, entry: &Entry<V>, now: Uptime, max_age: MaxAge) -> bool {
        entry.is_young(now, max_age) && self.changes.judge(&entry.basis, now) == Worth::Firm
    }

    #[inline]
    fn known(&self, digest: &Digest, now: Uptime, max_age: MaxAge) -> Known<V> {
        let (entry, max_age) = if let Some(entry) = self.kept.get(digest) {
            (entry, max_age)
        } else if let Some(entry) = self.misses.get(digest) {
            (entry, max_age.min(self.limits.misses_live))
        } else {
            return Known::Nothing;
        };
        if !entry.is_young(now, max_age) {
            return Known::Nothing;
        }
        match self.changes.judge(&entry.basis, now) {
            Worth::Firm => Known::Good {
                due: entry.claim(digest, now, max_age),
                entry,
            },
            Worth::Doubted => Known::Doubted(entry),
            Worth::Void => Known::Nothing,
        }
    }

    /// Whether a verdict that was kept, and may have been thrown out since, may be used at `now` and need not be asked for
    /// again.
    #[inline]
    fn is_fresh(
        &self,
        entry: &Entry<V>,
        digest: &Digest,
        (now, max_age): (Uptime, MaxAge),
    ) -> bool {
        !entry.is_replaced()
            && self.is_good(entry, now, max_age)
            && !entry.is_due(digest, now, max_age)
    }

    /// Keeps an answer. Whether something has changed meanwhile shows when it is looked at.
    fn keep(&self, digest: &Digest, answer: Answer<V>) -> Arc<Entry<V>> {
        let known = self.kept.peek(digest);
        for replaced in known.iter().chain(&self.misses.peek(digest)) {
            replaced.refreshed_at.store(REPLACED, Ordering::Release);
        }
        // The same verdict again stays where it is in memory.
        let same = known.filter(|known| known.verdict == answer.verdict);
        let verdict = same.map(|same| same.verdict.clone());
        let is_miss = answer.is_miss;
        let entry = self.entry(answer, verdict);
        let (mine, other) = if is_miss {
            (&self.misses, &self.kept)
        } else {
            (&self.kept, &self.misses)
        };
        other.remove(digest);
        mine.insert(*digest, Arc::clone(&entry));
        entry
    }

    /// Puts an answer in the place of what is kept, if anything is: whoever asks each time has no use for it, and others
    /// must not go on with what it contradicts.
    fn correct(&self, digest: &Digest, answer: Answer<V>) -> Arc<Entry<V>> {
        let is_kept = |entries: &Entries<V>| !entries.is_empty() && entries.contains_key(digest);
        if is_kept(&self.kept) || is_kept(&self.misses) {
            return self.keep(digest, answer);
        }
        self.entry(answer, None)
    }

    /// `verdict`: one that is equal to the answer's and is kept already.
    fn entry(&self, answer: Answer<V>, verdict: Option<V>) -> Arc<Entry<V>> {
        self.store.took(Uptime::now().since(answer.basis.sent_at()));
        let basis = if Safeguard::Marker.holds() {
            answer.basis
        } else {
            self.changes.renewed(&answer.basis)
        };
        let millis = |lasts: Duration| u32::try_from(lasts.as_millis()).unwrap_or(ENDLESS);
        let lasts = answer
            .lasts
            .map_or(ENDLESS, |lasts| millis(lasts).min(ENDLESS - 1));
        Arc::new(Entry {
            verdict: verdict.unwrap_or(answer.verdict),
            basis,
            lasts,
            imprint: answer.imprint,
            refreshed_at: AtomicU32::new(NEVER),
        })
    }
}

fn entries<V>(most: usize) -> Entries<V> {
    let most = most.max(1);
    Map::with(
        most,
        u64::try_from(most).unwrap_or(u64::MAX),
        UnitWeighter,
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}
