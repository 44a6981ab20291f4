//! Words for those whom logins, our own endpoints and the guard against forged requests send away.

use http::StatusCode as S;

use super::{Answer, answer, denied, store};
use crate::oidc::OidcError;
use crate::session::Why;
use crate::sessions::{LoginError, RefreshError};

pub(super) const FORGED: Answer = answer(
    S::FORBIDDEN,
    "csrf_refused",
    "This request was sent by a page of another site, or does not say which page has sent it.",
);

/// Why one of our own endpoints does not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// It cannot be understood; the text is for the client.
    #[error("{0}")]
    Request(&'static str),
    /// Its session is one that the gateway did not open.
    #[error("the session was not opened by the gateway")]
    ForeignSession,
    /// Its user acts as somebody else.
    #[error("a session in which somebody acts for somebody else does not allow this")]
    ActingSession,
    /// It names a session that its user does not have.
    #[error("the user has no such session")]
    NoSuchSession,
    /// Its one-time ticket is worth nothing.
    #[error("the ticket is used, expired, or not for this browser and this place")]
    Ticket,
    /// It wants to be sent to where nobody is sent.
    #[error("the address to return to is not one of those that take part")]
    Return,
}

pub(super) fn unserved(why: Unserved) -> Answer {
    match why {
        Unserved::Request(detail) => answer(S::BAD_REQUEST, "bad_request", detail),
        Unserved::ForeignSession => answer(
            S::FORBIDDEN,
            "session_foreign",
            "This session was not opened by the gateway, so it cannot be managed here.",
        ),
        Unserved::ActingSession => answer(
            S::FORBIDDEN,
            "session_acting",
            "Who acts for somebody else cannot do this.",
        ),
        Unserved::NoSuchSession => answer(
            S::NOT_FOUND,
            "session_not_found",
            "There is no such session.",
        ),
        Unserved::Ticket => answer(
            S::UNAUTHORIZED,
            "ticket_invalid",
            "The ticket is used, expired, or not for this browser and this place.",
        ),
        Unserved::Return => answer(
            S::BAD_REQUEST,
            "return_refused",
            "The address to return to is not one of those that take part.",
        ),
    }
}

pub(super) fn login(error: &LoginError) -> Answer {
    match error {
        LoginError::Disabled(_) => denied::ACCOUNT_DISABLED,
        LoginError::TooMany => answer(
            S::FORBIDDEN,
            "too_many_sessions",
            "This account has as many sessions as it may have. End one first.",
        ),
        LoginError::Unusable(_) => answer(
            S::BAD_GATEWAY,
            "login_unusable",
            "The service behind this gateway has named a login that cannot be used.",
        ),
        LoginError::Store(error) => store(error),
    }
}

pub(super) fn refresh(error: &RefreshError) -> Answer {
    match error {
        RefreshError::Unknown => answer(
            S::UNAUTHORIZED,
            "refresh_token_invalid",
            "The refresh token is missing, unknown or expired.",
        ),
        RefreshError::Ended(why) => denied::why(*why),
        RefreshError::Reused => denied::why(Why::RefreshReused),
        RefreshError::Disabled(_) => denied::ACCOUNT_DISABLED,
        RefreshError::Store(error) => store(error),
    }
}

pub(super) fn oidc(error: &OidcError) -> Answer {
    match error {
        OidcError::Invalid(_) => answer(
            S::BAD_REQUEST,
            "logout_token_invalid",
            "The logout token is not valid.",
        ),
        OidcError::Keys(_) => answer(
            S::SERVICE_UNAVAILABLE,
            "issuer_unavailable",
            "The keys of the issuer cannot be had right now. Try again.",
        ),
    }
}
