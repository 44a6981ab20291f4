//! The one thread that writes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::oneshot;

use super::change::{Change, Outcome, Tables};
use super::{ENDS, failed};
use crate::changes::Changes;
use crate::store::{StoreError, now};

/// Changes that may wait. At 20 us each in a full commit they wait for 20 ms.
const WAITING: usize = 1024;
/// Changes in one commit.
const COMMIT: usize = 256;
/// Between two looks for ended sessions.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Ended sessions taken out at once; changes wait meanwhile.
const SWEEP: usize = 512;

struct Write {
    change: Change,
    done: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// The thread, and the way to it. Dropping it waits until what was sent is on disk.
#[derive(Debug)]
pub(super) struct Writer {
    // Taken only by `drop`: the thread ends when nobody can send any more.
    queue: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        database: Arc<Database>,
        changes: Arc<Changes>,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("session-file".to_owned())
            .spawn(move || run(&database, &changes, &waiting))
            .map_err(|error| StoreError::Failed(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Returns when the change is on disk: what it came to.
    pub(super) async fn write(&self, change: Change) -> Result<Outcome, StoreError> {
        let gone = || StoreError::Failed("session file: the writer has ended".to_owned());
        let (done, result) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue
            .try_send(Write { change, done })
            .map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => gone(),
            })?;
        result.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the writer of the session file panicked");
        }
    }
}

fn run(database: &Database, changes: &Changes, waiting: &Receiver<Write>) {
    let mut next_sweep = Instant::now();
    loop {
        match waiting.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
            Ok(first) => commit(database, changes, first, waiting),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if next_sweep <= Instant::now() {
            next_sweep = Instant::now() + SWEEP_EVERY;
            match sweep(database) {
                // There may be more; changes that came in meanwhile go first.
                Ok(SWEEP) => next_sweep = Instant::now(),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "ended sessions could not be taken out of the session file");
                }
            }
        }
    }
}

/// Writes this change and those that wait behind it, then answers all of them.
fn commit(database: &Database, changes: &Changes, first: Write, waiting: &Receiver<Write>) {
    let batch: Vec<Write> = std::iter::once(first)
        .chain(waiting.try_iter().take(COMMIT - 1))
        .collect();
    let applied = apply(database, &batch);
    // Before anybody is told: whoever knows of a change finds nothing older in memory.
    for write in &batch {
        changes.change(write.change.key().as_bytes());
    }
    match applied {
        Ok(outcomes) => {
            for (write, outcome) in batch.into_iter().zip(outcomes) {
                // Whoever asked may have gone away; the change stands all the same.
                drop(write.done.send(Ok(outcome)));
            }
        }
        Err(error) => {
            let text = error.to_string();
            tracing::error!(error = %text, "the session file could not be written");
            for write in batch {
                let failure = StoreError::Failed(format!("session file: {text}"));
                drop(write.done.send(Err(failure)));
            }
        }
    }
}

/// One durable commit; all or nothing.
fn apply(database: &Database, batch: &[Write]) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(batch.len());
    {
        let mut tables = Tables::open(&transaction)?;
        for write in batch {
            outcomes.push(tables.carry_out(&write.change)?);
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Takes out sessions that have ended, at most [`SWEEP`]; says how many.
fn sweep(database: &Database) -> Result<usize, StoreError> {
    let ended = ended(database).map_err(failed)?;
    if !ended.is_empty() {
        forget(database, &ended).map_err(failed)?;
    }
    Ok(ended.len())
}

fn ended(database: &Database) -> Result<Vec<(u64, String)>, redb::Error> {
    let now = now();
    let snapshot = database.begin_read()?;
    let ends = snapshot.open_table(ENDS)?;
    let mut ended = Vec::new();
    for row in ends.iter()?.take(SWEEP) {
        let (key, _) = row?;
        let (end, key) = key.value();
        if end > now {
            break;
        }
        ended.push((end, key.to_owned()));
    }
    Ok(ended)
}

fn forget(database: &Database, ended: &[(u64, String)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        for (end, key) in ended {
            tables.forget(*end, key)?;
        }
    }
    transaction.commit()?;
    Ok(())
}
