//! What the memory does, as the metrics tell it.

use crate::bench::{LONG, Scene, TOKEN, status, status_at};
use crate::support::admin::json;
use crate::support::redis::eventually;
use crate::support::{Call, Gateway, PATIENCE};

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
