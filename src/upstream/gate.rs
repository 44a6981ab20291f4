//! How many requests one worker has under way at one endpoint, and who waits until there are fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::UpstreamError;
use crate::config;

/// The bound of one endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None`: there is no bound.
    slots: Option<Arc<Semaphore>>,
    waiting: AtomicU32,
    max_waiting: u32,
    patience: Duration,
}

/// Leave to have one request under way, until it is dropped.
pub(super) type Leave = Option<OwnedSemaphorePermit>;

impl Gate {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let slots = config.max_connections.map(|max| {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))
        });
        Self {
            slots,
            waiting: AtomicU32::new(0),
            max_waiting: config.max_pending,
            patience: config.queue_timeout.get(),
        }
    }

    /// Whether a request would have to wait.
    pub(super) fn is_full(&self) -> bool {
        let slots = self.slots.as_ref();
        slots.is_some_and(|slots| slots.available_permits() == 0)
    }

    /// Whether requests may have to wait at all.
    pub(super) fn is_bounded(&self) -> bool {
        self.slots.is_some()
    }

    /// Lets a request in, first come, first served.
    ///
    /// # Errors
    /// [`UpstreamError::Busy`]: too many wait already, or it has waited for too long.
    pub(super) async fn enter(&self) -> Result<Leave, UpstreamError> {
        let Some(slots) = &self.slots else {
            return Ok(None);
        };
        if let Ok(leave) = Arc::clone(slots).try_acquire_owned() {
            return Ok(Some(leave));
        }
        let _waiting = Waiting::new(self).ok_or(UpstreamError::Busy)?;
        match timeout(self.patience, Arc::clone(slots).acquire_owned()).await {
            Ok(Ok(leave)) => Ok(Some(leave)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy),
        }
    }
}

/// One that waits.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    /// `None` if there are too many already.
    fn new(gate: &'a Gate) -> Option<Self> {
        let waiting = Self(gate);
        let before = gate.waiting.fetch_add(1, Ordering::Relaxed);
        (before < gate.max_waiting).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rest: &str) -> Gate {
        Gate::new(&toml::from_str(&format!("endpoints = []\n{rest}")).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_it_full_waits_for_a_while_and_no_more_than_may_wait() {
        let gate = gate("max_connections = 1\nmax_pending = 1\nqueue_timeout = '1s'");
        let first = gate.enter().await.unwrap();
        assert!(gate.is_full());

        let mut second = std::pin::pin!(gate.enter());
        assert!(timeout(Duration::ZERO, second.as_mut()).await.is_err());
        let third = timeout(Duration::ZERO, gate.enter()).await;
        assert!(
            matches!(third, Ok(Err(UpstreamError::Busy))),
            "one too many waits"
        );
        drop(first);
        let second = second.await.unwrap();
        assert!(
            matches!(gate.enter().await, Err(UpstreamError::Busy)),
            "too long"
        );
        drop(second);

        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn without_a_bound_it_is_never_full() {
        let gate = gate("max_pending = 0");

        let inside: Vec<_> = vec![gate.enter().await, gate.enter().await];

        assert!(inside.iter().all(Result::is_ok) && !gate.is_full());
    }
}
