//! What the gateway tells about itself.

mod support;

use support::{Call, Redis, Setup, gateway, soon, upstream, upstream_that, user};

const LISTEN: &str = "[metrics]\nlisten = \"127.0.0.1:0\"";

fn orders(setup: Setup) -> Setup {
    setup
        .toml(LISTEN)
        .session("counted-token", user("alice", &["orders:read"]))
        .route("name = \"orders\"\nprefix = \"/orders\"\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .route("name = \"admin\"\nprefix = \"/admin\"\nrequire = { all = [\"admin\"] }\nupstream = \"app\"")
}

#[tokio::test]
async fn every_request_is_counted_once_with_what_became_of_it_and_why() {
    let upstream = upstream();
    let gateway = orders(gateway().upstream("app", &upstream))
        .workers(2)
        .start()
        .await;
    for (path, token, times) in [
        ("/orders/1", Some("counted-token"), 3),
        ("/orders/1", Some("some-other-token"), 2),
        ("/orders/1", None, 4),
        ("/admin", Some("counted-token"), 5),
        ("/secret-path", Some("counted-token"), 6),
    ] {
        for _ in 0..times {
            let call = Call::get(path);
            gateway
                .send(token.map_or(call, |token| Call::get(path).bearer(token)))
                .await;
        }
    }

    for (series, count) in [
        (
            "requests_total{route=\"orders\",outcome=\"forwarded\",reason=\"\"}",
            3.0,
        ),
        (
            "requests_total{route=\"orders\",outcome=\"unauthenticated\",reason=\"token_invalid\"}",
            2.0,
        ),
        (
            "requests_total{route=\"orders\",outcome=\"unauthenticated\",reason=\"token_missing\"}",
            4.0,
        ),
        (
            "requests_total{route=\"admin\",outcome=\"forbidden\",reason=\"permission_denied\"}",
            5.0,
        ),
        (
            "requests_total{route=\"\",outcome=\"rejected\",reason=\"route_not_found\"}",
            6.0,
        ),
        ("request_duration_seconds_count{route=\"orders\"}", 9.0),
        ("session_lookups_total{result=\"found\"}", 8.0),
        ("session_lookups_total{result=\"absent\"}", 2.0),
        ("session_lookup_duration_seconds_count", 10.0),
        (
            "upstream_answers_total{upstream=\"app\",status=\"2xx\"}",
            3.0,
        ),
        ("upstream_duration_seconds_count{upstream=\"app\"}", 3.0),
    ] {
        assert_eq!(gateway.metric(series).await, count, "{series}");
    }
    let text = gateway.monitor("/metrics").await;
    assert_eq!(
        text.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    for secret in ["counted-token", "alice", "secret-path"] {
        assert!(!text.contains(secret), "{secret} is told: {text}");
    }
}

#[tokio::test]
async fn names_that_leave_the_configuration_leave_the_numbers_too() {
    let upstream = upstream();
    let gateway = orders(gateway().upstream("app", &upstream))
        .workers(2)
        .start()
        .await;
    let text = async || String::from_utf8(gateway.monitor("/metrics").await.body.to_vec()).unwrap();
    gateway.send(Call::get("/admin")).await;
    gateway
        .send(Call::get("/orders").bearer("counted-token"))
        .await;
    let before = text().await;
    assert!(before.contains("route=\"admin\"") && before.contains("upstream=\"app\""));

    let all = std::fs::read_to_string(gateway.config()).unwrap();
    let renamed = all
        .replace("name = \"admin\"", "name = \"renamed\"")
        .replace("[upstreams.app]", "[upstreams.other]")
        .replace("upstream = \"app\"", "upstream = \"other\"");
    std::fs::write(gateway.config(), renamed).unwrap();
    gateway.signal("-HUP");
    gateway.tells("the configuration taken over", 1).await;

    // What a request under way still used is forgotten with the next change.
    gateway.signal("-HUP");
    gateway.tells("the configuration taken over", 2).await;
    let after = text().await;
    assert!(
        !after.contains("\"admin\"") && !after.contains("\"app\""),
        "{after}"
    );
    assert!(after.contains("route=\"renamed\"") && after.contains("upstream=\"other\""));
    assert_eq!(
        gateway
            .metric("requests_total{route=\"orders\",outcome=\"forwarded\",reason=\"\"}")
            .await,
        1.0,
        "what stays keeps its numbers"
    );
}

#[tokio::test]
async fn an_upstream_that_fails_is_counted_by_reason() {
    let upstream = upstream_that(|_| support::Answer::Hold);
    let gateway = gateway()
        .toml(LISTEN)
        .toml("[upstreams.dead]\nendpoints = [\"http://127.0.0.1:1\"]")
        .upstream("slow", &upstream)
        .route("name = \"dead\"\nprefix = \"/dead\"\nauth = \"public\"\nupstream = \"dead\"")
        .route("name = \"slow\"\nprefix = \"/slow\"\nauth = \"public\"\nupstream = \"slow\"\ntimeouts = { response = \"50ms\" }")
        .start()
        .await;

    gateway.send(Call::get("/dead")).await;
    gateway.send(Call::get("/slow")).await;

    for upstream in ["dead", "slow"] {
        let text = String::from_utf8(gateway.monitor("/metrics").await.body.to_vec()).unwrap();
        let counted = |family: &str, label: &str| {
            text.lines().any(|line| {
                line.starts_with(&format!("drawbridge_{family}{{{label}=\"{upstream}\""))
                    && line.contains("reason=\"upstream_")
                    && line.ends_with(" 1")
            })
        };
        assert!(counted("upstream_failures_total", "upstream"), "{text}");
        assert!(counted("requests_total", "route"), "{text}");
    }
}

#[tokio::test]
async fn it_is_alive_and_ready_until_the_store_is_away() {
    let mut redis = Redis::start().await;
    let upstream = upstream();
    let gateway = orders(gateway().redis(&redis).upstream("app", &upstream))
        .start()
        .await;

    let live = gateway.monitor("/live").await;
    let ready = gateway.monitor("/ready").await;
    assert_eq!((live.status, ready.status), (200, 200));
    assert_eq!(
        ready.json(),
        serde_json::json!({"ready": true, "missing": []})
    );
    assert_eq!(gateway.monitor("/other").await.status, 404);

    redis.kill();
    let gone = async {
        loop {
            let ready = gateway.monitor("/ready").await;
            if ready.status == 503 {
                return ready;
            }
        }
    };
    let gone = soon("the store to be missed", gone).await;
    assert_eq!(
        gone.json(),
        serde_json::json!({"ready": false, "missing": ["store"]})
    );
    assert_eq!(gone.header("retry-after"), Some("1"));
    assert_eq!(gateway.monitor("/live").await.status, 200);
}
