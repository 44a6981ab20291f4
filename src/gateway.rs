//! The path of a request, from its head to the answer. Start reading here.
//!
//! The order of the steps is the security policy, so it is written out in [`Gateway::pass`] and nowhere else, and cannot
//! be configured. Each step hands the next one what it needs: [`Upstream::forward`](crate::upstream::Upstream::forward)
//! takes an [`Outbound`](crate::headers::Outbound), only [`HeaderPlan::dress`](crate::headers::HeaderPlan::dress) makes
//! one and needs a [`Permit`](crate::policy::Permit), and only [`Policy::judge`](crate::policy::Policy::judge) makes that.

mod explain;
mod rates;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::access::{AccessLog, Line};
use crate::body::Body;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::head::{Head, canonical_host};
use crate::headers::{self, ClientUpgrade, Facts, ForwardedPlan, Origin};
use crate::limit::{Limits, Meter, Told, Who};
use crate::peer::Peer;
use crate::policy::Holder;
use crate::refusal::{self, Refusal};
use crate::request_id::RequestIds;
use crate::route::{Route, Routes};
use crate::store::SessionStore;
use crate::token::{Token, TokenError};
use crate::upstream::Upstreams;

pub use self::explain::Explanation;

/// All that a worker needs to answer requests. Immutable.
#[derive(Debug)]
pub struct Gateway {
    routes: Routes,
    store: SessionStore,
    /// Where shared limits count, if that is not the store.
    meters: Option<SessionStore>,
    meter_deadline: Duration,
    /// How many unknown tokens one client may send.
    guard: Option<Meter>,
    upstreams: Upstreams,
    forwarded: ForwardedPlan,
    shared: Shared,
    ids: RequestIds,
    max_uri: usize,
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
    pub fn build(config: &Config, store: SessionStore, shared: Shared) -> Result<Self, Vec<Fault>> {
        let upstreams = Upstreams::build(&config.upstreams)?;
        Ok(Self {
            routes: Routes::build(config, &upstreams),
            store,
            meters: None,
            meter_deadline: config.limits.redis_deadline.get(),
            guard: config
                .guard
                .unknown_tokens
                .map(|rate| Meter::new(rate, rate.count.get())),
            upstreams,
            forwarded: ForwardedPlan::new(&config.forwarded),
            shared,
            ids: RequestIds::default(),
            max_uri: config.limits.max_uri.as_usize(),
        })
    }

    /// Answers one request, whatever happens: a refusal is an answer too.
    pub async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let origin = self.forwarded.origin(peer, &parts.headers);
        let id = self.ids.of(&parts.headers, origin.trusted);
        let accept = parts.headers.get(ACCEPT).cloned();
        let mut record = self
            .shared
            .access
            .as_ref()
            .map(|log| Record::begin(log, &parts, &origin, &id));
        let caller = Caller {
            peer,
            origin: &origin,
            id: &id,
        };
        match self.pass(parts, body, caller, record.as_mut()).await {
            Ok(reply) => {
                if let Some(record) = record {
                    record.end(reply.status(), None);
                }
                reply
            }
            Err(refusal) => {
                log_refusal(&refusal, &id);
                if let Some(record) = record {
                    record.end(refusal.status(), Some(refusal.code()));
                }
                refusal.into_response(refusal::wants_html(accept.as_ref()), &id)
            }
        }
    }

    /// The way across.
    async fn pass(
        &self,
        mut parts: Parts,
        body: Incoming,
        caller: Caller<'_>,
        mut record: Option<&mut Record<'_>>,
    ) -> Result<Response<Body>, Refusal> {
        let head = Head::check(&parts, self.max_uri)?;
        note(&mut record, |record| record.head(&head, &parts));
        let route = self.enter(&parts, &head, caller.peer)?;
        note(&mut record, |record| {
            record.route = Some(Arc::clone(&route.name));
        });
        let mut told = Told::default();
        let mut who = Who {
            client: caller.origin.client,
            holder: None,
        };
        self.take(&route.limits.door, &who, &mut told).await?;
        let token = self.token(route, &parts.headers, who.client)?;
        let holder = self.holder(&token, who.client).await?;
        let permit = route.policy.judge(holder)?;
        if let (Carried::Token(token), Some(session)) = (&token, permit.session()) {
            note(&mut record, |record| {
                record.user = Some(session.user_id.clone());
            });
            who.holder = Some((token, session));
        }
        self.take(&route.limits.inside, &who, &mut told).await?;
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
        let reply = self.upstreams.get(route.upstream).forward(outbound).await?;
        let mut reply = headers::undress(reply);
        told.write(reply.headers_mut());
        Ok(reply)
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

    /// What these headers carry as a token. Whoever has guessed too often is sent away before the store is asked.
    fn token(
        &self,
        route: &Route,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Carried, Refusal> {
        if !route.policy.looks_up() {
            return Ok(Carried::Nothing);
        }
        match route.tokens.find(headers) {
            Ok(Some((token, _))) => {
                self.admit(client, Some(&token))?;
                Ok(Carried::Token(token))
            }
            Ok(None) => Ok(Carried::Nothing),
            // Which of the two would be believed elsewhere cannot be known, so not even an optional route lets it in.
            Err(conflict @ TokenError::Conflict) => Err(conflict.into()),
            Err(TokenError::Length | TokenError::Charset | TokenError::NoRandomness) => {
                self.admit(client, None)?;
                Ok(Carried::Malformed)
            }
        }
    }

    /// Who holds this token.
    async fn holder(&self, carried: &Carried, client: IpAddr) -> Result<Holder, Refusal> {
        let token = match carried {
            Carried::Nothing => return Ok(Holder::Nobody),
            Carried::Malformed => return Ok(Holder::Malformed),
            Carried::Token(token) => token,
        };
        let found = self.store.find(token).await?;
        self.learn(client, token, found.is_some());
        Ok(found.map_or(Holder::Unknown, Holder::Session))
    }
}

/// What a request carries where its route looks for a token.
#[derive(Debug)]
enum Carried {
    /// Nothing, or the route does not look.
    Nothing,
    /// Something that cannot be a token.
    Malformed,
    /// A token.
    Token(Token),
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
        Refusal::Store(_) | Refusal::Uncounted(_) | Refusal::Upstream(_) | Refusal::Header(_) => {
            let error: &dyn std::error::Error = refusal;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::debug!(id, code, %refusal, cause, "a request could not be served");
        }
        Refusal::Head(_)
        | Refusal::Misdirected
        | Refusal::Route(_)
        | Refusal::UpgradeWithBody
        | Refusal::TooMany(_)
        | Refusal::Slowed(_)
        | Refusal::Token(_)
        | Refusal::Denied(_)
        | Refusal::Body(_) => tracing::trace!(id, code, %refusal, "refused"),
    }
}

/// One request's line of the access log in the making.
#[derive(Debug)]
struct Record<'a> {
    log: &'a AccessLog,
    began: Instant,
    id: &'a HeaderValue,
    client: String,
    method: http::Method,
    host: String,
    path: String,
    route: Option<Arc<str>>,
    user: Option<String>,
}

fn note<'a>(record: &mut Option<&mut Record<'a>>, fill: impl FnOnce(&mut Record<'a>)) {
    if let Some(record) = record {
        fill(record);
    }
}

impl<'a> Record<'a> {
    fn begin(log: &'a AccessLog, parts: &Parts, origin: &Origin, id: &'a HeaderValue) -> Self {
        let host = parts
            .uri
            .host()
            .and_then(canonical_host)
            .map(Cow::into_owned)
            .unwrap_or_default();
        Self {
            log,
            began: Instant::now(),
            id,
            client: origin.client.to_string(),
            method: parts.method.clone(),
            host,
            path: parts.uri.path().to_owned(),
            route: None,
            user: None,
        }
    }

    fn head(&mut self, head: &Head, parts: &Parts) {
        head.host().clone_into(&mut self.host);
        head.path(parts).clone_into(&mut self.path);
    }

    fn end(self, status: StatusCode, refusal: Option<&str>) {
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
            millis: self.began.elapsed().as_secs_f64() * 1000.0,
        });
    }
}
