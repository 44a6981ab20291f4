//! The admin API of a running gateway: who comes in, what it does on both stores, and what it leaves in the audit log.

#[path = "admin/calls.rs"]
mod calls;
#[path = "admin/door.rs"]
mod door;
#[path = "admin/limits.rs"]
mod limits;
#[path = "admin/noted.rs"]
mod noted;
#[path = "admin/oauth.rs"]
mod oauth;
#[path = "admin/outage.rs"]
mod outage;
mod support;

use serde_json::{Value, json};

use support::Call;
use support::admin::{form, json as call};

/// Every call of the API that needs a key: method, path, body, and who may make it. The user is alice.
fn every_call() -> Vec<(&'static str, &'static str, Option<Value>, &'static str)> {
    let session = "/v1/users/alice/sessions/sid4567890123456";
    let path = |end: &str| -> &'static str { format!("{session}{end}").leak() };
    vec![
        (
            "POST",
            "/v1/sessions",
            Some(json!({"user_id": "alice"})),
            "writer",
        ),
        ("GET", "/v1/users/alice", None, "reader"),
        ("GET", "/v1/users/alice/sessions", None, "reader"),
        ("GET", session, None, "reader"),
        ("DELETE", session, None, "writer"),
        (
            "POST",
            path("/step-up"),
            Some(json!({"lifetime": 60})),
            "writer",
        ),
        ("PUT", path("/risk"), Some(json!({"level": 1})), "rights"),
        (
            "POST",
            "/v1/users/alice/kick",
            Some(json!({"which": "all"})),
            "writer",
        ),
        (
            "PUT",
            "/v1/users/alice/risk",
            Some(json!({"level": 1})),
            "rights",
        ),
        (
            "PATCH",
            "/v1/users/alice/rights",
            Some(json!({"grant": ["a:b"]})),
            "rights",
        ),
        ("PUT", "/v1/users/alice/bans/*", Some(json!({})), "rights"),
        ("DELETE", "/v1/users/alice/bans/*", None, "rights"),
        (
            "POST",
            "/v1/realm/kick",
            Some(json!({"everybody": true})),
            "writer",
        ),
        ("GET", "/v1/roles", None, "reader"),
        (
            "PUT",
            "/v1/roles/clerk",
            Some(json!({"permissions": ["a:b"]})),
            "rights",
        ),
        ("DELETE", "/v1/roles/clerk", None, "rights"),
        (
            "POST",
            "/v1/once",
            Some(json!({"purpose": "sso", "audience": "a.test", "lifetime": 60})),
            "writer",
        ),
        (
            "POST",
            "/v1/once/redeem",
            Some(
                json!({"token": format!("dbo_{:x<43}", ""), "purpose": "sso", "audience": "a.test"}),
            ),
            "writer",
        ),
        (
            "POST",
            "/v1/act-as",
            Some(json!({"actor_token": "some-token", "subject": "bob", "lifetime": 60})),
            "writer",
        ),
        (
            "POST",
            "/v1/limits/show",
            Some(json!({"user": "alice"})),
            "root",
        ),
        (
            "POST",
            "/v1/limits/reset",
            Some(json!({"user": "alice"})),
            "root",
        ),
        ("POST", "/introspect", None, "reader"),
        ("POST", "/revoke", None, "writer"),
    ]
}

/// One of them as a request.
fn request((method, path, body, _): &(&str, &str, Option<Value>, &str)) -> Call {
    match (path, body) {
        (&"/introspect" | &"/revoke", _) => form(path, "token=some-token"),
        (_, Some(body)) => call(method, path, body),
        (_, None) => Call::new(method, path),
    }
}
