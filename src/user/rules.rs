//! What the configuration says about sessions, ready to be judged by. Lengths of time are milliseconds.

use std::collections::BTreeMap;

use crate::clock::millis;
use crate::config::{self, OnLimit, WithoutIat};

/// Sessions that a user may have at most, whatever the configuration says: the record must stay small.
pub const HARD_LIMIT: usize = 256;

/// The rules of a realm.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long an access token is good that comes with a refresh token.
    pub access_lifetime: u64,
    /// How long a session without a refresh token lasts.
    pub lifetime: u64,
    /// How long an access token may lie unused, in seconds; 0 for ever.
    pub idle: u64,
    /// How long a session with a refresh token lasts.
    pub refresh_lifetime: u64,
    /// How long a refresh token may lie unused.
    pub refresh_idle: u64,
    /// For how long the parent of a refresh token gets the same child again.
    pub refresh_grace: u64,
    /// Sessions of one user.
    pub max_per_user: usize,
    /// Sessions of one user on devices of one type.
    pub max_per_type: BTreeMap<String, usize>,
    /// What a login does that would be one too many.
    pub on_limit: OnLimit,
    /// Device types of which a user has one session at a time.
    pub exclusive_types: Vec<String>,
    /// What becomes of a foreign session that does not say when it began.
    pub foreign_without_iat: WithoutIat,
    /// How long a user's record outlives what is in it.
    pub remember: u64,
}

impl Rules {
    /// The rules that the configuration describes.
    pub fn new(config: &config::Sessions) -> Self {
        let per_type = config.max_per_type.iter();
        Self {
            access_lifetime: millis(config.access_lifetime.get()),
            lifetime: millis(config.lifetime.get()),
            idle: config.idle.map_or(0, |idle| idle.get().as_secs()),
            refresh_lifetime: millis(config.refresh_lifetime.get()),
            refresh_idle: millis(config.refresh_idle.get()),
            refresh_grace: millis(config.refresh_grace.get()),
            max_per_user: usize::from(config.max_per_user),
            max_per_type: per_type
                .map(|(kind, most)| (kind.clone(), usize::from(*most)))
                .collect(),
            on_limit: config.on_limit,
            exclusive_types: config.exclusive_types.clone(),
            foreign_without_iat: config.foreign_without_iat,
            remember: millis(config.remember.get()),
        }
    }

    /// The longest that any session of this realm can last.
    pub(super) fn longest(&self) -> u64 {
        self.lifetime.max(self.refresh_lifetime)
    }
}
