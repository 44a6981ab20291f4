//! Buckets in this process. Memory is bounded; when a shard is full, buckets that are full again go first, then any.

use std::time::Instant;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::meter::{Meter, Metered, span, ticks};

/// Buckets in one shard; 16 shards of 65,536 buckets are about 24 MiB when all are full.
const SHARD_CAPACITY: usize = 65_536;
const SHARDS: usize = 16;

/// A bucket that was charged without being asked is at most so many times empty, so that it is of use again one day.
const DEEPEST_DEBT: u64 = 10;

/// Key of a bucket to the tick at which it is full.
type Shard = std::collections::HashMap<u64, u64, RandomState>;

/// Buckets by key, shared by the workers.
#[derive(Debug)]
pub struct Buckets {
    shards: [Mutex<Shard>; SHARDS],
    start: Instant,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            start: Instant::now(),
        }
    }
}

impl Buckets {
    /// Takes one request out of this bucket, if there is one.
    pub fn take(&self, key: u64, meter: Meter) -> Metered {
        self.take_at(self.now(), key, meter)
    }

    /// How long until one request would pass this bucket; nothing is taken.
    pub(super) fn wait(&self, key: u64, meter: Meter) -> std::time::Duration {
        let now = self.now();
        let full_at = self.shard(key).lock().get(&key).copied();
        meter.wait(full_at.unwrap_or(now), now)
    }

    /// How this bucket stands; nothing is taken.
    pub fn state(&self, key: u64, meter: Meter) -> Metered {
        let now = self.now();
        let full_at = self.shard(key).lock().get(&key).copied();
        meter.state(span(full_at.unwrap_or(now).saturating_sub(now)))
    }

    /// Fills this bucket; says whether anything had been taken.
    pub fn fill(&self, key: u64) -> bool {
        let now = self.now();
        let full_at = self.shard(key).lock().remove(&key);
        full_at.is_some_and(|full_at| full_at > now)
    }

    /// Takes one request out of this bucket, whether it is there or not: what is owed is waited for as well.
    pub(super) fn charge(&self, key: u64, meter: Meter) {
        let now = self.now();
        let deepest = now.saturating_add(meter.window().saturating_mul(DEEPEST_DEBT));
        let mut shard = self.shard(key).lock();
        let full_at = shard.get(&key).copied().unwrap_or(now).max(now);
        let after = full_at.saturating_add(meter.interval()).min(deepest);
        keep(&mut shard, now, key, after);
    }

    fn take_at(&self, now: u64, key: u64, meter: Meter) -> Metered {
        let mut shard = self.shard(key).lock();
        let kept = shard.get(&key).copied();
        let (metered, after) = meter.take(kept.unwrap_or(now), now);
        if kept != Some(after) {
            keep(&mut shard, now, key, after);
        }
        metered
    }

    fn now(&self) -> u64 {
        ticks(self.start.elapsed())
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        let index = usize::try_from(key % SHARDS as u64).expect("a remainder of 16 fits");
        self.shards
            .get(index)
            .expect("a remainder of the number of shards")
    }
}

fn keep(shard: &mut Shard, now: u64, key: u64, full_at: u64) {
    make_room(shard, now);
    shard.insert(key, full_at);
}

fn make_room(shard: &mut Shard, now: u64) {
    if shard.len() < SHARD_CAPACITY {
        return;
    }
    shard.retain(|_, full_at| *full_at > now);
    if shard.len() < SHARD_CAPACITY {
        return;
    }
    // All of them are in use: dropping an eighth at once keeps this scan rare.
    let mut left = SHARD_CAPACITY / 8;
    shard.retain(|_, _| {
        let keep = left == 0;
        left = left.saturating_sub(1);
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(rate: &str, burst: u32) -> Meter {
        Meter::new(rate.to_owned().try_into().unwrap(), burst)
    }

    #[test]
    fn buckets_with_other_keys_are_apart() {
        let (buckets, meter) = (Buckets::default(), meter("1/h", 1));

        assert!(buckets.take(1, meter).allowed);
        assert!(!buckets.take(1, meter).allowed);
        assert!(buckets.take(2, meter).allowed);
    }

    #[test]
    fn a_charge_is_waited_for_but_not_for_ever() {
        let (buckets, meter) = (Buckets::default(), meter("1/h", 2));
        assert!(buckets.wait(1, meter).is_zero());

        for _ in 0..3 {
            buckets.charge(1, meter);
        }
        let hours = |wait: std::time::Duration| wait.as_secs_f64() / 3600.0;
        assert!((hours(buckets.wait(1, meter)) - 2.0).abs() < 0.1);
        for _ in 0..1000 {
            buckets.charge(1, meter);
        }

        assert!((hours(buckets.wait(1, meter)) - 19.0).abs() < 0.1);
        assert!(buckets.wait(2, meter).is_zero());
    }

    #[test]
    fn memory_stays_bounded_under_many_subjects() {
        let (buckets, meter) = (Buckets::default(), meter("1/h", 1));

        for key in 0..(SHARD_CAPACITY * SHARDS * 2) as u64 {
            buckets.take_at(0, key, meter);
        }

        let total: usize = buckets.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(total <= SHARD_CAPACITY * SHARDS, "{total} buckets");
    }
}
