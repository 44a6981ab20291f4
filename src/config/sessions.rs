//! Sessions that can be ended: how long they last, how many there may be.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Duration, RealmName};

/// Sessions that can be ended: user records, devices, refresh tokens, bans. Without this table tokens are only looked up.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Users, epochs and roles of one realm are apart from those of every other realm in the same store.
    pub realm: RealmName,
    /// How long an access token is good that comes with a refresh token.
    pub access_lifetime: Duration,
    /// How long a session lasts that has no refresh token, used or not.
    pub lifetime: Duration,
    /// An access token that is not used for so long ends. Absent: it need not be used.
    pub idle: Option<Duration>,
    /// How long a session lasts that has a refresh token, used or not.
    pub refresh_lifetime: Duration,
    /// A session whose refresh token is not used for so long ends.
    pub refresh_idle: Duration,
    /// For so long after a refresh the same refresh token gets the same answer again: a reply may be lost. 60 s at most.
    pub refresh_grace: Duration,
    /// Sessions that one user may have at once; 256 at most.
    pub max_per_user: u16,
    /// Sessions that one user may have at once on devices of this type.
    pub max_per_type: BTreeMap<String, u16>,
    /// What a login does that would be one too many.
    pub on_limit: OnLimit,
    /// Device types of which a user has one session at a time: a login ends the one before.
    pub exclusive_types: Vec<String>,
    /// What is asked of sessions that somebody else's login service wrote.
    pub foreign: Foreign,
    /// What becomes of such a session after its user was kicked out of everything, if it does not say when it began.
    pub foreign_without_iat: WithoutIat,
    /// How long a user's record outlives the last session, ban or change of rights in it.
    pub remember: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            realm: RealmName::default(),
            access_lifetime: Duration::from_secs(15 * 60),
            lifetime: Duration::from_secs(12 * 3600),
            idle: None,
            refresh_lifetime: Duration::from_secs(30 * DAY),
            refresh_idle: Duration::from_secs(7 * DAY),
            refresh_grace: Duration::from_secs(10),
            max_per_user: 32,
            max_per_type: BTreeMap::new(),
            on_limit: OnLimit::Oldest,
            exclusive_types: Vec::new(),
            foreign: Foreign::Check,
            foreign_without_iat: WithoutIat::Allow,
            remember: Duration::from_secs(DAY),
        }
    }
}

/// What a login does that would be one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It is refused.
    Refuse,
    /// It ends the session that began first.
    #[default]
    Oldest,
    /// It ends the session that has not been used for the longest time; needs `idle` to be set.
    LeastRecentlySeen,
}

/// What is asked of sessions that somebody else's login service wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// Their users' records count: bans, kicks and rights.
    #[default]
    Check,
    /// Nothing.
    Trust,
}

/// What becomes of a foreign session that does not say when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutIat {
    /// It goes on.
    #[default]
    Allow,
    /// It ends too.
    Refuse,
}
