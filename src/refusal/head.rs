//! Heads that can be read in two ways, or are too large.

use http::StatusCode;

use super::{Answer, answer};
use crate::head::HeadError;

/// What the client is told.
pub(super) fn answer_to(error: HeadError) -> Answer {
    use StatusCode as S;
    match error {
        HeadError::Method => answer(
            S::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "CONNECT and TRACE are never let in.",
        ),
        HeadError::Host => answer(
            S::BAD_REQUEST,
            "bad_request",
            "The request must name exactly one valid host.",
        ),
        HeadError::Target => answer(
            S::BAD_REQUEST,
            "bad_request",
            "The request target must be a path that starts with a slash.",
        ),
        HeadError::Path => answer(
            S::BAD_REQUEST,
            "bad_request",
            "The path can be read in more than one way.",
        ),
        HeadError::Line => answer(
            S::BAD_REQUEST,
            "bad_request",
            "Every line of the head must end with CR LF, and none may be folded.",
        ),
        HeadError::Length => answer(
            S::BAD_REQUEST,
            "bad_request",
            "Content-Length must be one number, sent once.",
        ),
        HeadError::Blank => answer(
            S::BAD_REQUEST,
            "bad_request",
            "A header value must not begin or end with a blank.",
        ),
        HeadError::TooLarge => answer(
            S::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The request head is too large, or has too many headers.",
        ),
        HeadError::Version => answer(
            S::HTTP_VERSION_NOT_SUPPORTED,
            "version_not_supported",
            "The version must be HTTP/1.0 or HTTP/1.1.",
        ),
        HeadError::Late => answer(
            S::REQUEST_TIMEOUT,
            "request_timeout",
            "The request did not come to its end in time.",
        ),
        HeadError::TargetTooLong => answer(
            S::URI_TOO_LONG,
            "uri_too_long",
            "The request target is too long.",
        ),
        HeadError::TransferCoding => answer(
            S::BAD_REQUEST,
            "bad_request",
            "The only transfer coding is chunked, once, without Content-Length.",
        ),
        HeadError::Expectation => answer(
            S::EXPECTATION_FAILED,
            "expectation_failed",
            "The only expectation is 100-continue.",
        ),
    }
}
