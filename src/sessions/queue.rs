//! Operations of one process on one user follow one another, so that their swaps only ever meet those of other gateways.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::store::StoreError;

/// Users whose numbers agree wait for each other; there is nothing wrong with that but the wait.
const QUEUES: u64 = 256;
/// How long an operation waits for those before it. A store that is away fails each of them long before.
const PATIENCE: Duration = Duration::from_secs(10);

/// The queues of a process, shared by all its workers.
#[derive(Debug)]
pub struct Queues {
    queues: Vec<Mutex<()>>,
    hash: RandomState,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            queues: (0..QUEUES).map(|_| Mutex::default()).collect(),
            hash: RandomState::default(),
        }
    }
}

impl Queues {
    /// Waits until it is this one's turn, which lasts for as long as the guard is held.
    pub(super) async fn turn(&self, whose: &str) -> Result<MutexGuard<'_, ()>, StoreError> {
        let number = self.hash.hash_one(whose) % QUEUES;
        let queue = usize::try_from(number)
            .ok()
            .and_then(|n| self.queues.get(n));
        let queue = queue.expect("a remainder of the number of queues");
        timeout(PATIENCE, queue.lock())
            .await
            .map_err(|_| StoreError::Busy)
    }
}
