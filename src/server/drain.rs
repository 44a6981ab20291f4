//! The word that it is time to come to an end, told to everybody who is asleep.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing has been said.
    Open,
    /// No new requests, politely: HTTP/2 is told so, HTTP/1.1 with its next answer.
    Closing,
    /// Whatever is idle is closed.
    Closed,
}

/// The word for the connections of one listener at one worker. Asking for it while nothing has been said costs one load.
#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: AtomicU8,
    asleep: Mutex<Asleep>,
}

#[derive(Debug, Default)]
struct Asleep {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl Drain {
    /// See [`Stage::Closing`].
    pub(super) fn close(&self) {
        self.tell(Stage::Closing);
    }

    /// See [`Stage::Closed`].
    pub(super) fn finish(&self) {
        self.tell(Stage::Closed);
    }

    fn tell(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::SeqCst);
        for waker in self.asleep.lock().wakers.values() {
            waker.wake_by_ref();
        }
    }

    /// What has been said.
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Open,
            1 => Stage::Closing,
            _ => Stage::Closed,
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
    /// What has been said; the task is woken when more is.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Stage {
        if self.place.is_none() {
            let mut asleep = self.drain.asleep.lock();
            let place = asleep.next;
            asleep.next += 1;
            asleep.wakers.insert(place, cx.waker().clone());
            self.place = Some(place);
        }
        // After the waker is in place: a word said in between is seen either here or by the waker.
        self.drain.stage()
    }

    /// What has been said, without being woken.
    pub(super) fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.drain.asleep.lock().wakers.remove(&place);
        }
    }
}
