//! What a call carries: parts of the path, a query, a JSON body, a form. Whatever is wrong with it is a problem document.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use super::App;
use super::problem::Problem;

/// Longest part of a path in characters, when it is decoded.
const MAX_NAME: usize = 256;

/// Parts of the path, decoded.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// What stands after the question mark.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// A form in the body.
#[derive(Debug)]
pub(super) struct Form<T>(pub(super) T);

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) max: usize,
    pub(super) patience: Duration,
}

/// Names in a path, from the left.
pub(super) trait Names: Sized {
    fn short(&self) -> bool;
}

impl Names for String {
    fn short(&self) -> bool {
        self.chars().count() <= MAX_NAME
    }
}

impl Names for (String, String) {
    fn short(&self) -> bool {
        self.0.short() && self.1.short()
    }
}

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Names + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        match path {
            Ok(axum::extract::Path(names)) if names.short() => Ok(Self(names)),
            Ok(_) | Err(_) => Err(Problem::BAD_PATH),
        }
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|_| Problem::BAD_QUERY)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if !is(request.headers(), "application/json") {
            return Err(Problem::NOT_JSON);
        }
        let body = read(request.into_body(), app.reading).await?;
        // serde would also take an array, member by member.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::BAD_BODY.because("it is no JSON object"));
        }
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::BAD_BODY.because(told(&error)))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if !is(request.headers(), "application/x-www-form-urlencoded") {
            return Err(Problem::NOT_FORM);
        }
        let (parts, body) = request.into_parts();
        let body = read(body, app.reading).await?;
        let whole = Request::from_parts(parts, body.into());
        match axum::extract::Form::from_request(whole, app).await {
            Ok(axum::extract::Form(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::BAD_BODY),
        }
    }
}

/// What is wrong with a body. serde also quotes values, and a value may be a token, so those are left out.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_a_key = ["missing field", "unknown field", "duplicate field"];
    if error.is_data() && !names_a_key.iter().any(|start| text.starts_with(start)) {
        let (line, column) = (error.line(), error.column());
        return format!("a value that is not allowed at line {line} column {column}");
    }
    text
}

fn is(headers: &HeaderMap, kind: &str) -> bool {
    let shown = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let shown = shown.and_then(|shown| shown.split(|byte| *byte == b';').next());
    shown.is_some_and(|shown| shown.trim_ascii().eq_ignore_ascii_case(kind.as_bytes()))
}

async fn read(body: Body, reading: Reading) -> Result<Bytes, Problem> {
    let body = to_bytes(body, reading.max);
    let body = tokio::time::timeout(reading.patience, body).await;
    body.map_err(|_| Problem::TOO_SLOW)?.map_err(|error| {
        let error = error.into_inner();
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Problem::TOO_LARGE
        } else {
            Problem::BROKEN_OFF
        }
    })
}
