//! A user's sessions, and the end of them.

use http::{Response, StatusCode};

use super::{Visit, bare, document, in_person};
use crate::body::Body;
use crate::policy::Permit;
use crate::refusal::{Refusal, Unserved};
use crate::session::{Session, Why};
use crate::sessions::Whom;

/// The sessions of the one who asks; the one that asks is marked.
pub(super) async fn list(owner: &Permit, visit: &Visit<'_>) -> Result<Response<Body>, Refusal> {
    let session = session(owner)?;
    let mut sessions = visit.sessions.list(&session.user_id).await?;
    for view in &mut sessions {
        view.current = view.sid == session.sid;
    }
    Ok(document(&serde_json::json!({ "sessions": sessions })))
}

/// Ends one.
pub(super) async fn end(
    sid: &str,
    owner: &Permit,
    visit: &Visit<'_>,
) -> Result<Response<Body>, Refusal> {
    let session = in_person(session(owner)?)?;
    let own = session.sid == sid;
    let why = if own { Why::LoggedOut } else { Why::Kicked };
    let whom = Whom::Session(sid.to_owned());
    let ended = visit.sessions.kick(&session.user_id, whom, why).await?;
    if ended.sids.is_empty() {
        return Err(Unserved::NoSuchSession.into());
    }
    let mut reply = bare(StatusCode::NO_CONTENT);
    if own {
        visit.logins.clear(reply.headers_mut());
    }
    Ok(reply)
}

/// Ends all but the one that asks.
pub(super) async fn end_others(
    owner: &Permit,
    visit: &Visit<'_>,
) -> Result<Response<Body>, Refusal> {
    let session = in_person(session(owner)?)?;
    let whom = Whom::AllBut(session.sid.to_string());
    let ended = visit
        .sessions
        .kick(&session.user_id, whom, Why::Kicked)
        .await?;
    Ok(document(&serde_json::json!({ "ended": ended.sids })))
}

fn session(owner: &Permit) -> Result<&Session, Refusal> {
    owner.session().ok_or(Unserved::ForeignSession.into())
}
