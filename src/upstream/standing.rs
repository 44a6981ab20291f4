//! How one endpoint stands, in the eyes of all workers: whether it fails, and whether it says that it is well.
//!
//! A request only reads; what is written is written when something fails, or works again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How one endpoint stands.
#[derive(Debug)]
pub(super) struct Standing {
    born: Instant,
    /// Failures in a row.
    failures: AtomicU32,
    /// How often it was left out without an answer in between.
    stints: AtomicU32,
    /// Since when it is left out, and until when, in microseconds from `born`; 0 if it is not.
    since: AtomicU64,
    until: AtomicU64,
    /// Whether the health check has given it up.
    unwell: AtomicBool,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            failures: AtomicU32::new(0),
            stints: AtomicU32::new(0),
            since: AtomicU64::new(0),
            until: AtomicU64::new(0),
            unwell: AtomicBool::new(false),
        }
    }

    /// Whether requests should go there.
    pub(super) fn is_fit(&self, now: Instant) -> bool {
        !self.unwell.load(Ordering::Relaxed) && !self.is_out(now)
    }

    /// Whether it is left out because it has failed.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.micros(now) < until
    }

    /// A request that was begun at this moment was answered.
    pub(super) fn answered(&self, began: Instant) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.stints.store(0, Ordering::Relaxed);
        }
        // Whoever was sent there although it is left out has found that it works again. Answers to what was asked before
        // tell nothing about now.
        let out = self.until.load(Ordering::Relaxed) != 0;
        if out && self.micros(began) > self.since.load(Ordering::Relaxed) {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// One more failure; how many there were in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    /// Leaves it out for as long as `time` says for the n-th time in a row. Afterwards one failure is enough.
    pub(super) fn leave_out(&self, now: Instant, after: u32, time: impl Fn(u32) -> Duration) {
        let stint = self.stints.fetch_add(1, Ordering::Relaxed);
        let since = self.micros(now).max(1);
        self.failures
            .store(after.saturating_sub(1).max(1), Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        let until = since.saturating_add(micros(time(stint)));
        self.until.store(until, Ordering::Relaxed);
    }

    /// What the health check thinks of it; whether that is news.
    pub(super) fn found(&self, well: bool) -> bool {
        self.unwell.swap(!well, Ordering::Relaxed) == well
    }

    fn micros(&self, now: Instant) -> u64 {
        micros(now.duration_since(self.born))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn double(stint: u32) -> Duration {
        SECOND * (1 << stint)
    }

    #[tokio::test]
    async fn it_is_left_out_for_a_while_and_longer_if_it_fails_again_at_once() {
        let standing = Standing::new();
        let now = standing.born + SECOND;

        standing.leave_out(now, 5, double);
        assert!(standing.is_out(now) && !standing.is_fit(now));
        assert!(!standing.is_out(now + SECOND));
        assert_eq!(standing.failed(), 5, "one failure is enough by now");

        standing.leave_out(now + SECOND, 5, double);
        assert!(standing.is_out(now + 2 * SECOND) && !standing.is_out(now + 3 * SECOND));

        standing.answered(now + 3 * SECOND);
        assert_eq!(standing.failed(), 1);
        standing.leave_out(now + 4 * SECOND, 5, double);
        assert!(!standing.is_out(now + 5 * SECOND), "it begins anew");
    }

    #[tokio::test]
    async fn an_answer_puts_it_back_unless_it_was_asked_before_it_was_left_out() {
        let standing = Standing::new();
        let now = standing.born + SECOND;
        standing.leave_out(now, 1, |_| SECOND * 60);

        standing.answered(now - SECOND / 2);
        assert!(standing.is_out(now + SECOND));

        standing.answered(now + SECOND / 2);
        assert!(!standing.is_out(now + SECOND));
    }

    #[tokio::test]
    async fn what_is_not_well_is_not_fit_and_news_is_told_once() {
        let standing = Standing::new();
        let now = standing.born;

        assert!(!standing.found(true));
        assert!(standing.found(false) && !standing.found(false));
        assert!(!standing.is_fit(now) && !standing.is_out(now));
        assert!(standing.found(true) && standing.is_fit(now));
    }
}
