//! Words of the session store: keys, fields, addresses, secrets.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{string_schema, written};

/// A secret: never printed.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself, for the one who must send it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

string_schema!(
    Secret,
    "",
    "A secret; best written as \"${NAME}\" or \"file:/path\""
);

/// The key of a session, with `{token}` exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyTemplate {
    /// What stands before the token.
    pub before: String,
    /// What stands after it.
    pub after: String,
}

impl KeyTemplate {
    /// The key of this token.
    pub fn around(&self, name: &str) -> String {
        let mut key = String::with_capacity(self.before.len() + name.len() + self.after.len());
        key.push_str(&self.before);
        key.push_str(name);
        key.push_str(&self.after);
        key
    }
}

impl Default for KeyTemplate {
    fn default() -> Self {
        Self {
            before: "login:token:".to_owned(),
            after: String::new(),
        }
    }
}

impl TryFrom<String> for KeyTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once("{token}") {
            Some((before, after)) if !after.contains("{token}") => Ok(Self {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
            _ => Err(format!(
                "`{text}` is not a key; it holds `{{token}}` exactly once, such as \"login:token:{{token}}\""
            )),
        }
    }
}

string_schema!(
    KeyTemplate,
    r"^[^{]*(\{[^{]*)*\{token\}.*$",
    "Key with {token} exactly once: login:token:{token}"
);

written!(KeyTemplate, key => format_args!("{}{{token}}{}", key.before, key.after));

/// A way into a JSON record: names joined with dots.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// A path known to be right.
    pub fn known(path: &'static str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
    }

    /// A path known to be right, of names that may have dots.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The names, outermost first; at least one.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<String> for FieldPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.split('.').any(str::is_empty) {
            return Err(format!(
                "`{text}` is not a field path; write names joined with dots, such as \"device.id\""
            ));
        }
        Ok(Self(text.split('.').map(str::to_owned).collect()))
    }
}

string_schema!(
    FieldPath,
    r"^[^.]+(\.[^.]+)*$",
    "Names joined with dots: device.id"
);

written!(FieldPath, path => path.0.join("."));

/// What stands in front of minted tokens: 2 to 16 letters and digits, then `_`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct TokenPrefix(String);

impl Default for TokenPrefix {
    fn default() -> Self {
        Self("dbt_".to_owned())
    }
}

impl TokenPrefix {
    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TokenPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_suffix('_') {
            Some(word)
                if (2..=16).contains(&word.len())
                    && word.bytes().all(|b| b.is_ascii_alphanumeric()) =>
            {
                Ok(Self(text))
            }
            _ => Err(format!(
                "`{text}` is not a token prefix; write 2 to 16 letters or digits and `_`, such as \"dbt_\""
            )),
        }
    }
}

string_schema!(
    TokenPrefix,
    r"^[A-Za-z0-9]{2,16}_$",
    "2 to 16 letters or digits, then _"
);

/// The name of a realm: 1 to 32 lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct RealmName(String);

impl Default for RealmName {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl RealmName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RealmName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(known) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not a realm; write 1 to 32 lower-case letters, digits and hyphens, such as \"main\""
        ))
    }
}

string_schema!(
    RealmName,
    r"^[a-z0-9-]{1,32}$",
    "1 to 32 lower-case letters, digits and hyphens"
);

/// The address of a Redis or Valkey. May hold a password, so it is never printed.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct RedisUrl(SecretString);

/// What a Redis URL may start with.
const REDIS_SCHEMES: [&str; 6] = [
    "redis://",
    "rediss://",
    "redis-sentinel://",
    "rediss-sentinel://",
    "redis-cluster://",
    "rediss-cluster://",
];

impl RedisUrl {
    /// The URL with whatever credentials it has.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

impl TryFrom<String> for RedisUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if REDIS_SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self(text.into()));
        }
        // The text may hold a password, so none of it is shown.
        Err("this is not a Redis URL; it starts with redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or rediss-cluster://".to_owned())
    }
}

string_schema!(
    RedisUrl,
    r"^rediss?(-sentinel|-cluster)?://.+$",
    "redis://, rediss://, redis-sentinel:// or redis-cluster://"
);
