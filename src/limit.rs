//! How much one client or one user may ask for, counted in this process.
//!
//! A bucket is one number: the time at which it will be full again (GCRA, the generic cell rate algorithm). Memory is
//! bounded; when a shard is full, buckets that are full again go first, then any.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::config::value::Rate;

/// Buckets in one shard; 16 shards of 65,536 buckets are about 24 MiB when all are full.
const SHARD_CAPACITY: usize = 65_536;
const SHARDS: usize = 16;

type Shard = std::collections::HashMap<u64, Instant, RandomState>;

/// Too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more requests than the route allows")]
pub struct TooMany {
    /// When the next one would pass.
    pub retry_after: Duration,
}

/// The state of all buckets, shared by the workers.
#[derive(Debug)]
pub struct Limits {
    shards: [Mutex<Shard>; SHARDS],
    hash: RandomState,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hash: RandomState::default(),
        }
    }
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, Hash)]
pub enum Subject<'a> {
    /// A client address. Of IPv6 the first 64 bits count: the rest is one customer's to choose.
    Client(IpAddr),
    /// A user id.
    User(&'a str),
}

impl Limits {
    /// Takes one request out of the subject's bucket at the route with this number.
    ///
    /// # Errors
    /// [`TooMany`] if the bucket is empty; nothing is taken then.
    pub fn take(&self, rate: Rate, route: usize, subject: Subject<'_>) -> Result<(), TooMany> {
        self.take_at(Instant::now(), rate, route, subject)
    }

    fn take_at(
        &self,
        now: Instant,
        rate: Rate,
        route: usize,
        subject: Subject<'_>,
    ) -> Result<(), TooMany> {
        let subject = match subject {
            Subject::Client(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                Subject::Client(IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into()))
            }
            Subject::Client(_) | Subject::User(_) => subject,
        };
        let key = self.hash.hash_one((route, subject));
        let cost = rate.per / rate.count.get();
        let index = usize::try_from(key % SHARDS as u64).expect("a remainder of 16 fits");
        let mut shard = self
            .shards
            .get(index)
            .expect("a remainder of the number of shards")
            .lock();
        let full_at = shard.get(&key).copied().unwrap_or(now).max(now) + cost;
        let ahead = full_at - now;
        if ahead > rate.per {
            return Err(TooMany {
                retry_after: ahead - rate.per,
            });
        }
        make_room(&mut shard, now);
        shard.insert(key, full_at);
        Ok(())
    }
}

fn make_room(shard: &mut Shard, now: Instant) {
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

    fn rate(text: &str) -> Rate {
        Rate::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_burst_passes_then_one_more_each_interval() {
        let (limits, start, user) = (Limits::default(), Instant::now(), Subject::User("alice"));
        let take =
            |millis| limits.take_at(start + Duration::from_millis(millis), rate("10/s"), 0, user);

        for _ in 0..10 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(
            take(0),
            Err(TooMany {
                retry_after: Duration::from_millis(100)
            })
        );
        assert_eq!(take(100), Ok(()));
        assert!(take(100).is_err());
        assert_eq!(take(1100), Ok(()));
    }

    #[test]
    fn buckets_of_other_subjects_and_other_routes_are_apart() {
        let (limits, now) = (Limits::default(), Instant::now());
        let take = |route, subject| limits.take_at(now, rate("1/s"), route, subject).is_ok();

        assert!(take(0, Subject::User("alice")));
        assert!(!take(0, Subject::User("alice")));
        assert!(take(1, Subject::User("alice")));
        assert!(take(0, Subject::User("bob")));
        assert!(take(0, Subject::Client("2001:db8::1".parse().unwrap())));
        assert!(
            !take(0, Subject::Client("2001:db8::2".parse().unwrap())),
            "same /64"
        );
        assert!(take(0, Subject::Client("2001:db8:0:1::2".parse().unwrap())));
    }

    #[test]
    fn memory_stays_bounded_under_many_subjects() {
        let (limits, now) = (Limits::default(), Instant::now());

        for n in 0..(SHARD_CAPACITY * SHARDS * 2) as u32 {
            limits
                .take_at(now, rate("1/h"), 0, Subject::Client(IpAddr::V4(n.into())))
                .unwrap();
        }

        let total: usize = limits.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(total <= SHARD_CAPACITY * SHARDS, "{total} buckets");
    }
}
