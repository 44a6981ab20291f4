//! How many requests may come: rate limits, and the guard against guessed tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{LimitName, Rate};

/// One rate limit: a bucket of `burst` requests for each subject, refilled at `rate`; 429 when it is empty.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Whose requests share a bucket.
    pub by: LimitBy,
    /// How many requests pass in the long run.
    pub rate: Rate,
    /// How many may come at once. Default: the number in `rate`.
    pub burst: Option<u32>,
    /// Where requests are counted.
    #[serde(default)]
    pub scope: LimitScope,
    /// What becomes of a request while a shared limit cannot be asked. A shared limit has to say so.
    pub on_error: Option<OnError>,
    /// Tell clients the state of this limit (`RateLimit`, `RateLimit-Policy`) on answers too; 429 always tells it.
    #[serde(default)]
    pub headers: bool,
    /// What clients see it called, and what tells limits in one list apart. Default: what `by` says.
    pub name: Option<LimitName>,
}

impl RateLimit {
    /// What clients see it called.
    pub fn label(&self) -> &str {
        self.name
            .as_ref()
            .map_or(self.by.word(), |name| name.as_str())
    }
}

/// Whose requests share a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitBy {
    /// Those of one client address; of IPv6 the first 64 bits count. Asked before the session is looked up.
    Client,
    /// Those with one token. Requests without a session are not counted.
    Token,
    /// Those of one user. Requests without a session are not counted.
    User,
    /// Those of one device of a user. Requests without a session are not counted.
    Device,
    /// All that the policy lets in.
    Route,
}

impl LimitBy {
    /// As written in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Token => "token",
            Self::User => "user",
            Self::Device => "device",
            Self::Route => "route",
        }
    }

    /// Whether only requests with a session are counted.
    pub fn needs_session(self) -> bool {
        match self {
            Self::Token | Self::User | Self::Device => true,
            Self::Client | Self::Route => false,
        }
    }
}

/// Where requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// In this process. Costs nothing, and every gateway allows the whole rate.
    #[default]
    Local,
    /// In Redis, together with every gateway on it: one more command for each request.
    Shared,
}

/// What becomes of a request while a shared limit cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It passes uncounted.
    Allow,
    /// 503: whether it may pass cannot be told.
    Deny,
}

impl OnError {
    /// As written in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Clients that try one unknown token after the other.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// How many unknown tokens one client address may send, counted in this process. Beyond it a token that was not
    /// lately good from that address is 429 without asking the store. Off if absent. Leave room for what many people
    /// behind one address send by itself: tokens that have just expired are unknown too.
    pub unknown_tokens: Option<Rate>,
}
