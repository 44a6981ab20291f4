//! Who may pass. The only place that makes a [`Permit`].
//!
//! # Threat model
//! A permission is data from the session record, a rule is data from `gateway.toml`; neither is ever built from the
//! request. What cannot be decided never arrives here: a store that could not tell is refused before.

mod check;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::now;
use crate::config::value::PermissionPattern;
use crate::config::{Auth, Require};
use crate::session::{Ban, EndedSession, Extra, Extras, Session};

pub use self::check::{Check, Permission};

/// What the look-up of a request's token came to.
#[derive(Debug)]
pub enum Holder {
    /// The request carries no token, or the route does not look.
    Nobody,
    /// It carries something that cannot be a token.
    Malformed,
    /// It carries a token that no live session belongs to.
    Unknown,
    /// It carries a token whose session is over.
    Ended(EndedSession),
    /// It carries the token of this session.
    Session(Arc<Session>),
}

/// What must hold for a request to pass.
#[derive(Debug, Clone)]
pub struct Policy {
    auth: Auth,
    service: Option<String>,
    checks: Vec<Check>,
}

/// What a route asks of sessions that can be ended, besides rights.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The name under which users can be banned from it.
    pub service: Option<String>,
    /// The highest risk of user and session.
    pub max_risk: Option<u8>,
    /// How long ago the last step-up may be.
    pub elevated_within: Option<Duration>,
}

/// The ban of everything, among a session's bans.
const EVERYTHING: &str = "*";

/// Proof that a policy let this request in. Nothing else makes one.
#[derive(Debug)]
pub struct Permit {
    session: Option<Arc<Session>>,
}

/// Why a policy did not let a request in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A session is needed and no token was sent.
    #[error("no token was sent")]
    TokenMissing,
    /// What was sent cannot be a token.
    #[error("what was sent cannot be a token")]
    TokenMalformed,
    /// The token has no live session.
    #[error("the token has no live session")]
    TokenInvalid,
    /// The token's session is over.
    #[error("the session has ended: {:?}", .0.why)]
    Ended(EndedSession),
    /// The user is banned from everything.
    #[error("the user is banned")]
    Disabled(Ban),
    /// The user is banned from this route's service.
    #[error("the user is banned from this service")]
    ServiceDisabled(Ban),
    /// The session does not meet this check.
    #[error("the session does not meet the rule: {0}")]
    Unmet(Check),
}

/// A judgement.
pub type Decision = Result<Permit, Denied>;

impl Permit {
    /// The session that was let in; `None` for an anonymous request.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// Whether an upstream would be told of the same user with the same rights. Ends are told, too, but move with use.
    pub fn tells_as(&self, other: &Self) -> bool {
        let told = |permit: &Self| {
            permit.session.as_deref().map(|session| Session {
                expires_at: None,
                extras: Extras::from(Extra {
                    idle: None,
                    ..Extra::clone(&session.extras)
                }),
                ..session.clone()
            })
        };
        told(self) == told(other)
    }
}

impl Policy {
    /// The policy that a route describes.
    pub fn new(auth: Auth, require: &Require) -> Self {
        let permissions = |patterns: &[PermissionPattern]| {
            patterns.iter().map(Permission::new).collect::<Vec<_>>()
        };
        let mut checks: Vec<Check> = permissions(&require.all)
            .into_iter()
            .map(Check::Permission)
            .collect();
        if !require.any.is_empty() {
            checks.push(Check::AnyPermission(permissions(&require.any)));
        }
        checks.extend(
            permissions(&require.none)
                .into_iter()
                .map(Check::NoPermission),
        );
        if !require.roles.is_empty() {
            checks.push(Check::Role(require.roles.clone()));
        }
        if !require.device_types.is_empty() {
            checks.push(Check::DeviceType(require.device_types.clone()));
        }
        Self {
            auth,
            service: None,
            checks,
        }
    }

    /// The same, with a guard. Step-up is asked for last: nobody should prove who they are for nothing.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.service = guard.service;
        self.checks.extend(guard.max_risk.map(Check::MaxRisk));
        let elevated = guard.elevated_within.map(Check::ElevatedWithin);
        self.checks.extend(elevated);
        self
    }

    /// Whether the token has to be looked up at all.
    pub fn looks_up(&self) -> bool {
        self.auth != Auth::Public
    }

    /// The name under which users can be banned from what it guards.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether a session is needed.
    pub fn auth(&self) -> Auth {
        self.auth
    }

    /// Every check with its verdict on this session, in the order in which they are judged.
    pub fn weigh<'a>(&'a self, session: &'a Session) -> impl Iterator<Item = (&'a Check, bool)> {
        self.checks
            .iter()
            .map(move |check| (check, check.holds(session)))
    }

    /// Lets the holder in, or says why not.
    ///
    /// # Errors
    /// [`Denied`]: the first reason found.
    pub fn judge(&self, holder: Holder) -> Decision {
        let anonymous = Ok(Permit { session: None });
        let reason = match (self.auth, holder) {
            (Auth::Public, _) => return anonymous,
            (_, Holder::Session(session)) => match self.ban(&session) {
                Some(banned) => banned,
                None => return self.judge_session(session),
            },
            (_, Holder::Nobody) => Denied::TokenMissing,
            (_, Holder::Malformed) => Denied::TokenMalformed,
            (_, Holder::Unknown) => Denied::TokenInvalid,
            (_, Holder::Ended(ended)) => Denied::Ended(ended),
        };
        if self.auth == Auth::Optional {
            anonymous
        } else {
            Err(reason)
        }
    }

    /// Why this session's user may not be here at all.
    pub fn ban(&self, session: &Session) -> Option<Denied> {
        let of = |name: &str| {
            let mut bans = session.extras.bans.iter();
            let found = bans.find(|(service, ban)| service == name && ban.holds(now()));
            found.map(|(_, ban)| ban.clone())
        };
        let from_here = || self.service.as_deref().and_then(of);
        of(EVERYTHING)
            .map(Denied::Disabled)
            .or_else(|| from_here().map(Denied::ServiceDisabled))
    }

    fn judge_session(&self, session: Arc<Session>) -> Decision {
        if let Some((check, _)) = self.weigh(&session).find(|(_, held)| !held) {
            return Err(Denied::Unmet(check.clone()));
        }
        Ok(Permit {
            session: Some(session),
        })
    }
}

#[cfg(test)]
mod tests;
