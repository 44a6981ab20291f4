//! Where a worker counts what happens: found by name when the configuration is loaded.

use std::sync::Arc;
use std::time::Duration;

use http::Response;

use crate::body::Body;
use crate::metrics;
use crate::refusal::Refusal;
use crate::route::{Route, Routes};
use crate::sessions::Standing;
use crate::store::StoreError;
use crate::upstream::Upstreams;

/// The cells of one worker, those of its routes and upstreams by the route's number.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) worker: Arc<metrics::Worker>,
    routes: Vec<(Arc<metrics::Route>, Option<Arc<metrics::Upstream>>)>,
}

impl Cells {
    pub(super) fn new(
        worker: Arc<metrics::Worker>,
        routes: &Routes,
        upstreams: &Upstreams,
    ) -> Self {
        let cells = |route: &Route| {
            let upstream = route.upstream.map(|id| upstreams.name(id));
            let upstream = upstream.map(|name| worker.upstream(name));
            (worker.route(&route.name), upstream)
        };
        Self {
            routes: routes.iter().map(cells).collect(),
            worker,
        }
    }

    /// The cells of this route; of no route, if it is not one of ours.
    pub(super) fn route(&self, route: &Route) -> &metrics::Route {
        let found = self.routes.get(route.number);
        found.map_or(&self.worker.unrouted, |(route, _)| route)
    }

    /// A look-up in the store took this long and came to this.
    pub(super) fn looked_up(
        &self,
        time: Duration,
        found: Result<Standing, StoreError>,
    ) -> Result<Standing, StoreError> {
        let lookups = &self.worker.lookups;
        lookups.time.took(time);
        match &found {
            Ok(Standing::Live(_)) => lookups.found.one(),
            Ok(Standing::Unknown | Standing::Ended(_)) => lookups.absent.one(),
            Err(_) => lookups.failed.one(),
        }
        found
    }

    /// The upstream of this route was asked and took this long to answer, or not to answer.
    pub(super) fn asked(
        &self,
        route: &Route,
        time: Duration,
        reply: &Result<Response<Body>, Refusal>,
    ) {
        let Some((_, Some(upstream))) = self.routes.get(route.number) else {
            return;
        };
        upstream.time.took(time);
        match reply {
            Ok(reply) => upstream.answered(reply.status().as_u16()),
            Err(refusal) => upstream.failed.one(refusal.code()),
        }
    }
}
