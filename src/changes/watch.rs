//! Who wants to be woken when a record changes: whoever keeps a connection open on the strength of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Everybody who waits, by the counters they wait for.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_counter: Mutex<HashMap<u16, Vec<Arc<Notify>>>>,
    /// How many there are, so that a change costs nothing where nobody waits.
    waiting: AtomicUsize,
}

/// One who waits. A change between two calls of [`Self::changed`] is not missed.
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    counters: Vec<u16>,
    bell: Arc<Notify>,
}

impl Watches {
    pub(super) fn add(self: &Arc<Self>, counters: impl Iterator<Item = u16>) -> Watch {
        let watch = Watch {
            watches: Arc::clone(self),
            counters: counters.collect(),
            bell: Arc::default(),
        };
        let mut all = self.by_counter.lock();
        for counter in &watch.counters {
            all.entry(*counter)
                .or_default()
                .push(Arc::clone(&watch.bell));
        }
        // Before the lock is let go: whoever changes something from now on sees it.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(all);
        watch
    }

    pub(super) fn wake(&self, counter: u16) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        for bell in self.by_counter.lock().get(&counter).into_iter().flatten() {
            bell.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_counter.lock().is_empty() && self.waiting.load(Ordering::SeqCst) == 0
    }

    pub(super) fn wake_all(&self) {
        for bell in self.by_counter.lock().values().flatten() {
            bell.notify_one();
        }
    }
}

impl Watch {
    /// Waits until one of the records may have changed.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut all = self.watches.by_counter.lock();
        for counter in &self.counters {
            if let Some(bells) = all.get_mut(counter) {
                bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if bells.is_empty() {
                    all.remove(counter);
                }
            }
        }
        self.watches.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
