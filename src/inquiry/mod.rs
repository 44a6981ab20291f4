//! The request that another proxy asks about, put together from the way in which that proxy tells it.
//!
//! # Threat model
//! A proxy hands on what the client has sent, and so the client may have written the headers in which *another* proxy
//! would tell about a request. So each listener reads the headers of one kind of proxy, and nothing of any other; what
//! is missing or there twice is refused, never guessed. Where the client is, and over which scheme it came, is taken
//! from that proxy too, and all other headers of that kind are dropped before anything looks at them.

mod message;

use std::str::FromStr as _;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};

use crate::config::{ForwardAuth, Telling};
use crate::headers::{Managed, upgrade_protocol};

pub use self::message::from_message;

const ORIGINAL_URL: &str = "x-original-url";
const ORIGINAL_METHOD: &str = "x-original-method";
const METHOD_OF: &str = "x-forwarded-method";
const PROTO: &str = "x-forwarded-proto";
const HOST_OF: &str = "x-forwarded-host";
const URI_OF: &str = "x-forwarded-uri";
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// It comes from an address that nobody may ask from. 403.
    #[error("nobody may ask from this address")]
    Stranger,
    /// The proxy does not say what it has to. 400.
    #[error("the proxy that asks does not send {0}")]
    Missing(&'static str),
    /// It says it twice. 400.
    #[error("the proxy that asks sends {0} more than once")]
    Twice(&'static str),
    /// It says it in a way that cannot be understood. 400.
    #[error("{0} cannot be understood")]
    Unusable(&'static str),
}

/// What a proxy tells.
struct Told<'a> {
    method: Method,
    /// `http` or `https`, and `ws` and `wss` for those who write them; `None` if it is not told.
    scheme: Option<&'a str>,
    authority: HeaderValue,
    /// Path and query.
    target: &'a str,
}

/// The request that is asked about by this question.
///
/// Its headers are those that the client has sent, as far as the proxy hands them on. Of those that tell where a request
/// comes from there are `X-Forwarded-For` and `X-Forwarded-Proto`, as this proxy means them. It has no body.
///
/// # Errors
/// [`InquiryError`]: the question cannot be understood.
pub fn from_headers(asks: &ForwardAuth, question: &Parts) -> Result<Parts, InquiryError> {
    let headers = &question.headers;
    let told = match asks.proxy.telling() {
        Telling::Original => original(headers)?,
        Telling::Forwarded => forwarded(headers)?,
        Telling::Itself => itself(asks, question)?,
        Telling::Message => return Err(InquiryError::Unusable("a question that is no message")),
    };
    let mut request = request(&told)?;
    for (name, value) in headers {
        if !is_the_question_s(name) {
            request.headers.append(name, value.clone());
        }
    }
    for hop in headers.get_all(FOR) {
        request.headers.append(FOR, hop.clone());
    }
    restore_upgrade(headers, &mut request.headers);
    Ok(request)
}

/// nginx: one URL, as it writes it, with the client's `Host` and target.
fn original(headers: &HeaderMap) -> Result<Told<'_>, InquiryError> {
    let unusable = InquiryError::Unusable(ORIGINAL_URL);
    let (scheme, rest) = one(headers, ORIGINAL_URL)?
        .split_once("://")
        .ok_or(unusable)?;
    let slash = rest.find('/').ok_or(unusable)?;
    let (authority, target) = rest.split_at_checked(slash).ok_or(unusable)?;
    Ok(Told {
        method: method(one(headers, ORIGINAL_METHOD)?, ORIGINAL_METHOD)?,
        scheme: Some(scheme),
        authority: HeaderValue::try_from(authority).map_err(|_| unusable)?,
        target,
    })
}

/// Traefik, and those who do as it does.
fn forwarded(headers: &HeaderMap) -> Result<Told<'_>, InquiryError> {
    let host = one(headers, HOST_OF)?;
    Ok(Told {
        method: method(one(headers, METHOD_OF)?, METHOD_OF)?,
        scheme: Some(one(headers, PROTO)?),
        authority: HeaderValue::try_from(host).map_err(|_| InquiryError::Unusable(HOST_OF))?,
        target: one(headers, URI_OF)?,
    })
}

/// Envoy over HTTP: the question is the request, with something in front of its path.
fn itself<'a>(asks: &ForwardAuth, question: &'a Parts) -> Result<Told<'a>, InquiryError> {
    let authority = match question.uri.authority() {
        Some(authority) => HeaderValue::try_from(authority.as_str()).ok(),
        None => one(&question.headers, HOST.as_str())
            .ok()
            .and_then(|host| HeaderValue::try_from(host).ok()),
    };
    let target = question
        .uri
        .path_and_query()
        .map_or("", PathAndQuery::as_str);
    let prefix = asks.path_prefix.as_ref().map_or("", |prefix| {
        let prefix = prefix.as_str();
        prefix.strip_suffix('/').unwrap_or(prefix)
    });
    let target = target
        .strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'));
    Ok(Told {
        method: question.method.clone(),
        scheme: one(&question.headers, PROTO).ok(),
        authority: authority.ok_or(InquiryError::Missing("host"))?,
        target: target.ok_or(InquiryError::Unusable("a path without `path_prefix`"))?,
    })
}

/// The one value of a header that has to be there.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, InquiryError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(InquiryError::Missing(name))?;
    if values.next().is_some() {
        return Err(InquiryError::Twice(name));
    }
    match value.to_str() {
        Ok("") => Err(InquiryError::Missing(name)),
        Ok(value) => Ok(value),
        Err(_) => Err(InquiryError::Unusable(name)),
    }
}

fn method(name: &str, header: &'static str) -> Result<Method, InquiryError> {
    Method::from_str(name).map_err(|_| InquiryError::Unusable(header))
}

/// The request without any headers but those that come from what is told.
fn request(told: &Told<'_>) -> Result<Parts, InquiryError> {
    // The parser of targets cuts a fragment off silently, and what is behind it could be served after all.
    let target = match told.target.starts_with('/') && !told.target.contains('#') {
        true => PathAndQuery::from_str(told.target).ok(),
        false => None,
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = told.method.clone();
    parts.uri = Uri::from(target.ok_or(InquiryError::Unusable("the path"))?);
    parts.headers.insert(HOST, told.authority.clone());
    if let Some(scheme) = told.scheme {
        let scheme = HeaderValue::try_from(scheme);
        let scheme = scheme.map_err(|_| InquiryError::Unusable("the scheme"))?;
        parts.headers.insert(PROTO, scheme);
    }
    Ok(parts)
}

/// Whether a header belongs to the question, or tells where the request comes from in whatever way: not the client's to
/// say, and taken from what this proxy tells.
fn is_the_question_s(name: &HeaderName) -> bool {
    const CONNECTIONS: [HeaderName; 7] = [
        HOST,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        EXPECT,
        TE,
        CONNECTION,
        UPGRADE,
    ];
    CONNECTIONS.contains(name) || Managed::tells_origin(name.as_str())
}

/// A proxy takes `Connection` and `Upgrade` off, but not the key without which there is no WebSocket (RFC 6455 section
/// 4.1). Whoever judges the request has to know that it would open one.
fn restore_upgrade(told: &HeaderMap, headers: &mut HeaderMap) {
    let protocol = match told.contains_key(WEBSOCKET_KEY) {
        true => Some("websocket".to_owned()),
        false => upgrade_protocol(told),
    };
    if let Some(protocol) = protocol.and_then(|name| HeaderValue::try_from(name).ok()) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

#[cfg(test)]
mod tests;
