//! Signed identity: what upstreams can believe without believing the network.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::value::{Duration, HeaderName, PathPattern};

/// A JSON Web Token with every request that has a session, signed by the gateway, which says whose it is: upstreams that
/// verify it need not trust whoever can reach them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// What the gateway calls itself: `iss`.
    #[schemars(with = "String")]
    pub issuer: Spanned<String>,
    /// The header that carries it. Whatever clients send under this name is taken off; without a session it is empty.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// From `iat` to `exp`; 10 s to 10 min. A session's end, if that is earlier, is its end too. Each is used for half of
    /// this time before the next is signed.
    #[serde(default = "default_lifetime")]
    pub lifetime: Duration,
    /// PEM files with private keys (PKCS#8): P-256 (signs ES256) or Ed25519 (EdDSA). The first signs; all are published.
    /// Without any a key is made when the process starts, which no other gateway has.
    #[serde(default)]
    #[schemars(with = "Vec<PathBuf>")]
    pub keys: Vec<Spanned<PathBuf>>,
    /// Where the public keys are (a JSON Web Key Set, RFC 7517): this path of every host, before all routes, for everybody.
    #[serde(default = "default_path")]
    pub path: PathPattern,
    /// How long verifiers may keep them (`Cache-Control`); 10 s to 1 day. A key that is new to a running gateway is
    /// published for so long before it signs, as long as another one is there that can.
    #[serde(default = "default_max_age")]
    pub max_age: Duration,
}

fn default_header() -> HeaderName {
    HeaderName::known("x-drawbridge-assertion")
}

fn default_lifetime() -> Duration {
    Duration::from_secs(60)
}

fn default_path() -> PathPattern {
    PathPattern::known("/.drawbridge/jwks.json")
}

fn default_max_age() -> Duration {
    Duration::from_secs(300)
}
