//! One Redis: what is kept, what is asked, and what is made of faults.

use std::time::Duration;

use crate::bench::{
    DEAF, LONG, OTHER, Scene, TOKEN, becomes, bound, kept, promote, says, status, status_at,
};
use crate::support::gateway::{log_in, log_out};
use crate::support::proxy::{Way, Which};
use crate::support::{Call, Connection, PATIENCE, user};

#[tokio::test]
async fn hot_token_costs_redis_nothing() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;
    let before = scene.redis.calls("get");

    let mut connection = Connection::plain(&gateway).await;
    for _ in 0..200 {
        let reply = connection.send(Call::get("/x").bearer(TOKEN)).await;
        assert_eq!(reply.status, 200);
    }

    assert_eq!(scene.redis.calls("get"), before);
    assert_eq!(scene.upstream.last().header("x-user-id"), Some("alice"));
}

#[tokio::test]
async fn strict_route_asks_each_time_and_is_not_answered_from_memory() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;
    let before = scene.redis.calls("get");

    for _ in 0..20 {
        assert_eq!(status_at(&gateway, "/strict").await, 200);
    }
    assert_eq!(scene.redis.calls("get"), before + 20);
    scene.proxy.hold(Which::Listeners, Way::Back);
    scene.end();

    assert_eq!(status_at(&gateway, "/strict").await, 401);
}

#[tokio::test]
async fn bound_of_zero_asks_each_time() {
    let scene = Scene::new().await;
    let gateway = scene.door(&bound(0)).start().await;
    let before = scene.redis.calls("get");

    for _ in 0..20 {
        assert_eq!(status(&gateway).await, 200);
    }

    assert_eq!(scene.redis.calls("get"), before + 20);
}

#[tokio::test]
async fn end_of_a_session_is_seen_by_every_gateway_and_worker() {
    let scene = Scene::new().await;
    let one = scene.warm(scene.door(LONG).workers(2)).await;
    let other = scene.warm(scene.door(LONG)).await;

    scene.end();
    becomes(&one, 401).await;
    becomes(&other, 401).await;

    for _ in 0..10 {
        assert_eq!(status(&one).await, 401);
    }
}

#[tokio::test]
async fn emptied_redis_ends_every_session() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;

    scene.redis.cli(&["FLUSHALL"]);

    becomes(&gateway, 401).await;
}

#[tokio::test]
async fn changed_session_is_seen_changed() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;

    promote(&scene.redis);

    let start = std::time::Instant::now();
    loop {
        assert_eq!(status(&gateway).await, 200);
        if scene.upstream.last().header("x-user-permissions") == Some("b") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "still the old one");
    }
}

#[tokio::test]
async fn unknown_token_is_remembered_for_a_moment_and_not_longer_than_it_is_unknown() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;
    let ask = || async { gateway.send(Call::get("/x").bearer(OTHER)).await.status };
    assert_eq!(ask().await, 401);
    let before = scene.redis.calls("get");
    for _ in 0..5 {
        assert_eq!(ask().await, 401);
    }
    assert!(scene.redis.calls("get") <= before + 1, "it is remembered");

    log_in(&scene.redis, OTHER, &user("bob", &[]));

    let start = std::time::Instant::now();
    while ask().await != 200 {
        assert!(start.elapsed() < PATIENCE, "it is not heard of");
    }
}

#[tokio::test]
async fn session_that_expires_is_over_without_being_told() {
    let scene = Scene::new().await;
    let key = format!("login:token:{TOKEN}");
    let gateway = scene.warm(scene.door(LONG)).await;
    scene.redis.cli(&["PEXPIRE", &key, "1500"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    kept(&scene.redis, &gateway).await;
    // Nothing can be asked and nothing heard any more.
    scene.redis.freeze();

    becomes(&gateway, 503).await;

    scene.redis.thaw();
    becomes(&gateway, 401).await;
}

#[tokio::test]
async fn killed_redis_is_bridged_for_as_long_as_the_bound_allows() {
    let mut scene = Scene::new().await;
    let gateway = scene.warm(scene.door(&bound(4))).await;

    scene.redis.kill();
    says(&gateway, DEAF).await;
    assert_eq!(status(&gateway).await, 200, "nobody has ended it");
    let unknown = gateway.send(Call::get("/x").bearer(OTHER)).await;
    assert_eq!(unknown.status, 503, "nobody can tell");
    becomes(&gateway, 503).await;

    scene.redis.restart().await;
    becomes(&gateway, 401).await;
}

#[tokio::test]
async fn redis_that_comes_back_empty_has_ended_every_session() {
    let mut scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;

    scene.redis.kill();
    scene.redis.restart().await;

    becomes(&gateway, 401).await;
}

#[tokio::test]
async fn frozen_redis_and_silent_network_let_nobody_in_beyond_the_bound() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(&bound(2))).await;

    scene.redis.freeze();
    becomes(&gateway, 503).await;
    scene.redis.thaw();
    becomes(&gateway, 200).await;
    kept(&scene.redis, &gateway).await;

    scene.proxy.silence();
    scene.end();
    becomes(&gateway, 503).await;
    scene.proxy.mend();
    becomes(&gateway, 401).await;
}

#[tokio::test]
async fn gateway_without_the_right_to_listen_serves_and_keeps_nothing() {
    let scene = Scene::new().await;
    scene.redis.cli(&[
        "ACL",
        "SETUSER",
        "gate",
        "on",
        ">p",
        "~login:token:*",
        "+get",
        "+pttl",
        "+ping",
        "+hello",
    ]);
    let store = format!(
        "redis = \"{}\"\nusername = \"gate\"\npassword = \"p\"",
        scene.redis.url()
    );
    let gateway = scene.door_to(&store, LONG).start().await;
    says(&gateway, "the server refuses to tell of changes").await;
    let before = scene.redis.calls("get");
    for _ in 0..10 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!(scene.redis.calls("get"), before + 10);

    scene.end();

    assert_eq!(status(&gateway).await, 401);
}

#[tokio::test]
async fn paused_gateway_wakes_up_believing_nothing() {
    // Without further word the bound is 5 seconds.
    for (cache, pause) in [(bound(2), 2500), (String::new(), 10_000)] {
        let scene = Scene::new().await;
        let gateway = scene.warm(scene.door(&cache)).await;
        // What was told while it slept may arrive late.
        scene.proxy.hold(Which::Listeners, Way::Back);
        gateway.freeze();
        scene.end();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        gateway.thaw();

        assert_eq!(status(&gateway).await, 401);
    }
}

#[tokio::test]
async fn two_tokens_in_memory_are_two_sessions() {
    let scene = Scene::new().await;
    log_in(&scene.redis, OTHER, &user("bob", &[]));
    let gateway = scene.warm(scene.door(LONG)).await;
    for _ in 0..10 {
        for (token, who) in [(TOKEN, "alice"), (OTHER, "bob")] {
            let reply = gateway.send(Call::get("/x").bearer(token)).await;
            assert_eq!(reply.json()["user"], who);
        }
    }

    log_out(&scene.redis, OTHER);

    let start = std::time::Instant::now();
    while gateway.send(Call::get("/x").bearer(OTHER)).await.status != 401 {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(status(&gateway).await, 200);
}
