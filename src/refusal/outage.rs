//! Words for stores and upstreams that do not answer.

use http::StatusCode;

use super::{Answer, answer};
use crate::store::StoreError;
use crate::upstream::UpstreamError;

pub(super) const fn store_unavailable() -> Answer {
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        "session_store_unavailable",
        "Whether the token is good cannot be told right now. Try again.",
    )
}

pub(super) fn store(error: &StoreError) -> Answer {
    match error {
        StoreError::Deadline
        | StoreError::Busy
        | StoreError::Unreachable
        | StoreError::Failed(_)
        | StoreError::InUse(_)
        | StoreError::Mismatch
        | StoreError::Unproven
        | StoreError::NoUsers => store_unavailable(),
        StoreError::Record(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "session_unreadable",
            "The session of this token cannot be read.",
        ),
    }
}

pub(super) fn upstream(error: &UpstreamError) -> Answer {
    use StatusCode as S;
    match error {
        UpstreamError::Connect(_) => answer(
            S::BAD_GATEWAY,
            "upstream_unreachable",
            "The service behind this gateway cannot be reached.",
        ),
        UpstreamError::Withdrawn => answer(
            S::SERVICE_UNAVAILABLE,
            "session_changed",
            "The session of this token changed while the request waited. Try again.",
        ),
        UpstreamError::Busy => answer(
            S::SERVICE_UNAVAILABLE,
            "upstream_busy",
            "The service behind this gateway has too many requests. Try again.",
        ),
        UpstreamError::ConnectTimeout
        | UpstreamError::ResponseTimeout
        | UpstreamError::TotalTimeout => answer(
            S::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The service behind this gateway did not answer in time.",
        ),
        UpstreamError::Broken(_) | UpstreamError::WrongUpgrade => answer(
            S::BAD_GATEWAY,
            "upstream_broken",
            "The service behind this gateway gave no usable answer.",
        ),
        UpstreamError::BodyTooLarge => answer(
            S::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The request body is larger than this path allows.",
        ),
        UpstreamError::ClientSlow => answer(
            S::REQUEST_TIMEOUT,
            "request_timeout",
            "The request body came too slowly.",
        ),
        UpstreamError::ClientBody => {
            answer(S::BAD_REQUEST, "bad_request", "The request body broke off.")
        }
    }
}
