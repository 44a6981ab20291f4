//! What the gateway tells about itself over HTTP: its numbers, whether it is alive, and whether it is ready.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;

use crate::body::Body;
use crate::config;
use crate::metrics::{self, Metrics};
use crate::store::SessionStore;

/// Whether requests should be sent here.
#[derive(Debug)]
pub struct Readiness {
    workers: usize,
    stores: Mutex<Vec<Arc<SessionStore>>>,
    draining: AtomicBool,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Not all workers have started.
    Workers,
    /// A worker cannot reach the session store.
    Store,
    /// The process is about to end.
    Draining,
}

impl Readiness {
    /// Not ready until so many workers have started.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            stores: Mutex::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// A worker has started and asks this store; returns whether it was the last one.
    pub fn started(&self, store: Arc<SessionStore>) -> bool {
        let mut stores = self.stores.lock();
        stores.push(store);
        stores.len() == self.workers
    }

    /// Not ready any more, for good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What is missing; nothing if the gateway is ready.
    pub fn missing(&self) -> Vec<Missing> {
        let stores = self.stores.lock();
        let mut missing = Vec::new();
        if stores.len() < self.workers {
            missing.push(Missing::Workers);
        }
        if !stores.iter().all(|store| store.is_reachable()) {
            missing.push(Missing::Store);
        }
        if self.draining.load(Ordering::Relaxed) {
            missing.push(Missing::Draining);
        }
        missing
    }
}

/// Answers at the three paths of `[metrics]`.
#[derive(Debug, Clone)]
pub struct Monitor {
    paths: Arc<config::Metrics>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    missing: &'a [Missing],
    /// Names whose certificate is still to be obtained. They do not make the gateway unready: an authority that looks
    /// whether a name leads here may come through the load balancer that asks.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    without_certificate: BTreeSet<String>,
}

impl Monitor {
    /// For these numbers and this readiness.
    pub fn new(paths: &config::Metrics, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Self {
        Self {
            paths: Arc::new(paths.clone()),
            metrics,
            readiness,
        }
    }

    /// The answer at this path; `None` if it is none of the three.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let paths = &self.paths;
        let known = [&paths.path, &paths.live, &paths.ready];
        if !known.iter().any(|known| known.get_ref().as_str() == path) {
            return None;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "");
            let allow = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allow);
            return Some(refused);
        }
        Some(if path == paths.path.get_ref().as_str() {
            plain(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.render())
        } else if path == paths.live.get_ref().as_str() {
            plain(StatusCode::OK, "application/json", "{\"live\":true}\n")
        } else {
            self.ready()
        })
    }

    fn ready(&self) -> Response<Body> {
        let missing = self.readiness.missing();
        let told = Ready {
            ready: missing.is_empty(),
            missing: &missing,
            without_certificate: self.metrics.process.without_certificate(),
        };
        let text = serde_json::to_string(&told).expect("a list of words becomes JSON") + "\n";
        let status = match told.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = plain(status, "application/json", text);
        if !told.ready {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        response
    }
}

/// 404, for a listener that has nothing else to tell.
pub fn nothing_here() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "text/plain", "not found\n")
}

fn plain(status: StatusCode, kind: &'static str, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
