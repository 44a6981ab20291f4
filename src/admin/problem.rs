//! Every way in which a call of the admin API is not done. One table.
//!
//! As with the gateway: 401 "who are you", 403 "not you", 404 "no such", 503 "cannot tell". They never mix.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::AuditError;
use crate::session::RecordError;
use crate::sessions::LoginError;
use crate::store::StoreError;
use crate::token::TokenError;

/// What went wrong. A response that is made of it has no body yet: the door writes it, because it knows the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: Cow<'static, str>,
    /// Whether the audit log has a line about it already.
    pub(super) noted: bool,
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// A URN that names the kind of problem.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What happened, for programs; stable.
    pub code: String,
    /// The request's id, which the audit log has too.
    pub request_id: String,
    /// The error code of RFC 6749 section 5.2, which introspection and revocation add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

const fn problem(status: StatusCode, code: &'static str, detail: &'static str) -> Problem {
    Problem {
        status,
        code,
        detail: Cow::Borrowed(detail),
        noted: false,
    }
}

impl Problem {
    pub(super) const KEY_MISSING: Self = problem(
        StatusCode::UNAUTHORIZED,
        "key_missing",
        "This needs an admin key (Authorization: Bearer dba_…) or a client certificate.",
    );
    pub(super) const KEY_INVALID: Self = problem(
        StatusCode::UNAUTHORIZED,
        "key_invalid",
        "There is no such admin key.",
    );
    pub(super) const CERTIFICATE_UNKNOWN: Self = problem(
        StatusCode::UNAUTHORIZED,
        "certificate_unknown",
        "The client certificate is valid, but none of its names is known here.",
    );
    pub(super) const FORBIDDEN: Self = problem(
        StatusCode::FORBIDDEN,
        "scope_missing",
        "This key or certificate may not do that.",
    );
    pub(super) const FOREIGN_PAGE: Self = problem(
        StatusCode::FORBIDDEN,
        "foreign_page",
        "Without keys only programs on this machine are let in: no web pages, and no other host name.",
    );
    pub(super) const NOT_FOUND: Self = problem(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this path.",
    );
    pub(super) const NO_SESSION: Self = problem(
        StatusCode::NOT_FOUND,
        "session_not_found",
        "There is no such live session.",
    );
    pub(super) const NO_USER: Self = problem(
        StatusCode::NOT_FOUND,
        "user_not_found",
        "Nothing is known of this user: no session, no right, no ban.",
    );
    pub(super) const NO_BAN: Self = problem(
        StatusCode::NOT_FOUND,
        "ban_not_found",
        "There is no such ban.",
    );
    pub(super) const NO_TOKEN: Self = problem(
        StatusCode::NOT_FOUND,
        "token_not_found",
        "There is no such one-time token for this purpose and audience; if there was one, it is used up now.",
    );
    pub(super) const METHOD: Self = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not take this method.",
    );
    pub(super) const TOO_LARGE: Self = problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "The request body is larger than admin.max_body.",
    );
    pub(super) const TOO_SLOW: Self = problem(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "The request body did not arrive in time.",
    );
    pub(super) const BROKEN_OFF: Self = problem(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "The request body broke off.",
    );
    pub(super) const NOT_JSON: Self = problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media_type",
        "The request body must be application/json.",
    );
    pub(super) const NOT_FORM: Self = problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media_type",
        "The request body must be application/x-www-form-urlencoded.",
    );
    pub(super) const BAD_PATH: Self = problem(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "A part of the path is not UTF-8 when it is decoded, or too long.",
    );
    pub(super) const BAD_QUERY: Self = problem(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "The query is not what /openapi.json describes.",
    );
    pub(super) const BAD_BODY: Self = problem(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "The request body is not what /openapi.json describes.",
    );
    pub(super) const NOT_READY: Self = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_ready",
        "The session store does not answer.",
    );
    /// The task that made a change died.
    pub(super) const UNKNOWN_OUTCOME: Self = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "outcome_unknown",
        "Whether this was done cannot be told.",
    );

    /// A request that was understood and cannot be done as it is.
    pub(super) const fn unusable(detail: &'static str) -> Self {
        problem(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// What the store holds cannot be read: of a call that writes nothing.
    pub(super) fn unreadable(error: &StoreError) -> Self {
        tracing::warn!(%error, "an admin call met a record that cannot be read");
        problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "record_unreadable",
            "What the session store holds cannot be read.",
        )
    }

    /// What a look-up failed with.
    pub(super) fn of_lookup(error: StoreError) -> Self {
        if let StoreError::Record(_) = error {
            return Self::unreadable(&error);
        }
        error.into()
    }

    /// The same, of which the audit log knows already.
    pub(super) fn noted(mut self) -> Self {
        self.noted = true;
        self
    }

    /// The same, with a reason.
    pub(super) fn because(mut self, reason: impl std::fmt::Display) -> Self {
        let detail = self.detail.trim_end_matches('.');
        self.detail = format!("{detail}: {reason}.").into();
        self
    }

    /// The document. `oauth` adds the error code of RFC 6749.
    pub(super) fn document(self, request_id: &str, oauth: bool) -> ProblemDocument {
        let error = match self.status {
            StatusCode::UNAUTHORIZED => "invalid_client",
            StatusCode::FORBIDDEN => "unauthorized_client",
            StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
            _ => "invalid_request",
        };
        ProblemDocument {
            r#type: format!("urn:drawbridge:{}", self.code),
            title: self
                .status
                .canonical_reason()
                .unwrap_or("Refused")
                .to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.into_owned(),
            code: self.code.to_owned(),
            request_id: request_id.to_owned(),
            error: oauth.then(|| error.to_owned()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable = |code, detail| problem(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        match error {
            StoreError::Deadline
            | StoreError::Busy
            | StoreError::Unreachable
            | StoreError::Failed(_)
            | StoreError::InUse(_)
            | StoreError::Unproven
            | StoreError::Mismatch => {
                tracing::warn!(%error, "an admin call could not be done");
                unavailable(
                    "session_store_unavailable",
                    "The session store does not answer, so this cannot be told or done right now. Try again.",
                )
            }
            StoreError::Record(RecordError::TooLarge) => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "record_too_large",
                "This would make a record that is larger than the session store takes.",
            ),
            StoreError::Record(_) => Self::unreadable(&error),
            StoreError::NoUsers => unavailable(
                "no_sessions",
                "There is no [sessions] in the configuration, so users have no records.",
            ),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Disabled(_) => problem(
                StatusCode::FORBIDDEN,
                "account_disabled",
                "This user is banned.",
            ),
            LoginError::TooMany => problem(
                StatusCode::CONFLICT,
                "too_many_sessions",
                "This user has as many sessions as they may have.",
            ),
            LoginError::Unusable(detail) => Self::unusable(detail),
            LoginError::Store(error) => error.into(),
        }
    }
}

impl From<TokenError> for Problem {
    /// What a token in a body can be besides good: none. Only minting can fail otherwise.
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Length | TokenError::Charset | TokenError::Seal | TokenError::Conflict => {
                Self::NO_SESSION
            }
            TokenError::NoRandomness => Self::UNKNOWN_OUTCOME,
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        tracing::error!(%error, "a change was refused because it could not be noted");
        problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            "The audit log cannot be written, so nothing was changed.",
        )
        .noted()
    }
}
