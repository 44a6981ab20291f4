//! Words of HTTP and of rules: headers, hosts, paths, methods, permissions.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{string_schema, written};

/// The name of a header, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
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

    /// The same for a header.
    pub fn to_http(&self) -> http::HeaderName {
        http::HeaderName::from_bytes(self.0.as_bytes())
            .expect("checked when the configuration was read")
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

written!(TokenSource, source => match source {
    TokenSource::Bearer => "bearer".to_owned(),
    TokenSource::Header(name) => format!("header:{}", name.as_str()),
    TokenSource::Cookie(name) => format!("cookie:{name}"),
});

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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct PathPattern(String);

impl PathPattern {
    /// A path known to be right.
    pub(in crate::config) fn known(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

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

written!(Method, method => method.0);

/// A permission, parts joined with `:`. `*` stands for one part, or at the end for all the rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
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

/// A protocol in `Upgrade` that this gateway passes through as bytes. `h2c` is not one: it would carry requests past the rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
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

/// The name of a rate limit, as clients see it in `RateLimit`: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct LimitName(String);

impl LimitName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LimitName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not a name for a limit; write 1 to 64 letters, digits, `.`, `_` or `-`, such as \"per-user\""
        ))
    }
}

string_schema!(
    LimitName,
    r"^[A-Za-z0-9._-]{1,64}$",
    "1 to 64 letters, digits, . _ -"
);
