//! An end that is to be everywhere: every gateway says so, or its bound has passed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::bound;
use crate::support::admin::json as call;
use crate::support::gateway::PROGRAM;
use crate::support::proxy::{Proxy, Way, Which};
use crate::support::redis::eventually;
use crate::support::{Call, Gateway, PATIENCE, Redis, Setup, Upstream, gateway, soon, upstream};

fn door(redis: &Redis, upstream: &Upstream, seconds: u8) -> Setup {
    door_at(redis.port(), upstream, seconds)
}

fn door_at(port: u16, upstream: &Upstream, seconds: u8) -> Setup {
    gateway()
        .plain()
        .store(&format!("redis = \"redis://127.0.0.1:{port}\""))
        .upstream("app", upstream)
        .toml(&format!("[cache]\n{}", bound(seconds)))
        .route("prefix = \"/\"\nupstream = \"app\"")
        .admin()
}

/// A roll with so many gateways that is not just beginning.
async fn ripen(redis: &Redis, gateways: usize) {
    eventually("all are on the roll", PATIENCE, || {
        redis.cli(&["HLEN", "login:roll:main"]) == (gateways + 1).to_string()
    })
    .await;
    redis.cli(&["HSET", "login:roll:main", "since", "1"]);
}

fn name(gateway: &Gateway) -> Value {
    gateway.said("on the roll of gateways", "name")
}

async fn opens(gateway: &Gateway) -> (String, String) {
    let body = json!({"user_id": "alice"});
    let reply = gateway.administer("writer", call("POST", "/v1/sessions", &body));
    let told = reply.await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&told["access_token"]), text(&told["session"]["sid"]))
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    let reply = gateway.send(Call::get("/x").bearer(token));
    soon("an answer", reply).await.status
}

async fn kick(gateway: &Gateway, sid: &str) -> Value {
    let path = format!("/v1/users/alice/sessions/{sid}?wait=all");
    gateway
        .administer("root", Call::new("DELETE", &path))
        .await
        .json()
}

#[tokio::test]
async fn every_gateway_says_that_it_has_dropped_it_and_then_has() {
    let (redis, upstream) = (Redis::start().await, upstream());
    // A bound so long that only their word can be what is waited for.
    let one = door(&redis, &upstream, 60).start().await;
    let other = door(&redis, &upstream, 60).start().await;
    ripen(&redis, 2).await;

    for _ in 0..20 {
        let (token, sid) = opens(&one).await;
        assert_eq!(status(&one, &token).await, 200);
        assert_eq!(status(&other, &token).await, 200);

        let told = kick(&one, &sid).await;

        assert_eq!(told["everywhere"], true, "{told}");
        assert_eq!(told["silent"], json!([]), "{told}");
        assert_eq!(status(&other, &token).await, 401);
        assert_eq!(status(&one, &token).await, 401);
    }
    let plain = json!({"which": "all"});
    let told = one.administer("root", call("POST", "/v1/users/alice/kick", &plain));
    assert_eq!(told.await.json().get("everywhere"), None, "nobody asked");
    let bad = one.administer(
        "root",
        call("POST", "/v1/users/alice/kick?wait=some", &plain),
    );
    assert_eq!(bad.await.status, 400);
}

/// Freezes this gateway, and keeps from it what it would be told when it wakes up.
fn freeze(gateway: &Gateway, proxy: &Proxy) {
    gateway.freeze();
    proxy.hold(Which::Listeners, Way::Back);
}

/// What the first request gets when the gateway wakes up.
async fn waking(gateway: &Gateway, token: &str) -> u16 {
    let (found, ()) = tokio::join!(status(gateway, token), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway.thaw();
    });
    found
}

#[tokio::test]
async fn frozen_gateway_is_named_and_its_bound_waited_for() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let one = door(&redis, &upstream, 2).start().await;
    let proxy = Proxy::to(redis.port());
    let other = door_at(proxy.port(), &upstream, 2).start().await;
    ripen(&redis, 2).await;
    let (token, sid) = opens(&one).await;
    assert_eq!(status(&other, &token).await, 200);

    freeze(&other, &proxy);
    let told = kick(&one, &sid).await;
    assert_eq!(told["everywhere"], true, "{told}");
    assert_eq!(told["silent"], json!([name(&other)]), "{told}");
    assert_ne!(
        waking(&other, &token).await,
        200,
        "it was told to be over everywhere"
    );
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_not_called_everywhere() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let one = door(&redis, &upstream, 60).start().await;
    let other = door(&redis, &upstream, 60).start().await;
    ripen(&redis, 2).await;
    let (_, sid) = opens(&one).await;

    other.freeze();
    let told = kick(&one, &sid).await;
    other.thaw();

    assert_eq!(told["everywhere"], false, "{told}");
    assert_eq!(told["silent"], json!([name(&other)]), "{told}");
}

#[tokio::test]
async fn roll_that_was_lost_is_not_taken_for_a_whole_one() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let one = door(&redis, &upstream, 2).start().await;
    let proxy = Proxy::to(redis.port());
    let other = door_at(proxy.port(), &upstream, 2).start().await;
    ripen(&redis, 2).await;
    let (token, sid) = opens(&one).await;
    assert_eq!(status(&other, &token).await, 200);

    freeze(&other, &proxy);
    redis.cli(&["DEL", "login:roll:main"]);
    let told = kick(&one, &sid).await;
    assert_eq!(told["everywhere"], true, "{told}");
    assert_ne!(
        waking(&other, &token).await,
        200,
        "the roll did not name it, but it was there"
    );
}

#[tokio::test]
async fn gateway_that_ends_leaves_the_roll() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let one = door(&redis, &upstream, 60).start().await;
    let mut other = door(&redis, &upstream, 60).start().await;
    ripen(&redis, 2).await;
    let (_, sid) = opens(&one).await;

    other.terminate();
    assert!(other.ended().await.success());
    let told = kick(&one, &sid).await;

    assert_eq!(told["everywhere"], true, "{told}");
    assert_eq!(told["silent"], json!([]), "{told}");
}

#[tokio::test]
async fn command_line_waits_too_and_tells_who_is_silent() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let one = door(&redis, &upstream, 2).start().await;
    ripen(&redis, 1).await;
    opens(&one).await;
    let run = || {
        std::process::Command::new(PROGRAM)
            .args([
                "session",
                "kick",
                "alice",
                "--all",
                "--wait-all",
                "--config",
            ])
            .arg(one.config())
            .output()
            .unwrap()
    };

    let told = run();
    assert!(told.status.success(), "{told:?}");
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.ends_with("every gateway has dropped it\n"), "{said}");

    one.freeze();
    let said = String::from_utf8_lossy(&run().stdout).into_owned();
    one.thaw();
    let silent = format!("(no word from {})\n", name(&one).as_str().unwrap());
    assert!(said.ends_with(&silent), "{said}");
}
