//! What a policy's no means to the client. Why a session is over is told to whoever holds its token, and to nobody else.

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::{Answer, answer};
use crate::clock::in_words;
use crate::policy::{Check, Denied};
use crate::session::Why;

/// What was sent cannot be a token.
pub(super) const MALFORMED: Answer = answer(
    StatusCode::UNAUTHORIZED,
    "token_malformed",
    "What was sent cannot be a token.",
);
const INVALID_TOKEN: Answer = answer(
    StatusCode::UNAUTHORIZED,
    "token_invalid",
    "The token is unknown, expired or was taken back.",
);
pub(super) const ACCOUNT_DISABLED: Answer = answer(
    StatusCode::FORBIDDEN,
    "account_disabled",
    "This account is disabled.",
);

/// The challenge to a token that is not good (RFC 6750 section 3.1).
pub(super) const INVALID: &str = "Bearer realm=\"drawbridge\", error=\"invalid_token\"";
/// The same section: no error code where no token was sent.
const MISSING: &str = "Bearer realm=\"drawbridge\"";
const INSUFFICIENT: &str = "Bearer realm=\"drawbridge\", error=\"insufficient_scope\"";

/// The table of a policy's reasons.
pub(super) fn answer_to(reason: &Denied) -> Answer {
    use StatusCode as S;
    match reason {
        Denied::TokenMissing => answer(
            S::UNAUTHORIZED,
            "token_missing",
            "This needs a token, and none was sent.",
        ),
        Denied::TokenMalformed => MALFORMED,
        Denied::TokenInvalid => INVALID_TOKEN,
        Denied::Ended(ended) => why(ended.why),
        Denied::Disabled(_) => ACCOUNT_DISABLED,
        Denied::ServiceDisabled(_) => answer(
            S::FORBIDDEN,
            "service_disabled",
            "This service is disabled for this account.",
        ),
        Denied::Unmet(Check::MaxRisk(_)) => answer(
            S::FORBIDDEN,
            "risk_too_high",
            "The token is good, but its session is too risky for this.",
        ),
        Denied::Unmet(Check::ElevatedWithin(_)) => answer(
            S::UNAUTHORIZED,
            "step_up_required",
            "The token is good, but its user has to prove again who they are.",
        ),
        Denied::Unmet(
            Check::Permission(_)
            | Check::AnyPermission(_)
            | Check::NoPermission(_)
            | Check::Role(_)
            | Check::DeviceType(_),
        ) => answer(
            S::FORBIDDEN,
            "permission_denied",
            "The token is good, but it does not allow this.",
        ),
    }
}

/// A session that is over, told to whoever held its token.
pub(super) fn why(why: Why) -> Answer {
    let ended = |code, detail| answer(StatusCode::UNAUTHORIZED, code, detail);
    match why {
        Why::Kicked => ended("session_kicked", "This session was ended from elsewhere."),
        Why::Replaced => ended(
            "session_replaced",
            "A newer login took this session's place.",
        ),
        Why::LoggedOut => ended("session_logged_out", "This session was logged out."),
        Why::PasswordChanged => ended(
            "credentials_changed",
            "The password was changed; log in again.",
        ),
        Why::Banned => ACCOUNT_DISABLED,
        Why::Limit => ended(
            "session_limit",
            "There were too many sessions, and this one had to end.",
        ),
        Why::RefreshReused => ended(
            "refresh_reused",
            "A refresh token was used twice, so this session was ended.",
        ),
        Why::Realm => ended("realm_logout", "All sessions were ended; log in again."),
        Why::Idle => ended("session_idle", "This session was not used for too long."),
        Why::Lost => INVALID_TOKEN,
    }
}

/// The challenge that goes with it.
pub(super) fn challenge(reason: &Denied, answer: Answer) -> HeaderValue {
    match reason {
        Denied::TokenMissing => HeaderValue::from_static(MISSING),
        Denied::Unmet(Check::ElevatedWithin(within)) => {
            // RFC 9470 section 3.
            let text = format!(
                "Bearer realm=\"drawbridge\", error=\"insufficient_user_authentication\", \
                 error_description=\"A more recent authentication is required\", max_age=\"{}\"",
                within.as_secs()
            );
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(INVALID))
        }
        Denied::TokenMalformed
        | Denied::TokenInvalid
        | Denied::Ended(_)
        | Denied::Disabled(_)
        | Denied::ServiceDisabled(_)
        | Denied::Unmet(_) => HeaderValue::from_static(match answer.status {
            StatusCode::FORBIDDEN => INSUFFICIENT,
            _ => INVALID,
        }),
    }
}

/// More members of the problem document: times in RFC 3339.
pub(super) fn more(reason: &Denied) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    match reason {
        Denied::Ended(ended) if ended.why != Why::Lost => {
            put("ended_at", in_words(ended.at).into());
            if let Some(by) = &ended.by {
                put("by", by.as_str().into());
            }
        }
        Denied::Disabled(ban) | Denied::ServiceDisabled(ban) => {
            if let Some(until) = ban.until {
                put("until", in_words(until).into());
            }
        }
        Denied::Unmet(Check::ElevatedWithin(within)) => put("max_age", within.as_secs().into()),
        Denied::TokenMissing
        | Denied::TokenMalformed
        | Denied::TokenInvalid
        | Denied::Ended(_)
        | Denied::Unmet(_) => {}
    }
    members
}
