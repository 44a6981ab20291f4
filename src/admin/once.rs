//! One-time tokens: issue and redeem.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::App;
use super::bounded::{Name, Number};
use super::caller::{May, SessionsWrite};
use super::change::Order;
use super::extract::Json;
use super::openapi::{ChangeRefusals, WriteRefusals};
use super::problem::Problem;
use crate::clock::{millis, now};
use crate::sessions::Once;

/// A one-time token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOnce {
    /// What it is for, such as `password-reset`.
    purpose: Name,
    /// Who may redeem it, such as a host name.
    audience: Name,
    /// What whoever redeems it gets: any JSON. The audit log does not see it.
    #[serde(default)]
    #[schema(value_type = Value)]
    payload: Value,
    /// How many seconds it is good; an hour at most.
    lifetime: Number<1, 3600>,
}

/// A one-time token. It is told here and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OnceToken {
    /// The token.
    token: String,
    /// When it ends if it is not redeemed, in Unix milliseconds.
    ends_at: u64,
}

/// A one-time token to be redeemed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redemption {
    /// The token.
    token: Name,
    /// What it was issued for.
    purpose: Name,
    /// Whom it was issued for.
    audience: Name,
}

/// What a one-time token was good for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redeemed {
    /// What was given to it.
    #[schema(value_type = Value)]
    payload: Value,
}

/// Issues a token that can be redeemed once. Scope `sessions:write`.
#[utoipa::path(post, path = "/v1/once", tag = "one-time tokens", request_body = NewOnce,
    responses((status = 201, description = "The token", body = OnceToken), WriteRefusals))]
pub(super) async fn issue(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Json(new): Json<NewOnce>,
) -> Result<(StatusCode, axum::Json<OnceToken>), Problem> {
    let once = Once {
        purpose: new.purpose.0,
        audience: new.audience.0,
        payload: new.payload,
        lifetime: new.lifetime.seconds(),
    };
    let detail =
        json!({"purpose": once.purpose, "audience": once.audience, "lifetime": new.lifetime.0});
    let order = Order::new("once.issue", None).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ends_at = now().saturating_add(millis(once.lifetime));
        let token = sessions.issue_once(once).await?.expose().to_owned();
        Ok((OnceToken { token, ends_at }, Value::Null))
    };
    let issued = app.change(who, order, work).await?;
    Ok((StatusCode::CREATED, axum::Json(issued)))
}

/// Redeems a one-time token, which uses it up, also if purpose or audience are wrong. Scope `sessions:write`.
#[utoipa::path(post, path = "/v1/once/redeem", tag = "one-time tokens", request_body = Redemption,
    responses((status = 200, description = "What it was good for", body = Redeemed), ChangeRefusals))]
pub(super) async fn redeem(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Json(shown): Json<Redemption>,
) -> Result<axum::Json<Redeemed>, Problem> {
    let detail = json!({"purpose": shown.purpose.0, "audience": shown.audience.0});
    let order = Order::new("once.redeem", None).with(detail);
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let Redemption {
            token,
            purpose,
            audience,
        } = shown;
        let payload = sessions
            .redeem_once(&token.0, &purpose.0, &audience.0)
            .await?;
        let payload = payload.ok_or(Problem::NO_TOKEN)?;
        Ok((Redeemed { payload }, Value::Null))
    };
    app.change(who, order, work).await.map(axum::Json)
}
