//! What the memory does, as the metrics tell it.

use std::process::Command;

use crate::bench::{DEAF, LONG, Scene, TOKEN, becomes, bound, says, status, status_at};
use crate::support::admin::json;
use crate::support::gateway::{PROGRAM, log_in};
use crate::support::proxy::{Way, Which};
use crate::support::redis::eventually;
use crate::support::{Call, Gateway, PATIENCE, user};

const LISTEN: &str = "[metrics]\nlisten = \"127.0.0.1:0\"";

async fn lookups(gateway: &Gateway, result: &str) -> f64 {
    let series = format!("cache_lookups_total{{result=\"{result}\"}}");
    gateway.metric(&series).await
}

#[tokio::test]
async fn hits_misses_and_questions_are_counted_and_how_long_an_end_takes_to_be_heard_of() {
    let scene = Scene::new().await;
    let setup = || scene.door(LONG).toml(LISTEN).admin();
    let (one, other) = (setup().start().await, setup().start().await);
    let gateway = scene.warm(setup()).await;
    let (hits, strict) = (
        lookups(&gateway, "hit").await,
        lookups(&gateway, "strict").await,
    );
    let misses = lookups(&gateway, "miss").await;
    let asked = gateway.metric("store_duration_seconds_count").await;

    for _ in 0..7 {
        assert_eq!(status(&gateway).await, 200);
    }
    for _ in 0..3 {
        assert_eq!(status_at(&gateway, "/strict").await, 200);
    }
    let unknown = gateway.send(Call::get("/x").bearer("dbt_nobody")).await;
    assert_eq!(unknown.status, 401);

    assert_eq!(lookups(&gateway, "hit").await - hits, 7.0);
    assert_eq!(lookups(&gateway, "strict").await - strict, 3.0);
    assert_eq!(lookups(&gateway, "miss").await - misses, 1.0);
    let more = gateway.metric("store_duration_seconds_count").await - asked;
    assert_eq!(more, 4.0, "each answer of the store is timed");
    assert_eq!(gateway.metric("cache_entries").await, 2.0);

    let body = serde_json::json!({"user_id": "bob"});
    let opened = one
        .administer("root", json("POST", "/v1/sessions", &body))
        .await;
    let sid = opened.json()["session"]["sid"].as_str().unwrap().to_owned();
    let end = Call::new("DELETE", &format!("/v1/users/bob/sessions/{sid}"));
    assert_eq!(one.administer("root", end).await.status, 200);
    let start = std::time::Instant::now();
    while other.metric("revocation_duration_seconds_count").await < 1.0 {
        assert!(start.elapsed() < PATIENCE, "it is not heard of");
    }
    assert!(other.metric("cache_invalidations_total").await > 0.0);

    let doubts = gateway.metric("cache_doubts_total").await;
    scene.proxy.cut();
    eventually("the link is back", PATIENCE, || {
        gateway.told("changes in the session store are heard of") >= 2
    })
    .await;
    assert!(gateway.metric("cache_doubts_total").await > doubts);
    let told = String::from_utf8(gateway.monitor("/metrics").await.body.to_vec()).unwrap();
    assert!(!told.contains(TOKEN) && !told.contains("alice"));
}

#[tokio::test]
async fn refreshes_and_answers_that_were_doubted_are_counted() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(&bound(2)).toml(LISTEN)).await;
    let start = std::time::Instant::now();
    while gateway.metric("cache_refreshes_total").await < 1.0 {
        assert_eq!(status(&gateway).await, 200);
        assert!(start.elapsed() < PATIENCE, "it is never asked for again");
    }
    drop(gateway);

    let gateway = scene.warm(scene.door(LONG).toml(LISTEN)).await;
    scene.proxy.hold(Which::Others, Way::Back);
    scene.proxy.hold(Which::Listeners, Way::Back);
    says(&gateway, DEAF).await;
    assert_eq!(lookups(&gateway, "doubted").await, 0.0);

    assert_eq!(status(&gateway).await, 200);
    assert_eq!(lookups(&gateway, "doubted").await, 1.0);
}

async fn ask(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(Call::get("/x").bearer(token)).await.status
}

#[tokio::test]
async fn memory_holds_as_much_as_it_may_and_goes_on_serving_the_rest() {
    let scene = Scene::new().await;
    let few = format!("{LONG}\nmax_sessions = 20\nmax_misses = 10");
    let gateway = scene.door(&few).toml(LISTEN).start().await;
    becomes(&gateway, 200).await;
    let tokens: Vec<String> = (0..60).map(|n| format!("dbt_one-of-many-{n}")).collect();
    for token in &tokens {
        assert_eq!(ask(&gateway, token).await, 401);
    }
    let misses = gateway.metric("cache_entries").await;
    assert!((2.0..=11.0).contains(&misses), "{misses}");

    for token in &tokens {
        log_in(&scene.redis, token, &user(token, &[]));
    }
    for _ in 0..2 {
        for token in &tokens {
            let start = std::time::Instant::now();
            while ask(&gateway, token).await != 200 {
                assert!(start.elapsed() < PATIENCE, "it is not heard of");
            }
        }
    }
    let all = gateway.metric("cache_entries").await;
    assert!((12.0..=30.0).contains(&all), "{all}");
}

#[tokio::test]
async fn no_such_session_is_asked_each_time_where_that_is_wanted() {
    let scene = Scene::new().await;
    for (misses, asked) in [("0s", 5), ("60s", 0)] {
        let cache = format!("max_staleness = \"60s\"\nmisses = \"{misses}\"");
        let gateway = scene.warm(scene.door(&cache)).await;
        assert_eq!(ask(&gateway, "dbt_nobody").await, 401);
        let before = scene.redis.calls("get");

        for _ in 0..5 {
            assert_eq!(ask(&gateway, "dbt_nobody").await, 401);
        }

        assert_eq!(scene.redis.calls("get") - before, asked, "{misses}");
    }
}

#[tokio::test]
async fn explain_tells_how_old_an_answer_may_be() {
    let scene = Scene::new().await;
    let gateway = scene.door("max_staleness = \"7s\"").start().await;
    for (path, expected) in [
        (
            "/x",
            Some("a running gateway may go by what it read up to 6.75s ago"),
        ),
        (
            "/strict/x",
            Some("a running gateway asks for each request on this route"),
        ),
        ("/public/x", None),
    ] {
        let url = format!("http://a.test{path}");
        let mut command = Command::new(PROGRAM);
        command.args(["explain", "GET", &url, "--token", TOKEN, "--config"]);
        let output = command.arg(gateway.config()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();

        assert!(output.status.success(), "{told}");
        let time = told.split("asked now, answered in ").nth(1);
        let time = time.and_then(|rest| rest.lines().next());
        assert_eq!(time.is_some(), expected.is_some(), "{told}");
        // As people write it, such as 1.2ms.
        let readable =
            |time: &str| time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with('s');
        assert!(time.is_none_or(readable), "{told}");
        assert!(told.contains(expected.unwrap_or_default()), "{told}");
        assert_eq!(
            told.contains("a running gateway"),
            expected.is_some(),
            "{told}"
        );
    }
}
