//! How many client connections are open: each holds a slot, and takes it along when it becomes a tunnel.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::crowd::{Guest, Room};
use crate::metrics;

/// The slots of one worker. There is no end of them: whoever gives them out looks how many are taken.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
    cells: Arc<metrics::Worker>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Woken when one is given back.
    waiting: Option<Waker>,
}

/// One slot, taken until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Slot {
    _taken: Arc<Taken>,
    _guest: Option<Arc<Guest>>,
}

#[derive(Debug)]
struct Taken {
    slots: Arc<Slots>,
    _room: Room,
}

impl Slot {
    /// The same, which is one of this client's as well.
    #[must_use]
    pub fn of(self, guest: Guest) -> Self {
        Self {
            _guest: Some(Arc::new(guest)),
            ..self
        }
    }
}

impl Slots {
    /// None is taken yet; the number is told to `cells`.
    pub fn new(cells: Arc<metrics::Worker>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            cells,
        })
    }

    /// Takes one, for a connection that there is room for.
    pub fn take(self: &Arc<Self>, room: Room) -> Slot {
        self.state.lock().taken += 1;
        self.cells.clients.open.up();
        Slot {
            _taken: Arc::new(Taken {
                slots: Arc::clone(self),
                _room: room,
            }),
            _guest: None,
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.state.lock().taken
    }

    /// Ready once no more than so many are taken. One task may wait at a time.
    pub fn poll_taken(&self, cx: &Context<'_>, most: usize) -> Poll<()> {
        let mut state = self.state.lock();
        if state.taken <= most {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.slots.cells.clients.open.down();
        let mut state = self.slots.state.lock();
        state.taken -= 1;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::crowd::Crowd;

    #[tokio::test]
    async fn a_slot_is_free_again_when_its_last_clone_is_gone() {
        let slots = Slots::new(Arc::default());
        let first = slots.take(Arc::new(Crowd::default()).room());
        let tunnel = first.clone();
        drop(first);
        assert_eq!(slots.taken(), 1);

        let waiting = {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { poll_fn(|cx| slots.poll_taken(cx, 0)).await })
        };
        tokio::task::yield_now().await;
        drop(tunnel);

        waiting.await.unwrap();
        assert_eq!(slots.taken(), 0);
    }
}
