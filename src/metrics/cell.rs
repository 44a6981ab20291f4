//! What is counted in: numbers that one thread writes and another one reads once in a while.
//!
//! Each worker has cells of its own, so a write never waits for another core's cache.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// From now on this.
    pub fn set(&self, level: i64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by reason code. Codes are part of the program's text, so there are only so many.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    /// One more for this reason.
    pub fn one(&self, reason: &'static str) {
        *self.0.lock().entry(reason).or_default() += 1;
    }

    /// Adds what is counted here to `sums`.
    pub(super) fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for (reason, count) in self.0.lock().iter() {
            *sums.entry(reason).or_default() += count;
        }
    }
}

/// Upper bounds of the buckets in nanoseconds; there is one more bucket for all that is longer. The lowest tell a cache from
/// a store nearby, the highest a slow upstream from one that hangs.
const BOUNDS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

const NANOS: f64 = 1e9;

/// How long things took: a histogram from 0.1 ms to 10 s.
#[derive(Debug, Default)]
pub struct Timing {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Timing {
    /// One more that took this long.
    pub fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.iter().take_while(|bound| nanos > **bound).count();
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// The sum of several [`Timing`]s.
#[derive(Debug, Default)]
pub(super) struct Timings {
    buckets: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl Timings {
    pub(super) fn add(&mut self, timing: &Timing) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&timing.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.nanos = self
            .nanos
            .wrapping_add(timing.nanos.load(Ordering::Relaxed));
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Seconds of all of them together.
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody asks for the nanoseconds of a month"
    )]
    pub(super) fn seconds(&self) -> f64 {
        self.nanos as f64 / NANOS
    }

    /// Upper bound in seconds and count of each bucket.
    #[expect(clippy::cast_precision_loss, reason = "the bounds are small")]
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / NANOS);
        bounds.chain([f64::INFINITY]).zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_is_not_too_small_for_it() {
        let timing = Timing::default();
        for nanos in [0, 100_000, 100_001, 10_000_000_000, 10_000_000_001] {
            timing.took(Duration::from_nanos(nanos));
        }
        let mut sum = Timings::default();
        sum.add(&timing);
        sum.add(&timing);

        let filled: Vec<_> = sum
            .buckets()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [(0.0001, 4), (0.00025, 2), (10.0, 2), (f64::INFINITY, 2)]
        );
        assert_eq!(sum.count(), 10);
        assert!((sum.seconds() - 40.000_400_004).abs() < 1e-9);
    }
}
