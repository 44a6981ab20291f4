//! How long a connection is used: load balancers and new addresses are only noticed by clients that connect anew.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::deadline;

/// How much of its age is left to chance, so that connections that began together do not end together: a fifth, around
/// the middle.
const SPREAD: u32 = 5;

/// What all connections are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Requests.
    requests: u64,
    age: Duration,
}

impl Span {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: limits.max_requests_per_connection.into(),
            age: limits.max_connection_age.get(),
        }
    }

    /// When a connection is old that begins now.
    pub(super) fn end(&self) -> Instant {
        deadline::after(spread(self.age, RandomState::new().hash_one(0)))
    }

    /// Whether a connection that has brought so many requests may bring no more.
    pub(super) fn is_spent(&self, requests: u64) -> bool {
        requests >= self.requests
    }
}

/// From nine tenths of it to eleven, by chance.
fn spread(age: Duration, chance: u64) -> Duration {
    let part = u32::try_from(chance % 1000).unwrap_or(0);
    let width = age / SPREAD;
    (age - width / 2).saturating_add(width / 1000 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_spread_over_a_tenth_to_both_sides() {
        let hour = Duration::from_secs(3600);

        let ages: Vec<_> = (0..1000).map(|chance| spread(hour, chance)).collect();

        assert_eq!(ages[0], hour * 9 / 10);
        assert!(ages[999] > hour * 109 / 100 && ages[999] <= hour * 11 / 10);
        let different = (0..10).map(|_| RandomState::new().hash_one(0));
        assert!(different.collect::<std::collections::HashSet<_>>().len() > 1);
        spread(Duration::MAX, 999);
    }
}
