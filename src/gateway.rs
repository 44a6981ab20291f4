//! The path of a request, from its head to the answer. Start reading here.
//!
//! The order of the steps is the security policy, so it is written out in [`Gateway::pass`] and nowhere else, and cannot
//! be configured. Each step hands the next one what it needs: [`Upstream::forward`](crate::upstream::Upstream::forward)
//! takes an [`Outbound`](crate::headers::Outbound), only [`HeaderPlan::dress`](crate::headers::HeaderPlan::dress) makes
//! one and needs a [`Permit`](crate::policy::Permit), and only [`Policy::judge`](crate::policy::Policy::judge) makes that.

mod appeal;
mod cells;
mod door;
mod explain;
mod inquiry;
mod message;
mod outage;
mod rates;
mod record;
mod signin;
mod streams;
mod surface;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Request, Response};

use self::appeal::{Appeal, Judged};
use self::cells::Cells;
use self::door::enter;
use self::inquiry::Strangers;
use self::outage::log_refusal;
use self::record::{Record, Story};
use self::signin::Signin;
use self::surface::Surface;
use crate::access::AccessLog;
use crate::assertion::{Assertions, KeyRing};
use crate::body::{Body, Bounds, Incoming};
use crate::config::Config;
use crate::config::fault::Fault;
use crate::head::{self, Head, HeadLimits};
use crate::headers::{Facts, ForwardedPlan, Origin, Outbound};
use crate::limit::{Limits, Meter, Told, Who};
use crate::metrics;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::refusal::{self, Audience, Refusal};
use crate::request_id::RequestIds;
use crate::route::{Announces, RouteError, Routes};
use crate::sessions::{Memory, Queues, Sessions};
use crate::store::SessionStore;
use crate::tracer::{Lap, Tracer};
use crate::upstream::{Admission, SOON, Services, Upstreams};
use crate::uptime::Uptime;

pub use self::explain::Explanation;

/// All that a worker needs to answer requests. Immutable.
#[derive(Debug)]
pub struct Gateway {
    routes: Routes,
    sessions: Arc<Sessions>,
    store: Arc<SessionStore>,
    /// Where shared limits count, if that is not the store.
    meters: Option<Arc<SessionStore>>,
    meter_deadline: Duration,
    /// How many unknown tokens one client may send.
    guard: Option<Meter>,
    upstreams: Upstreams,
    forwarded: ForwardedPlan,
    surface: Surface,
    signin: Signin,
    strangers: Strangers,
    shared: Shared,
    ids: RequestIds,
    head: HeadLimits,
    pace: Pace,
    cells: Cells,
}

/// What the workers have in common.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// How much each client and user has asked for.
    pub limits: Arc<Limits>,
    /// Where requests are logged; `None` if they are not.
    pub access: Option<AccessLog>,
    /// What makes traces; `None` if there are none.
    pub tracer: Option<Tracer>,
    /// Operations on one user follow one another.
    pub queues: Arc<Queues>,
    /// Sessions that have been read; `None` if the store is asked each time.
    pub memory: Option<Arc<Memory>>,
    /// What assertions are signed with.
    pub keys: Arc<KeyRing>,
    /// Where upstreams are, and how their endpoints stand.
    pub services: Arc<Services>,
}

impl Gateway {
    /// Compiles a configuration that has passed `config::check`. Afterwards no text is parsed and no name looked up.
    ///
    /// # Errors
    /// Faults that only show when files are read.
    pub fn build(
        config: &Config,
        store: Arc<SessionStore>,
        shared: Shared,
        cells: Arc<metrics::Worker>,
    ) -> Result<Self, Vec<Fault>> {
        let upstreams = Upstreams::build(&config.upstreams, &shared.services, &cells)?;
        Self::compile(config, upstreams, store, shared, cells)
    }

    /// Compiles another configuration for the same worker: the same store, counts and limits, and those upstreams that have
    /// not changed.
    ///
    /// # Errors
    /// As [`Gateway::build`].
    pub fn rebuild(&self, config: &Config) -> Result<Self, Vec<Fault>> {
        let (services, cells) = (&self.shared.services, &self.cells.worker);
        let upstreams = self.upstreams.rebuild(&config.upstreams, services, cells)?;
        let (store, shared) = (Arc::clone(&self.store), self.shared.clone());
        let cells = Arc::clone(&self.cells.worker);
        Ok(Self {
            meters: self.meters.clone(),
            ..Self::compile(config, upstreams, store, shared, cells)?
        })
    }

    fn compile(
        config: &Config,
        upstreams: Upstreams,
        store: Arc<SessionStore>,
        shared: Shared,
        cells: Arc<metrics::Worker>,
    ) -> Result<Self, Vec<Fault>> {
        let assertions = Assertions::build(config, &shared.keys)?.map(Arc::new);
        let routes = Routes::build(config, &upstreams, assertions.as_ref());
        shared.limits.learn(config);
        let sessions = Sessions::new(Arc::clone(&store), config, Arc::clone(&shared.queues))
            .remembering(shared.memory.clone());
        Ok(Self {
            cells: Cells::new(cells, &routes, &upstreams),
            routes,
            sessions: Arc::new(sessions),
            store,
            meters: None,
            meter_deadline: config.limits.redis_deadline.get(),
            guard: config
                .guard
                .unknown_tokens
                .map(|rate| Meter::new(rate, rate.count.get())),
            upstreams,
            forwarded: ForwardedPlan::new(&config.forwarded),
            surface: Surface::build(config, assertions)?,
            signin: Signin::new(&config.login),
            strangers: Strangers::default(),
            shared,
            ids: RequestIds::default(),
            head: HeadLimits::new(&config.limits),
            pace: config.limits.pace(),
        })
    }

    /// Answers one request, whatever happens: a refusal is an answer too.
    pub fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request, peer, None)
    }

    /// Answers a request that the server itself refuses.
    pub fn refuse(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        refusal: Refusal,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request, peer, Some(refusal))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        refusal: Option<Refusal>,
    ) -> Response<Body> {
        if let Some(asks) = &peer.asks {
            return Box::pin(self.reply(asks, request, peer, refusal)).await;
        }
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let origin = self.forwarded.origin(peer, &parts.headers);
        let id = self.ids.of(&parts.headers, origin.trusted);
        let audience = Audience::of(&parts);
        let visit = self.signin.visit(&parts);
        let story = Story::begin(&self.shared, &mut parts, &origin, &id);
        let mut record = Record::begin(began, &self.cells.worker.unrouted, story);
        let caller = Caller {
            peer,
            origin: &origin,
            id: &id,
        };
        match self.pass((parts, body, refusal), caller, &mut record).await {
            Ok(reply) => record.forwarded(reply.status()).over(reply),
            Err(refusal) => {
                log_refusal(&refusal, &id);
                let ending = record.refused(&refusal);
                let page = refusal.may_be_mended_by_signing_in();
                let page = page
                    .then(|| self.signin.page(visit.as_ref()?, &origin, None))
                    .flatten();
                ending.over(match page {
                    Some(page) => refusal::to_signin(page, &id),
                    None => refusal.into_response(audience.form(), &id),
                })
            }
        }
    }

    /// The way across, unless the server has refused the request already.
    async fn pass<'a>(
        &'a self,
        (mut parts, body, refusal): (Parts, Incoming, Option<Refusal>),
        caller: Caller<'_>,
        record: &mut Record<'a>,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let head = Head::check(&parts, &self.head)?;
        record.note(|story| story.head(&head, &parts));
        enter(&head, caller.peer)?;
        if let Some(keys) = self.surface.keys(head.path(&parts)) {
            return Ok(surface::tell_keys(&keys, &parts.method)?);
        }
        if let Some(own) = self.own(&head, &parts) {
            return Box::pin(self.serve(own, (&head, parts, body), caller, record)).await;
        }
        let judged = self.judge(&head, &parts, caller, record).await?;
        let (route, who) = (judged.route, judged.who(caller.origin.client));
        let Judged { token, permit, .. } = &judged;
        let left = self.left_behind(route, token, &parts.headers);
        let left = (left, self.behind(route, &parts.headers));
        let upgrade = self.upgrade(route, &mut parts, caller.peer, &who)?;
        head::canonical_length(&mut parts.headers);
        let body = Body::from_client(
            body,
            Bounds {
                max: route.max_body,
                idle: route.headers.timeouts.idle.get(),
                pace: self.pace(route, &parts),
            },
            Arc::clone(&route.headers.trailers),
        )?;
        record.note(|story| story.sends(&body, route.upstream.map(|id| self.upstreams.name(id))));
        let facts = Facts {
            head: &head,
            peer: caller.peer,
            origin: caller.origin,
            request_id: caller.id,
            token: token.token(),
        };
        let outbound =
            route
                .headers
                .dress(Request::from_parts(parts, body), &facts, permit, upgrade)?;
        let appeal = Appeal::new(self, route, token, who.client);
        // Boxed, and made where it will be: what is handed down from future to future is moved each time.
        let crossing = Box::write(
            Box::new_uninit(),
            self.cross(outbound, (appeal, &judged), record),
        );
        let reply = Box::into_pin(crossing).await?;
        let mut reply = self.settle(route, reply, left, who.client).await?;
        let moved = self.move_in(&judged, who.client, &mut reply).await;
        record.settled = !moved && route.announces == Announces::Nothing;
        let mut reply = self.cut(route, &who, reply);
        judged.told.write(reply.headers_mut());
        Ok(reply)
    }

    /// Route → Token → Session → Permit: what a request has to pass whether it is forwarded from here, or by another proxy
    /// that asks about it.
    async fn judge<'a>(
        &'a self,
        head: &Head,
        parts: &Parts,
        caller: Caller<'_>,
        record: &mut Record<'a>,
    ) -> Result<Judged<'a>, Refusal> {
        let route = self
            .routes
            .find(head.host(), head.path(parts), &parts.method)?;
        record.route = self.cells.route(route);
        record.note(|story| story.route = Some(Arc::clone(&route.name)));
        let client = caller.origin.client;
        let nobody = Who {
            client,
            holder: None,
        };
        let mut told = Told::default();
        self.take(&route.limits.door, &nobody, &mut told, record)
            .await?;
        let token = self.token(route, &parts.headers, client)?;
        let carried = (&route.tokens, &parts.headers);
        let token = self.current(token, carried, route.max_age).await?;
        if self.is_at_risk(route, &token, parts) {
            let own = || caller.origin.seen(&head.authority);
            self.surface.csrf.guard(&parts.headers, own)?;
        }
        let holder = self
            .holder(&token, route.max_age, client, &mut record.spent)
            .await?;
        record.held_by(&holder);
        let permit = route.policy.judge(holder)?;
        let mut judged = Judged {
            route,
            token,
            permit,
            since: record.spent.judged_at,
            told,
        };
        let who = judged.who(client);
        if let Some((token, session)) = who.holder.filter(|_| route.touch) {
            self.sessions.touch(token, session);
        }
        let mut told = std::mem::take(&mut judged.told);
        let waited = self
            .take(&route.limits.inside, &judged.who(client), &mut told, record)
            .await?;
        judged.told = told;
        if waited && Uptime::now().since(judged.since) > SOON {
            judged.permit = Appeal::new(self, route, &judged.token, client)
                .judge()
                .await?;
            judged.since = Uptime::now();
        }
        Ok(judged)
    }

    /// The upstream's answer.
    #[expect(
        clippy::manual_async_fn,
        reason = "it would keep the request twice, as given and as used"
    )]
    #[inline(never)]
    fn cross(
        &self,
        outbound: Outbound,
        (appeal, judged): (Appeal<'_>, &Judged<'_>),
        record: &mut Record<'_>,
    ) -> impl Future<Output = Result<Response<Body>, Refusal>> + Send {
        async move {
            let began = record.lately();
            let route = appeal.route;
            // A route of requests that another proxy forwards: whoever comes here finds nothing.
            let id = route.upstream.ok_or(RouteError::NotFound)?;
            let upstream = self.upstreams.get(id);
            let mut hearing = appeal.against(&judged.permit);
            let admission = Admission {
                began: began.into(),
                since: judged.since,
                judge: &mut hearing,
            };
            let forwarded = upstream.forward(outbound, admission).await;
            let (reply, answered) = match forwarded {
                Ok((reply, answered)) => (Ok(reply), answered.into_std()),
                Err(error) => (Err(error), Instant::now()),
            };
            let reply = reply.map_err(|error| hearing.refusal().unwrap_or_else(|| error.into()));
            let took = answered.saturating_duration_since(began);
            record.spent.upstream = Some(Lap { began, took });
            self.cells.asked(route, took, &reply);
            reply
        }
    }
}

/// Who sends a request, and what it is called.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    peer: &'a Peer,
    origin: &'a Origin,
    id: &'a HeaderValue,
}
