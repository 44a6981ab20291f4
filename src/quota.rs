//! How many requests may be under way in a process, counted so that workers hardly ever meet over it.
//!
//! One number that every request of every worker changes would be fetched from core to core each time. So a worker
//! takes a batch out of it and gives its requests of that. All together never have more than there is; what a worker
//! has not used yet is out of reach for the others, an eighth of the whole at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// The largest batch: large enough that the shared number is rarely touched.
const MAX_BATCH: u32 = 64;

/// What the workers of a process share.
#[derive(Debug)]
pub struct Quota {
    /// Not taken by any worker. Below zero while it was made smaller than what is under way.
    left: AtomicI64,
    most: AtomicU32,
    workers: u32,
}

/// What one worker has of it.
#[derive(Debug)]
pub struct Share {
    quota: Arc<Quota>,
    /// Taken, and not in use.
    free: AtomicU32,
}

/// One request under way.
#[derive(Debug)]
pub struct Ticket(Arc<Share>);

impl Quota {
    /// For so many requests at a time in so many workers.
    pub fn new(most: u32, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(most.into()),
            most: AtomicU32::new(most),
            workers: u32::try_from(workers).unwrap_or(u32::MAX).max(1),
        })
    }

    /// From now on so many at a time. To be called by one thread at a time.
    pub fn set(&self, most: u32) {
        let before = self.most.swap(most, Ordering::Relaxed);
        let more = i64::from(most) - i64::from(before);
        self.left.fetch_add(more, Ordering::Relaxed);
    }

    /// A worker's share; nothing is taken yet.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share {
            quota: Arc::clone(self),
            free: AtomicU32::new(0),
        })
    }

    /// Two batches of each worker are an eighth of the whole.
    fn batch(&self) -> u32 {
        let most = self.most.load(Ordering::Relaxed);
        let share = most.checked_div(self.workers.saturating_mul(16));
        share.unwrap_or(0).clamp(1, MAX_BATCH)
    }

    /// Takes up to so many; how many there were.
    fn take(&self, wanted: u32) -> u32 {
        let (mut left, mut taken) = (self.left.load(Ordering::Relaxed), 0);
        loop {
            let there = u32::try_from(left.max(0)).unwrap_or(u32::MAX).min(wanted);
            if there == 0 {
                return taken;
            }
            let after = left - i64::from(there);
            match self
                .left
                .compare_exchange_weak(left, after, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    taken += there;
                    return taken;
                }
                Err(now) => left = now,
            }
        }
    }
}

impl Share {
    /// One more request; `None` if there are too many.
    pub fn take(self: &Arc<Self>) -> Option<Ticket> {
        let used = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                free.checked_sub(1)
            });
        if used.is_err() {
            let more = self.quota.take(self.quota.batch()).checked_sub(1)?;
            self.free.fetch_add(more, Ordering::Relaxed);
        }
        Some(Ticket(Arc::clone(self)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let share = &self.0;
        let (free, batch) = (
            share.free.fetch_add(1, Ordering::Relaxed) + 1,
            share.quota.batch(),
        );
        if free > 2 * batch || (batch == 1 && free > 0) {
            let give = share
                .free
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                    free.checked_sub(batch)
                });
            if give.is_ok() {
                share.quota.left.fetch_add(batch.into(), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let free = self.free.load(Ordering::Relaxed);
        self.quota.left.fetch_add(free.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(share: &Arc<Share>) -> Vec<Ticket> {
        std::iter::from_fn(|| share.take()).collect()
    }

    #[test]
    fn all_workers_together_have_no_more_than_there_is_and_nearly_all_of_it() {
        let quota = Quota::new(1000, 4);
        let shares: Vec<_> = (0..4).map(|_| quota.share()).collect();
        // Each has had work before, and kept what it keeps.
        for share in &shares {
            let tickets: Vec<_> = (0..200).filter_map(|_| share.take()).collect();
            assert_eq!(tickets.len(), 200);
        }

        let one = all(&shares[0]);
        let others: usize = shares[1..].iter().map(|share| all(share).len()).sum();

        assert!((875..=1000).contains(&one.len()), "{}", one.len());
        assert!(one.len() + others <= 1000);
    }

    #[test]
    fn a_small_number_is_exact_even_for_workers_that_had_some_before() {
        let quota = Quota::new(2, 2);
        let (one, other) = (quota.share(), quota.share());
        drop(one.take());

        let tickets = all(&other);

        assert_eq!(tickets.len(), 2);
        assert!(one.take().is_none());
        drop(tickets);
        assert_eq!(all(&one).len(), 2);
    }

    #[test]
    fn the_number_can_change_while_requests_are_under_way() {
        let quota = Quota::new(10, 1);
        let share = quota.share();
        let mut tickets = all(&share);
        assert_eq!(tickets.len(), 10);

        quota.set(4);
        tickets.truncate(4);
        assert!(share.take().is_none());
        tickets.truncate(3);
        let one = share.take();
        assert!(one.is_some() && share.take().is_none());

        quota.set(6);
        assert_eq!(all(&share).len(), 2);
    }
}
