//! Why a session is over, and who may not have one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody ended it: an administrator, or the user from another device.
    Kicked,
    /// A login took its place: the same device, or an exclusive device type.
    Replaced,
    /// It was logged out.
    LoggedOut,
    /// The user's password was changed.
    PasswordChanged,
    /// The user was banned.
    Banned,
    /// There were more sessions than the user may have.
    Limit,
    /// A refresh token was used twice: one of the two who had it had stolen it.
    RefreshReused,
    /// Every session of the realm was ended.
    Realm,
    /// It was not used for too long. Told where a refresh token is shown, and of sessions that a login found unused; not
    /// of an access token that lay unused: its record is gone by then. To keep it for this answer alone would let every
    /// other service that reads these records take it for good.
    Idle,
    /// Nobody knows any more.
    Lost,
}

/// A session that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Why.
    pub why: Why,
    /// When, in Unix milliseconds; 0 if nobody knows.
    pub at: u64,
    /// What took its place or who ended it, in words for its owner, if that was noted.
    pub by: Option<String>,
}

/// A time during which a user, or one service of a user, is shut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ban {
    /// Its end in Unix milliseconds; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why, in words for the operator.
    #[serde(default)]
    pub reason: String,
    /// When it was laid, in Unix milliseconds.
    pub at: u64,
}

impl Ban {
    /// Whether it still holds at `now` (Unix milliseconds).
    pub fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
