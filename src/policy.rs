//! Who may pass. The only place that makes a [`Permit`].
//!
//! # Threat model
//! A permission is data from the session record, a rule is data from `gateway.toml`; neither is ever built from the
//! request. What cannot be decided never arrives here: a store that could not tell is refused before.

use std::fmt;
use std::sync::Arc;

use crate::config::value::PermissionPattern;
use crate::config::{Auth, Require};
use crate::permission;
use crate::session::Session;

/// What the look-up of a request's token came to.
#[derive(Debug)]
pub enum Holder {
    /// The request carries no token, or the route does not look.
    Nobody,
    /// It carries something that cannot be a token.
    Malformed,
    /// It carries a token that no live session belongs to.
    Unknown,
    /// It carries the token of this session.
    Session(Arc<Session>),
}

/// What must hold for a request to pass.
#[derive(Debug, Clone)]
pub struct Policy {
    auth: Auth,
    checks: Vec<Check>,
}

/// One condition on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The session has this permission.
    Permission(Permission),
    /// The session has at least one of these permissions.
    AnyPermission(Vec<Permission>),
    /// The session does not have this permission.
    NoPermission(Permission),
    /// The session has at least one of these roles.
    Role(Vec<String>),
    /// The session's device is of one of these types.
    DeviceType(Vec<String>),
}

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
        Self { auth, checks }
    }

    /// Whether the token has to be looked up at all.
    pub fn looks_up(&self) -> bool {
        self.auth != Auth::Public
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
            (_, Holder::Session(session)) => return self.judge_session(session),
            (_, Holder::Nobody) => Denied::TokenMissing,
            (_, Holder::Malformed) => Denied::TokenMalformed,
            (_, Holder::Unknown) => Denied::TokenInvalid,
        };
        if self.auth == Auth::Optional {
            anonymous
        } else {
            Err(reason)
        }
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

impl Check {
    /// Whether this session meets it.
    fn holds(&self, session: &Session) -> bool {
        let has = |wanted: &Permission| session.permissions.iter().any(|held| wanted.meets(held));
        match self {
            Self::Permission(wanted) => has(wanted),
            Self::AnyPermission(wanted) => wanted.iter().any(has),
            Self::NoPermission(unwanted) => !has(unwanted),
            Self::Role(roles) => session.roles.iter().any(|held| roles.contains(held)),
            Self::DeviceType(types) => types.contains(&session.device.kind),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(wanted) => write!(f, "permission {}", wanted.text),
            Self::AnyPermission(wanted) => {
                let texts: Vec<_> = wanted.iter().map(|wanted| wanted.text.as_str()).collect();
                write!(f, "any permission of {}", texts.join(", "))
            }
            Self::NoPermission(unwanted) => write!(f, "no permission {}", unwanted.text),
            Self::Role(roles) => write!(f, "any role of {}", roles.join(", ")),
            Self::DeviceType(types) => write!(f, "device type {}", types.join(" or ")),
        }
    }
}

/// A permission that a rule names: parts joined with `:`, where `*` is any one part, or at the end any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    text: String,
    wild: bool,
}

impl Permission {
    fn new(pattern: &PermissionPattern) -> Self {
        let text = pattern.as_str().to_owned();
        Self {
            wild: text.contains('*'),
            text,
        }
    }

    /// Whether a session that holds `held` has this permission. Either side may hold wildcards: `orders:*` in the
    /// session grants `orders:read`, and a rule that wants `orders:*` is met by any permission below `orders`.
    fn meets(&self, held: &str) -> bool {
        if !self.wild && !held.contains('*') {
            return self.text == held;
        }
        permission::overlap(&self.text, held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Device;

    fn permission(text: &str) -> Permission {
        Permission::new(&PermissionPattern::try_from(text.to_owned()).unwrap())
    }

    fn require(toml: &str) -> Require {
        toml::from_str(toml).unwrap()
    }

    fn session(permissions: &[&str], roles: &[&str], device: &str) -> Session {
        Session {
            user_id: "alice".to_owned(),
            permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
            roles: roles.iter().map(|text| (*text).to_owned()).collect(),
            device: Device {
                kind: device.to_owned(),
                ..Device::default()
            },
            expires_at: None,
            ..Session::default()
        }
    }

    #[test]
    fn wildcards_stand_for_whole_parts_on_either_side() {
        let cases = [
            ("orders:read", "orders:read", true),
            ("orders:read", "orders:write", false),
            ("orders:read", "orders:*", true),
            ("orders:read", "*", true),
            ("orders:read:own", "orders:*", true),
            ("orders:read:own", "orders:*:own", true),
            ("orders:read:own", "orders:*:all", false),
            ("orders:*", "orders:read", true),
            ("orders:*", "orders:read:own", true),
            ("orders:*", "orders", false),
            ("orders", "orders:*", false),
            ("orders:*", "invoices:read", false),
            ("orders:*:own", "orders:read:own", true),
            ("orders:read", "ord*", false),
            ("orders:read", "orders:re*", false),
            ("orders:read", "", false),
            ("*", "anything:at:all", true),
        ];

        for (wanted, held, expected) in cases {
            assert_eq!(
                permission(wanted).meets(held),
                expected,
                "rule {wanted}, session {held}"
            );
        }
    }

    #[test]
    fn every_check_of_a_rule_must_hold() {
        let rule = "all = ['a:1', 'a:2']\nany = ['b:1', 'b:2']\nnone = ['c:*']\nroles = ['staff']\ndevice_types = ['phone']";
        let policy = Policy::new(Auth::Required, &require(rule));
        let cases = [
            (session(&["a:1", "a:2", "b:2"], &["staff"], "phone"), None),
            (
                session(&["a:1", "b:2"], &["staff"], "phone"),
                Some("permission a:2"),
            ),
            (
                session(&["a:*"], &["staff"], "phone"),
                Some("any permission of b:1, b:2"),
            ),
            (
                session(&["a:*", "b:1", "c:9"], &["staff"], "phone"),
                Some("no permission c:*"),
            ),
            (
                session(&["*"], &["staff"], "phone"),
                Some("no permission c:*"),
            ),
            (
                session(&["a:*", "b:1"], &["guest"], "phone"),
                Some("any role of staff"),
            ),
            (
                session(&["a:*", "b:1"], &["staff"], "tv"),
                Some("device type phone"),
            ),
        ];

        for (session, expected) in cases {
            let unmet = match policy.judge(Holder::Session(session.clone().into())) {
                Ok(permit) => permit.session().map(|_| None).unwrap(),
                Err(Denied::Unmet(check)) => Some(check.to_string()),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(unmet.as_deref(), expected, "{session:?}");
        }
    }

    #[test]
    fn without_a_session_only_optional_and_public_pass_and_they_pass_without_identity() {
        let holders = || [Holder::Nobody, Holder::Malformed, Holder::Unknown];
        let reasons = [
            Denied::TokenMissing,
            Denied::TokenMalformed,
            Denied::TokenInvalid,
        ];

        for (holder, reason) in holders().into_iter().zip(reasons) {
            assert_eq!(
                Policy::new(Auth::Required, &Require::default())
                    .judge(holder)
                    .unwrap_err(),
                reason
            );
        }
        for auth in [Auth::Optional, Auth::Public] {
            for holder in holders() {
                assert!(
                    Policy::new(auth, &Require::default())
                        .judge(holder)
                        .unwrap()
                        .session()
                        .is_none()
                );
            }
        }
    }

    #[test]
    fn a_public_route_forgets_a_session_that_it_is_given() {
        let permit = Policy::new(Auth::Public, &Require::default())
            .judge(Holder::Session(session(&[], &[], "").into()))
            .unwrap();

        assert!(permit.session().is_none());
    }
}
