//! Whether it is alive, whether it can be used, and what it is: for everybody.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use utoipa::OpenApi as _;

use super::App;
use super::openapi::{Document, NotReady};
use super::problem::Problem;

/// Whether the process is alive. For everybody.
#[utoipa::path(get, path = "/live", tag = "health", security(()),
    responses((status = 204, description = "It is")))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the session store answers. For everybody.
#[utoipa::path(get, path = "/ready", tag = "health", security(()),
    responses((status = 204, description = "It does"), NotReady))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, Problem> {
    match app.sessions.roles().await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(_) => Err(Problem::NOT_READY.noted()),
    }
}

/// This document. For everybody.
#[utoipa::path(get, path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, description = "OpenAPI", body = serde_json::Value)))]
pub(super) async fn document() -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(Document::openapi())
}
