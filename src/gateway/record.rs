//! What is remembered of one request while it passes: for the numbers, and for its line in the access log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::access::{AccessLog, Line};
use crate::head::{Head, canonical_host};
use crate::headers::Origin;
use crate::metrics;
use crate::refusal::Refusal;

/// Where the time of a request went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// Waiting for the session store.
    pub(super) store: Duration,
    /// From handing it to the upstream to the head of the answer.
    pub(super) upstream: Duration,
}

/// One request.
#[derive(Debug)]
pub(super) struct Record<'a> {
    began: Instant,
    /// Where it is counted: its route, once that is known.
    pub(super) route: &'a metrics::Route,
    pub(super) spent: Spent,
    line: Option<Draft<'a>>,
}

impl<'a> Record<'a> {
    /// Until its route is known the request is counted at `unrouted`.
    pub(super) fn begin(
        began: Instant,
        unrouted: &'a metrics::Route,
        line: Option<Draft<'a>>,
    ) -> Self {
        Self {
            began,
            route: unrouted,
            spent: Spent::default(),
            line,
        }
    }

    /// Fills in the line, if there is to be one.
    pub(super) fn note(&mut self, fill: impl FnOnce(&mut Draft<'a>)) {
        if let Some(line) = &mut self.line {
            fill(line);
        }
    }

    /// The request was answered from upstream.
    pub(super) fn forwarded(self, status: StatusCode) {
        self.route.forwarded.one();
        self.end(status, None);
    }

    /// The request was answered by the gateway itself.
    pub(super) fn refused(self, refusal: &Refusal) {
        let (status, code) = (refusal.status(), refusal.code());
        self.route.refused.one(status.as_u16(), code);
        self.end(status, Some(code));
    }

    fn end(self, status: StatusCode, refusal: Option<&str>) {
        let time = self.began.elapsed();
        self.route.time.took(time);
        if let Some(line) = self.line {
            line.write(status, refusal, time);
        }
    }
}

/// A line of the access log in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    log: &'a AccessLog,
    id: &'a HeaderValue,
    client: String,
    method: Method,
    host: String,
    path: String,
    pub(super) route: Option<Arc<str>>,
    pub(super) user: Option<CompactString>,
}

impl<'a> Draft<'a> {
    /// What is known before the head has been checked.
    pub(super) fn begin(
        log: &'a AccessLog,
        parts: &Parts,
        origin: &Origin,
        id: &'a HeaderValue,
    ) -> Self {
        let host = parts
            .uri
            .host()
            .and_then(canonical_host)
            .map(Cow::into_owned)
            .unwrap_or_default();
        Self {
            log,
            id,
            client: origin.client.to_string(),
            method: parts.method.clone(),
            host,
            path: parts.uri.path().to_owned(),
            route: None,
            user: None,
        }
    }

    /// Host and path in their one form.
    pub(super) fn head(&mut self, head: &Head, parts: &Parts) {
        head.host().clone_into(&mut self.host);
        head.path(parts).clone_into(&mut self.path);
    }

    fn write(self, status: StatusCode, refusal: Option<&str>, time: Duration) {
        self.log.write(Line {
            time: 0.0,
            id: self.id.to_str().unwrap_or_default(),
            client: &self.client,
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            route: self.route.as_deref(),
            user: self.user.as_deref(),
            status: status.as_u16(),
            refusal,
            millis: time.as_secs_f64() * 1000.0,
        });
    }
}
