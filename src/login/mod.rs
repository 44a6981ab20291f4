//! Logins and logouts that an upstream announces with headers, and how clients get their tokens.
//!
//! # Threat model
//! Whoever can make these headers arrive here from the wrong side is whoever they please. So they count only in the
//! answers of routes that are marked for it, in their exact spelling, once, and are taken out of everything else. The
//! upstream's success is the client's proof of being logged in: it is not shown unless there is a session, and the old
//! session of the same browser ends with it.

mod announce;
mod external;
mod names;

use std::net::IpAddr;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::body::Body;
use crate::clock::now;
use crate::config::value::TokenSource;
use crate::config::{Config, Encoding, LoginAnswer, LoginHeaders, LogoutSign};
use crate::cookie::Cookies;
use crate::route::Announces;
use crate::session::Why;
use crate::sessions::{Grant, LoginError, Sessions, Whom};
use crate::store::{Key, Keys, StoreError};
use crate::token::{MintedToken, Token, TokenShape, TokenSources};

pub use self::external::Link;
use self::names::Names;

/// What becomes of logins.
#[derive(Debug)]
pub struct Logins {
    names: Names,
    headers: LoginHeaders,
    encoding: Encoding,
    answer: LoginAnswer,
    refresh: bool,
    sign: LogoutSign,
    cookies: Cookies,
    cookie: TokenSources,
    keys: Keys,
    /// The issuer of a login that names none.
    only_issuer: Option<String>,
    issuers: Vec<String>,
}

/// Whose request an upstream has answered.
#[derive(Debug)]
pub struct Visitor {
    /// The token that the client came with; worth nothing once a login or a logout is announced.
    pub left: Option<Token>,
    /// The one that stood back behind it.
    pub behind: Option<Token>,
    /// Where the client is.
    pub client: IpAddr,
}

impl Logins {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let login = &config.login;
        let endpoints = config.self_service.as_ref();
        let refresh_path = endpoints.map(|service| format!("{}/refresh", service.prefix.as_str()));
        let source = TokenSource::Cookie(login.cookie.name.as_str().to_owned());
        let issuers: Vec<String> = config
            .oidc
            .iter()
            .map(|provider| provider.issuer.get_ref().clone())
            .collect();
        Self {
            names: Names::new(config),
            headers: login.headers.clone(),
            encoding: config.identity.encoding,
            answer: login.answer,
            refresh: login.refresh,
            sign: login.logout,
            cookies: Cookies::new(&login.cookie, refresh_path),
            cookie: TokenSources::new(&[source], TokenShape::new(&config.tokens)),
            keys: Keys::new(config),
            only_issuer: match issuers.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            issuers,
        }
    }

    /// Our cookies.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Whether a login sets a cookie.
    pub fn sets_cookie(&self) -> bool {
        self.answer == LoginAnswer::Cookie
    }

    /// Whether a login gives a refresh token.
    pub fn refreshes(&self) -> bool {
        self.refresh
    }

    /// Takes out of an answer what is for the gateway alone.
    pub fn strip(&self, headers: &mut HeaderMap) {
        self.names.strip(headers);
    }

    /// The token in the login cookie of a request, if there is exactly one.
    pub fn in_cookie(&self, headers: &HeaderMap) -> Option<Token> {
        let found = self.cookie.find(headers).ok().flatten();
        found.map(|(token, _)| token)
    }

    /// Carries out what an upstream's answer announces.
    ///
    /// # Errors
    /// [`LoginError`]; the answer must not reach the client then.
    pub async fn settle(
        &self,
        announces: Announces,
        reply: Response<Body>,
        visitor: Visitor,
        sessions: &Sessions,
    ) -> Result<Response<Body>, LoginError> {
        let worked = reply.status().is_success() || reply.status().is_redirection();
        match announces {
            Announces::Logins if worked => self.log_in(reply, visitor, sessions).await,
            Announces::Logouts if worked && self.is_logout(&reply) => {
                Ok(self.log_out(reply, visitor, sessions).await?)
            }
            Announces::Nothing | Announces::Logins | Announces::Logouts => Ok(self.stripped(reply)),
        }
    }

    async fn log_in(
        &self,
        reply: Response<Body>,
        visitor: Visitor,
        sessions: &Sessions,
    ) -> Result<Response<Body>, LoginError> {
        let Some(announced) = announce::read(reply.headers(), &self.headers, self.encoding)? else {
            return Ok(self.stripped(reply));
        };
        let provider = self.provider(announced.oidc_sid, announced.oidc_issuer)?;
        let mut login = announced.login;
        login.refresh = self.refresh;
        login.ip = Some(visitor.client);
        let user = login.user_id.clone();
        let grant = sessions.login(login).await?;
        if let Some((issuer, sid)) = provider {
            let link = Link {
                user_id: user,
                sid: grant.session.sid.clone(),
                ends_at: grant.session.ends_at,
            };
            let key = self.keys.external(&issuer, &sid);
            note(&key, link, sessions).await?;
        }
        for left in [visitor.left, visitor.behind].into_iter().flatten() {
            if let Err(error) = sessions.logout(&left).await {
                // It ends by itself, and its browser no longer has it.
                tracing::warn!(%error, "the session before a login could not be ended");
            }
        }
        Ok(self.hand_over(&grant, self.stripped(reply)))
    }

    /// The session at a provider that a login came out of.
    fn provider(
        &self,
        sid: Option<String>,
        issuer: Option<String>,
    ) -> Result<Option<(String, String)>, LoginError> {
        let Some(sid) = sid else { return Ok(None) };
        // Without providers nobody will ever ask.
        if self.issuers.is_empty() {
            return Ok(None);
        }
        let issuer = issuer.or_else(|| self.only_issuer.clone());
        match issuer.filter(|issuer| self.issuers.contains(issuer)) {
            Some(issuer) => Ok(Some((issuer, sid))),
            None => Err(LoginError::Unusable(
                "the upstream names a provider's session, but no configured provider",
            )),
        }
    }

    /// The sessions that came out of a session at a provider; `None` if no login has named it.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn linked(
        &self,
        issuer: &str,
        sid: &str,
        sessions: &Sessions,
    ) -> Result<Option<Vec<Link>>, StoreError> {
        external::find(sessions.store(), &self.keys.external(issuer, sid)).await
    }

    fn is_logout(&self, reply: &Response<Body>) -> bool {
        match self.sign {
            LogoutSign::Success => true,
            LogoutSign::Header => reply.headers().contains_key(self.headers.logout.as_str()),
        }
    }

    async fn log_out(
        &self,
        reply: Response<Body>,
        visitor: Visitor,
        sessions: &Sessions,
    ) -> Result<Response<Body>, StoreError> {
        for token in [visitor.left, visitor.behind].into_iter().flatten() {
            sessions.logout(&token).await?;
        }
        let mut reply = self.stripped(reply);
        self.clear(reply.headers_mut());
        Ok(reply)
    }

    fn stripped(&self, mut reply: Response<Body>) -> Response<Body> {
        self.names.strip(reply.headers_mut());
        reply
    }

    /// Takes our cookies away from the client.
    pub fn clear(&self, headers: &mut HeaderMap) {
        for line in self.cookies.cleared() {
            headers.append(SET_COOKIE, line);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }

    /// Gives the client its tokens: next to this answer as cookies, or in its place.
    pub fn hand_over(&self, grant: &Grant, mut reply: Response<Body>) -> Response<Body> {
        match self.answer {
            LoginAnswer::Cookie => {
                self.set(grant, reply.headers_mut());
                reply
            }
            LoginAnswer::Tokens => {
                let mut tokens = tokens(grant);
                // The upstream's own cookies are for the client; the rest was about a body that is not sent.
                for line in reply.headers().get_all(SET_COOKIE) {
                    tokens.headers_mut().append(SET_COOKIE, line.clone());
                }
                tokens
            }
        }
    }

    /// Gives whoever holds this token of a framework one of ours beside it, with the answer. The answer goes out in any case.
    pub async fn move_in(
        &self,
        (token, client): (&Token, IpAddr),
        sessions: &Sessions,
        reply: &mut Response<Body>,
    ) {
        match sessions.migrate(token, self.refresh, client).await {
            Ok(Some(grant)) => self.set(&grant, reply.headers_mut()),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a framework's session goes on as it is, for there is none of ours");
            }
        }
    }

    /// Sets the cookies of this grant.
    pub fn set(&self, grant: &Grant, headers: &mut HeaderMap) {
        // Without a refresh token the token is as good as the session is, as long as it is used.
        let ends_at = match grant.refresh {
            Some(_) => grant.access_ends_at,
            None => grant.session.ends_at.max(grant.access_ends_at),
        };
        let session = self.cookies.session(grant.access.expose(), left(ends_at));
        headers.append(SET_COOKIE, session);
        if let (Some(refresh), Some(ends_at)) = (&grant.refresh, grant.refresh_ends_at) {
            let refresh = self.cookies.refresh(refresh.expose(), left(ends_at));
            headers.append(SET_COOKIE, refresh);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Remembers a session for the provider's logout; a session that could not be logged out is not kept.
async fn note(key: &Key, link: Link, sessions: &Sessions) -> Result<(), StoreError> {
    let noted = external::note(sessions.store(), key, &link).await;
    if noted.is_err() {
        let whom = Whom::Session(link.sid);
        if let Err(error) = sessions.kick(&link.user_id, whom, Why::LoggedOut).await {
            tracing::warn!(%error, "a session whose token was not handed out could not be ended");
        }
    }
    noted
}

/// How long it is until then.
fn left(ends_at: u64) -> Duration {
    Duration::from_millis(ends_at.saturating_sub(now()))
}

#[derive(Serialize)]
struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// A successful token answer (RFC 6749 section 5.1).
pub fn tokens(grant: &Grant) -> Response<Body> {
    let tokens = Tokens {
        access_token: grant.access.expose(),
        token_type: "Bearer",
        expires_in: left(grant.access_ends_at).as_secs(),
        refresh_token: grant.refresh.as_ref().map(MintedToken::expose),
    };
    let text = serde_json::to_string(&tokens).expect("texts and numbers are JSON");
    let mut reply = Response::new(Body::text(text));
    *reply.status_mut() = StatusCode::OK;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}
