//! Providers that log users out (OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8).

use http::{Response, StatusCode};

use super::form::Fields;
use super::{SelfService, Visit, bare};
use crate::body::{Body, Incoming};
use crate::clock::now;
use crate::config::UnknownSid;
use crate::oidc::{Logout, OidcError};
use crate::refusal::Refusal;
use crate::session::Why;
use crate::sessions::Whom;
use crate::store::{Ends, StoreError};

impl SelfService {
    pub(super) async fn back_channel(
        &self,
        visit: &Visit<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let fields = Fields::of_body(visit.parts, body).await?;
        let token = fields
            .get("logout_token")
            .ok_or(OidcError::Invalid("there is none"))?;
        let logout = self.providers.judge(token, now() / 1000).await?;
        let store = visit.sessions.store();
        let seen = self.keys.seen(&logout.issuer, &logout.jti);
        let found = store.get(std::slice::from_ref(&seen), Ends::None).await?;
        if found.into_iter().flatten().next().is_some() {
            return Err(OidcError::Invalid("it was used before").into());
        }
        // Marked as used only when it is done: until then the provider may send it again, and ending twice does no harm.
        carry_out(&logout, visit).await?;
        store
            .put_new(&seen, b"1", Some(logout.believed_until))
            .await?;
        Ok(bare(StatusCode::OK))
    }
}

async fn carry_out(logout: &Logout, visit: &Visit<'_>) -> Result<(), StoreError> {
    let linked = match &logout.sid {
        Some(sid) => {
            visit
                .logins
                .linked(&logout.issuer, sid, visit.sessions)
                .await?
        }
        None => None,
    };
    if let Some(links) = linked {
        for link in links {
            let whom = Whom::Session(link.sid);
            visit
                .sessions
                .kick(&link.user_id, whom, Why::LoggedOut)
                .await?;
        }
        return Ok(());
    }
    let whole_user = logout.sid.is_none() || logout.unknown_sid == UnknownSid::User;
    if let (true, Some(user)) = (whole_user, &logout.user) {
        visit.sessions.kick(user, Whom::All, Why::LoggedOut).await?;
    }
    Ok(())
}
