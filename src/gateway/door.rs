//! What is asked of a request before it is judged: whether it may be here, who sends it, what it wants to become.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::request::Parts;

use super::Gateway;
use super::record::{Spent, lap};
use crate::cache::MaxAge;
use crate::head::Head;
use crate::headers;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::policy::{Holder, Permit};
use crate::refusal::Refusal;
use crate::route::Route;
use crate::session::Session;
use crate::sessions::Standing;
use crate::token::{Token, TokenError, TokenSource, TokenSources};
use crate::uptime::Uptime;

/// What a request carries where its route looks for a token.
#[derive(Debug)]
pub(super) enum Carried {
    /// Nothing, or the route does not look.
    Nothing,
    /// Something that cannot be a token.
    Malformed,
    /// A token, and who put it there.
    Token(Token, Bearer),
}

/// Who puts a token into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Whoever has written the request.
    Client,
    /// The browser, by itself, whichever page makes it send the request: a cookie.
    Browser,
}

impl Carried {
    /// The token.
    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token, _) => Some(token),
            Self::Nothing | Self::Malformed => None,
        }
    }

    /// The token, and whose it is by this permit.
    pub(super) fn held_by<'a>(&'a self, permit: &'a Permit) -> Option<(&'a Token, &'a Session)> {
        match self {
            Self::Token(token, _) => permit.session().map(|session| (token, session)),
            Self::Nothing | Self::Malformed => None,
        }
    }
}

impl Gateway {
    /// What these headers carry as a token of this route.
    pub(super) fn token(
        &self,
        route: &Route,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Carried, Refusal> {
        if !route.policy.looks_up() {
            return Ok(Carried::Nothing);
        }
        self.find(&route.tokens, headers, client)
    }

    /// What these sources have. Whoever has guessed too often is sent away before the store is asked.
    pub(super) fn find(
        &self,
        sources: &TokenSources,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Carried, Refusal> {
        match sources.find(headers) {
            Ok(Some((token, source))) => {
                self.admit(client, Some(&token))?;
                Ok(Carried::Token(token, bearer(source)))
            }
            Ok(None) => Ok(Carried::Nothing),
            // Which of the two would be believed elsewhere cannot be known, so not even an optional route lets it in.
            Err(conflict @ TokenError::Conflict) => Err(conflict.into()),
            Err(
                TokenError::Length
                | TokenError::Charset
                | TokenError::Seal
                | TokenError::NoRandomness,
            ) => {
                self.admit(client, None)?;
                Ok(Carried::Malformed)
            }
        }
    }

    /// Of a token of ours and a framework's behind it, the one that counts: the framework's only if nobody knows ours any more,
    /// which has run out then.
    pub(super) async fn current(
        &self,
        carried: Carried,
        (sources, headers): (&TokenSources, &HeaderMap),
        max_age: MaxAge,
    ) -> Result<Carried, Refusal> {
        let Carried::Token(token, _) = &carried else {
            return Ok(carried);
        };
        let Some((behind, source)) = sources.behind(headers) else {
            return Ok(carried);
        };
        match Box::pin(self.sessions.recall(token, max_age)).await? {
            Standing::Unknown => Ok(Carried::Token(behind, bearer(source))),
            Standing::Live(_) | Standing::Ended(_) => Ok(carried),
        }
    }

    /// How slowly the body of this request may come. Messages of a call of gRPC come when there are any.
    pub(super) fn pace(&self, route: &Route, parts: &Parts) -> Pace {
        let rate = match route.speaks_h2 && headers::is_grpc(parts) {
            true => 0,
            false => self.pace.rate,
        };
        Pace { rate, ..self.pace }
    }

    /// Who holds this token. [`Spent::judged_at`] says as of when.
    pub(super) async fn holder(
        &self,
        carried: &Carried,
        max_age: MaxAge,
        client: IpAddr,
        spent: &mut Spent,
    ) -> Result<Holder, Refusal> {
        let token = match carried {
            Carried::Nothing => return Ok(Holder::Nobody),
            Carried::Malformed => return Ok(Holder::Malformed),
            Carried::Token(token, _) => token,
        };
        let now = Uptime::now();
        let found = match self.sessions.remembered(token, max_age, now) {
            Some(found) => {
                spent.judged_at = now;
                self.cells.looked_up(Duration::ZERO, Ok(found))
            }
            None => {
                let asked = Instant::now();
                let found = self.sessions.recall(token, max_age).await;
                let lap = lap(asked);
                spent.store = Some(lap);
                spent.judged_at = Uptime::now();
                self.cells.looked_up(lap.took, found)
            }
        }?;
        self.learn(client, token, !matches!(found, Standing::Unknown));
        Ok(match found {
            Standing::Unknown => Holder::Unknown,
            Standing::Ended(ended) => Holder::Ended(*ended),
            Standing::Live(session) => Holder::Session(session),
        })
    }
}

fn bearer(source: &TokenSource) -> Bearer {
    match source {
        TokenSource::Cookie(_) => Bearer::Browser,
        TokenSource::Bearer | TokenSource::Header(_) => Bearer::Client,
    }
}

/// The door: whether the connection may be used for this host.
pub(super) fn enter(head: &Head, peer: &Peer) -> Result<(), Refusal> {
    let covers =
        |tls: &crate::peer::TlsPeer| tls.scope.covers(tls.server_name.as_deref(), head.host());
    match peer.tls.as_ref().is_none_or(covers) {
        true => Ok(()),
        false => Err(Refusal::Misdirected),
    }
}

/// The protocol that a request asks to switch to, if its route allows it.
pub(super) fn wanted_upgrade(route: &Route, headers: &HeaderMap) -> Option<String> {
    if route.upgrades.is_empty() {
        return None;
    }
    headers::upgrade_protocol(headers).filter(|name| route.upgrades.contains(name))
}
