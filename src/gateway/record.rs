//! What is remembered of one request while it passes: for the numbers, and for its line in the access log and its trace.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Shared;
use crate::access::{AccessLog, Line, Times};
use crate::body::{Body, BodyError, Progress};
use crate::head::{Head, canonical_host};
use crate::headers::Origin;
use crate::metrics;
use crate::policy::Holder;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::tracer::{Facts, Lap, Trace, Tracer};
use crate::uptime::Uptime;

/// Where the time of a request went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Asking limits that are shared.
    pub(super) limits: Option<Lap>,
    /// Waiting for the session store; `None` if memory knew.
    pub(super) store: Option<Lap>,
    /// From handing it to the upstream to the head of the answer.
    pub(super) upstream: Option<Lap>,
    /// The moment for which it is known who holds the token. What is known of nobody is never outdated.
    pub(super) judged_at: Uptime,
}

impl Default for Spent {
    fn default() -> Self {
        Self {
            limits: None,
            store: None,
            upstream: None,
            judged_at: Uptime::NEVER,
        }
    }
}

/// From then until now.
pub(super) fn lap(began: Instant) -> Lap {
    Lap {
        began,
        took: began.elapsed(),
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Record<'a> {
    began: Instant,
    /// Where it is counted: its route, once that is known.
    pub(super) route: &'a metrics::Route,
    pub(super) spent: Spent,
    /// Whether nothing was waited for since the upstream answered.
    pub(super) settled: bool,
    story: Option<Box<Story>>,
}

impl<'a> Record<'a> {
    /// Until its route is known the request is counted at `unrouted`.
    pub(super) fn begin(
        began: Instant,
        unrouted: &'a metrics::Route,
        story: Option<Box<Story>>,
    ) -> Self {
        Self {
            began,
            route: unrouted,
            spent: Spent::default(),
            settled: false,
            story,
        }
    }

    /// This moment, without a look at the clock where the request has not waited for anything since it began.
    pub(super) fn lately(&self) -> Instant {
        match (self.spent.limits, self.spent.store) {
            (None, None) => self.began,
            _ => Instant::now(),
        }
    }

    /// Fills in the story, if it is told to anybody.
    pub(super) fn note(&mut self, fill: impl FnOnce(&mut Story)) {
        if let Some(story) = &mut self.story {
            fill(story);
        }
    }

    /// Notes whose session it is.
    pub(super) fn held_by(&mut self, holder: &Holder) {
        if let (Some(story), Holder::Session(session)) = (&mut self.story, holder) {
            story.session = Some(Arc::clone(session));
        }
    }

    /// The request was answered from upstream.
    pub(super) fn forwarded(self, status: StatusCode) -> Ending {
        self.route.forwarded.one();
        self.end(status, "")
    }

    /// The request is answered by the gateway itself.
    pub(super) fn refused(self, refusal: &Refusal) -> Ending {
        let (status, code) = (refusal.status(), refusal.code());
        self.route.refused.one(status.as_u16(), code);
        self.end(status, code)
    }

    fn end(self, status: StatusCode, refusal: &'static str) -> Ending {
        let head = match self.spent.upstream {
            Some(lap) if self.settled => lap.ended().duration_since(self.began),
            Some(_) | None => self.began.elapsed(),
        };
        self.route.time.took(head);
        Ending(self.story.map(|mut story| {
            story.told = Told {
                began: self.began,
                head,
                spent: self.spent,
                status,
                refusal,
            };
            story
        }))
    }
}

/// A story that only lacks its end.
#[derive(Debug)]
#[must_use]
pub(super) struct Ending(Option<Box<Story>>);

impl Ending {
    /// It ends with this answer.
    pub(super) fn over(self, reply: Response<Body>) -> Response<Body> {
        match self.0 {
            None => reply,
            Some(story) => story.over(reply),
        }
    }

    /// It ends here.
    pub(super) fn at_once(self) {
        if let Some(story) = self.0 {
            story.tell(0, false);
        }
    }
}

/// What a line of the access log and a trace say of a request; there only if somebody wants to hear it.
#[derive(Debug)]
pub(super) struct Story {
    log: Option<AccessLog>,
    tracer: Option<(Tracer, Trace)>,
    began_at: SystemTime,
    id: HeaderValue,
    client: std::net::IpAddr,
    method: Method,
    protocol: Version,
    host: String,
    path: String,
    pub(super) route: Option<Arc<str>>,
    pub(super) session: Option<Arc<Session>>,
    upstream: String,
    received: Option<Arc<Progress>>,
    told: Told,
}

/// What is known once there is the head of an answer.
#[derive(Debug)]
struct Told {
    began: Instant,
    head: Duration,
    spent: Spent,
    status: StatusCode,
    refusal: &'static str,
}

impl Story {
    /// What is known before the head has been checked. If there are traces, the request's headers tell of it from now on.
    pub(super) fn begin(
        shared: &Shared,
        parts: &mut Parts,
        origin: &Origin,
        id: &HeaderValue,
    ) -> Option<Box<Self>> {
        let tracer = shared.tracer.as_ref().map(|tracer| {
            let trace = tracer.begin(&mut parts.headers, origin.trusted);
            (tracer, trace)
        });
        let sampled = tracer.is_some_and(|(_, trace)| trace.is_sampled());
        if shared.access.is_none() && !sampled {
            return None;
        }
        let named = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.host().or(named).and_then(canonical_host);
        Some(Box::new(Self {
            log: shared.access.clone(),
            tracer: tracer.map(|(tracer, trace)| (tracer.clone(), trace)),
            began_at: SystemTime::now(),
            id: id.clone(),
            client: origin.client,
            method: parts.method.clone(),
            protocol: parts.version,
            host: host.map(Cow::into_owned).unwrap_or_default(),
            path: parts.uri.path().to_owned(),
            route: None,
            session: None,
            upstream: String::new(),
            received: None,
            told: Told {
                began: Instant::now(),
                head: Duration::ZERO,
                spent: Spent::default(),
                status: StatusCode::OK,
                refusal: "",
            },
        }))
    }

    /// Host and path in their one form.
    pub(super) fn head(&mut self, head: &Head, parts: &Parts) {
        head.host().clone_into(&mut self.host);
        head.path(parts).clone_into(&mut self.path);
    }

    /// It goes to this upstream, with this body.
    pub(super) fn sends(&mut self, body: &Body, upstream: Option<&str>) {
        self.received = body.progress();
        upstream.unwrap_or_default().clone_into(&mut self.upstream);
    }

    /// Tells the story when this answer has come to its end.
    fn over(self: Box<Self>, reply: Response<Body>) -> Response<Body> {
        match reply.body() {
            Body::Empty => self.tell(0, false),
            // It is there as a whole, and short.
            Body::Text(text) => self.tell(text.as_ref().map_or(0, |text| text.len() as u64), false),
            Body::Client(_) | Body::Stream(_) => {
                // Nobody reads the body of an answer to HEAD.
                let ended = self.method == Method::HEAD;
                return reply.map(|body| {
                    Body::stream(Heard {
                        body,
                        story: Some(self),
                        sent: 0,
                        ended,
                        broken: false,
                    })
                });
            }
        }
        reply
    }

    fn tell(&self, sent: u64, cut: bool) {
        let told = &self.told;
        let total = told.began.elapsed();
        let client = self.client.to_string();
        let id = self.id.to_str().unwrap_or_default();
        let session = self.session.as_deref();
        let (method, route) = (
            self.method.as_str(),
            self.route.as_deref().unwrap_or_default(),
        );
        let user = session.map_or("", |session| &session.user_id);
        if let Some((tracer, trace)) = &self.tracer {
            tracer.end(
                *trace,
                &Facts {
                    began: told.began,
                    began_at: self.began_at,
                    total,
                    method,
                    host: &self.host,
                    path: &self.path,
                    route,
                    client: &client,
                    user,
                    id,
                    status: told.status.as_u16(),
                    refusal: told.refusal,
                    upstream: &self.upstream,
                    limits: told.spent.limits,
                    store: told.spent.store,
                    forward: told.spent.upstream,
                },
            );
        }
        let Some(log) = &self.log else {
            return;
        };
        let trace = self.tracer.as_ref().map(|(_, trace)| trace.id());
        let time = |lap: Option<Lap>| lap.map(|lap| lap.took);
        log.write(&Line {
            id,
            trace: trace.as_deref().unwrap_or_default(),
            client: &client,
            method,
            protocol: protocol(self.protocol),
            host: &self.host,
            path: &self.path,
            route,
            user,
            session: session.map_or("", |session| &session.sid),
            device: session.map_or("", |session| &session.device.id),
            status: told.status.as_u16(),
            refusal: told.refusal,
            upstream: &self.upstream,
            received: self
                .received
                .as_ref()
                .map_or(0, |progress| progress.bytes()),
            sent,
            cut,
            times: Times {
                total,
                head: told.head,
                limits: time(told.spent.limits),
                store: time(told.spent.store),
                upstream: time(told.spent.upstream),
            },
        });
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The body of an answer whose story is told at its end.
#[derive(Debug)]
struct Heard {
    body: Body,
    story: Option<Box<Story>>,
    sent: u64,
    ended: bool,
    broken: bool,
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(None) => this.ended = true,
            Poll::Ready(Some(Err(_))) => this.broken = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some(story) = self.story.take() {
            let whole = !self.broken && (self.ended || self.body.is_end_stream());
            story.tell(self.sent, !whole);
        }
    }
}
