//! How many requests may be sent again. When an upstream is down, retries without a bound would make it twice the load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::config::RetryBudget;

/// What one retry costs; a request earns its percentage of it.
const PRICE: u32 = 100;
/// Retries that can be saved up.
const SAVINGS: u32 = 100 * PRICE;

/// The retries of one upstream that one worker may make. Only that worker counts, so reading and writing need not be one.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u32,
    per_second: u32,
    saved: AtomicU32,
    born: Instant,
    /// The second that is counted in, and what was spent in it beyond the savings.
    second: AtomicU64,
    spent: AtomicU32,
}

impl Budget {
    pub(super) fn new(config: RetryBudget) -> Self {
        Self {
            percent: config.percent.into(),
            per_second: config.min_per_second.into(),
            saved: AtomicU32::new(0),
            born: Instant::now(),
            second: AtomicU64::new(0),
            spent: AtomicU32::new(0),
        }
    }

    /// A request came.
    pub(super) fn earn(&self) {
        let saved = self.saved.load(Ordering::Relaxed);
        if saved < SAVINGS {
            self.saved.store(saved + self.percent, Ordering::Relaxed);
        }
    }

    /// Whether one may be sent again; it is paid for then.
    pub(super) fn pay(&self, now: Instant) -> bool {
        let saved = self.saved.load(Ordering::Relaxed);
        if let Some(rest) = saved.checked_sub(PRICE) {
            self.saved.store(rest, Ordering::Relaxed);
            return true;
        }
        let second = now.duration_since(self.born).as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.spent.store(0, Ordering::Relaxed);
        }
        self.spent.fetch_add(1, Ordering::Relaxed) < self.per_second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(percent: u8, min_per_second: u16) -> Budget {
        Budget::new(RetryBudget {
            percent,
            min_per_second,
        })
    }

    fn paid(budget: &Budget, now: Instant) -> usize {
        (0..1000).filter(|_| budget.pay(now)).count()
    }

    #[tokio::test]
    async fn retries_are_a_share_of_the_requests_and_a_few_each_second() {
        let budget = budget(20, 3);
        let now = budget.born;

        (0..50).for_each(|_| budget.earn());

        assert_eq!(paid(&budget, now), 10 + 3);
        assert_eq!(paid(&budget, now), 0);
        assert_eq!(paid(&budget, now + Duration::from_secs(1)), 3);
    }

    #[tokio::test]
    async fn no_more_is_saved_up_than_a_short_outage_takes() {
        let budget = budget(100, 0);

        (0..100_000).for_each(|_| budget.earn());

        assert_eq!(paid(&budget, budget.born), 100);
    }

    #[tokio::test]
    async fn nothing_is_a_budget_too() {
        let budget = budget(0, 0);

        budget.earn();

        assert!(!budget.pay(budget.born));
    }
}
