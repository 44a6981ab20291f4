//! What all workers have counted together.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::cell::{Count, Level, Reasons, Timing, Timings};
use crate::metrics::{Metrics, Route, Upstream, Worker};

/// What requests that no route was found for stand under; a name in a configuration is never empty.
const UNROUTED: &str = "";

/// One histogram that belongs to no worker.
pub(super) fn timing(one: Option<&Timing>) -> Timings {
    let mut sum = Timings::default();
    if let Some(one) = one {
        sum.add(one);
    }
    sum
}

/// One route.
#[derive(Debug, Default)]
pub(super) struct RouteSum {
    pub(super) forwarded: u64,
    /// By outcome and reason.
    pub(super) refused: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) time: Timings,
}

impl RouteSum {
    fn add(&mut self, route: &Route) {
        self.forwarded += route.forwarded.get();
        self.time.add(&route.time);
        let refused = &route.refused;
        for (outcome, reasons) in [
            ("unauthenticated", &refused.unauthenticated),
            ("forbidden", &refused.forbidden),
            ("unavailable", &refused.unavailable),
            ("rejected", &refused.rejected),
            ("failed", &refused.failed),
        ] {
            let mut counts = BTreeMap::new();
            reasons.add_to(&mut counts);
            for (reason, count) in counts {
                *self.refused.entry((outcome, reason)).or_default() += count;
            }
        }
    }
}

/// One upstream.
#[derive(Debug, Default)]
pub(super) struct UpstreamSum {
    pub(super) answers: [u64; 5],
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) time: Timings,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) retries: u64,
    pub(super) ejections: u64,
    pub(super) idle: i64,
}

impl UpstreamSum {
    fn add(&mut self, upstream: &Upstream) {
        for (sum, count) in self.answers.iter_mut().zip(&upstream.answers) {
            *sum += count.get();
        }
        upstream.failed.add_to(&mut self.failed);
        self.time.add(&upstream.time);
        self.opened += upstream.opened.get();
        self.reused += upstream.reused.get();
        self.retries += upstream.retries.get();
        self.ejections += upstream.ejections.get();
        self.idle += upstream.idle.get();
    }
}

impl Metrics {
    pub(super) fn routes(&self) -> BTreeMap<Arc<str>, RouteSum> {
        let mut sums = BTreeMap::<Arc<str>, RouteSum>::new();
        for worker in &self.workers {
            sums.entry(UNROUTED.into())
                .or_default()
                .add(&worker.unrouted);
            for (name, route) in worker.routes.lock().iter() {
                sums.entry(Arc::clone(name)).or_default().add(route);
            }
        }
        sums
    }

    pub(super) fn upstreams(&self) -> BTreeMap<Arc<str>, UpstreamSum> {
        let mut sums = BTreeMap::<Arc<str>, UpstreamSum>::new();
        for worker in &self.workers {
            for (name, upstream) in worker.upstreams.lock().iter() {
                sums.entry(Arc::clone(name)).or_default().add(upstream);
            }
        }
        sums
    }

    pub(super) fn count(&self, pick: impl Fn(&Worker) -> &Count) -> u64 {
        self.workers.iter().map(|worker| pick(worker).get()).sum()
    }

    pub(super) fn level(&self, pick: impl Fn(&Worker) -> &Level) -> i64 {
        self.workers.iter().map(|worker| pick(worker).get()).sum()
    }

    pub(super) fn time(&self, pick: impl Fn(&Worker) -> &Timing) -> Timings {
        let mut sum = Timings::default();
        for worker in &self.workers {
            sum.add(pick(worker));
        }
        sum
    }

    pub(super) fn reasons(
        &self,
        pick: impl Fn(&Worker) -> &Reasons,
    ) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for worker in &self.workers {
            pick(worker).add_to(&mut sums);
        }
        sums
    }
}
