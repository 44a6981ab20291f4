//! Where sessions live, and what their tokens look like.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::layout::{Foreign, Layout};
use super::value::{
    Duration, FieldPath, KeyTemplate, RedisUrl, Secret, Size, TokenPrefix, TokenSource,
};

/// Where sessions live: exactly one of `embedded` and `redis`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// File of the embedded store. One process at a time; it is created if missing.
    #[schemars(with = "Option<PathBuf>")]
    pub embedded: Option<Spanned<PathBuf>>,
    /// Redis or Valkey: `redis://`, `rediss://` (TLS), `redis-sentinel://…?sentinelServiceName=NAME`, `redis-cluster://`.
    #[schemars(with = "Option<RedisUrl>")]
    pub redis: Option<Spanned<RedisUrl>>,
    /// ACL user; overrides the one in the URL.
    pub username: Option<String>,
    /// Password; overrides the one in the URL. Use `"${NAME}"` or `"file:/run/secrets/redis"`.
    pub password: Option<Secret>,
    /// PEM file with the authorities that may sign the server's certificate; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub tls_ca: Option<Spanned<PathBuf>>,
    /// Who writes the sessions that are read: `"drawbridge"` (JSON of any login service, and our own), or the framework
    /// whose sessions you already have: `"connect-redis"` (express-session), `"flask-session"`, `"spring-session"`,
    /// `"sa-token"`, `"laravel"`, `"lua-resty-session"`. A framework's sessions are judged by its own rules.
    #[serde(default)]
    pub layout: Layout,
    /// The key of a session; `{token}` stands for the token, or for its digest where `tokens.at_rest = "sha256"`. With
    /// a framework's `layout`: for its id of the session. Absent: `login:token:{token}`, or what the framework has.
    pub key: Option<KeyTemplate>,
    /// Give whoever comes with a live session of the framework one of ours, in the cookie of `[login]`, next to the
    /// upstream's answer. The old one stays until it ends by itself or ours is ended. Needs `[sessions]`.
    #[serde(default)]
    pub migrate: bool,
    /// What has to be known to read a framework's sessions; only with its `layout`.
    #[serde(default)]
    pub foreign: Foreign,
    /// After this long without an answer a lookup gives up: 503, never 401.
    #[serde(default = "default_lookup_deadline")]
    pub lookup_deadline: Duration,
    /// Lookups under way per worker; one more is answered 503 at once.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: u32,
    /// Largest session record that is read.
    #[serde(default = "default_max_record")]
    pub max_record: Size,
    /// Deepest nesting of arrays and objects in a record that is read.
    #[serde(default = "default_max_depth")]
    pub max_depth: u8,
    /// Where in the record each part of a session is found.
    #[serde(default)]
    pub fields: Fields,
}

fn default_lookup_deadline() -> Duration {
    Duration::from_millis(250)
}

fn default_max_in_flight() -> u32 {
    // A frozen Redis at 20,000 lookups a second fills this within one deadline; more would only be memory.
    4096
}

fn default_max_record() -> Size {
    Size::kib(64)
}

fn default_max_depth() -> u8 {
    16
}

/// Paths into the session record, parts joined with dots: `"device.id"`. Absent: what the names of the keys say, or where
/// the framework of `layout` has it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The user's id: a string or an integer. A record without it cannot be understood; a framework's
    /// is the session of somebody who has not logged in.
    pub user_id: Option<FieldPath>,
    /// List of strings, or one string with blanks or commas between.
    pub permissions: Option<FieldPath>,
    /// List of strings, or one string with blanks or commas between.
    pub roles: Option<FieldPath>,
    /// When the session ends: Unix time in seconds, or in milliseconds if above 100,000,000,000.
    pub expires_at: Option<FieldPath>,
    /// When the session began, written like `expires_at`. Absent: under `iat` or `issued_at`, if there is a time.
    pub issued_at: Option<FieldPath>,
    /// The device's id.
    pub device_id: Option<FieldPath>,
    /// The device's type, such as `phone`.
    pub device_type: Option<FieldPath>,
    /// The device's name, such as `Pixel 12`.
    pub device_name: Option<FieldPath>,
}

/// Tokens: where they are carried and what they look like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Where to look, in order: `"bearer"`, `"header:NAME"`, `"cookie:NAME"`. Two different tokens in one request are refused.
    pub sources: Vec<TokenSource>,
    /// Longest token that is looked up; a longer one is 401 without asking the store.
    pub max_length: Size,
    /// Which characters a token may have.
    pub charset: Charset,
    /// What the store's key holds: the token itself, or its SHA-256 in hex so that a dump of the store opens no door.
    pub at_rest: AtRest,
    /// Put in front of every token we mint, so that secret scanners can find a leaked one.
    pub prefix: TokenPrefix,
    /// How long a session lives that we mint.
    pub lifetime: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            sources: vec![TokenSource::Bearer],
            max_length: Size::bytes(512),
            charset: Charset::Token68,
            at_rest: AtRest::Plain,
            prefix: TokenPrefix::default(),
            lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// `A-Z a-z 0-9 - . _ ~ + / =` (RFC 9110 token68): base64, base64url, hex, UUID, JWT.
    #[default]
    Token68,
    /// `A-Z a-z 0-9 - _`.
    Base64url,
    /// `0-9 a-f A-F -`: hex and UUID.
    Hex,
}

/// What the store's key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtRest {
    /// The token.
    #[default]
    Plain,
    /// The token's SHA-256, in lower-case hex.
    Sha256,
}
