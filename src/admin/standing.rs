//! What a session is worth at the moment: step-up, risk, and acting as somebody else.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::App;
use super::bounded::{Level, Name, Seconds};
use super::caller::{May, RightsWrite, SessionsWrite};
use super::change::Order;
use super::extract::{Json, Path};
use super::openapi::{ChangeRefusals, CreateRefusals, WriteRefusals};
use super::problem::Problem;
use super::session::Granted;
use crate::sessions::Standing;

/// A step-up: the user has just proved again who they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUp {
    /// For how many seconds it counts; a route may ask for a fresher one.
    lifetime: Seconds,
}

/// A risk.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Risk {
    /// 0 to 100.
    level: Level,
}

/// Somebody who wants to act as somebody else.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActAs {
    /// An access token of whoever acts.
    actor_token: Name,
    /// The user they act as.
    subject: Name,
    /// How many seconds it lasts; an hour at most.
    lifetime: Seconds,
}

/// Notes a step-up of one session. Scope `sessions:write`.
#[utoipa::path(post, path = "/v1/users/{user}/sessions/{sid}/step-up", tag = "sessions",
    params(("user" = Name, Path), ("sid" = Name, Path)), request_body = StepUp,
    responses((status = 204, description = "It counts"), ChangeRefusals))]
pub(super) async fn step_up(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Path((user, sid)): Path<(String, String)>,
    Json(step): Json<StepUp>,
) -> Result<StatusCode, Problem> {
    let detail = json!({"sid": sid, "lifetime": step.lifetime.0});
    let order = Order::new("session.step_up", user.clone()).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        match sessions
            .elevate(&user, &sid, step.lifetime.seconds())
            .await?
        {
            true => Ok((StatusCode::NO_CONTENT, json!(null))),
            false => Err(Problem::NO_SESSION),
        }
    };
    app.change(who, order, work).await
}

/// Sets the risk of one session. Scope `rights:write`.
#[utoipa::path(put, path = "/v1/users/{user}/sessions/{sid}/risk", tag = "users",
    params(("user" = Name, Path), ("sid" = Name, Path)), request_body = Risk,
    responses((status = 204, description = "It is set"), ChangeRefusals))]
pub(super) async fn session_risk(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path((user, sid)): Path<(String, String)>,
    Json(risk): Json<Risk>,
) -> Result<StatusCode, Problem> {
    let detail = json!({"sid": sid, "level": risk.level.0});
    let order = Order::new("session.risk", user.clone()).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let level = risk.level.level();
        match sessions.set_risk(&user, Some(&sid), level).await? {
            true => Ok((StatusCode::NO_CONTENT, json!(null))),
            false => Err(Problem::NO_SESSION),
        }
    };
    app.change(who, order, work).await
}

/// Sets the risk of a user. Scope `rights:write`.
#[utoipa::path(put, path = "/v1/users/{user}/risk", tag = "users", params(("user" = Name, Path)),
    request_body = Risk, responses((status = 204, description = "It is set"), WriteRefusals))]
pub(super) async fn user_risk(
    May(who, ..): May<RightsWrite>,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    Json(risk): Json<Risk>,
) -> Result<StatusCode, Problem> {
    let order = Order::new("user.risk", user.clone()).with(json!({"level": risk.level.0}));
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        sessions.set_risk(&user, None, risk.level.level()).await?;
        Ok((StatusCode::NO_CONTENT, json!(null)))
    };
    app.change(who, order, work).await
}

/// Opens a session in which the holder of `actor_token` acts as `subject`; upstreams learn of both. Scope
/// `sessions:write`. 404 if `actor_token` is not live.
#[utoipa::path(post, path = "/v1/act-as", tag = "sessions", request_body = ActAs,
    responses((status = 201, description = "The session and its token", body = Granted),
        (status = 404, description = "The actor's token is not live", body = super::ProblemDocument,
            content_type = "application/problem+json"), CreateRefusals))]
pub(super) async fn act_as(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Json(order): Json<ActAs>,
) -> Result<(StatusCode, axum::Json<Granted>), Problem> {
    let token = app.shape.check(order.actor_token.0.as_bytes())?;
    let standing = app.sessions.find(&token).await;
    let Standing::Live(actor) = standing.map_err(Problem::of_lookup)? else {
        return Err(Problem::NO_SESSION);
    };
    let detail =
        json!({"actor": actor.user_id, "actor_sid": actor.sid, "lifetime": order.lifetime.0});
    let noted = Order::new("session.act_as", order.subject.0.clone()).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let lifetime = order.lifetime.seconds();
        let grant = sessions.act_as(&actor, &order.subject.0, lifetime).await?;
        let detail = json!({"sid": grant.session.sid});
        Ok((Granted::from(grant), detail))
    };
    let granted = app.change(who, noted, work).await?;
    Ok((StatusCode::CREATED, axum::Json(granted)))
}
