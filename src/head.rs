//! The one form of a request that everything after it believes: routing, policy, logs and upstream alike.
//!
//! # Threat model
//! A request that two programs can read in two ways is how rules are walked round: the gateway judges one path and the
//! upstream serves another. So what is ambiguous is refused, not repaired. What the reading of the bytes has already
//! settled (framing, the characters of names and values) is not repeated here. The sources of each rule: RFC 9110, 9112, 9113, 3986, and the
//! cases in which nginx or HAProxy refuse what hyper accepts.

mod path;

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};

pub use self::path::canonical_path;
use crate::config::Limits;

/// What a request head says, in the one form.
#[derive(Debug, Clone)]
pub struct Head {
    /// `Host` or `:authority` as it was sent.
    pub authority: HeaderValue,
    host: Host,
    /// The path, where its one form differs from what was sent.
    path: Option<String>,
}

/// A host in its one form. Most requests send it so, and nothing has to be copied then.
#[derive(Debug, Clone)]
enum Host {
    /// So many bytes of the authority.
    AsSent(usize),
    Changed(String),
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// `CONNECT` and `TRACE`. 405.
    #[error("CONNECT and TRACE are never let in")]
    Method,
    /// No host, several, one that is none, or two that differ. 400.
    #[error("the request must name exactly one valid host")]
    Host,
    /// The target is not a path. 400.
    #[error("the request target must be a path that starts with `/`")]
    Target,
    /// The path can be read in more than one way. 400.
    #[error(
        "the path must not have `//`, `.` or `..` segments, `\\`, `;`, or escapes of control characters, `/` or `\\`"
    )]
    Path,
    /// A line of the head ends with a bare LF or is folded, or there are several empty lines before it. 400.
    #[error("every line of the head must end with CR LF, and none may be folded")]
    Line,
    /// A length that is not one number, sent once. 400.
    #[error("Content-Length must be one number, sent once")]
    Length,
    /// A header value that begins or ends with a blank (HTTP/2 only: there it is part of the value). 400.
    #[error("a header value must not begin or end with a blank")]
    Blank,
    /// More header lines than `limits.max_headers`, or one longer than `limits.max_header`. 431.
    #[error(
        "the head has more or longer lines than limits.max_headers and limits.max_header allow"
    )]
    TooLarge,
    /// Another version than HTTP/1.0 and 1.1. 505.
    #[error("the version must be HTTP/1.0 or HTTP/1.1")]
    Version,
    /// The head did not come to its end in time. 408.
    #[error("the head did not come to its end within limits.header_timeout")]
    Late,
    /// The target is longer than `limits.max_uri`. 414.
    #[error("the request target is longer than limits.max_uri")]
    TargetTooLong,
    /// A transfer coding other than `chunked`, or together with a length. 400.
    #[error("the only transfer coding is `chunked`, once, without Content-Length")]
    TransferCoding,
    /// An expectation other than `100-continue`. 417.
    #[error("the only expectation is `100-continue`")]
    Expectation,
}

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The target, in bytes.
    pub uri: usize,
    /// One header, name and value, in bytes.
    pub line: usize,
    /// Headers.
    pub count: usize,
}

impl HeadLimits {
    /// Those of this configuration.
    pub fn new(limits: &Limits) -> Self {
        Self {
            uri: limits.max_uri.as_usize(),
            line: limits.max_header.as_usize(),
            count: limits.max_headers.into(),
        }
    }
}

impl Head {
    /// Checks a head and brings it to the one form.
    ///
    /// # Errors
    /// The first [`HeadError`] found.
    pub fn check(parts: &Parts, limits: &HeadLimits) -> Result<Self, HeadError> {
        if parts.method == Method::CONNECT || parts.method == Method::TRACE {
            return Err(HeadError::Method);
        }
        if parts.version == Version::HTTP_2 {
            check_lines(&parts.headers, limits)?;
        }
        let target = parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        if target.len() > limits.uri {
            return Err(HeadError::TargetTooLong);
        }
        let (authority, host) = host(parts)?;
        check_framing(parts)?;
        let whole = target.starts_with('/');
        if !whole && parts.version == Version::HTTP_2 {
            return Err(HeadError::Target);
        }
        // Of `http://host?query` the path is `/`, which nobody has sent (RFC 9110 section 4.2.3).
        let path = match canonical_path(parts.uri.path())? {
            Cow::Borrowed(_) if whole => None,
            Cow::Borrowed(path) => Some(path.to_owned()),
            Cow::Owned(path) => Some(path),
        };
        Ok(Self {
            authority,
            host,
            path,
        })
    }

    /// The path in its one form.
    pub fn path<'a>(&'a self, parts: &'a Parts) -> &'a str {
        self.path.as_deref().unwrap_or_else(|| parts.uri.path())
    }

    /// The host alone: lower case, no port, no trailing dot; IPv6 in brackets.
    pub fn host(&self) -> &str {
        match &self.host {
            Host::Changed(host) => host,
            Host::AsSent(length) => {
                let authority = self.authority.to_str().unwrap_or_default();
                authority.get(..*length).unwrap_or_default()
            }
        }
    }

    /// Whether the path is not the one that was sent.
    pub fn rewrites_path(&self) -> bool {
        self.path.is_some()
    }
}

/// Exactly one authority: `:authority` (HTTP/2), an absolute target's, or `Host`; where there are two, they agree.
fn host(parts: &Parts) -> Result<(HeaderValue, Host), HeadError> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(HeadError::Host);
    }
    let authority = match (parts.uri.authority(), field) {
        (None, Some(field)) => field.clone(),
        (Some(authority), field) => {
            if field.is_some_and(|field| {
                !field
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
            }) {
                return Err(HeadError::Host);
            }
            if field.is_none() && parts.version < Version::HTTP_2 {
                return Err(HeadError::Host);
            }
            HeaderValue::from_str(authority.as_str()).map_err(|_| HeadError::Host)?
        }
        (None, None) => return Err(HeadError::Host),
    };
    let scheme_fits = parts
        .uri
        .scheme_str()
        .is_none_or(|scheme| scheme == "http" || scheme == "https");
    if !scheme_fits {
        return Err(HeadError::Target);
    }
    let canonical = authority.to_str().ok().and_then(canonical_host);
    let host = match canonical.ok_or(HeadError::Host)? {
        Cow::Borrowed(host) => Host::AsSent(host.len()),
        Cow::Owned(host) => Host::Changed(host),
    };
    Ok((authority, host))
}

/// A host in lower case, without its port and without a trailing dot.
pub fn canonical_host(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at_checked(end + 1)?,
        None => authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?,
    };
    if !is_port(port) {
        return None;
    }
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bracketed {
        let address = address.parse::<std::net::Ipv6Addr>().ok()?;
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &[u8]| !label.is_empty() && label.iter().all(|byte| letter(*byte));
    if !name.as_bytes().split(|byte| *byte == b'.').all(label) {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}

/// Nothing, or a colon and a port number, which may be missing (RFC 3986 section 3.2.3).
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit());
    number && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

fn check_framing(parts: &Parts) -> Result<(), HeadError> {
    let headers: &HeaderMap = &parts.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || headers.contains_key(CONTENT_LENGTH) {
            return Err(HeadError::TransferCoding);
        }
    }
    let expected = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(EXPECT).iter().all(expected) {
        return Err(HeadError::Expectation);
    }
    Ok(())
}

/// Writes `Content-Length` anew where it has zeros in front: to some that is an octal number.
pub fn canonical_length(headers: &mut HeaderMap) {
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let Some(length @ [b'0', _, ..]) = length else {
        return;
    };
    let length = std::str::from_utf8(length).unwrap_or_default();
    if let Ok(length) = length.parse::<u64>() {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// What is seen to where heads are lines. A browser sends each cookie as a field of its own (RFC 9113 section 8.2.3), so
/// these do not count.
fn check_lines(headers: &HeaderMap, limits: &HeadLimits) -> Result<(), HeadError> {
    let mut count = 0;
    for (name, value) in headers {
        let value = value.as_bytes();
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value {
            return Err(HeadError::Blank);
        }
        count += usize::from(name != COOKIE);
        if count > limits.count || name.as_str().len() + value.len() > limits.line {
            return Err(HeadError::TooLarge);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
