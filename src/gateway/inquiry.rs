//! What another proxy is told that asks whether a request may pass: the same judgement as on the way across, but that
//! nothing is forwarded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, HeaderName, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;

use super::record::{Record, Story};
use super::signin::Visit;
use super::{Caller, Gateway, log_refusal};
use crate::body::{Body, Incoming};
use crate::config::{ForwardAuth, Telling};
use crate::head::Head;
use crate::headers::{Facts, Instructions};
use crate::inquiry::{self, InquiryError};
use crate::limit;
use crate::peer::Peer;
use crate::refusal::{self, Form, Refusal};
use crate::route::RouteError;

/// Envoy's way to have headers taken off over HTTP.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Seconds between two lines about strangers.
const PAUSE: u64 = 10;

/// A request that may pass.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) instructions: Instructions,
    pub(super) told: limit::Told,
    pub(super) route: Arc<str>,
    pub(super) user: Option<String>,
}

/// What became of a question, and what the request is called.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) verdict: Result<Passed, Refused>,
    pub(super) id: HeaderValue,
}

/// A request that may not pass.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// Where its browser can sign in.
    pub(super) signin: Option<HeaderValue>,
    pub(super) wants_html: bool,
}

impl Gateway {
    /// Answers a question, whatever happens.
    pub(super) async fn reply(
        &self,
        asks: &ForwardAuth,
        request: Request<Incoming>,
        peer: &Peer,
        refusal: Option<Refusal>,
    ) -> Response<Body> {
        // What the server itself refuses was never read to its end: nothing more is believed on this connection.
        let broken = refusal.is_some();
        let stranger = !asks.trusts(peer.ip);
        let refusal = match stranger {
            true => Some(InquiryError::Stranger.into()),
            false => refusal,
        };
        if refusal.is_none() && asks.proxy.telling() == Telling::Message {
            return self.reply_to_message(asks, request, peer).await;
        }
        let (question, _) = request.into_parts();
        let asked = match refusal {
            Some(refusal) => Err(refusal),
            None => inquiry::from_headers(asks, &question).map_err(Refusal::from),
        };
        let asked = match asked {
            Ok(parts) => (parts, None),
            Err(refusal) => (question, Some(refusal)),
        };
        let outsider = Peer {
            asks: None,
            ..peer.clone()
        };
        let peer = match stranger {
            true => {
                self.strangers.tell(asks, peer);
                &outsider
            }
            false => peer,
        };
        let answered = self.inquire(asks, asked, peer).await;
        let mut response = respond(asks, answered);
        if !broken {
            response.headers_mut().remove(CONNECTION);
        }
        response
    }

    /// Judges a request that another proxy asks about, unless it is refused already.
    pub(super) async fn inquire(
        &self,
        asks: &ForwardAuth,
        (mut parts, refusal): (Parts, Option<Refusal>),
        peer: &Peer,
    ) -> Answered {
        let began = Instant::now();
        let origin = self.forwarded.origin(peer, &parts.headers);
        let id = self.ids.of(&parts.headers, origin.trusted);
        let story = Story::begin(&self.shared, &mut parts, &origin, &id);
        let mut record = Record::begin(began, &self.cells.worker.unrouted, story);
        let caller = Caller {
            peer,
            origin: &origin,
            id: &id,
        };
        let verdict = match refusal {
            None => self.weigh_question(&parts, caller, &mut record).await,
            Some(refusal) => Err(refusal),
        };
        match &verdict {
            Ok(_) => record.forwarded(StatusCode::OK).at_once(),
            Err(refusal) => {
                log_refusal(refusal, &id);
                record.refused(refusal).at_once();
            }
        }
        let verdict = verdict.map_err(|refusal| {
            let visit = Visit::of(&parts).filter(|_| refusal.may_be_mended_by_signing_in());
            let signin =
                visit.and_then(|visit| self.signin.page(&visit, &origin, asks.signin.as_ref()));
            Refused {
                refusal,
                signin,
                wants_html: refusal::wants_html(parts.headers.get(ACCEPT)),
            }
        });
        Answered { verdict, id }
    }

    async fn weigh_question<'a>(
        &'a self,
        parts: &Parts,
        caller: Caller<'_>,
        record: &mut Record<'a>,
    ) -> Result<Passed, Refusal> {
        let head = Head::check(parts, &self.head)?;
        record.note(|story| story.head(&head, parts));
        // Our own endpoints answer for themselves; a proxy that asks about them has nobody to forward them to.
        let keys = self.surface.keys(head.path(parts));
        if keys.is_some() || self.own(&head, parts).is_some() {
            return Err(RouteError::NotFound.into());
        }
        let judged = self.judge(&head, parts, caller, record).await?;
        let facts = Facts {
            head: &head,
            peer: caller.peer,
            origin: caller.origin,
            request_id: caller.id,
            token: judged.token.token(),
        };
        let plan = &judged.route.headers;
        Ok(Passed {
            instructions: plan.instruct(&parts.headers, &facts, &judged.permit)?,
            user: judged
                .permit
                .session()
                .map(|session| session.user_id.to_string()),
            route: Arc::clone(&judged.route.name),
            told: judged.told,
        })
    }
}

/// 200 and nothing but headers, or the refusal.
fn respond(asks: &ForwardAuth, answered: Answered) -> Response<Body> {
    let Answered { verdict, id } = answered;
    match verdict {
        Ok(passed) => allow(asks, passed),
        Err(Refused {
            signin: Some(page),
            refusal,
            wants_html,
        }) => match asks.proxy.relays_redirects() {
            true => refusal::to_signin(page, &id),
            false => {
                let mut response = refusal.into_response(Form::page_if(wants_html), &id);
                response.headers_mut().insert(LOCATION, page);
                response
            }
        },
        Err(Refused {
            refusal,
            wants_html,
            ..
        }) => refusal.into_response(Form::page_if(wants_html), &id),
    }
}

fn allow(asks: &ForwardAuth, passed: Passed) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    passed.told.write(headers);
    let Instructions {
        identity, removed, ..
    } = passed.instructions;
    headers.extend(identity);
    if asks.proxy.telling() == Telling::Itself && !removed.is_empty() {
        let names: Vec<_> = removed.iter().map(HeaderName::as_str).collect();
        let names = HeaderValue::try_from(names.join(", "));
        headers.extend(names.ok().map(|names| (TO_REMOVE, names)));
    }
    response
}

/// Those who ask and may not: told about, but not as often as they like.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// When they were last told about.
    last: Mutex<Option<Instant>>,
    left_out: AtomicU64,
}

impl Strangers {
    fn tell(&self, asks: &ForwardAuth, peer: &Peer) {
        let now = Instant::now();
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.duration_since(last).as_secs() < PAUSE) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *last = Some(now);
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        tracing::warn!(address = %peer.ip, proxy = ?asks.proxy, left_out, "somebody asks who may not: see `trusted` of this listener");
    }
}
