//! The words of a refusal as a problem document (RFC 9457), as a page, or as a status of gRPC.

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::Answer;
use crate::headers;

/// The problem document.
pub(super) fn problem(
    answer: Answer,
    title: &str,
    id: &str,
    more: serde_json::Map<String, Value>,
) -> String {
    let Answer {
        status,
        code,
        detail,
    } = answer;
    let mut problem = serde_json::json!({
        "type": format!("urn:drawbridge:{code}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "request_id": id,
    });
    if let Some(members) = problem.as_object_mut() {
        members.extend(more);
    }
    problem.to_string() + "\n"
}

/// The page.
pub(super) fn page(answer: Answer, title: &str, id: &str) -> String {
    let Answer {
        status,
        code,
        detail,
    } = answer;
    let number = status.as_u16();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{number} {title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}}\
         small{{color:#666}}</style>\n<h1>{title}</h1>\n<p>{detail}</p>\n<p><small>{number} {code} · {id}</small></p>\n</html>\n"
    )
}

/// Who is refused, as far as the form of the answer goes.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    accept: Option<HeaderValue>,
    grpc: bool,
}

/// What a refusal is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A problem document.
    Problem,
    /// A page for people.
    Page,
    /// A status of gRPC.
    Grpc,
}

impl Audience {
    /// Whoever has sent a request with this head.
    pub fn of(parts: &Parts) -> Self {
        Self {
            grpc: headers::is_grpc(parts),
            accept: parts.headers.get(ACCEPT).cloned(),
        }
    }

    /// What they understand.
    pub fn form(&self) -> Form {
        match self.grpc {
            true => Form::Grpc,
            false => Form::page_if(wants_html(self.accept.as_ref())),
        }
    }
}

impl Form {
    /// A page for those who want one, else a problem document.
    pub fn page_if(wants_html: bool) -> Self {
        match wants_html {
            true => Self::Page,
            false => Self::Problem,
        }
    }
}

/// Whether this client would rather have a page: it names `text/html`, and not after a JSON type.
pub fn wants_html(accept: Option<&HeaderValue>) -> bool {
    let accept = accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut types = accept
        .split(',')
        .filter_map(|part| part.split(';').next())
        .map(str::trim);
    types.find(|kind| *kind == "text/html" || kind.ends_with("json")) == Some("text/html")
}

/// The number that gRPC has for this status, after its own table for proxies that know nothing of gRPC
/// (`doc/http-grpc-status-mapping.md` of grpc/grpc); what is too large is `RESOURCE_EXHAUSTED`.
pub(super) fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        413 | 414 | 431 => 8,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Reason and words, in the escapes of gRPC (`grpc-message` in its protocol over HTTP/2).
pub(super) fn grpc_message(answer: Answer) -> HeaderValue {
    const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
    let text = format!("{}: {}", answer.code, answer.detail);
    let text = utf8_percent_encode(&text, ESCAPED).to_string();
    HeaderValue::try_from(text).expect("escapes are visible ASCII")
}
