//! Deadlines that are set on every request and hardly ever reached, made so that setting one costs next to nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Later than anything that is waited for; what a deadline becomes that a clock cannot express.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The moment `wait` from now.
pub fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_moved_on_fires_at_the_later_deadline_only() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();
        let early = start + Duration::from_secs(1);
        let late = start + Duration::from_secs(5);

        let first = poll_fn(|cx| Poll::Ready(timer.poll(cx, early))).await;
        poll_fn(|cx| timer.poll(cx, late)).await;

        assert!(first.is_pending());
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_moved_forward_fires_at_the_earlier_deadline() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();

        let late = poll_fn(|cx| Poll::Ready(timer.poll(cx, start + FAR))).await;
        poll_fn(|cx| timer.poll(cx, start + Duration::from_secs(1))).await;

        assert!(late.is_pending());
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}
