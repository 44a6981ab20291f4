//! Requests that wait after they were let in are judged again: what they were let in for may be over by then.

use std::time::Duration;

use crate::bench::{LONG, Scene, TOKEN, promote};
use crate::support::proxy::{Proxy, Way, Which};
use crate::support::redis::eventually;
use crate::support::{Answer, Call, Gateway, PATIENCE, Redis, upstream_that};

/// So long that whoever waits has waited.
const A_WHILE: Duration = Duration::from_millis(300);

/// A gateway whose shared limits are counted behind this proxy, and an answer of which is held back while `meanwhile` is
/// done; the reply to a request that is let in before.
async fn while_the_limit_is_asked(
    meanwhile: impl FnOnce(&Scene),
) -> (Scene, crate::support::Reply) {
    let scene = Scene::new().await;
    let counting = Redis::start().await;
    let proxy = Proxy::to(counting.port());
    let limited = "prefix = \"/limited\"\nupstream = \"app\"\nlimits = [{ by = \"user\", rate = \"1000/s\", \
                   scope = \"shared\", on_error = \"deny\" }]";
    let setup = scene
        .door(LONG)
        .toml(&format!(
            "[limits]\nredis = \"redis://127.0.0.1:{}\"\nredis_deadline = \"20s\"",
            proxy.port()
        ))
        .route(limited);
    let gateway = scene.warm(setup).await;
    let call = || Call::get("/limited/x").bearer(TOKEN);
    assert_eq!(gateway.send(call()).await.status, 200);
    let (asked, seen) = (counting.calls("evalsha"), scene.upstream.seen().len());

    proxy.hold(Which::Others, Way::Back);
    let (reply, ()) = tokio::join!(gateway.send(call()), async {
        eventually("the limit is asked", PATIENCE, || {
            counting.calls("evalsha") > asked
        })
        .await;
        assert_eq!(scene.upstream.seen().len(), seen);
        meanwhile(&scene);
        tokio::time::sleep(A_WHILE).await;
        proxy.release(Which::Others, Way::Back);
    });
    (scene, reply)
}

#[tokio::test]
async fn request_that_waited_for_a_shared_limit_is_judged_again() {
    let (_, reply) = while_the_limit_is_asked(|_| {}).await;
    assert_eq!(reply.status, 200, "nothing has changed");

    let (scene, reply) = while_the_limit_is_asked(Scene::end).await;
    assert_eq!(reply.status, 401, "its session has ended");
    assert!(scene.upstream.last().target() != "/limited/x" || scene.upstream.seen().len() > 1);

    let (scene, reply) = while_the_limit_is_asked(|scene| promote(&scene.redis)).await;
    assert_eq!(reply.status, 200);
    let told = scene.upstream.last();
    assert_eq!(told.header("x-user-permissions"), Some("b"), "as it is now");
}

/// A service that takes one request at a time; the second one waits there while `meanwhile` is done. What it gets, and how
/// many the service has seen of it.
async fn while_the_upstream_is_busy(meanwhile: impl FnOnce(&Scene)) -> (u16, usize) {
    let scene = Scene::new().await;
    let slow = upstream_that(|seen| match seen.target() {
        "/slow/first" => Answer::Hold,
        _ => Answer::Echo,
    });
    let address = slow.address();
    let setup = scene
        .door(LONG)
        .toml(&format!(
            "[upstreams.slow]\nendpoints = [\"http://{address}\"]\nmax_connections = 1\nqueue_timeout = \"20s\""
        ))
        .route("prefix = \"/slow\"\nupstream = \"slow\"");
    let gateway = scene.warm(setup).await;
    let first = ask(&gateway, "/slow/first");
    let rest = async {
        let mut held = slow.held().await;
        let second = ask(&gateway, "/slow/second");
        let (second, ()) = tokio::join!(second, async {
            tokio::time::sleep(A_WHILE).await;
            meanwhile(&scene);
            tokio::time::sleep(A_WHILE).await;
            held.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
            drop(held);
        });
        second
    };
    let (first, second) = tokio::join!(first, rest);
    assert_eq!(first, 200);
    let seen = slow.seen();
    (
        second,
        seen.iter()
            .filter(|one| one.target() == "/slow/second")
            .count(),
    )
}

async fn ask(gateway: &Gateway, path: &str) -> u16 {
    gateway.send(Call::get(path).bearer(TOKEN)).await.status
}

#[tokio::test]
async fn request_that_waited_for_its_upstream_is_judged_again_before_a_byte_is_sent() {
    assert_eq!(while_the_upstream_is_busy(|_| {}).await, (200, 1));
    assert_eq!(while_the_upstream_is_busy(Scene::end).await, (401, 0));
    // It was dressed with what the user could do before.
    let changed = while_the_upstream_is_busy(|scene| promote(&scene.redis)).await;
    assert_eq!(changed, (503, 0));
}

#[tokio::test]
async fn gateway_that_stands_still_while_it_asks_believes_no_old_answer() {
    let scene = Scene::new().await;
    let port = scene.proxy.port();
    let store = format!("redis = \"redis://127.0.0.1:{port}\"\nlookup_deadline = \"20s\"");
    let gateway = scene.warm(scene.door_to(&store, LONG)).await;
    let asked = scene.redis.calls("get");

    scene.proxy.hold(Which::Others, Way::Back);
    let (reply, ()) = tokio::join!(ask(&gateway, "/strict/x"), async {
        eventually("the store is asked", PATIENCE, || {
            scene.redis.calls("get") > asked
        })
        .await;
        gateway.freeze();
        // The answer waits in its socket.
        scene.proxy.release(Which::Others, Way::Back);
        scene.end();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        gateway.thaw();
    });

    assert_eq!(reply, 401);
}
