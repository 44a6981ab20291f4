//! Which header names are ours to write, in whatever [spelling](super::spelling) a client may send them.

use http::HeaderMap;
use http::header::{HeaderName, TRAILER};

use super::spelling::{Spellings, letters};

/// Names that tell where a request comes from; always ours, letters and digits only.
const ORIGINS: [&str; 6] = [
    "forwarded",
    "xrealip",
    "xclientip",
    "xclusterclientip",
    "trueclientip",
    "xscheme",
];

/// Names that override the request line; always ours, letters and digits only. Frameworks believe them: what was judged
/// would not be what runs.
const OVERRIDES: [&str; 6] = [
    "xoriginalurl",
    "xoriginaluri",
    "xrewriteurl",
    "xhttpmethod",
    "xhttpmethodoverride",
    "xmethodoverride",
];

/// The whole family of `X-Forwarded-…`.
const FORWARDED_FAMILY: &[u8] = b"xforwarded";

/// The set of managed names.
#[derive(Debug, Clone)]
pub struct Managed(Spellings);

impl Managed {
    /// The names of every header plan, and the names that are always managed.
    pub fn new<'a>(plans: impl IntoIterator<Item = &'a str>) -> Self {
        let plans = plans.into_iter();
        Self(Spellings::new(plans.chain(ORIGINS).chain(OVERRIDES)))
    }

    /// Whether this name is a spelling of one that tells where a request comes from.
    pub fn tells_origin(name: &str) -> bool {
        is_forwarded(name) || ORIGINS.iter().any(|ours| ours.bytes().eq(letters(name)))
    }

    /// Whether this name (lower case) is a spelling of a managed one.
    pub fn covers(&self, name: &str) -> bool {
        is_forwarded(name) || self.0.covers(name)
    }

    /// Takes everything out of a trailer section that an upstream could take for a header of the request: managed
    /// names, and the fields that RFC 9110 section 6.5.1 bars from trailers.
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        let doomed: Vec<HeaderName> = trailers
            .keys()
            .filter(|name| self.covers(name.as_str()) || barred(name.as_str()))
            .cloned()
            .collect();
        for name in doomed {
            trailers.remove(name);
        }
    }
}

/// Whether this name is of the family of `X-Forwarded-…`.
fn is_forwarded(name: &str) -> bool {
    let mut letters = letters(name);
    FORWARDED_FAMILY
        .iter()
        .all(|byte| letters.next() == Some(*byte))
}

/// Fields for framing, routing, authentication and control have no place in trailers.
fn barred(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "te"
            | "upgrade"
            | "expect"
            | "authorization"
            | "proxy-authorization"
            | "cookie"
            | "set-cookie"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "keep-alive"
            | "proxy-connection"
    ) || name == TRAILER.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_managed_name_is_covered() {
        let managed = Managed::new(["x-user-id", "remote-user"]);
        let spellings = [
            "x-user-id",
            "x_user_id",
            "x.user.id",
            "x--user-id",
            "x-user-id-",
            "-x-user-id",
            "_x_user_id",
            "x~user!id",
            "xuserid",
            "x-user_id",
            "remote-user",
            "remote_user",
            "remoteuser",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-anything",
            "x-forwarded",
            "forwarded",
            "x-real-ip",
            "true-client-ip",
            "x-original-url",
            "x-http-method-override",
        ];

        for name in spellings {
            assert!(managed.covers(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        let managed = Managed::new(["x-user-id"]);
        let long = format!("x-{}", "a".repeat(200));

        for name in [
            "accept",
            "x-user",
            "x-user-idx",
            "user-id",
            "x-requested-with",
            "forwarded-by",
            "host",
            "",
            "-",
            &long,
        ] {
            assert!(!managed.covers(name), "{name}");
        }
    }

    #[test]
    fn a_managed_name_longer_than_the_usual_is_still_covered() {
        let long = format!("x-{}", "a-".repeat(80));
        let managed = Managed::new([long.as_str()]);

        assert!(managed.covers(&long.replace('-', "_")));
    }

    #[test]
    fn trailers_lose_managed_and_barred_names_only() {
        let managed = Managed::new(["x-user-id"]);
        let mut trailers = HeaderMap::new();
        for name in [
            "x_user_id",
            "content-length",
            "authorization",
            "grpc-status",
            "x-checksum",
        ] {
            trailers.insert(HeaderName::from_static(name), "1".parse().unwrap());
        }

        managed.strip_trailers(&mut trailers);

        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-checksum"]);
    }
}
