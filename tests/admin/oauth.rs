//! Introspection (RFC 7662) and revocation (RFC 7009).

use serde_json::{Value, json};

use crate::support::admin::{form, json as call};
use crate::support::gateway::log_in;
use crate::support::{Call, Gateway, Redis, Reply, gateway, upstream, user};

async fn introspect(gateway: &Gateway, token: &str) -> Value {
    let body = format!("token={token}&token_type_hint=access_token&more=ignored");
    let reply = gateway
        .administer("reader", form("/introspect", &body))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()
}

async fn revoke(gateway: &Gateway, token: &str) -> Reply {
    let body = format!("token={token}&token_type_hint=refresh_token");
    gateway.administer("writer", form("/revoke", &body)).await
}

async fn open(gateway: &Gateway) -> Value {
    let body = json!({
        "user_id": "alice", "permissions": ["orders:read", "has blank"], "roles": ["clerk"], "refresh": true,
        "device": {"id": "d1", "type": "phone"},
    });
    let reply = gateway
        .administer("writer", call("POST", "/v1/sessions", &body))
        .await;
    assert_eq!(reply.status, 201);
    reply.json()
}

#[tokio::test]
async fn a_live_token_tells_all_and_a_dead_one_nothing() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = gateway()
        .redis(&redis)
        .admin()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let dead = json!({"active": false});
    let session = open(&gateway).await;
    let token = session["access_token"].as_str().unwrap();

    let known = introspect(&gateway, token).await;
    assert_eq!(known["active"], true);
    assert_eq!(known["sub"], "alice");
    assert_eq!(known["token_type"], "Bearer");
    // A permission with a blank is no scope token (RFC 6749 section 3.3).
    assert_eq!(known["scope"], "orders:read");
    assert_eq!(known["permissions"].as_array().unwrap().len(), 2);
    assert_eq!(known["sid"], session["session"]["sid"]);
    assert_eq!(known["device"]["type"], "phone");
    let (exp, ends_at) = (
        known["exp"].as_u64().unwrap(),
        session["access_ends_at"].as_u64().unwrap(),
    );
    assert!(exp.abs_diff(ends_at / 1000) <= 1, "{exp} {ends_at}");
    assert!(known.get("act").is_none());

    // Somebody else's session, without a name.
    log_in(&redis, "foreign-token", &user("bob", &["a:b"]));
    let foreign = introspect(&gateway, "foreign-token").await;
    assert_eq!(
        (&foreign["active"], &foreign["sub"]),
        (&json!(true), &json!("bob"))
    );
    assert!(foreign.get("sid").is_none());

    for none in ["unknown-token", "", "not%20a%20token", &"a".repeat(600)] {
        assert_eq!(introspect(&gateway, none).await, dead, "{none}");
    }
    let ban = call(
        "PUT",
        "/v1/users/alice/bans/*",
        &json!({"keep_sessions": true}),
    );
    assert_eq!(gateway.administer("rights", ban).await.status, 200);
    assert_eq!(introspect(&gateway, token).await, dead);
    let unban = Call::new("DELETE", "/v1/users/alice/bans/*");
    assert_eq!(gateway.administer("rights", unban).await.status, 204);
    assert_eq!(introspect(&gateway, token).await["active"], true);
    assert_eq!(revoke(&gateway, token).await.status, 200);
    assert_eq!(introspect(&gateway, token).await, dead);
}

#[tokio::test]
async fn revoking_either_token_ends_the_session_and_an_unknown_one_is_no_error() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;

    for kind in ["access_token", "refresh_token"] {
        let session = open(&gateway).await;
        let access = session["access_token"].as_str().unwrap();
        let visit = || gateway.send(Call::get("/").bearer(access));
        assert_eq!(visit().await.status, 200);

        for _ in 0..2 {
            let reply = revoke(&gateway, session[kind].as_str().unwrap()).await;
            assert_eq!(reply.status, 200, "{kind}");
            assert_eq!(reply.json()["confirmed"], true, "{kind}");
        }

        assert_eq!(visit().await.status, 401, "{kind}");
        let ended = gateway.audit();
        let done = ended
            .iter()
            .rev()
            .find(|line| line["detail"]["ended"] != json!([]) && line["result"] == "done");
        assert_eq!(
            done.unwrap()["detail"]["ended"],
            json!([session["session"]["sid"]]),
            "{kind}"
        );
    }
    for none in ["unknown-token", "dbr_unknown", "not%20a%20token", ""] {
        assert_eq!(revoke(&gateway, none).await.status, 200, "{none}");
    }
}
