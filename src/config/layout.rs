//! Sessions that another framework writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Duration, KeyTemplate, Secret};

/// Who writes the sessions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Any login service that writes JSON, and we.
    #[default]
    Drawbridge,
    /// express-session with connect-redis.
    ConnectRedis,
    /// Flask-Session.
    FlaskSession,
    /// Spring Session with a JSON serializer.
    SpringSession,
    /// Sa-Token.
    SaToken,
    /// Laravel's redis driver with `session.serialization = json`.
    Laravel,
    /// lua-resty-session 4 with redis storage.
    LuaRestySession,
}

impl Layout {
    /// Its name, as it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drawbridge => "drawbridge",
            Self::ConnectRedis => "connect-redis",
            Self::FlaskSession => "flask-session",
            Self::SpringSession => "spring-session",
            Self::SaToken => "sa-token",
            Self::Laravel => "laravel",
            Self::LuaRestySession => "lua-resty-session",
        }
    }

    /// Where it keeps a session if nobody tells it otherwise.
    pub fn key(self) -> KeyTemplate {
        let before = match self {
            Self::Drawbridge => return KeyTemplate::default(),
            Self::ConnectRedis => "sess:",
            Self::FlaskSession | Self::LuaRestySession => "session:",
            Self::SpringSession => "spring:session:sessions:",
            Self::SaToken => "satoken:login:token:",
            Self::Laravel => "laravel-database-laravel-cache-",
        };
        KeyTemplate {
            before: before.to_owned(),
            after: String::new(),
        }
    }

    /// Whether its sessions say when they began.
    pub fn tells_beginning(self) -> bool {
        match self {
            Self::Drawbridge | Self::SpringSession | Self::LuaRestySession => true,
            Self::ConnectRedis | Self::FlaskSession | Self::SaToken | Self::Laravel => false,
        }
    }
}

/// What has to be known to read a framework's sessions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Foreign {
    /// The framework's secrets, the current one first; each is tried. connect-redis: the `secret` of express-session, without
    /// which no cookie can be read. flask-session: `SECRET_KEY`, if `SESSION_USE_SIGNER` is on. laravel: `APP_KEY` as
    /// it stands in `.env`; without it the cookie is taken for the session's id. lua-resty-session: `secret`, or `ikm` in
    /// hex with `hex:` in front. Write `"${NAME}"` or `"file:/path"`.
    pub secrets: Vec<Secret>,
    /// A session that has not been used for so long is over; the framework must have the same limit. sa-token:
    /// `active-timeout` (absent: none). lua-resty-session: `idling_timeout` (absent: 15 minutes, as there).
    pub idle: Option<Duration>,
    /// lua-resty-session: its `rolling_timeout`.
    pub rolling: Duration,
    /// lua-resty-session: its `absolute_timeout`.
    pub absolute: Duration,
    /// lua-resty-session: its `hash_storage_key`.
    pub hashed_keys: bool,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            idle: None,
            rolling: Duration::from_secs(3600),
            absolute: Duration::from_secs(24 * 3600),
            hashed_keys: false,
        }
    }
}

impl super::Store {
    /// Where sessions lie that are not a framework's.
    pub fn own_key(&self) -> KeyTemplate {
        match self.layout {
            Layout::Drawbridge => self.key.clone().unwrap_or_default(),
            Layout::ConnectRedis
            | Layout::FlaskSession
            | Layout::SpringSession
            | Layout::SaToken
            | Layout::Laravel
            | Layout::LuaRestySession => KeyTemplate::default(),
        }
    }

    /// Where the sessions of `layout` lie.
    pub fn layout_key(&self) -> KeyTemplate {
        self.key.clone().unwrap_or_else(|| self.layout.key())
    }
}
