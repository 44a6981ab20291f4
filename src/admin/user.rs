//! Users: look at, ban, and what they may do.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::App;
use super::bounded::{Moment, Name, Note, texts};
use super::caller::{May, RightsWrite, SessionsRead};
use super::change::Order;
use super::ended::{EndedSessions, WaitFor, finish};
use super::extract::{Json, Path, Query};
use super::openapi::{FindRefusals, WriteRefusals};
use super::problem::Problem;
use crate::sessions::{NewBan, Rights, RightsEdit, Target, UserView};
use crate::user::EVERYTHING;

/// A ban.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BanOrder {
    /// Its end in Unix milliseconds; absent: never.
    #[serde(default)]
    until: Option<Moment>,
    /// Why, in words for the operator.
    #[serde(default)]
    reason: Note,
    /// Whether the user's sessions stay; without it a ban ends them.
    #[serde(default)]
    keep_sessions: bool,
}

/// What is to become of a user's rights; what is not named stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RightsOrder {
    /// Permissions given to the user; they are no longer denied either.
    grant: Vec<Name>,
    /// Permissions that are no longer given. Those that a login gave to one session stay: `deny` takes those too.
    revoke: Vec<Name>,
    /// Permissions that no session of the user has, whatever else says so.
    deny: Vec<Name>,
    /// Permissions that are no longer denied.
    allow: Vec<Name>,
    /// Roles given to the user.
    add_roles: Vec<Name>,
    /// Roles that are no longer given.
    remove_roles: Vec<Name>,
}

impl From<RightsOrder> for RightsEdit {
    fn from(order: RightsOrder) -> Self {
        Self {
            grant: texts(order.grant),
            revoke: texts(order.revoke),
            deny: texts(order.deny),
            allow: texts(order.allow),
            add_roles: texts(order.add_roles),
            remove_roles: texts(order.remove_roles),
        }
    }
}

/// What is known of a user: rights, bans, live sessions. Scope `sessions:read`.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users", params(("user" = Name, Path)),
    responses((status = 200, description = "The user", body = UserView), FindRefusals))]
pub(super) async fn show(
    _: May<SessionsRead>,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
) -> Result<axum::Json<UserView>, Problem> {
    let found = app.sessions.user(&user).await?;
    found.map(axum::Json).ok_or(Problem::NO_USER)
}

/// Bans a user from one service (the `service` of routes), or with `*` from everything, and ends the user's sessions unless
/// told not to. A ban that is there already is replaced. Scope `rights:write`.
#[utoipa::path(put, path = "/v1/users/{user}/bans/{service}", tag = "users",
    params(("user" = Name, Path), ("service" = Name, Path), WaitFor), request_body = BanOrder,
    responses((status = 200, description = "The ban holds", body = EndedSessions), WriteRefusals))]
pub(super) async fn ban(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path((user, service)): Path<(String, String)>,
    Query(wait): Query<WaitFor>,
    Json(order): Json<BanOrder>,
) -> Result<axum::Json<EndedSessions>, Problem> {
    let ban = NewBan {
        service: one_service(&service).map(str::to_owned),
        until: order.until.map(|until| until.0),
        reason: order.reason.0,
        end_sessions: !order.keep_sessions,
    };
    let detail = json!({
        "service": service, "until": ban.until, "reason": ban.reason, "end_sessions": ban.end_sessions,
    });
    let noted = Order::new("user.ban", user.clone()).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ended = sessions.ban(&user, ban).await?;
        Ok(finish(&sessions, ended, wait, Target::User(&user)).await)
    };
    app.change(who, noted, work).await.map(axum::Json)
}

/// Lifts a ban. 404 if there is none. Scope `rights:write`.
#[utoipa::path(delete, path = "/v1/users/{user}/bans/{service}", tag = "users",
    params(("user" = Name, Path), ("service" = Name, Path)),
    responses((status = 204, description = "It is lifted"), FindRefusals))]
pub(super) async fn unban(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path((user, service)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let order = Order::new("user.unban", user.clone()).with(json!({"service": service}));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        match sessions.unban(&user, one_service(&service)).await? {
            true => Ok((StatusCode::NO_CONTENT, json!(null))),
            false => Err(Problem::NO_BAN),
        }
    };
    app.change(who, order, work).await
}

fn one_service(service: &str) -> Option<&str> {
    Some(service).filter(|service| *service != EVERYTHING)
}

/// Changes what a user may do, from the next request on. Done twice it comes to the same. Scope `rights:write`.
#[utoipa::path(patch, path = "/v1/users/{user}/rights", tag = "users", params(("user" = Name, Path)),
    request_body = RightsOrder,
    responses((status = 200, description = "What the user may do now", body = Rights), WriteRefusals))]
pub(super) async fn rights(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    Json(order): Json<RightsOrder>,
) -> Result<axum::Json<Rights>, Problem> {
    let edit = RightsEdit::from(order);
    let noted = Order::new("user.rights", user.clone()).with(changes(&edit));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let rights = sessions.edit_rights(&user, edit).await?;
        let detail = json!(rights);
        Ok((rights, detail))
    };
    app.change(who, noted, work).await.map(axum::Json)
}

/// The lists of an edit that are not empty.
fn changes(edit: &RightsEdit) -> serde_json::Value {
    let lists = [
        ("grant", &edit.grant),
        ("revoke", &edit.revoke),
        ("deny", &edit.deny),
        ("allow", &edit.allow),
        ("add_roles", &edit.add_roles),
        ("remove_roles", &edit.remove_roles),
    ];
    lists
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| (name.to_owned(), json!(list)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
