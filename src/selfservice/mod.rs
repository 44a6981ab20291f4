//! The gateway's own endpoints: what users do with their sessions, single sign-on, and providers that log out.
//!
//! # Threat model
//! Everything here is for whoever holds a token, and only for that user's own sessions; no answer holds a token but
//! those that exist to hand one out. What a cookie pays for must come from an own page. Who acts as somebody else may
//! look and leave, but not end that user's sessions or carry the role to another domain.

mod backchannel;
mod form;
mod listing;
mod renewal;
mod sso;

use std::net::IpAddr;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::{Body, Incoming};
use crate::config::fault::Fault;
use crate::config::value::{TokenSource, WebOrigin};
use crate::config::{Auth, Config, Require};
use crate::csrf::Csrf;
use crate::layout;
use crate::limit::RouteLimits;
use crate::login::Logins;
use crate::oidc::Providers;
use crate::policy::{Holder, Permit, Policy};
use crate::refusal::{Refusal, Unserved};
use crate::route::RouteError;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::store::Keys;
use crate::token::{Token, TokenSources};

use self::sso::SingleSignOn;

/// The endpoints, ready to run.
#[derive(Debug)]
pub struct SelfService {
    prefix: String,
    /// Where tokens are looked for here: as everywhere, and in the login cookie.
    pub tokens: TokenSources,
    /// How much may be asked for.
    pub limits: RouteLimits,
    policy: Policy,
    /// For those who may also be nobody.
    anybody: Policy,
    csrf: Csrf,
    keys: Keys,
    providers: Providers,
    sso: Option<SingleSignOn>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The user's sessions.
    List,
    /// The end of one of them.
    End(String),
    /// The end of all others.
    EndOthers,
    /// New tokens for a refresh token.
    Refresh,
    /// The end of this session.
    Logout,
    /// A session for a one-time ticket.
    Redeem,
    /// The way to the other domains of single sign-on.
    SingleSignOn,
    /// The way back.
    Accept,
    /// The end of sessions, by their provider's word.
    BackChannel,
}

/// A request to one of them.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Where it comes from, as far as that can be believed.
    pub client: IpAddr,
    /// The origin that its browser sees.
    pub own: Option<WebOrigin>,
    /// Its token.
    pub token: Option<&'a Token>,
    /// The framework's one that stands back behind it.
    pub behind: Option<Token>,
    /// Whether a browser may have added that by itself.
    pub ambient: bool,
    /// All sessions.
    pub sessions: &'a Sessions,
    /// How clients get their tokens.
    pub logins: &'a Logins,
}

impl SelfService {
    /// The endpoints that are configured; `None` if there are none.
    ///
    /// # Errors
    /// Faults that only show when files are read.
    pub fn build(config: &Config) -> Result<Option<Self>, Vec<Fault>> {
        let Some(endpoints) = &config.self_service else {
            return Ok(None);
        };
        let mut sources = config.tokens.sources.clone();
        let cookie = TokenSource::Cookie(config.login.cookie.name.as_str().to_owned());
        if !sources.contains(&cookie) {
            sources.push(cookie);
        }
        let prefix = endpoints.prefix.as_str();
        Ok(Some(Self {
            prefix: prefix.to_owned(),
            tokens: layout::sources(&sources, config),
            limits: RouteLimits::new(Some(prefix), &endpoints.limits),
            policy: Policy::new(Auth::Required, &Require::default()),
            anybody: Policy::new(Auth::Optional, &Require::default()),
            csrf: Csrf::new(&config.csrf),
            keys: Keys::new(config),
            providers: Providers::build(&config.oidc)?,
            sso: config
                .sso
                .as_ref()
                .map(|sso| SingleSignOn::new(sso, prefix)),
        }))
    }

    /// Whether this path is one of ours. What is below it is never routed.
    pub fn covers(&self, path: &str) -> bool {
        self.below(path).is_some()
    }

    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// The endpoint at this path.
    ///
    /// # Errors
    /// [`RouteError`]: there is none, or it does not take the method.
    pub fn endpoint(&self, path: &str, method: &Method) -> Result<Endpoint, RouteError> {
        let known = match self.below(path).unwrap_or_default() {
            "/sessions" => vec![
                (Method::GET, Endpoint::List),
                (Method::DELETE, Endpoint::EndOthers),
            ],
            "/refresh" => vec![(Method::POST, Endpoint::Refresh)],
            "/logout" => vec![(Method::POST, Endpoint::Logout)],
            "/redeem" => vec![(Method::POST, Endpoint::Redeem)],
            "/sso" if self.sso.is_some() => vec![(Method::GET, Endpoint::SingleSignOn)],
            "/sso/accept" if self.sso.is_some() => vec![(Method::GET, Endpoint::Accept)],
            "/backchannel-logout" if !self.providers.is_empty() => {
                vec![(Method::POST, Endpoint::BackChannel)]
            }
            rest => match rest.strip_prefix("/sessions/") {
                Some(sid) if !sid.is_empty() && !sid.contains('/') => {
                    vec![(Method::DELETE, Endpoint::End(sid.to_owned()))]
                }
                Some(_) | None => return Err(RouteError::NotFound),
            },
        };
        let asked = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let found = known.iter().find(|(method, _)| method == asked);
        found
            .map(|(_, endpoint)| endpoint.clone())
            .ok_or_else(|| RouteError::Method {
                allow: known.iter().map(|(method, _)| method.clone()).collect(),
            })
    }

    /// Answers.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn serve(
        &self,
        endpoint: Endpoint,
        visit: &Visit<'_>,
        holder: Holder,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        match endpoint {
            Endpoint::List => listing::list(&self.owner(holder)?, visit).await,
            Endpoint::End(sid) => {
                let owner = self.owner(holder)?;
                self.guard(visit, visit.ambient)?;
                listing::end(&sid, &owner, visit).await
            }
            Endpoint::EndOthers => {
                let owner = self.owner(holder)?;
                self.guard(visit, visit.ambient)?;
                listing::end_others(&owner, visit).await
            }
            Endpoint::Refresh => self.refresh(visit, body).await,
            Endpoint::Logout => self.log_out(visit).await,
            Endpoint::Redeem => self.redeem(visit, body).await,
            Endpoint::SingleSignOn => self.leave(visit, holder).await,
            Endpoint::Accept => self.accept(visit).await,
            Endpoint::BackChannel => self.back_channel(visit, body).await,
        }
    }

    /// Who asks: somebody with a session of ours that is live.
    fn owner(&self, holder: Holder) -> Result<Permit, Refusal> {
        let permit = self.policy.judge(holder)?;
        let ours = permit
            .session()
            .is_some_and(|session| !session.sid.is_empty());
        if ours {
            Ok(permit)
        } else {
            Err(Unserved::ForeignSession.into())
        }
    }

    /// Lets only own pages spend what a browser adds by itself.
    fn guard(&self, visit: &Visit<'_>, ambient: bool) -> Result<(), Refusal> {
        if ambient {
            self.csrf
                .guard(&visit.parts.headers, || visit.own.clone())?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// Whether it looks for a token.
    pub fn wants_token(&self) -> bool {
        self.looks_up() || *self == Self::Logout
    }

    /// Whether it wants to know whose token it is.
    pub fn looks_up(&self) -> bool {
        matches!(
            self,
            Self::List | Self::End(_) | Self::EndOthers | Self::SingleSignOn
        )
    }
}

/// Nobody may act in these things for somebody else.
fn in_person(session: &Session) -> Result<&Session, Refusal> {
    match session.extras.actor {
        None => Ok(session),
        Some(_) => Err(Unserved::ActingSession.into()),
    }
}

/// An answer without a body that nobody keeps.
fn bare(status: StatusCode) -> Response<Body> {
    let mut reply = Response::new(Body::Empty);
    *reply.status_mut() = status;
    let no_store = HeaderValue::from_static("no-store");
    reply.headers_mut().insert(CACHE_CONTROL, no_store);
    reply
}

/// A document that nobody keeps.
fn document(content: &serde_json::Value) -> Response<Body> {
    let mut reply = bare(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    *reply.body_mut() = Body::text(content.to_string());
    reply
}

#[cfg(test)]
mod tests;
