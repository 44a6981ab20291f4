//! Words of `gateway.toml`: each checks itself while it is read, so a wrong one is reported where it stands.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Gives a string-shaped type its JSON schema: a string with a pattern and a line of manual.
macro_rules! string_schema {
    ($name:ident, $pattern:expr, $doc:expr) => {
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $doc })
            }
        }
    };
}

/// A length of time with its unit: `"250ms"`, `"5s"`, `"1h 30m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Duration(time::Duration);

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(time::Duration::from_millis(n))
    }

    /// So many seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(time::Duration::from_secs(n))
    }

    /// The standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a duration; write a number with its unit, such as \"250ms\", \"5s\" or \"1h\""))
    }
}

string_schema!(
    Duration,
    r"^\s*(\d+\s*(ns|us|ms|s|sec|m|min|h|hr|d|day|days)\s*)+$",
    "Number with unit: 250ms, 5s, 1h"
);

/// A number of bytes with its unit: `"512B"`, `"16KiB"`, `"8MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In bytes, as far as this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a size; write a number with its unit, such as \"512B\", \"16KiB\" or \"8MiB\""
            )
        };
        if text.ends_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| wrong())
    }
}

string_schema!(
    Size,
    r"^\d+(\.\d+)?\s*([kKMGT]i?)?B$",
    "Number with unit: 512B, 16KiB, 8MiB"
);

/// A rate: `"100/s"`, `"600/m"`, `"1000/h"`. The number is also the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// How many, and how many at once.
    pub count: NonZeroU32,
    /// In how long.
    pub per: time::Duration,
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate; write a count and a unit of time, such as \"100/s\", \"600/m\" or \"1000/h\""
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let count = count.trim().parse().map_err(|_| wrong())?;
        Ok(Self {
            count,
            per: time::Duration::from_secs(per),
        })
    }
}

string_schema!(
    Rate,
    r"^\s*[1-9]\d*\s*/\s*[smh]\s*$",
    "Count per second, minute or hour: 100/s, 600/m, 1000/h"
);

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

/// The name of a header, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderName(String);

/// Headers that carry the message itself; writing identity into them would break or redirect the request.
const FRAMING: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "cookie",
    "set-cookie",
];

impl HeaderName {
    /// A name known to be right.
    pub fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HeaderName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = http::HeaderName::from_str(&text).map_err(|_| {
            format!("`{text}` is not a header name; letters, digits and `-` are allowed")
        })?;
        if FRAMING.contains(&name.as_str()) {
            return Err(format!(
                "`{text}` carries the message itself and cannot be used here"
            ));
        }
        Ok(Self(name.as_str().to_owned()))
    }
}

string_schema!(
    HeaderName,
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "Name of a header"
);

/// Where a token is carried.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TokenSource {
    /// `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
    Bearer,
    /// A header whose whole value is the token.
    Header(HeaderName),
    /// A cookie of this name.
    Cookie(String),
}

impl TryFrom<String> for TokenSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a token source; write \"bearer\", \"header:NAME\" or \"cookie:NAME\""
            )
        };
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            Some(("header", name)) => HeaderName::try_from(name.to_owned()).map(Self::Header),
            Some(("cookie", name)) if http::HeaderName::from_str(name).is_ok() => {
                Ok(Self::Cookie(name.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

string_schema!(
    TokenSource,
    r"^(bearer|header:.+|cookie:.+)$",
    "bearer, header:NAME or cookie:NAME"
);

/// A host: a name, or `*.` and a name for exactly one label below it. Kept in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Any host one label below this one.
    Below(String),
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (name, below) = match lower.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let literal = name.parse::<std::net::IpAddr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        let label = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !literal && !name.split('.').all(label) {
            return Err(format!(
                "`{text}` is not a host; write a name such as \"api.example.com\" or \"*.example.com\", without scheme, port or path"
            ));
        }
        Ok(if below {
            Self::Below(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

string_schema!(
    HostPattern,
    r"^(\*\.)?[A-Za-z0-9._:\[\]-]+$",
    "Host name, or *.name for one label below it"
);

/// A path that starts with `/`, in the canonical form that requests are brought to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPattern(String);

impl PathPattern {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&b);
        let segments = text
            .strip_prefix('/')
            .map(|rest| rest.split('/').collect::<Vec<_>>());
        let fine = segments.as_ref().is_some_and(|parts| {
            let last = parts.len().saturating_sub(1);
            parts
                .iter()
                .enumerate()
                .all(|(i, part)| *part != "." && *part != ".." && (i == last || !part.is_empty()))
        });
        if !fine || !text.bytes().all(plain) {
            return Err(format!(
                "`{text}` is not a path; it starts with `/`, and has no `//`, `.`, `..`, `%`, `?`, `#`, `;` or blanks"
            ));
        }
        Ok(Self(text))
    }
}

string_schema!(
    PathPattern,
    r"^/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$",
    "Path that starts with /"
);

/// A request method, in capitals. `CONNECT` and `TRACE` are never let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Method(http::Method);

impl Method {
    /// The method.
    pub fn get(&self) -> &http::Method {
        &self.0
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a method; write it in capitals, such as \"GET\"; CONNECT and TRACE are never let in"
            )
        };
        if text != text.to_ascii_uppercase() || text == "CONNECT" || text == "TRACE" {
            return Err(wrong());
        }
        http::Method::from_str(&text).map(Self).map_err(|_| wrong())
    }
}

string_schema!(Method, r"^[A-Z-]+$", "Request method in capitals");

/// A permission, parts joined with `:`. `*` stands for one part, or at the end for all the rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PermissionPattern(String);

impl PermissionPattern {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PermissionPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| {
            part == "*" || (!part.is_empty() && !part.contains('*') && !part.contains([' ', ',']))
        };
        if text.split(':').all(part) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not a permission; write parts joined with `:`, where `*` may stand for a whole part, such as \"orders:read\" or \"orders:*\""
        ))
    }
}

string_schema!(
    PermissionPattern,
    r"^([^:\s,*]+|\*)(:([^:\s,*]+|\*))*$",
    "Permission: orders:read, orders:*"
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

/// A way into a JSON record: names joined with dots.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// A path known to be right.
    pub fn known(path: &'static str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
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

/// What stands in front of minted tokens: 2 to 16 letters and digits, then `_`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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

/// A protocol in `Upgrade` that this gateway passes through as bytes. `h2c` is not one: it would carry requests past the rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UpgradeName(String);

impl UpgradeName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UpgradeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        if http::HeaderName::from_str(&lower).is_err()
            || lower.starts_with("h2")
            || lower.starts_with("http")
        {
            return Err(format!(
                "`{text}` cannot be upgraded to; write a protocol such as \"websocket\" (never h2c: it carries requests past the rules)"
            ));
        }
        Ok(Self(lower))
    }
}

string_schema!(
    UpgradeName,
    r"^[A-Za-z0-9.-]+$",
    "Protocol in Upgrade, such as websocket"
);

/// An endpoint's address: scheme, host and port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// Port; 80 or 443 if none was written.
    pub port: u16,
}

impl Origin {
    /// What goes into `Host`: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            _ => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.authority()
        )
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not an endpoint; write \"http://host:port\" or \"https://host:port\", without a path"
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        if rest.contains('@') {
            // What stands before it is a password, so none of it is shown.
            return Err("an endpoint has no user and no password; write \"http://host:port\" or \"https://host:port\", without a path".to_owned());
        }
        let authority = http::uri::Authority::from_str(rest.strip_suffix('/').unwrap_or(rest))
            .map_err(|_| wrong())?;
        let port = match (authority.port_u16(), authority.port()) {
            (Some(0), _) | (None, Some(_)) => return Err(wrong()),
            (Some(port), _) => port,
            (None, None) if tls => 443,
            (None, None) => 80,
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { tls, host, port })
    }
}

string_schema!(
    Origin,
    r"^https?://[^/@]+/?$",
    "http://host:port or https://host:port"
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

/// A network, or one address: `"10.0.0.0/8"`, `"::1"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Whether every address of its family is in it.
    pub fn is_everyone(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether this address is in it. An IPv4 address that came in over IPv6 counts as IPv4.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let one = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
        one.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("`{text}` is not a network; write an address with its length, such as \"10.0.0.0/8\", or one address")
        })
    }
}

string_schema!(
    Network,
    r"^[0-9A-Fa-f.:]+(/\d+)?$",
    "Network 10.0.0.0/8, or one address"
);
