//! How many clients are connected to this process, and how many connections each of them has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// All client connections of a process, whichever worker serves them.
#[derive(Debug, Default)]
pub struct Crowd {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// Connections of each client that has one.
    of: HashMap<IpAddr, u32>,
    /// Workers that wait for room.
    waiting: Vec<Waker>,
}

/// Room for one connection, taken until it is dropped.
#[derive(Debug)]
pub struct Room(Arc<Crowd>);

/// One connection of a client, counted until it is dropped.
#[derive(Debug)]
pub struct Guest {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// Room for one connection, once there are fewer than `most`.
    pub fn poll_room(self: &Arc<Self>, cx: &Context<'_>, most: usize) -> Poll<Room> {
        let mut state = self.state.lock();
        if state.inside < most {
            state.inside += 1;
            return Poll::Ready(Room(Arc::clone(self)));
        }
        if !state
            .waiting
            .iter()
            .any(|known| known.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Room for one connection that is there already, however many there are.
    pub fn room(self: &Arc<Self>) -> Room {
        self.state.lock().inside += 1;
        Room(Arc::clone(self))
    }

    /// Counts one more connection of this client; `None` if it has `most` already.
    pub fn enter(self: &Arc<Self>, client: IpAddr, most: u32) -> Option<Guest> {
        let mut state = self.state.lock();
        let count = state.of.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest {
            crowd: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.inside -= 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.crowd.state.lock();
        if let Some(count) = state.of.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                state.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn there_is_room_again_when_one_has_left() {
        let crowd = Arc::new(Crowd::default());
        let first = poll_fn(|cx| crowd.poll_room(cx, 1)).await;
        let waiting = {
            let crowd = Arc::clone(&crowd);
            tokio::spawn(async move { poll_fn(|cx| crowd.poll_room(cx, 1)).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        drop(first);

        drop(waiting.await.unwrap());
        assert_eq!(crowd.state.lock().inside, 0);
    }

    #[test]
    fn each_client_has_its_own_count_and_nobody_is_remembered_who_has_left() {
        let crowd = Arc::new(Crowd::default());
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());

        let guests = [crowd.enter(one, 2), crowd.enter(one, 2)];

        assert!(guests.iter().all(Option::is_some));
        assert!(crowd.enter(one, 2).is_none());
        assert!(crowd.enter(other, 2).is_some());
        drop(guests);
        assert!(crowd.state.lock().of.is_empty());
        assert!(crowd.enter(one, 0).is_none());
    }
}
