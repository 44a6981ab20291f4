//! What a rule asks of a session.

use std::fmt;
use std::time::Duration;

use crate::clock::{millis, now};
use crate::config::value::PermissionPattern;
use crate::permission;
use crate::session::Session;

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
    /// Neither the user nor the session is riskier than this.
    MaxRisk(u8),
    /// The user has proved again who they are, no longer ago than this.
    ElevatedWithin(Duration),
}

impl Check {
    /// Whether this session meets it.
    pub(super) fn holds(&self, session: &Session) -> bool {
        match self {
            Self::Permission(wanted) => wanted.is_held_by(session),
            Self::AnyPermission(wanted) => wanted.iter().any(|wanted| wanted.is_held_by(session)),
            Self::NoPermission(unwanted) => !unwanted.may_be_held_by(session),
            Self::Role(roles) => session.roles.iter().any(|held| roles.contains(held)),
            Self::DeviceType(types) => types.iter().any(|kind| *kind == session.device.kind),
            Self::MaxRisk(most) => session.extras.risk <= *most,
            Self::ElevatedWithin(within) => is_elevated(session, *within, now()),
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
            Self::MaxRisk(most) => write!(f, "risk of at most {most}"),
            Self::ElevatedWithin(within) => {
                write!(f, "step-up within {}", humantime::format_duration(*within))
            }
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
    pub(super) fn new(pattern: &PermissionPattern) -> Self {
        let text = pattern.as_str().to_owned();
        Self {
            wild: text.contains('*'),
            text,
        }
    }

    /// Whether this session has it. What is denied in part counts as far as none of what is denied could be meant.
    fn is_held_by(&self, session: &Session) -> bool {
        let any = |list: &[String]| list.iter().any(|held| self.meets(held));
        any(&session.permissions) || (any(&session.extras.partial) && !any(&session.extras.denied))
    }

    /// Whether this session may have it, as far as can be told: not if all of it is denied.
    fn may_be_held_by(&self, session: &Session) -> bool {
        let any = |list: &[String]| list.iter().any(|held| self.meets(held));
        let mut denied = session.extras.denied.iter();
        any(&session.permissions)
            || (any(&session.extras.partial)
                && !denied.any(|denied| permission::covers(denied, &self.text)))
    }

    /// Whether a session that holds `held` has this permission. Either side may hold wildcards: `orders:*` in the
    /// session grants `orders:read`, and a rule that wants `orders:*` is met by any permission below `orders`.
    pub(super) fn meets(&self, held: &str) -> bool {
        self.text == held
            || ((self.wild || held.contains('*')) && permission::overlap(&self.text, held))
    }
}

fn is_elevated(session: &Session, within: Duration, now: u64) -> bool {
    let counts = session
        .extras
        .elevated_until
        .is_some_and(|until| now < until);
    let recent = |at: u64| now < at.saturating_add(millis(within));
    counts && session.extras.elevated_at.is_some_and(recent)
}
