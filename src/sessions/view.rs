//! What may be told of users and sessions: no secret, and nothing that a token could be made of.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::session::{Act, Ban, Device};
use crate::user::{Entry, Rights};

/// A session as its owner and administrators see it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionView {
    /// Its name.
    pub sid: String,
    /// Where it was opened.
    pub device: Device,
    /// When it began.
    pub issued_at: u64,
    /// When it ends; where it has refresh tokens, if it is not refreshed any more.
    pub ends_at: u64,
    /// When it was last used, to about a tenth of its idle limit; absent if it has none, or if nobody asked.
    pub last_seen: Option<u64>,
    /// The address it was opened from.
    pub ip: Option<String>,
    /// What its user calls it; may be empty.
    pub label: String,
    /// Who acts as the user, if it is somebody else.
    pub act: Option<Act>,
    /// Until when its last step-up counts.
    pub elevated_until: Option<u64>,
    /// 0 to 100.
    pub risk: u8,
    /// Whether it has refresh tokens.
    pub refreshable: bool,
    /// Whether it is the one that asks; set by whoever knows.
    pub current: bool,
}

/// A user as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserView {
    /// Who.
    pub user_id: String,
    /// Sessions of an older epoch are over.
    pub epoch: u64,
    /// What every session of the user may do.
    pub rights: Rights,
    /// 0 to 100.
    pub risk: u8,
    /// Bans that hold, by service; `*` is everything.
    pub bans: BTreeMap<String, Ban>,
    /// The live sessions, in the order in which they began.
    pub sessions: Vec<SessionView>,
}

impl SessionView {
    /// What may be told of this session.
    pub(super) fn new(entry: &Entry, last_seen: Option<u64>) -> Self {
        Self {
            sid: entry.sid.clone(),
            device: entry.device.clone(),
            issued_at: entry.issued_at,
            ends_at: entry.last(),
            last_seen,
            ip: Some(entry.ip.clone()).filter(|ip| !ip.is_empty()),
            label: entry.label.clone(),
            act: entry.act.clone(),
            elevated_until: entry.elevated_until,
            risk: entry.risk,
            refreshable: entry.family.is_some(),
            current: false,
        }
    }
}
