//! What other programs ask about tokens, in the words of OAuth: introspection (RFC 7662) and revocation (RFC 7009).

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::caller::{May, SessionsRead, SessionsWrite};
use super::change::Order;
use super::ended::{EndedSessions, WaitFor, finish};
use super::extract::{Form, Query};
use super::openapi::WriteRefusals;
use super::problem::Problem;
use crate::session::{Device, Session};
use crate::sessions::Target;
use crate::token::RefreshToken;

/// A token that somebody wants to know about, or to be rid of.
#[derive(Deserialize, ToSchema)]
pub(super) struct ShownToken {
    /// The token.
    token: String,
    /// `access_token` or `refresh_token`. It is not needed: our tokens tell what they are.
    #[serde(default)]
    #[expect(dead_code, reason = "RFC 7009 section 2.1 lets clients send it")]
    token_type_hint: Option<String>,
}

impl std::fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownToken(..)")
    }
}

/// What is known of a token. Of one that is not live: `active`, and nothing else.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Introspection {
    /// Whether it is the access token of a live session whose user is not banned from everything.
    active: bool,
    /// `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// When the token ends, in Unix seconds; absent if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// Those permissions that RFC 6749 section 3.3 allows as scopes, with blanks between.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// All permissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<String>>,
    /// Roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    /// The session's name; absent if we did not make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// Where the session was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    /// Who acts as the user (RFC 8693 section 4.1); absent if nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
}

/// Who acts as the user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Actor {
    /// Their user id.
    sub: String,
}

impl From<Session> for Introspection {
    fn from(session: Session) -> Self {
        let scopes = session.permissions.iter().filter(|one| is_scope(one));
        let scope = scopes.map(String::as_str).collect::<Vec<_>>().join(" ");
        Self {
            active: true,
            token_type: Some("Bearer"),
            sub: Some(session.user_id.into()),
            exp: session.expires_at.map(|end| end / 1000),
            scope: Some(scope),
            permissions: Some(session.permissions.to_vec()),
            roles: Some(session.roles.to_vec()),
            sid: Some(session.sid.into()).filter(|sid: &String| !sid.is_empty()),
            device: Some(session.device),
            act: session.extras.actor.as_ref().map(|act| Actor {
                sub: act.user_id.clone(),
            }),
        }
    }
}

fn is_scope(permission: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !permission.is_empty() && permission.bytes().all(allowed)
}

/// Whether a token is live, and whose it is (RFC 7662). 503 if that cannot be told: then assume nothing. Scope
/// `sessions:read`.
#[utoipa::path(post, path = "/introspect", tag = "tokens",
    request_body(content = ShownToken, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What is known of it", body = Introspection), WriteRefusals))]
pub(super) async fn introspect(
    _: May<SessionsRead>,
    State(app): State<Arc<App>>,
    Form(shown): Form<ShownToken>,
) -> Result<axum::Json<Introspection>, Problem> {
    // What cannot be a token is one that is not live.
    let Ok(token) = app.shape.check(shown.token.as_bytes()) else {
        return Ok(axum::Json(Introspection::default()));
    };
    let found = app.sessions.introspect(&token).await;
    let found = found.map_err(Problem::of_lookup)?;
    Ok(axum::Json(
        found.map_or_else(Introspection::default, Introspection::from),
    ))
}

/// Ends the session of an access or refresh token (RFC 7009). A token that is not live is no error. 503 if nobody knows
/// whether it was ended: then assume that it still lives. Scope `sessions:write`. Clients need not read the answer (RFC
/// 7009 section 2.2).
#[utoipa::path(post, path = "/revoke", tag = "tokens", params(WaitFor),
    request_body(content = ShownToken, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is not live any more", body = EndedSessions), WriteRefusals))]
pub(super) async fn revoke(
    May(who, ..): May<SessionsWrite>,
    State(app): State<Arc<App>>,
    Query(wait): Query<WaitFor>,
    Form(shown): Form<ShownToken>,
) -> Result<axum::Json<EndedSessions>, Problem> {
    let Ok(token) = app.shape.check(shown.token.as_bytes()) else {
        return Ok(axum::Json(EndedSessions::none()));
    };
    let sessions = Arc::clone(&app.sessions);
    let work = async move {
        let ended = match RefreshToken::read(token.expose()) {
            Some(_) => sessions.logout_family(token.expose()).await?,
            None => sessions.logout(&token).await?,
        };
        Ok(finish(&sessions, ended, wait, Target::Token(&token)).await)
    };
    app.change(who, Order::new("token.revoke", None), work)
        .await
        .map(axum::Json)
}
