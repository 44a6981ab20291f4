//! What every answer has in common: the request's id, problem documents, and a line about every refusal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::caller::Call;
use super::problem::Problem;
use super::strangers::Fate;
use crate::audit::Entry;

/// Where errors also carry a code of RFC 6749.
const OAUTH: [&str; 2] = ["/introspect", "/revoke"];

/// Seconds until a caller may try again.
const RETRY_AFTER_OUTAGE: u64 = 1;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Lets a call through and completes its answer.
pub(super) async fn door(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().cloned();
    // A path that is nobody's is not noted: there is no telling what somebody has pasted into it.
    let path = path.as_ref().map_or("-", MatchedPath::as_str);
    let what = format!("{} {path}", parts.method);
    let names = RawPathParams::from_request_parts(&mut parts, &app).await;
    let whom = names
        .ok()
        .and_then(|names| names.iter().next().map(|(_, name)| name.to_owned()));
    let Some(call) = parts.extensions.get::<Call>().cloned() else {
        return Problem::KEY_MISSING.into_response();
    };
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if !problem.noted {
            refused(&app, &call, (&what, whom.as_deref()), problem.code).await;
        }
        write(problem, &call.id, OAUTH.contains(&path), &mut response);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

/// Notes a refusal; of a caller that nobody knows not more often than may be.
async fn refused(app: &Arc<App>, call: &Call, what: (&str, Option<&str>), result: &str) {
    if call.caller.is_ok() {
        return note(app, call, what, result).await;
    }
    match app.strangers.refused(call.from, Instant::now()) {
        (_, Fate::Noted) => note(app, call, what, result).await,
        (_, Fate::LeftOut) => {}
        (whom, Fate::FirstLeftOut(window)) => {
            let (app, id) = (Arc::clone(app), Arc::clone(&call.id));
            tokio::spawn(async move {
                tokio::time::sleep(window).await;
                tell_left_out(&app, &id, whom).await;
            });
        }
    }
}

/// One line in place of all those that were left out.
async fn tell_left_out(app: &App, id: &str, from: Option<IpAddr>) {
    let entry = Entry {
        id,
        who: "-",
        by: "-",
        from,
        what: "refusals",
        whom: None,
        result: "left_out",
        detail: json!({ "count": app.strangers.left_out(from) }),
    };
    if let Err(error) = app.audit.write(&entry).await {
        tracing::error!(%error, id, "refusals that were left out could not be told of");
    }
}

/// A refusal stands whether or not it could be noted.
async fn note(app: &App, call: &Call, (what, whom): (&str, Option<&str>), result: &str) {
    let known = call.caller.as_ref().ok();
    let entry = Entry {
        id: &call.id,
        who: known.map_or("-", |caller| &caller.name),
        by: known.map_or("-", |caller| caller.by),
        from: call.from,
        what,
        whom,
        result,
        detail: Value::Null,
    };
    if let Err(error) = app.audit.write(&entry).await {
        tracing::error!(%error, id = %call.id, result, "a refusal could not be noted");
    }
}

fn write(problem: Problem, id: &str, oauth: bool, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    match problem.status {
        StatusCode::UNAUTHORIZED => {
            let challenge = match problem.code {
                "key_missing" => "Bearer realm=\"drawbridge admin\"",
                _ => "Bearer realm=\"drawbridge admin\", error=\"invalid_token\"",
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, RETRY_AFTER_OUTAGE.into());
        }
        _ => {}
    }
    let document = problem.document(id, oauth);
    let text = serde_json::to_string(&document).unwrap_or_default();
    *response.body_mut() = Body::from(text + "\n");
}
