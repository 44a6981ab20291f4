//! Words of browsers and of logins: origins, cookies, where keys of issuers are.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Origin, string_schema, written};

/// The origin of a page as browsers write it (RFC 6454 section 6.2): scheme, host in lower case, and the port where it
/// is not the scheme's own. Two origins are the same exactly if these texts are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct WebOrigin {
    text: String,
    tls: bool,
}

impl WebOrigin {
    /// The origin of pages under this authority (a host and perhaps a port). `None` if it is no authority.
    pub fn of(tls: bool, authority: &str) -> Option<Self> {
        let scheme = if tls { "https" } else { "http" };
        Self::try_from(format!("{scheme}://{authority}")).ok()
    }

    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether its pages come over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls
    }

    /// Host and port as `Host` has them.
    pub fn authority(&self) -> &str {
        self.text
            .split_once("://")
            .map_or("", |(_, authority)| authority)
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not the origin of a page; write \"https://host\" or \"https://host:port\", without a path"
            )
        };
        let origin = Origin::try_from(text.clone()).map_err(|_| wrong())?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let empty_label = !origin.host.contains(':') && origin.host.split('.').any(str::is_empty);
        if empty_label || !origin.host.bytes().all(letter) {
            return Err(wrong());
        }
        Ok(Self {
            text: origin.to_string(),
            tls: origin.tls,
        })
    }
}

string_schema!(
    WebOrigin,
    r"^https?://[^/@]+/?$",
    "https://host or https://host:port"
);

written!(WebOrigin, origin => origin);

/// The name of a cookie that we set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct CookieName(String);

/// A browser takes a cookie of such a name only for one host and the whole of it (RFC 6265bis section 4.1.3.2).
const HOST_ONLY: &str = "__Host-";

impl CookieName {
    /// A name known to be right.
    pub fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers refuse the cookie with a domain, or with a path other than `/`.
    pub fn is_host_only(&self) -> bool {
        // Browsers compare this prefix without regard to case.
        self.0
            .get(..HOST_ONLY.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(HOST_ONLY))
    }
}

impl TryFrom<String> for CookieName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fine = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !fine || text.is_empty() || text.len() > 64 {
            return Err(format!(
                "`{text}` is not the name of a cookie; 1 to 64 letters, digits, `-`, `_` and `.` are allowed"
            ));
        }
        Ok(Self(text))
    }
}

string_schema!(
    CookieName,
    r"^[A-Za-z0-9._-]{1,64}$",
    "Name of a cookie: __Host-session"
);

/// The domain of a cookie: this host and all below it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CookieDomain(String);

impl CookieDomain {
    /// The domain, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers send the cookie to this host (lower case; RFC 6265 section 5.1.3).
    pub fn covers(&self, host: &str) -> bool {
        host.strip_suffix(self.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl TryFrom<String> for CookieDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let label = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let parts = text.split('.').count();
        // Browsers refuse a cookie for a whole top-level domain.
        let numeric = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if parts < 2 || numeric || !text.split('.').all(label) {
            return Err(format!(
                "`{text}` is not a domain for cookies; write a name with at least two parts and without a leading dot, such as \"example.com\""
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

string_schema!(
    CookieDomain,
    r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "Domain of a cookie: example.com"
);

/// The keys of an issuer: the JSON Web Key Set itself (which `"file:keys.json"` becomes), or the URL it is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Jwks {
    /// The set (RFC 7517 section 5).
    Inline(String),
    /// Where to fetch it.
    Url {
        /// Scheme, host and port.
        origin: Origin,
        /// Path and query; starts with a slash.
        path: String,
    },
}

impl TryFrom<String> for Jwks {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            return Ok(Self::Inline(text));
        }
        let wrong = || {
            format!(
                "`{text}` is no set of keys; write \"file:keys.json\" or the URL it is fetched from, such as \"https://issuer.example/keys\""
            )
        };
        let url: http::Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(wrong());
        };
        let origin = Origin::try_from(format!("{scheme}://{authority}")).map_err(|_| wrong())?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self::Url {
            origin,
            path: path.to_owned(),
        })
    }
}

string_schema!(
    Jwks,
    "",
    "file:keys.json, or an https:// URL it is fetched from"
);

/// How an issuer's subject becomes a user id, with `{sub}` exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct UserTemplate {
    before: String,
    after: String,
}

impl UserTemplate {
    /// The user id of this subject.
    pub fn of(&self, subject: &str) -> String {
        format!("{}{subject}{}", self.before, self.after)
    }
}

impl TryFrom<String> for UserTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once("{sub}") {
            Some((before, after)) if !after.contains("{sub}") => Ok(Self {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
            _ => Err(format!(
                "`{text}` makes no user id; it holds `{{sub}}` exactly once, such as \"{{sub}}\" or \"google:{{sub}}\""
            )),
        }
    }
}

string_schema!(
    UserTemplate,
    r"^.*\{sub\}.*$",
    "User id with {sub} exactly once: {sub}"
);

written!(UserTemplate, user => user.of("{sub}"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_form_and_nothing_but_an_origin_has_one() {
        for (written, form) in [
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443/", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("https://app.example:8443", "https://app.example:8443"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            let origin = WebOrigin::try_from(written.to_owned()).unwrap();
            assert_eq!(origin.as_str(), form);
            assert_eq!(
                Some(&origin),
                WebOrigin::of(origin.tls, origin.authority()).as_ref()
            );
        }
        for wrong in [
            "app.example",
            "//app.example",
            "ftp://app.example",
            "https://",
            "https://app.example/x",
            "https://user@app.example",
            "https://app.example:0",
            "https://app..example",
            "https://app.example?x",
            "https://b\u{fc}cher.example",
            "https://app.example\\@evil.example",
            "null",
        ] {
            assert!(WebOrigin::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cookie_domain_covers_itself_and_what_is_below() {
        let domain = CookieDomain::try_from("Example.com".to_owned()).unwrap();
        for (host, covered) in [
            ("example.com", true),
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("badexample.com", false),
            ("example.com.evil", false),
            ("com", false),
        ] {
            assert_eq!(domain.covers(host), covered, "{host}");
        }
        for wrong in [".example.com", "com", "localhost", "127.0.0.1", "a..b", ""] {
            assert!(CookieDomain::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
