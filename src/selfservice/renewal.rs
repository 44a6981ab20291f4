//! New tokens for old, and the end of both.

use std::time::Duration;

use http::{Response, StatusCode};

use serde::Deserialize;

use super::form::Fields;
use super::{SelfService, Visit, bare, document};
use crate::body::{Body, Incoming};
use crate::clock::now;
use crate::cookie;
use crate::login::tokens;
use crate::refusal::{Refusal, Unserved};
use crate::session::Device;
use crate::sessions::{Grant, Login, RefreshError};

/// What one-time tickets for a login are for.
const LOGIN: &str = "login";

/// What such a ticket holds: whoever issued it has found the user to be the right one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    user_id: String,
    #[serde(default)]
    device: Device,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    /// In seconds.
    lifetime: Option<u64>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    risk: u8,
}

impl SelfService {
    /// A refresh token in the body is answered with tokens; one in the cookie with cookies, and only for own pages.
    pub(super) async fn refresh(
        &self,
        visit: &Visit<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let fields = Fields::of_body(visit.parts, body).await?;
        if let Some(kind) = fields.get("grant_type")
            && kind != "refresh_token"
        {
            return Err(Unserved::Request("The only grant_type is refresh_token.").into());
        }
        if let Some(token) = fields.get("refresh_token") {
            return Ok(tokens(&visit.sessions.refresh(token).await?));
        }
        let name = visit.logins.cookies().refresh_name();
        let token = cookie::read(&visit.parts.headers, name).ok_or(RefreshError::Unknown)?;
        self.guard(visit, true)?;
        let grant = visit.sessions.refresh(&token).await?;
        let mut reply = document(&serde_json::json!({ "expires_in": left(&grant).as_secs() }));
        visit.logins.set(&grant, reply.headers_mut());
        Ok(reply)
    }

    /// Ends the session of this token; it is no fault if it has ended before.
    pub(super) async fn log_out(&self, visit: &Visit<'_>) -> Result<Response<Body>, Refusal> {
        self.guard(visit, visit.ambient)?;
        let token = visit.token.ok_or(crate::policy::Denied::TokenMissing)?;
        for token in [Some(token), visit.behind.as_ref()].into_iter().flatten() {
            visit.sessions.logout(token).await?;
        }
        let mut reply = bare(StatusCode::NO_CONTENT);
        visit.logins.clear(reply.headers_mut());
        Ok(reply)
    }

    /// Opens the session that a ticket is for, if the ticket is for this origin.
    pub(super) async fn redeem(
        &self,
        visit: &Visit<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        // A page that made this browser redeem somebody else's ticket would make its user somebody else.
        self.guard(visit, visit.logins.sets_cookie())?;
        let fields = Fields::of_body(visit.parts, body).await?;
        let ticket = fields
            .get("ticket")
            .ok_or(Unserved::Request("The field `ticket` is missing."))?;
        let own = visit.own.as_ref().ok_or(Unserved::Ticket)?;
        let payload = visit
            .sessions
            .redeem_once(ticket, LOGIN, own.as_str())
            .await?;
        let ticket: Ticket = payload
            .and_then(|payload| serde_json::from_value(payload).ok())
            .ok_or(Unserved::Ticket)?;
        let login = Login {
            user_id: ticket.user_id,
            device: ticket.device,
            permissions: ticket.permissions,
            roles: ticket.roles,
            lifetime: ticket.lifetime.map(Duration::from_secs),
            refresh: visit.logins.refreshes(),
            ip: Some(visit.client),
            label: ticket.label,
            risk: ticket.risk,
        };
        let grant = visit.sessions.login(login).await?;
        Ok(visit.logins.hand_over(&grant, bare(StatusCode::NO_CONTENT)))
    }
}

fn left(grant: &Grant) -> Duration {
    Duration::from_millis(grant.access_ends_at.saturating_sub(now()))
}
