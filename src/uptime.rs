//! The clock that ages are measured with: since boot, and it runs on while the machine sleeps.
//!
//! [`std::time::Instant`] stands still during a suspend, so what was read before it would look fresh afterwards; and the
//! time of day jumps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, in nanoseconds since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// Before every other moment.
    pub const START: Self = Self(0);
    /// After every other moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // Neither is negative on a clock that starts at zero.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
    }

    /// So much later; [`Self::NEVER`] if the clock will not get there.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, for where no time is to be lost.
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As a number, for an atomic.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment behind such a number.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_forward_and_ends_at_the_ends() {
        let first = Uptime::now();
        let second = Uptime::now();

        assert!(Uptime::START < first && first <= second && second < Uptime::NEVER);
        assert_eq!(
            first.plus(Duration::from_secs(2)).since(first),
            Duration::from_secs(2)
        );
        assert_eq!(
            first.since(second.plus(Duration::from_secs(1))),
            Duration::ZERO
        );
        assert_eq!(second.plus(Duration::MAX), Uptime::NEVER);
        assert_eq!(Uptime::from_nanos(second.as_nanos()), second);
    }
}
