//! The path of a request, from its head to the answer. Start reading here.
//!
//! The order of the steps is the security policy, so it is written out in [`Gateway::pass`] and nowhere else, and cannot
//! be configured. Each step hands the next one what it needs: [`Upstream::forward`](crate::upstream::Upstream::forward)
//! takes an [`Outbound`](crate::headers::Outbound), only [`HeaderPlan::dress`](crate::headers::HeaderPlan::dress) makes
//! one and needs a [`Permit`](crate::policy::Permit), and only [`Policy::judge`](crate::policy::Policy::judge) makes that.

mod explain;
mod meter;
mod record;

use std::sync::Arc;
use std::time::Instant;

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;

use self::meter::Meter;
use self::record::{Draft, Record, Spent};
use crate::access::AccessLog;
use crate::body::Body;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::head::Head;
use crate::headers::{self, ClientUpgrade, Facts, ForwardedPlan, Origin, Outbound};
use crate::limit::{Limits, Subject};
use crate::metrics;
use crate::peer::Peer;
use crate::policy::Holder;
use crate::refusal::{self, Refusal};
use crate::request_id::RequestIds;
use crate::route::{Route, Routes};
use crate::store::SessionStore;
use crate::token::TokenError;
use crate::upstream::Upstreams;

pub use self::explain::Explanation;

/// All that a worker needs to answer requests. Immutable.
#[derive(Debug)]
pub struct Gateway {
    routes: Routes,
    store: Arc<SessionStore>,
    upstreams: Upstreams,
    forwarded: ForwardedPlan,
    shared: Shared,
    ids: RequestIds,
    max_uri: usize,
    meter: Meter,
}

/// What the workers have in common.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// How much each client and user has asked for.
    pub limits: Arc<Limits>,
    /// Where requests are logged; `None` if they are not.
    pub access: Option<AccessLog>,
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
        let upstreams = Upstreams::build(&config.upstreams)?;
        let routes = Routes::build(config, &upstreams);
        Ok(Self {
            meter: Meter::new(cells, &routes, &upstreams),
            routes,
            store,
            upstreams,
            forwarded: ForwardedPlan::new(&config.forwarded),
            shared,
            ids: RequestIds::default(),
            max_uri: config.limits.max_uri.as_usize(),
        })
    }

    /// Answers one request, whatever happens: a refusal is an answer too.
    pub async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let origin = self.forwarded.origin(peer, &parts.headers);
        let id = self.ids.of(&parts.headers, origin.trusted);
        let accept = parts.headers.get(ACCEPT).cloned();
        let line = self.shared.access.as_ref();
        let line = line.map(|log| Draft::begin(log, &parts, &origin, &id));
        let mut record = Record::begin(began, &self.meter.worker.unrouted, line);
        let caller = Caller {
            peer,
            origin: &origin,
            id: &id,
        };
        match self.pass(parts, body, caller, &mut record).await {
            Ok(reply) => {
                record.forwarded(reply.status());
                reply
            }
            Err(refusal) => {
                log_refusal(&refusal, &id);
                record.refused(&refusal);
                refusal.into_response(refusal::wants_html(accept.as_ref()), &id)
            }
        }
    }

    /// The way across.
    async fn pass<'a>(
        &'a self,
        mut parts: Parts,
        body: Incoming,
        caller: Caller<'_>,
        record: &mut Record<'a>,
    ) -> Result<Response<Body>, Refusal> {
        let head = Head::check(&parts, self.max_uri)?;
        record.note(|line| line.head(&head, &parts));
        let route = self.enter(&parts, &head, caller.peer)?;
        record.route = self.meter.route(route);
        record.note(|line| line.route = Some(Arc::clone(&route.name)));
        self.take(route, Subject::Client(caller.origin.client))?;
        let holder = self
            .holder(route, &parts.headers, &mut record.spent)
            .await?;
        let permit = route.policy.judge(holder)?;
        if let Some(session) = permit.session() {
            record.note(|line| line.user = Some(session.user_id.clone()));
            self.take(route, Subject::User(&session.user_id))?;
        }
        let upgrade = client_upgrade(route, &mut parts)?;
        let body = Body::from_client(
            body,
            route.max_body,
            route.headers.timeouts.idle.get(),
            Arc::clone(&route.headers.trailers),
        )?;
        let facts = Facts {
            head: &head,
            peer: caller.peer,
            origin: caller.origin,
            request_id: caller.id,
        };
        let outbound =
            route
                .headers
                .dress(Request::from_parts(parts, body), &facts, &permit, upgrade)?;
        let reply = self.cross(route, outbound, &mut record.spent).await?;
        Ok(headers::undress(reply))
    }

    /// The door: the rule for this request, if the connection may be used for its host.
    fn enter(&self, parts: &Parts, head: &Head, peer: &Peer) -> Result<&Route, Refusal> {
        let covers =
            |tls: &crate::peer::TlsPeer| tls.scope.covers(tls.server_name.as_deref(), head.host());
        if peer.tls.as_ref().is_some_and(|tls| !covers(tls)) {
            return Err(Refusal::Misdirected);
        }
        Ok(self
            .routes
            .find(head.host(), head.path(parts), &parts.method)?)
    }

    fn take(&self, route: &Route, subject: Subject<'_>) -> Result<(), Refusal> {
        let rate = match subject {
            Subject::Client(_) => route.per_client,
            Subject::User(_) => route.per_user,
        };
        Ok(rate.map_or(Ok(()), |rate| {
            self.shared.limits.take(rate, route.number, subject)
        })?)
    }

    /// Who holds the token of these headers.
    async fn holder(
        &self,
        route: &Route,
        headers: &HeaderMap,
        spent: &mut Spent,
    ) -> Result<Holder, Refusal> {
        if !route.policy.looks_up() {
            return Ok(Holder::Nobody);
        }
        let token = match route.tokens.find(headers) {
            Ok(Some((token, _))) => token,
            Ok(None) => return Ok(Holder::Nobody),
            // Which of the two would be believed elsewhere cannot be known, so not even an optional route lets it in.
            Err(conflict @ TokenError::Conflict) => return Err(conflict.into()),
            Err(TokenError::Length | TokenError::Charset | TokenError::NoRandomness) => {
                return Ok(Holder::Malformed);
            }
        };
        let asked = Instant::now();
        let found = self.store.find(&token).await;
        spent.store = asked.elapsed();
        self.meter.looked_up(spent.store, &found);
        Ok(found?.map_or(Holder::Unknown, Holder::Session))
    }

    /// The upstream's answer.
    async fn cross(
        &self,
        route: &Route,
        outbound: Outbound,
        spent: &mut Spent,
    ) -> Result<Response<Body>, Refusal> {
        let asked = Instant::now();
        let upstream = self.upstreams.get(route.upstream);
        let reply = upstream.forward(outbound).await.map_err(Refusal::from);
        spent.upstream = asked.elapsed();
        self.meter.asked(route, spent.upstream, &reply);
        reply
    }
}

/// Who sends a request, and what it is called.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    peer: &'a Peer,
    origin: &'a Origin,
    id: &'a HeaderValue,
}

/// The switch of protocols that a request asks for, if the route allows it. Without it the request goes on as a plain
/// one: its `Upgrade` is stripped like every other field of the connection.
fn client_upgrade(route: &Route, parts: &mut Parts) -> Result<Option<ClientUpgrade>, Refusal> {
    if route.upgrades.is_empty() {
        return Ok(None);
    }
    let Some(protocol) =
        headers::upgrade_protocol(&parts.headers).filter(|name| route.upgrades.contains(name))
    else {
        return Ok(None);
    };
    // What follows the head would be taken for the body by one side and for the other protocol by the other.
    let framed = parts
        .headers
        .get(http::header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0");
    if framed || parts.headers.contains_key(http::header::TRANSFER_ENCODING) {
        return Err(Refusal::UpgradeWithBody);
    }
    let client = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    Ok(client.map(|client| ClientUpgrade { protocol, client }))
}

/// Outages are for the operator; everything else is the client's own doing and belongs into the access log.
fn log_refusal(refusal: &Refusal, id: &HeaderValue) {
    let code = refusal.code();
    let id = id.to_str().unwrap_or_default();
    match refusal {
        Refusal::Store(_) | Refusal::Upstream(_) | Refusal::Header(_) => {
            let error: &dyn std::error::Error = refusal;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::debug!(id, code, %refusal, cause, "a request could not be served");
        }
        Refusal::Head(_)
        | Refusal::Misdirected
        | Refusal::Route(_)
        | Refusal::UpgradeWithBody
        | Refusal::TooMany(_)
        | Refusal::Token(_)
        | Refusal::Denied(_)
        | Refusal::Body(_) => tracing::trace!(id, code, %refusal, "refused"),
    }
}
