//! The words of a refusal as a problem document (RFC 9457) or as a page.

use http::HeaderValue;
use serde_json::Value;

use super::Answer;

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
