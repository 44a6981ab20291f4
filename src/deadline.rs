//! Deadlines that are set on every request and hardly ever reached, made so that setting one costs next to nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Later than anything that is waited for; what a deadline becomes that a clock cannot express.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The moment `wait` from now.
pub fn after(wait: Duration) -> Instant {
    later(Instant::now(), wait)
}

/// The moment `wait` after `start`.
pub fn later(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or_else(|| start + FAR)
}

/// A timer whose deadline moves with every request while its entry in the runtime's timer wheel stays where it is.
///
/// Arming and disarming a tokio timer takes the wheel's lock each time. This one is armed once, fires too early, finds
/// that the deadline has moved on, and arms itself again: once per deadline's length instead of twice per request.
#[derive(Debug, Default)]
pub struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Ready once `deadline` has passed. It may be another one at every call.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// Sees to it that the task is woken once within `wait`, if nothing else does. Costs no look at the clock but then.
    pub fn wake_within(&mut self, cx: &mut Context<'_>, wait: Duration) {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        while sleep.as_mut().poll(cx).is_ready() {
            sleep.as_mut().reset(after(wait));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_timer_that_was_moved_on_does_not_fire_at_the_earlier_deadline() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();

        let early = poll_fn(|cx| Poll::Ready(timer.poll(cx, start + SHORT))).await;
        poll_fn(|cx| timer.poll(cx, start + 4 * SHORT)).await;

        assert!(early.is_pending());
        assert!(start.elapsed() >= 4 * SHORT);
    }

    #[tokio::test]
    async fn a_timer_that_was_moved_forward_fires_at_the_earlier_deadline() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();

        let late = poll_fn(|cx| Poll::Ready(timer.poll(cx, start + FAR))).await;
        let fired = tokio::time::timeout(
            Duration::from_secs(5),
            poll_fn(|cx| timer.poll(cx, start + SHORT)),
        );

        assert!(late.is_pending());
        assert!(fired.await.is_ok());
    }

    #[tokio::test]
    async fn a_wait_that_no_clock_can_express_is_a_long_one() {
        assert!(after(Duration::MAX) > Instant::now() + Duration::from_secs(3600));
    }
}
