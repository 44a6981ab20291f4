use std::time::Duration;

use http::Method;
use http_body::Body as _;

use super::*;
use crate::body::BodyTooLarge;
use crate::policy::Check;
use crate::session::{Ban, EndedSession, RecordError, Why};

fn ended(why: Why) -> Denied {
    Denied::Ended(EndedSession {
        why,
        at: 1_700_000_000_000,
        by: Some("a newer phone".to_owned()),
    })
}

fn ban() -> Ban {
    Ban {
        until: Some(1_700_000_000_000),
        reason: "the operator's own words".to_owned(),
        at: 0,
    }
}

fn step_up() -> Denied {
    Denied::Unmet(Check::ElevatedWithin(Duration::from_secs(300)))
}

fn all() -> Vec<(Refusal, u16, &'static str)> {
    let io = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    vec![
        (HeadError::Method.into(), 405, "method_not_allowed"),
        (HeadError::Host.into(), 400, "bad_request"),
        (HeadError::Target.into(), 400, "bad_request"),
        (HeadError::Path.into(), 400, "bad_request"),
        (HeadError::TargetTooLong.into(), 414, "uri_too_long"),
        (HeadError::TransferCoding.into(), 400, "bad_request"),
        (HeadError::Expectation.into(), 417, "expectation_failed"),
        (Refusal::Misdirected, 421, "misdirected_request"),
        (RouteError::NotFound.into(), 404, "route_not_found"),
        (
            RouteError::Method {
                allow: vec![Method::GET, Method::PUT],
            }
            .into(),
            405,
            "method_not_allowed",
        ),
        (Refusal::UpgradeWithBody, 400, "bad_request"),
        (
            TooMany {
                limit: "user".into(),
                retry_after: Duration::from_millis(1500),
                told: limit::Told::default(),
            }
            .into(),
            429,
            "rate_limited",
        ),
        (
            Slowed {
                retry_after: Duration::from_millis(1500),
            }
            .into(),
            429,
            "unknown_tokens",
        ),
        (
            Refusal::Uncounted(StoreError::Deadline),
            503,
            "rate_limit_unavailable",
        ),
        (TokenError::Conflict.into(), 401, "token_malformed"),
        (Denied::TokenMissing.into(), 401, "token_missing"),
        (Denied::TokenMalformed.into(), 401, "token_malformed"),
        (Denied::TokenInvalid.into(), 401, "token_invalid"),
        (ended(Why::Kicked).into(), 401, "session_kicked"),
        (ended(Why::Replaced).into(), 401, "session_replaced"),
        (ended(Why::LoggedOut).into(), 401, "session_logged_out"),
        (
            ended(Why::PasswordChanged).into(),
            401,
            "credentials_changed",
        ),
        (ended(Why::Limit).into(), 401, "session_limit"),
        (ended(Why::RefreshReused).into(), 401, "refresh_reused"),
        (ended(Why::Realm).into(), 401, "realm_logout"),
        (ended(Why::Idle).into(), 401, "session_idle"),
        (ended(Why::Lost).into(), 401, "token_invalid"),
        (ended(Why::Banned).into(), 403, "account_disabled"),
        (Denied::Disabled(ban()).into(), 403, "account_disabled"),
        (
            Denied::ServiceDisabled(ban()).into(),
            403,
            "service_disabled",
        ),
        (
            Denied::Unmet(Check::MaxRisk(50)).into(),
            403,
            "risk_too_high",
        ),
        (step_up().into(), 401, "step_up_required"),
        (
            StoreError::Deadline.into(),
            503,
            "session_store_unavailable",
        ),
        (StoreError::Busy.into(), 503, "session_store_unavailable"),
        (
            StoreError::Unreachable.into(),
            503,
            "session_store_unavailable",
        ),
        (
            StoreError::Failed("NOAUTH".to_owned()).into(),
            503,
            "session_store_unavailable",
        ),
        (
            StoreError::Mismatch.into(),
            503,
            "session_store_unavailable",
        ),
        (
            StoreError::Record(RecordError::NotJson).into(),
            503,
            "session_unreadable",
        ),
        (HeaderError::TooLong.into(), 500, "identity_unusable"),
        (BodyTooLarge.into(), 413, "body_too_large"),
        (UpstreamError::BodyTooLarge.into(), 413, "body_too_large"),
        (
            UpstreamError::Connect(io()).into(),
            502,
            "upstream_unreachable",
        ),
        (
            UpstreamError::ConnectTimeout.into(),
            504,
            "upstream_timeout",
        ),
        (
            UpstreamError::ResponseTimeout.into(),
            504,
            "upstream_timeout",
        ),
        (UpstreamError::TotalTimeout.into(), 504, "upstream_timeout"),
        (UpstreamError::Busy.into(), 503, "upstream_busy"),
        (UpstreamError::Withdrawn.into(), 503, "session_changed"),
        (UpstreamError::WrongUpgrade.into(), 502, "upstream_broken"),
        (UpstreamError::ClientBody.into(), 400, "bad_request"),
        (UpstreamError::ClientSlow.into(), 408, "request_timeout"),
        (Refusal::Overloaded, 503, "overloaded"),
    ]
}

fn field<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[test]
fn every_refusal_has_its_own_status_and_code() {
    for (refusal, status, code) in all() {
        assert_eq!(
            (refusal.status().as_u16(), refusal.code()),
            (status, code),
            "{refusal:?}"
        );
    }
}

#[test]
fn each_status_comes_with_the_fields_that_it_calls_for() {
    for (refusal, status, _) in all() {
        let shown = format!("{refusal:?}");

        let response = refusal.into_response(Form::Problem, &HeaderValue::from_static("id-1"));

        assert_eq!(
            field(&response, "content-type"),
            Some("application/problem+json"),
            "{shown}"
        );
        assert_eq!(
            field(&response, "cache-control"),
            Some("no-store"),
            "{shown}"
        );
        assert_eq!(field(&response, "x-request-id"), Some("id-1"), "{shown}");
        assert_eq!(
            response.headers().contains_key("www-authenticate"),
            status == 401 || status == 403,
            "{shown}"
        );
        assert_eq!(
            response.headers().contains_key("retry-after"),
            status == 503 || status == 429,
            "{shown}"
        );
        assert_eq!(
            response.headers().contains_key("allow"),
            status == 405,
            "{shown}"
        );
    }
}

#[test]
fn the_challenge_follows_rfc_6750() {
    let challenge = |denied: Denied| {
        let response =
            Refusal::from(denied).into_response(Form::Problem, &HeaderValue::from_static("1"));
        field(&response, "www-authenticate").unwrap().to_owned()
    };

    assert_eq!(
        challenge(Denied::TokenMissing),
        "Bearer realm=\"drawbridge\""
    );
    assert!(challenge(Denied::TokenInvalid).ends_with("error=\"invalid_token\""));
    assert!(challenge(Denied::TokenMalformed).ends_with("error=\"invalid_token\""));
    assert!(challenge(ended(Why::Kicked)).ends_with("error=\"invalid_token\""));
    assert!(challenge(Denied::Disabled(ban())).ends_with("error=\"insufficient_scope\""));
    // RFC 9470 section 3.
    let step_up = challenge(step_up());
    assert!(step_up.contains("error=\"insufficient_user_authentication\""));
    assert!(step_up.ends_with("max_age=\"300\""), "{step_up}");
}

#[test]
fn a_wait_is_told_in_whole_seconds_that_suffice() {
    for (millis, seconds) in [(0, "1"), (1000, "1"), (1001, "2"), (1500, "2")] {
        let response = Refusal::from(Slowed {
            retry_after: Duration::from_millis(millis),
        })
        .into_response(Form::Problem, &HeaderValue::from_static("1"));

        assert_eq!(field(&response, "retry-after"), Some(seconds));
    }
}

#[test]
fn the_body_is_a_problem_document_or_a_page_and_never_holds_a_cause() {
    for (html, accept) in [(false, ""), (true, "text/html")] {
        let refusal = Refusal::from(StoreError::Failed("NOAUTH at 10.0.0.5".to_owned()));

        let response = refusal.into_response(
            audience(accept, "").form(),
            &HeaderValue::from_static("id-1"),
        );

        let length = response.body().size_hint().exact().unwrap();
        let Body::Text(Some(text)) = response.into_body() else {
            panic!("not a text")
        };
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert_eq!(length, text.len() as u64);
        assert!(
            text.contains("session_store_unavailable") && text.contains("id-1"),
            "{text}"
        );
        assert!(
            !text.contains("NOAUTH") && !text.contains("10.0.0.5"),
            "{text}"
        );
        if !html {
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["status"], 503);
            assert_eq!(problem["type"], "urn:drawbridge:session_store_unavailable");
        }
    }
}

#[test]
fn a_page_is_for_those_who_ask_for_one() {
    let cases = [
        ("text/html,application/xhtml+xml,*/*;q=0.8", true),
        ("text/html", true),
        ("*/*", false),
        ("", false),
        ("application/json", false),
        ("application/json, text/html", false),
        ("application/problem+json, text/html", false),
    ];

    for (accept, expected) in cases {
        let page = audience(accept, "").form() == Form::Page;
        assert_eq!(page, expected, "{accept:?}");
    }
}

/// Whoever sends these fields over HTTP/2.
fn audience(accept: &str, content_type: &str) -> Audience {
    let request = http::Request::builder()
        .version(http::Version::HTTP_2)
        .header("accept", accept)
        .header("content-type", content_type);
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Audience::of(&parts)
}

#[test]
fn a_client_of_grpc_gets_a_status_of_its_own_and_the_fields_besides() {
    for (refusal, status, code) in all() {
        let shown = format!("{refusal:?}");
        let grpc = audience("", "application/grpc");

        let response = refusal.into_response(grpc.form(), &HeaderValue::from_static("id-1"));

        let expected = match status {
            401 => "16",
            403 => "7",
            404 | 405 => "12",
            413 | 414 | 431 => "8",
            429 | 502..=504 => "14",
            400 => "13",
            _ => "2",
        };
        assert_eq!(response.status(), 200, "{shown}");
        assert_eq!(field(&response, "content-type"), Some("application/grpc"));
        assert_eq!(field(&response, "grpc-status"), Some(expected), "{shown}");
        let message = field(&response, "grpc-message").unwrap();
        assert!(message.starts_with(&format!("{code}: ")), "{message}");
        assert!(matches!(response.body(), Body::Empty));
        let again = response.headers().contains_key("retry-after");
        assert_eq!(again, status == 503 || status == 429, "{shown}");
    }
}
