//! The word that it is time to stop, told to everybody who is asleep.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// One worker's word to stop. Asking for it while nothing has been said costs one load.
#[derive(Debug, Default)]
pub(super) struct Drain {
    closing: AtomicBool,
    asleep: Mutex<Asleep>,
}

#[derive(Debug, Default)]
struct Asleep {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl Drain {
    /// Tells everybody, now and from now on.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for (_, waker) in self.asleep.lock().wakers.drain() {
            waker.wake();
        }
    }

    /// For one task that wants to be told.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        Watch {
            drain: Arc::clone(self),
            place: None,
        }
    }
}

/// One task's ear. It must be asked by one task only: a task keeps its waker for life, so it is taken down once.
#[derive(Debug)]
pub(super) struct Watch {
    drain: Arc<Drain>,
    place: Option<u64>,
}

impl Watch {
    /// Whether it is time to stop; if not, the task is woken when it is.
    pub(super) fn is_closing(&mut self, cx: &Context<'_>) -> bool {
        if self.place.is_none() {
            let mut asleep = self.drain.asleep.lock();
            let place = asleep.next;
            asleep.next += 1;
            asleep.wakers.insert(place, cx.waker().clone());
            self.place = Some(place);
        }
        // After the waker is in place: a word said in between is seen either here or by the waker.
        self.drain.closing.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.drain.asleep.lock().wakers.remove(&place);
        }
    }
}
