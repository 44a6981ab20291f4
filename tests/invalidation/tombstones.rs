//! What was ended stays ended, also if the store forgets it or somebody writes it back; and what is said to be confirmed
//! survives a failover.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::LONG;
use crate::safeguards::without;
use crate::support::admin::{form, json as call};
use crate::support::gateway::record;
use crate::support::redis::{Sentinel, eventually};
use crate::support::{Call, Gateway, PATIENCE, Redis, Setup, Upstream, gateway, upstream, user};

const FOREIGN: &str = "foreign-token-0123456789abcdef";
const OTHER: &str = "another-token-0123456789abcdef";

/// A gateway in the making over this store, with one rule taken away.
fn door(store: &str, upstream: &Upstream, rule: Option<&str>) -> Setup {
    let setup = gateway()
        .plain()
        .store(store)
        .upstream("app", upstream)
        .toml(&format!("[cache]\n{LONG}"))
        .route("prefix = \"/\"\nupstream = \"app\"")
        .admin();
    without(setup, rule)
}

async fn opens(gateway: &Gateway, user: &str) -> (String, String) {
    let body = json!({"user_id": user, "device": {"id": "d", "type": "phone"}});
    let reply = gateway
        .administer("writer", call("POST", "/v1/sessions", &body))
        .await;
    assert_eq!(reply.status, 201);
    let told = reply.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&told["access_token"]), text(&told["session"]["sid"]))
}

/// What a call that ends something answers.
async fn ends(gateway: &Gateway, order: Call) -> Value {
    let reply = gateway.administer("root", order).await;
    assert_eq!(reply.status, 200);
    reply.json()
}

/// The status of a request with this token, once the store can be asked.
async fn settled(gateway: &Gateway, token: &str) -> u16 {
    let start = Instant::now();
    loop {
        let status = gateway.send(Call::get("/x").bearer(token)).await.status;
        if status != 503 {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "nobody can tell");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A login service's record that says when the session began.
fn foreign(user_id: &str) -> String {
    let mut session: Value = serde_json::from_str(&record(&user(user_id, &[]))).unwrap();
    session["iat"] = json!(1_700_000_000);
    session.to_string()
}

fn put(redis: &Redis, token: &str, record: &str) {
    let key = format!("login:token:{token}");
    assert_eq!(redis.cli(&["SET", &key, record, "PX", "3600000"]), "OK");
}

/// Redis comes back with what it held before everything was ended. What each token gets then, from the gateway that was
/// there all the time and from one that is started afterwards.
async fn after_an_older_dump(rule: Option<&str>) -> Vec<(u16, u16)> {
    let (mut redis, upstream) = (Redis::start().await, upstream());
    let store = format!("redis = \"{}\"", redis.url());
    let gateway = door(&store, &upstream, rule).start().await;
    let (kicked, sid) = opens(&gateway, "alice").await;
    let (everything, _) = opens(&gateway, "bob").await;
    put(&redis, FOREIGN, &foreign("carol"));
    put(&redis, OTHER, &foreign("dave"));
    let tokens = [&kicked, &everything, FOREIGN, OTHER];
    for token in tokens {
        assert_eq!(settled(&gateway, token).await, 200);
    }
    assert_eq!(redis.cli(&["SAVE"]), "OK");

    let session = format!("/v1/users/alice/sessions/{sid}");
    let all = json!({"which": "all"});
    for order in [
        Call::new("DELETE", &session),
        call("POST", "/v1/users/bob/kick", &all),
        form("/revoke", &format!("token={FOREIGN}")),
        call("POST", "/v1/users/dave/kick", &all),
    ] {
        assert_eq!(ends(&gateway, order).await["confirmed"], true);
    }
    redis.kill();
    redis.restart().await;

    let mut found = Vec::new();
    for token in tokens {
        found.push((settled(&gateway, token).await, 0));
    }
    // What was lost is written again once the gateway has heard that it was.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let late = door(&store, &upstream, rule).start().await;
    for (token, (_, status)) in tokens.iter().zip(&mut found) {
        *status = settled(&late, token).await;
    }
    found
}

#[tokio::test]
async fn tombstone_outlives_a_store_that_has_forgotten() {
    assert_eq!(after_an_older_dump(None).await, [(401, 401); 4]);
    assert_eq!(
        after_an_older_dump(Some("tombstone")).await,
        [(200, 200); 4]
    );
}

async fn realm_after_an_older_dump(rule: Option<&str>) -> (u16, u16) {
    let (mut redis, upstream) = (Redis::start().await, upstream());
    let store = format!("redis = \"{}\"", redis.url());
    let gateway = door(&store, &upstream, rule).start().await;
    let (token, _) = opens(&gateway, "alice").await;
    assert_eq!(settled(&gateway, &token).await, 200);
    redis.cli(&["SAVE"]);
    let everybody = json!({"everybody": true});
    ends(&gateway, call("POST", "/v1/realm/kick", &everybody)).await;
    redis.kill();
    redis.restart().await;

    let here = settled(&gateway, &token).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let late = door(&store, &upstream, rule).start().await;
    (here, settled(&late, &token).await)
}

#[tokio::test]
async fn tombstone_of_the_realm_outlives_a_store_that_has_forgotten() {
    assert_eq!(realm_after_an_older_dump(None).await, (401, 401));
    assert_eq!(
        realm_after_an_older_dump(Some("tombstone")).await,
        (200, 200)
    );
}

/// A login service that read the record before the logout writes it back after it.
async fn after_it_was_written_back(rule: Option<&str>) -> u16 {
    let (redis, upstream) = (Redis::start().await, upstream());
    let store = format!("redis = \"{}\"", redis.url());
    let gateway = door(&store, &upstream, rule).start().await;
    let record = foreign("carol");
    put(&redis, FOREIGN, &record);
    assert_eq!(settled(&gateway, FOREIGN).await, 200);
    ends(&gateway, form("/revoke", &format!("token={FOREIGN}"))).await;
    assert_eq!(settled(&gateway, FOREIGN).await, 401);

    put(&redis, FOREIGN, &record);

    // A gateway that has heard of nothing has to find it in the store.
    let late = door(&store, &upstream, rule).start().await;
    let found = settled(&late, FOREIGN).await;
    let start = Instant::now();
    while settled(&gateway, FOREIGN).await != found {
        assert!(start.elapsed() < PATIENCE, "they disagree");
    }
    found
}

#[tokio::test]
async fn tombstone_outlives_a_record_that_is_written_back() {
    assert_eq!(after_it_was_written_back(None).await, 401);
    assert_eq!(after_it_was_written_back(Some("tombstone")).await, 200);
}

/// The replica is frozen while a session is ended, and becomes master. What the end was answered with, and what the token
/// gets afterwards.
async fn after_a_failover_without_the_last_write(rule: Option<&str>) -> (Value, u16) {
    let mut sentinel = Sentinel::start().await;
    let upstream = upstream();
    let store = format!("redis = \"{}\"", sentinel.url());
    let gateway = door(&store, &upstream, rule).start().await;
    let (token, sid) = opens(&gateway, "alice").await;
    assert_eq!(settled(&gateway, &token).await, 200);
    sentinel.servers[0].cli(&["WAIT", "1", "5000"]);

    // Frozen alone it would still find in its socket what it was sent.
    sentinel.servers[1].freeze();
    sentinel.servers[0].cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    let order = Call::new("DELETE", &format!("/v1/users/alice/sessions/{sid}"));
    let ended = ends(&gateway, order).await;
    sentinel.servers[0].kill();
    sentinel.servers[1].thaw();
    let replica = sentinel.servers[1].port();
    eventually("the replica is master", PATIENCE, || {
        sentinel.master() == replica
    })
    .await;

    let start = Instant::now();
    // Nothing is let through on the old master's word, which says 401; it has to be the new one's.
    while !gateway
        .logs()
        .contains(&format!("\"master\":\"127.0.0.1:{replica}\""))
    {
        assert!(start.elapsed() < PATIENCE, "it does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (ended["confirmed"].clone(), settled(&gateway, &token).await)
}

#[tokio::test]
async fn tombstone_outlives_a_master_that_took_the_last_write_along() {
    assert_eq!(
        after_a_failover_without_the_last_write(None).await,
        (json!(false), 401)
    );
    assert_eq!(
        after_a_failover_without_the_last_write(Some("tombstone")).await,
        (json!(false), 200),
        "it was said not to be confirmed"
    );
}

#[tokio::test]
async fn without_wait_an_end_is_called_confirmed_that_a_failover_undoes() {
    assert_eq!(
        after_a_failover_without_the_last_write(Some("tombstone,wait")).await,
        (json!(true), 200)
    );
}

#[tokio::test]
async fn end_is_confirmed_when_a_replica_has_it_and_only_then() {
    let sentinel = Sentinel::start().await;
    let upstream = upstream();
    let store = format!("redis = \"{}\"", sentinel.url());
    let gateway = door(&store, &upstream, None).start().await;
    put(&sentinel.servers[0], FOREIGN, &foreign("carol"));
    let (_, first) = opens(&gateway, "alice").await;
    let end = |sid: &str| Call::new("DELETE", &format!("/v1/users/alice/sessions/{sid}"));

    let foreign = ends(&gateway, form("/revoke", &format!("token={FOREIGN}"))).await;
    assert_eq!(foreign["confirmed"], true);
    assert_eq!(ends(&gateway, end(&first)).await["confirmed"], true);
    let key = sentinel.servers[1].cli(&[
        "--scan",
        "--pattern",
        &format!("login:dead:main:@*:session:{first}:*"),
    ]);
    assert!(key.ends_with(&format!(":session:{first}:alice")), "{key}");

    let (_, second) = opens(&gateway, "alice").await;
    sentinel.servers[1].freeze();
    assert_eq!(ends(&gateway, end(&second)).await["confirmed"], false);
    sentinel.servers[1].thaw();
}
