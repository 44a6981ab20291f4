//! Nobody can tell: a store that is down or frozen, and an audit log that cannot be written.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::admin::{form, json as call, keys};
use crate::support::redis::eventually;
use crate::support::{Call, Gateway, PATIENCE, Redis, gateway, upstream};
use crate::{every_call, request};

const ROUTE: &str = "prefix = \"/\"\nupstream = \"app\"\n\
    limits = [{ by = \"user\", rate = \"9/s\", scope = \"shared\", on_error = \"allow\" }]";

/// Every call is answered 503, with a time to come back, and never with "no such".
async fn nobody_can_tell(gateway: &Gateway) {
    for one in every_call() {
        let (method, path, ..) = &one;
        let reply = gateway.administer("root", request(&one)).await;
        assert_eq!(reply.status, 503, "{method} {path}");
        reply.refused(503, "session_store_unavailable");
        assert_eq!(reply.header("retry-after"), Some("1"));
        let line = gateway.audit().pop().unwrap();
        assert_eq!(line["id"], reply.json()["request_id"], "{method} {path}");
        assert_eq!(line["result"], "session_store_unavailable");
    }
    let ready = gateway.administer_as_is(Call::get("/ready")).await;
    ready.refused(503, "not_ready");
    let live = gateway.administer_as_is(Call::get("/live")).await;
    assert_eq!(live.status, 204);
}

#[tokio::test]
async fn a_store_that_is_down_or_frozen_is_503_for_every_call() {
    let (mut redis, upstream) = (Redis::start().await, upstream());
    let gateway = gateway()
        .redis(&redis)
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let ready = async || gateway.administer_as_is(Call::get("/ready")).await.status;
    assert_eq!(ready().await, 204);

    redis.freeze();
    nobody_can_tell(&gateway).await;
    redis.thaw();
    redis.kill();
    nobody_can_tell(&gateway).await;

    redis.restart().await;
    let start = std::time::Instant::now();
    while ready().await != 204 {
        assert!(start.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let login = call("POST", "/v1/sessions", &json!({"user_id": "alice"}));
    assert_eq!(gateway.administer("root", login).await.status, 201);
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_done() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let gateway = gateway()
        .admin_with(&keys())
        .toml(&format!("[audit]\nfile = {:?}", logs.join("audit")))
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let login = call("POST", "/v1/sessions", &json!({"user_id": "alice"}));
    let session = gateway.administer("root", login).await.json();
    let token = session["access_token"].as_str().unwrap().to_owned();

    std::fs::rename(&logs, folder.path().join("away")).unwrap();

    for one in every_call() {
        let (method, path, _, holder) = &one;
        let reply = gateway.administer("root", request(&one)).await;
        // Looking changes nothing; redeeming and the like change what cannot be given back. Acting needs an actor first.
        match (*holder, *path) {
            ("reader", _) | (_, "/v1/act-as" | "/v1/limits/show") => {
                assert!([200, 404].contains(&reply.status), "{method} {path}");
            }
            _ => reply.refused(503, "audit_unavailable"),
        }
    }
    let still = gateway.send(Call::get("/").bearer(&token)).await;
    assert_eq!(still.status, 200, "something was done all the same");
    let kick = form("/revoke", &format!("token={token}"));
    gateway
        .administer("root", kick)
        .await
        .refused(503, "audit_unavailable");
    assert_eq!(
        gateway.send(Call::get("/").bearer(&token)).await.status,
        200
    );
    // A refusal stands, noted or not.
    let wrong = Call::get("/v1/roles").bearer("dba_wrong");
    gateway
        .administer_as_is(wrong)
        .await
        .refused(401, "key_invalid");

    std::fs::rename(folder.path().join("away"), &logs).unwrap();
    let kick = form("/revoke", &format!("token={token}"));
    assert_eq!(gateway.administer("root", kick).await.status, 200);
    assert_eq!(
        gateway.send(Call::get("/").bearer(&token)).await.status,
        401
    );
}

#[tokio::test]
async fn an_audit_file_is_rotated_by_renaming_it_and_is_its_owners_only() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let set = || {
        gateway.administer(
            "root",
            call("PUT", "/v1/roles/a", &json!({"permissions": []})),
        )
    };
    assert_eq!(set().await.status, 204);
    let (file, old) = (
        gateway.audit_file(),
        gateway.audit_file().with_extension("1"),
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    std::fs::rename(&file, &old).unwrap();
    assert_eq!(set().await.status, 204);

    assert_eq!(gateway.audit().len(), 2);
    let before = std::fs::read_to_string(&old).unwrap();
    assert_eq!(before.lines().count(), 2);
}

#[tokio::test]
async fn a_change_is_carried_through_when_its_caller_has_gone_away() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = gateway()
        // The answer must be late and not given up, however slow this machine is.
        .store(&format!(
            "redis = \"{}\"\nlookup_deadline = \"2s\"",
            redis.url()
        ))
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    // Its own way to the store may take longer than that of the workers.
    let ready = gateway.administer_as_is(Call::get("/ready")).await;
    assert_eq!(ready.status, 204);
    redis.freeze();
    let set = call("PUT", "/v1/roles/a", &json!({"permissions": ["x:y"]}));
    let asked = gateway.administer("root", set);
    let noted = eventually("the intent to be noted", PATIENCE, || {
        gateway.audit().len() == 1
    });
    tokio::select! {
        reply = asked => panic!("answered {} while Redis stood still", reply.status),
        () = noted => {}
    }
    redis.thaw();

    let outcome = || gateway.audit().len() == 2;
    eventually("the outcome to be noted", PATIENCE, outcome).await;
    let lines = gateway.audit();
    assert_eq!(lines[0]["id"], lines[1]["id"]);
    assert_eq!(lines[0]["result"], "intent");
    assert!(["done", "session_store_unavailable"].contains(&lines[1]["result"].as_str().unwrap()));
}
