//! The memory of sessions, as the metrics show it.

use std::sync::Arc;

use crate::metrics::{self, Metrics, Remembered, Timing};
use crate::sessions::Memory;
use crate::store::StoreSource;
use crate::tombstone::Tombstones;

/// What is looked at.
#[derive(Debug)]
struct View {
    memory: Arc<Memory>,
    tombstones: Option<Arc<Tombstones>>,
}

/// Has the metrics show this memory.
pub(super) fn show(metrics: &Metrics, memory: Option<&Arc<Memory>>, source: &StoreSource) {
    let Some(memory) = memory else {
        return;
    };
    let view = Box::new(View {
        memory: Arc::clone(memory),
        tombstones: source.tombstones().cloned(),
    });
    metrics.process.memory.set(view).ok();
}

impl metrics::Memory for View {
    fn remembered(&self) -> Remembered {
        use std::sync::atomic::Ordering::Relaxed;
        let total = self.memory.total();
        let tally = self.memory.changes().tally();
        Remembered {
            hits: total.hits,
            misses: total.misses,
            strict: total.strict,
            doubted: total.doubted,
            refreshes: total.refreshes,
            changes: tally.changes.load(Relaxed),
            doubts: tally.doubts.load(Relaxed),
            entries: u64::try_from(self.memory.len()).unwrap_or(u64::MAX),
        }
    }

    fn store(&self) -> &Timing {
        self.memory.store()
    }

    fn revocation(&self) -> Option<&Timing> {
        self.tombstones.as_ref().map(|tombstones| tombstones.ages())
    }
}
