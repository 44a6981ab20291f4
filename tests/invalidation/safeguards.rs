//! Each rule covers a hole that the others leave open: with it the bound holds, without it the violation shows. A rule that
//! could be taken away unnoticed would be none.

use std::time::Duration;

use crate::bench::{DEAF, LONG, Scene, TOKEN, becomes, bound, says, status};
use crate::support::proxy::{Way, Which};
use crate::support::{Call, Gateway, Setup};

/// The rule is in force, or taken away.
pub(crate) fn without(setup: Setup, rule: Option<&str>) -> Setup {
    match rule {
        None => setup,
        Some(rule) => setup.env("DRAWBRIDGE_SAFEGUARDS_OFF", rule),
    }
}

/// The gateway is cut off from Redis while the session is ended there; returns what it answers when the bound is over.
async fn after_the_bound_in_silence(rule: Option<&str>) -> u16 {
    let scene = Scene::new().await;
    let gateway = scene.warm(without(scene.door(&bound(2)), rule)).await;

    scene.proxy.silence();
    scene.end();
    tokio::time::sleep(Duration::from_millis(2500)).await;

    status(&gateway).await
}

#[tokio::test]
async fn age_ends_what_nothing_else_can() {
    assert_eq!(after_the_bound_in_silence(None).await, 503);
    assert_eq!(after_the_bound_in_silence(Some("age")).await, 200);
}

/// The link over which changes are told falls silent, the one over which questions are asked does not.
async fn after_a_push_was_lost(rule: Option<&str>) -> (Scene, Gateway) {
    let scene = Scene::new().await;
    let gateway = scene.warm(without(scene.door(LONG), rule)).await;

    scene.proxy.hold(Which::Listeners, Way::Back);
    scene.end();
    says(&gateway, DEAF).await;

    (scene, gateway)
}

#[tokio::test]
async fn epoch_has_asked_again_what_may_have_changed_unheard() {
    let (_scene, gateway) = after_a_push_was_lost(None).await;
    assert_eq!(status(&gateway).await, 401);

    let (_scene, gateway) = after_a_push_was_lost(Some("epoch")).await;
    assert_eq!(status(&gateway).await, 200);
}

/// The answer to a question is on its way while the session is ended and that is told; returns what later requests get.
async fn after_the_push_overtook_the_answer(rule: Option<&str>) -> u16 {
    let scene = Scene::new().await;
    let port = scene.proxy.port();
    let store = format!("redis = \"redis://127.0.0.1:{port}\"\nlookup_deadline = \"20s\"");
    let setup = without(scene.door_to(&store, LONG), rule);
    let gateway = setup.start().await;
    // Something is kept, so it listens; but not this session.
    assert_eq!(
        gateway
            .send(Call::get("/x").bearer("dbt_nobody"))
            .await
            .status,
        401
    );
    let asked = scene.redis.calls("get");

    scene.proxy.hold(Which::Others, Way::Back);
    let (early, ()) = tokio::join!(status(&gateway), async {
        while scene.redis.calls("get") == asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.end();
        // The push is not held, and has a whole beat of the listener to arrive in.
        tokio::time::sleep(Duration::from_millis(600)).await;
        scene.proxy.release(Which::Others, Way::Back);
    });
    assert_eq!(early, 200, "it was asked before the end");

    status(&gateway).await
}

#[tokio::test]
async fn marker_keeps_out_what_was_overtaken_by_its_own_end() {
    assert_eq!(after_the_push_overtook_the_answer(None).await, 401);
    assert_eq!(
        after_the_push_overtook_the_answer(Some("marker")).await,
        200
    );
}

#[tokio::test]
async fn answer_that_overtakes_the_push_is_kept_until_the_push_comes() {
    let scene = Scene::new().await;
    let gateway = scene.warm(scene.door(LONG)).await;

    scene.proxy.hold(Which::Listeners, Way::Back);
    scene.end();
    let meanwhile = status(&gateway).await;
    assert!(
        matches!(meanwhile, 200 | 401),
        "within the bound either is right"
    );
    scene.proxy.release(Which::Listeners, Way::Back);

    becomes(&gateway, 401).await;
    assert!(!gateway.logs().contains(TOKEN));
}
