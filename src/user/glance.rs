//! What a request needs of its user's record, and no more: it is read with each of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Gone, VERSION, version};
use crate::session::{Ban, RecordError, Why};

/// A user's record without what only operations need. See [`super::User`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Glance {
    v: u8,
    /// Whose record it is.
    pub user_id: String,
    /// Sessions of an older epoch are over.
    pub epoch: u64,
    /// Why the epoch began; absent if nothing was ended by it.
    #[serde(default)]
    pub why: Option<Why>,
    /// When it began.
    #[serde(default)]
    pub at: u64,
    /// Permissions of every session of the user.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Roles of every session of the user.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What no session of the user may do.
    #[serde(default)]
    pub denied: Vec<String>,
    /// 0 to 100.
    #[serde(default)]
    pub risk: u8,
    /// By service.
    #[serde(default)]
    pub bans: BTreeMap<String, Ban>,
    /// Those that are live.
    #[serde(default)]
    pub sessions: Vec<Listed>,
    /// Those that ended a short while ago.
    #[serde(default)]
    pub gone: Vec<Gone>,
}

/// A session in its user's list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its name.
    pub sid: String,
    /// When it ends, used or not.
    pub ends_at: u64,
    /// The realm's epoch in which it began.
    #[serde(default)]
    pub realm_epoch: u64,
    /// When its user last proved who they are for a step-up.
    #[serde(default)]
    pub elevated_at: Option<u64>,
    /// Until when that counts.
    #[serde(default)]
    pub elevated_until: Option<u64>,
    /// 0 to 100.
    #[serde(default)]
    pub risk: u8,
}

impl Glance {
    /// A user without a record, of whom only this epoch is known.
    pub fn of_epoch(user_id: &str, epoch: u64) -> Self {
        Self {
            v: VERSION,
            user_id: user_id.to_owned(),
            epoch,
            why: Some(Why::Kicked),
            at: epoch,
            permissions: Vec::new(),
            roles: Vec::new(),
            denied: Vec::new(),
            risk: 0,
            bans: BTreeMap::new(),
            sessions: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// As [`super::User::bury`].
    pub fn bury(&mut self, epoch: u64, has_tombstone: impl Fn(&str) -> bool) {
        let older = self.epoch < epoch;
        let ended = self
            .sessions
            .extract_if(.., |listed| older || has_tombstone(&listed.sid));
        self.gone.extend(ended.map(|listed| Gone {
            sid: listed.sid,
            why: Why::Kicked,
            at: 0,
            by: None,
            family: None,
        }));
        if older {
            self.epoch = epoch;
            self.why = Some(Why::Kicked);
        }
    }

    /// What matters in these bytes.
    ///
    /// # Errors
    /// If they are no user's record, or one of a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let glance: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson)?;
        version(glance.v).map(|()| glance)
    }
}
