//! Where the gateway answers for itself: its own endpoints, and logins that upstreams announce.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};

use super::appeal::Judged;
use super::door::{Bearer, Carried, wanted_upgrade};
use super::record::Record;
use super::{Caller, Gateway};
use crate::assertion::{Assertions, KeySet};
use crate::body::{Body, Incoming};
use crate::cache::MaxAge;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::csrf::Csrf;
use crate::head::Head;
use crate::limit::{Told, Who};
use crate::login::{Logins, Visitor};
use crate::policy::Holder;
use crate::refusal::Refusal;
use crate::route::{Announces, Route, RouteError};
use crate::selfservice::{SelfService, Visit};
use crate::token::Token;

/// What the gateway has besides routes.
#[derive(Debug)]
pub(super) struct Surface {
    pub(super) csrf: Csrf,
    logins: Logins,
    own: Option<SelfService>,
    assertions: Option<Arc<Assertions>>,
}

impl Surface {
    /// # Errors
    /// Faults that only show when files are read.
    pub(super) fn build(
        config: &Config,
        assertions: Option<Arc<Assertions>>,
    ) -> Result<Self, Vec<Fault>> {
        Ok(Self {
            csrf: Csrf::new(&config.csrf),
            logins: Logins::new(config),
            own: SelfService::build(config)?,
            assertions,
        })
    }

    /// The keys that assertions are verified with, if they are at this path.
    pub(super) fn keys(&self, path: &str) -> Option<KeySet> {
        self.assertions.as_ref()?.at(path)
    }
}

/// Hands the keys to whoever asks: they are public.
pub(super) fn tell_keys(keys: &KeySet, method: &Method) -> Result<Response<Body>, RouteError> {
    if *method != Method::GET && *method != Method::HEAD {
        return Err(RouteError::Method {
            allow: vec![Method::GET],
        });
    }
    let mut reply = Response::new(Body::text(keys.document.clone()));
    let kept = HeaderValue::try_from(format!("public, max-age={}", keys.max_age));
    let headers = reply.headers_mut();
    headers.extend(kept.ok().map(|kept| (CACHE_CONTROL, kept)));
    // RFC 7517 section 8.5.1.
    let json = HeaderValue::from_static("application/jwk-set+json");
    headers.insert(CONTENT_TYPE, json);
    Ok(reply)
}

impl Gateway {
    /// Our own endpoints, if this path is one of theirs.
    pub(super) fn own(&self, head: &Head, parts: &Parts) -> Option<&SelfService> {
        self.surface
            .own
            .as_ref()
            .filter(|own| own.covers(head.path(parts)))
    }

    /// Answers at one of our own endpoints.
    pub(super) async fn serve(
        &self,
        own: &SelfService,
        (head, parts, body): (&Head, Parts, Incoming),
        caller: Caller<'_>,
        record: &mut Record<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let mut told = Told::default();
        let mut who = Who {
            client: caller.origin.client,
            holder: None,
        };
        self.take(&own.limits.door, &who, &mut told, record).await?;
        let endpoint = own.endpoint(head.path(&parts), &parts.method)?;
        let token = match endpoint.wants_token() {
            true => {
                let found = self.find(&own.tokens, &parts.headers, who.client)?;
                self.current(found, (&own.tokens, &parts.headers), MaxAge::STRICT)
                    .await?
            }
            false => Carried::Nothing,
        };
        let holder = match endpoint.looks_up() {
            true => {
                self.holder(&token, MaxAge::STRICT, who.client, &mut record.spent)
                    .await?
            }
            false => Holder::Nobody,
        };
        record.held_by(&holder);
        if let (Carried::Token(token, _), Holder::Session(session)) = (&token, &holder) {
            who.holder = Some((token, session));
        }
        self.take(&own.limits.inside, &who, &mut told, record)
            .await?;
        let visit = Visit {
            parts: &parts,
            client: who.client,
            own: caller.origin.seen(&head.authority),
            behind: own.tokens.behind(&parts.headers).map(|(token, _)| token),
            token: token.token(),
            ambient: matches!(token, Carried::Token(_, Bearer::Browser)),
            sessions: &self.sessions,
            logins: &self.surface.logins,
        };
        let mut reply = own.serve(endpoint, &visit, holder, body).await?;
        told.write(reply.headers_mut());
        Ok(reply)
    }

    /// Whether a page of another site could have made a browser send this, to its user's harm: it changes something or
    /// opens a connection, and a browser adds what it is paid with, or keeps what it is answered with.
    pub(super) fn is_at_risk(&self, route: &Route, token: &Carried, parts: &Parts) -> bool {
        let by_browser = match (token, route.announces) {
            (Carried::Token(_, bearer), Announces::Nothing | Announces::Logouts) => {
                *bearer == Bearer::Browser
            }
            (_, Announces::Nothing) => false,
            (_, Announces::Logins) => self.surface.logins.sets_cookie(),
            (_, Announces::Logouts) => self.surface.logins.in_cookie(&parts.headers).is_some(),
        };
        by_browser
            && (!Csrf::is_safe(&parts.method) || wanted_upgrade(route, &parts.headers).is_some())
    }

    /// The token that is worth nothing once the upstream has announced a login or a logout.
    pub(super) fn left_behind(
        &self,
        route: &Route,
        token: &Carried,
        headers: &HeaderMap,
    ) -> Option<Token> {
        match (route.announces, token) {
            (Announces::Nothing, _) => None,
            (Announces::Logouts, Carried::Token(token, _)) => Some(token.clone()),
            (Announces::Logins | Announces::Logouts, _) => self.surface.logins.in_cookie(headers),
        }
    }

    /// What is worth nothing either, then: a framework's token that came along.
    pub(super) fn behind(&self, route: &Route, headers: &HeaderMap) -> Option<Token> {
        let announces = route.announces != Announces::Nothing;
        announces.then(|| route.tokens.behind(headers).map(|(token, _)| token))?
    }

    /// Gives a browser that came with a framework's session one of ours, if that is wanted; says whether anything was done for
    /// it.
    pub(super) async fn move_in(
        &self,
        judged: &Judged<'_>,
        client: IpAddr,
        reply: &mut Response<Body>,
    ) -> bool {
        let Carried::Token(token, Bearer::Browser) = &judged.token else {
            return false;
        };
        let nothing = judged.route.announces == Announces::Nothing;
        if !nothing || judged.permit.session().is_none() || !self.sessions.migrates(token) {
            return false;
        }
        let logins = &self.surface.logins;
        Box::pin(logins.move_in((token, client), &self.sessions, reply)).await;
        true
    }

    /// Carries out what the upstream's answer announces, where it may announce something.
    pub(super) async fn settle(
        &self,
        route: &Route,
        mut reply: Response<Body>,
        (left, behind): (Option<Token>, Option<Token>),
        client: IpAddr,
    ) -> Result<Response<Body>, Refusal> {
        if route.announces == Announces::Nothing {
            self.surface.logins.strip(reply.headers_mut());
            return Ok(reply);
        }
        // Rare, and large: kept out of the future that every request carries.
        let visitor = Visitor {
            left,
            behind,
            client,
        };
        let logins = &self.surface.logins;
        let settled = logins.settle(route.announces, reply, visitor, &self.sessions);
        Ok(Box::pin(settled).await?)
    }
}
