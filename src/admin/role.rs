//! The role table: what whoever has a role may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::App;
use super::bounded::{Name, texts};
use super::caller::{May, RightsWrite, SessionsRead};
use super::change::Order;
use super::extract::{Json, Path};
use super::openapi::{ReadRefusals, WriteRefusals};
use super::problem::Problem;

/// The role table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoleTable {
    /// Role to permissions.
    roles: BTreeMap<String, Vec<String>>,
}

/// What a role may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    /// All of its permissions; what it had before is forgotten.
    permissions: Vec<Name>,
}

/// The role table. Scope `sessions:read`.
#[utoipa::path(get, path = "/v1/roles", tag = "roles",
    responses((status = 200, description = "The roles", body = RoleTable), ReadRefusals))]
pub(super) async fn list(
    _: May<SessionsRead>,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<RoleTable>, Problem> {
    let roles = app.sessions.roles().await?;
    Ok(axum::Json(RoleTable { roles }))
}

/// Says what whoever has this role may do, from the next request on. Scope `rights:write`.
#[utoipa::path(put, path = "/v1/roles/{role}", tag = "roles", params(("role" = Name, Path)), request_body = Role,
    responses((status = 204, description = "It is set"), WriteRefusals))]
pub(super) async fn set(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Json(role): Json<Role>,
) -> Result<StatusCode, Problem> {
    let permissions = texts(role.permissions);
    let order = Order::new("role.set", name.clone()).with(json!({"permissions": permissions}));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        sessions.set_role(&name, Some(permissions)).await?;
        Ok((StatusCode::NO_CONTENT, json!(null)))
    };
    app.change(who, order, work).await
}

/// Deletes a role; whoever has it may do nothing by it. Also done if there is none. Scope `rights:write`.
#[utoipa::path(delete, path = "/v1/roles/{role}", tag = "roles", params(("role" = Name, Path)),
    responses((status = 204, description = "There is no such role any more"), ReadRefusals))]
pub(super) async fn delete(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let order = Order::new("role.delete", name.clone());
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        sessions.set_role(&name, None).await?;
        Ok((StatusCode::NO_CONTENT, json!(null)))
    };
    app.change(who, order, work).await
}
