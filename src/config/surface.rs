//! Endpoints of the gateway itself: what users do with their sessions, single sign-on, and providers that log out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::limit::{LimitBy, LimitScope, RateLimit};
use super::value::{Duration, Jwks, PathPattern, Rate, UserTemplate, WebOrigin};

/// Endpoints for a user's own sessions, below a path of every host. They go before all routes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelfService {
    /// Where they are: `GET {prefix}/sessions`, `DELETE {prefix}/sessions/{sid}`, `DELETE {prefix}/sessions` (all
    /// others), `POST {prefix}/refresh`, `POST {prefix}/logout`, `POST {prefix}/redeem`.
    pub prefix: PathPattern,
    /// Rate limits of these endpoints, as on a route. Default: one by client, 60 a minute.
    #[serde(default = "default_limits")]
    #[schemars(with = "Vec<RateLimit>")]
    pub limits: Vec<Spanned<RateLimit>>,
}

fn default_limits() -> Vec<Spanned<RateLimit>> {
    let limit = RateLimit {
        by: LimitBy::Client,
        rate: Rate::per_minute(60),
        burst: None,
        scope: LimitScope::Local,
        on_error: None,
        headers: false,
        name: None,
    };
    vec![Spanned::new(0..0, limit)]
}

/// One login for hosts of several domains: `GET {prefix}/sso?return=URL` takes a browser home, where it is logged in,
/// and brings it back with a ticket that is good once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sso {
    /// Where users log in: `"https://login.example.com"`.
    pub home: WebOrigin,
    /// Which origins take part, besides the home. Nobody is ever sent anywhere else.
    pub origins: Vec<WebOrigin>,
    /// Path of the login page at home. A browser without a session is sent there with `?return=URL`; if absent it is
    /// refused with 401.
    pub login: Option<PathPattern>,
    /// How long a ticket is good; 1 s to 5 min.
    #[serde(default = "default_ticket_lifetime")]
    pub ticket_lifetime: Duration,
}

fn default_ticket_lifetime() -> Duration {
    Duration::from_secs(30)
}

/// A provider whose back-channel logout tokens end sessions here, at `POST {prefix}/backchannel-logout` of
/// `[self_service]` (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Its `iss`, letter for letter.
    #[schemars(with = "String")]
    pub issuer: Spanned<String>,
    /// The client id that it knows this service by: the token's `aud`.
    pub audience: String,
    /// Its keys: `"file:keys.json"`, or the URL they are fetched from and kept for 10 minutes.
    #[schemars(with = "Jwks")]
    pub jwks: Spanned<Jwks>,
    /// PEM file with the authorities that may sign the certificate of that URL; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub tls_ca: Option<Spanned<PathBuf>>,
    /// Algorithms its tokens may be signed with.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<JwsAlgorithm>,
    /// How its subjects are called here, with `{sub}` in place of the `sub`.
    #[serde(default)]
    pub user: UserTemplate,
    /// What happens to a token with a `sid` that no login has named.
    #[serde(default)]
    pub unknown_sid: UnknownSid,
}

fn default_algorithms() -> Vec<JwsAlgorithm> {
    vec![JwsAlgorithm::RS256, JwsAlgorithm::ES256]
}

/// What happens to a logout token with a `sid` that no login has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSid {
    /// All sessions of the token's `sub` end: rather one too many than one too few.
    #[default]
    User,
    /// Nothing ends.
    Ignore,
}

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037). None with a shared secret, and never `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum JwsAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}
