//! One record for each user: everything that decides. Every operation is a pure function on it, and whoever calls it
//! swaps the old record for the new one in a single step.
//!
//! A session is live only if all of it holds: its token's record is there and has not ended, the record's user is this
//! user, its `sid` is in the user's list, and no epoch has gone past it.

mod end;
mod glance;
mod login;
mod refresh;
mod rights;
mod rules;
mod standing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::session::{Act, Ban, Device, RecordError, Why, encode};

pub use self::end::REMEMBERED;
pub use self::glance::{Glance, Listed};
pub use self::login::{Refused, Seen};
pub use self::refresh::{Step, Turn};
pub use self::rights::{MAX_RISK, clip};
pub use self::rules::{HARD_LIMIT, Rules};
pub use self::standing::{Verdict, judge_acting, judge_foreign, judge_own, lives_until};

/// The version of both formats that this program writes, and the newest that it reads.
const VERSION: u8 = 1;
/// The largest user or realm record in bytes.
const MAX_RECORD: usize = 1 << 20;
/// The ban of everything.
pub const EVERYTHING: &str = "*";

/// A user's record. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The version of this format.
    pub v: u8,
    /// Whose it is: two users may share an anchor, and must not share a record.
    pub user_id: String,
    /// Sessions of an older epoch are over.
    pub epoch: u64,
    /// Why the epoch began; absent if nothing was ended by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// When it began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at: u64,
    /// Permissions of every session of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Roles of every session of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What no session of the user may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "is_zero_level")]
    pub risk: u8,
    /// By service; `*` is everything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bans: BTreeMap<String, Ban>,
    /// Those that are live, in the order in which they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Entry>,
    /// Those that ended a short while ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
    /// What was decided about this user besides sessions is remembered at least until then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_until: u64,
}

/// One session in its user's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its public name.
    pub sid: String,
    /// Where it was opened.
    #[serde(default)]
    pub device: Device,
    /// When it began.
    pub issued_at: u64,
    /// When it ends, used or not.
    pub ends_at: u64,
    /// The realm's epoch in which it began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub realm_epoch: u64,
    /// How long its access token may lie unused, in seconds; 0 for ever.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle: u64,
    /// The name in the store of its current access token.
    pub key: String,
    /// The name in the store of the access token before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key: Option<String>,
    /// The names in the store of further access tokens: those of other domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Its refresh tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// When its user last proved who they are for a step-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevated_at: Option<u64>,
    /// Until when that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevated_until: Option<u64>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "is_zero_level")]
    pub risk: u8,
    /// Who acts as the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// The address it was opened from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// What its user calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// The refresh tokens of one session: a chain of which only the last link and the one before it are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// What all of its tokens carry, and nothing else.
    pub id: String,
    /// SHA-256 of the secret that is good now.
    pub hash: String,
    /// SHA-256 of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_hash: Option<String>,
    /// What the current secrets were derived with from the one before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// How often it was refreshed.
    #[serde(default)]
    pub generation: u64,
    /// When it was last refreshed.
    pub rotated_at: u64,
    /// When it ends if it is not refreshed.
    pub idle_ends_at: u64,
    /// The permissions that every access token of it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The roles that every access token of it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// A session that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its name.
    pub sid: String,
    /// Why it ended.
    pub why: Why,
    /// When.
    pub at: u64,
    /// What took its place, in words for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The family of its refresh tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// The record of a realm: what all its users have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realm {
    /// The version of this format.
    pub v: u8,
    /// Its name.
    pub realm: String,
    /// Sessions that began in an older epoch are over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// Why the epoch began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// When it began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at: u64,
    /// What each role may do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// How often the roles were changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

/// When something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix milliseconds.
    pub now: u64,
    /// The realm's epoch.
    pub realm_epoch: u64,
}

impl User {
    /// A user of whom nothing is known.
    pub fn new(user_id: &str) -> Self {
        Self {
            v: VERSION,
            user_id: user_id.to_owned(),
            epoch: 0,
            why: None,
            at: 0,
            permissions: Vec::new(),
            roles: Vec::new(),
            denied: Vec::new(),
            risk: 0,
            bans: BTreeMap::new(),
            sessions: Vec::new(),
            gone: Vec::new(),
            kept_until: 0,
        }
    }

    /// The record in these bytes.
    ///
    /// # Errors
    /// If they are none, or one of a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let user: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson)?;
        version(user.v).map(|()| user)
    }

    /// As it lies in the store.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if it has more than 1 MiB.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode(self, MAX_RECORD)
    }

    /// When the record may be forgotten, in Unix milliseconds; never while a ban without an end stands.
    pub fn ends_at(&self, rules: &Rules) -> Option<u64> {
        let bans = self.bans.values().map(|ban| ban.until);
        let sessions = self.sessions.iter().map(|entry| Some(entry.last()));
        let gone = self.gone.iter().map(|gone| Some(gone.at + REMEMBERED));
        let all = bans.chain(sessions).chain(gone);
        let last = all
            .chain([Some(self.kept_until)])
            .try_fold(0, |last, end| end.map(|end: u64| end.max(last)))?;
        Some(last.saturating_add(rules.remember))
    }
}

impl Realm {
    /// A realm of which nothing is known.
    pub fn new(name: &str) -> Self {
        Self {
            v: VERSION,
            realm: name.to_owned(),
            epoch: 0,
            why: None,
            at: 0,
            roles: BTreeMap::new(),
            version: 0,
        }
    }

    /// The record in these bytes.
    ///
    /// # Errors
    /// If they are none, or one of a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let realm: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson)?;
        version(realm.v).map(|()| realm)
    }

    /// As it lies in the store.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if it has more than 1 MiB.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode(self, MAX_RECORD)
    }

    /// Ends every session of the realm.
    pub fn kick(&mut self, why: Why, now: u64) {
        self.epoch = now.max(self.epoch.saturating_add(1));
        self.why = Some(why);
        self.at = now;
    }

    /// Says what whoever has this role may do; `None` deletes the role.
    pub fn set_role(&mut self, role: &str, permissions: Option<Vec<String>>) {
        match permissions {
            Some(permissions) => self.roles.insert(role.to_owned(), permissions),
            None => self.roles.remove(role),
        };
        self.version += 1;
    }
}

/// A newer program may hold something against a user that this one does not know of.
fn version(v: u8) -> Result<(), RecordError> {
    match v {
        VERSION => Ok(()),
        _ => Err(RecordError::Field("v")),
    }
}

/// Which of a user's sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The one of this name.
    Session(String),
    /// Those on the device with this id.
    Device(String),
    /// Those on devices of this type.
    DeviceType(String),
    /// All of them, and every token that was ever issued for the user.
    All,
    /// All but the one of this name.
    AllBut(String),
}

/// A ban to be laid on a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBan {
    /// The service; `None` is everything.
    pub service: Option<String>,
    /// Its end in Unix milliseconds; `None` is never.
    pub until: Option<u64>,
    /// Why, in words for the operator. At most 256 characters are kept.
    pub reason: String,
    /// Whether it ends the user's sessions too.
    pub end_sessions: bool,
}

/// What is to become of a user's rights; what is not named stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RightsEdit {
    /// Permissions given to the user; they are no longer denied either.
    pub grant: Vec<String>,
    /// Permissions that are no longer given. Those that a login gave to one session stay: `deny` takes those too.
    pub revoke: Vec<String>,
    /// Permissions that no session of the user has, whatever else says so.
    pub deny: Vec<String>,
    /// Permissions that are no longer denied.
    pub allow: Vec<String>,
    /// Roles given to the user.
    pub add_roles: Vec<String>,
    /// Roles that are no longer given.
    pub remove_roles: Vec<String>,
}

/// A user's rights, besides those that each login gave to its session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Rights {
    /// Permissions.
    pub permissions: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Permissions that are taken away.
    pub denied: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
fn is_zero_level(level: &u8) -> bool {
    *level == 0
}

#[cfg(test)]
mod tests;
