//! What a gateway answers to whoever holds a token whose session has ended, is barred or has to prove more: seen from
//! outside, on both stores.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::admin::json as call;
use support::gateway::{PROGRAM, now};
use support::redis::Sentinel;
use support::{Call, Gateway, Redis, Reply, Setup, Upstream, gateway, upstream};

fn doors(setup: Setup, upstream: &Upstream, sessions: &str) -> Setup {
    let keys = support::admin::keys();
    setup
        .toml(&format!(
            "[sessions]\n{sessions}\n[admin]\nlisten = \"127.0.0.1:0\"\n{keys}"
        ))
        .toml("[tokens]\nat_rest = \"sha256\"\n[self_service]\nprefix = \"/.d\"\nlimits = []")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/billing\"\nupstream = \"app\"\nservice = \"billing\"")
        .route("prefix = \"/calm\"\nupstream = \"app\"\nmax_risk = 50")
        .route("prefix = \"/vault\"\nupstream = \"app\"\nelevated_within = \"5m\"")
        .route("prefix = \"/now\"\nupstream = \"app\"\nelevated_within = \"1s\"")
        .route("prefix = \"/poll\"\nupstream = \"app\"\ntouch = false")
}

/// A fresh gateway on the embedded store and one on Redis.
async fn on_both(upstream: &Upstream, sessions: &str) -> Vec<(Gateway, Option<Redis>)> {
    let redis = Redis::start().await;
    let embedded = doors(gateway(), upstream, sessions).start().await;
    let shared = doors(gateway().redis(&redis), upstream, sessions);
    vec![(embedded, None), (shared.start().await, Some(redis))]
}

async fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> Value {
    let reply = gateway.administer("root", call(method, path, &body)).await;
    assert!(reply.status < 300, "{method} {path}: {reply:?}");
    match reply.body.is_empty() {
        true => Value::Null,
        false => reply.json(),
    }
}

async fn open(gateway: &Gateway, user: &str, device: &str, refresh: bool) -> Value {
    let device = json!({"id": device, "type": "phone", "name": "My phone"});
    let body = json!({"user_id": user, "device": device, "refresh": refresh});
    ask(gateway, "POST", "/v1/sessions", body).await
}

fn token(granted: &Value) -> &str {
    granted["access_token"].as_str().unwrap()
}

fn sid(granted: &Value) -> &str {
    granted["session"]["sid"].as_str().unwrap()
}

async fn get(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.send(Call::get(path).bearer(token)).await
}

async fn passes(gateway: &Gateway, path: &str, token: &str) {
    let reply = get(gateway, path, token).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
}

/// A token that differs from this one in its secret only: whoever has it has guessed.
fn guessed(token: &str) -> String {
    let (known, _) = token.split_at(token.len() - 43);
    format!("{known}{}", "A".repeat(43))
}

#[tokio::test]
async fn whoever_held_a_token_is_told_why_it_is_over_and_strangers_are_told_nothing() {
    let upstream = upstream();
    let settings = "max_per_user = 2\nexclusive_types = []";
    for (gateway, _) in on_both(&upstream, settings).await {
        let kick = async |user: &str, why: &str| {
            let path = format!("/v1/users/{user}/kick");
            ask(&gateway, "POST", &path, json!({"which": "all", "why": why})).await;
        };
        for (user, code) in [
            ("kim", "session_kicked"),
            ("pat", "credentials_changed"),
            ("lou", "session_logged_out"),
            ("rex", "session_replaced"),
            ("max", "session_limit"),
            ("una", "refresh_reused"),
            ("zoe", "realm_logout"),
        ] {
            let old = open(&gateway, user, "d1", user == "una").await;
            passes(&gateway, "/", token(&old)).await;
            match user {
                "kim" => kick(user, "kicked").await,
                "pat" => kick(user, "password_changed").await,
                "lou" => kick(user, "logged_out").await,
                "rex" => drop(open(&gateway, user, "d1", false).await),
                "max" => {
                    open(&gateway, user, "d2", false).await;
                    open(&gateway, user, "d3", false).await;
                }
                "una" => {
                    let used = json!({"refresh_token": old["refresh_token"]});
                    let refresh = async |token: &Value| {
                        let body = json!({ "refresh_token": token });
                        gateway.send(call("POST", "/.d/refresh", &body)).await
                    };
                    let child = refresh(&used["refresh_token"]).await.json();
                    assert_eq!(refresh(&child["refresh_token"]).await.status, 200);
                    // The grandparent: somebody else has it.
                    assert_ne!(refresh(&used["refresh_token"]).await.status, 200);
                }
                _ => drop(
                    ask(
                        &gateway,
                        "POST",
                        "/v1/realm/kick",
                        json!({"everybody": true}),
                    )
                    .await,
                ),
            }

            let told = get(&gateway, "/", token(&old)).await;
            told.refused(401, code);
            let problem = told.json();
            assert!(problem["ended_at"].is_string(), "{problem}");
            let challenge = told.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            if matches!(user, "rex" | "max") {
                assert_eq!(problem["by"], "My phone", "what took its place");
            }
            let stranger = get(&gateway, "/", &guessed(token(&old))).await;
            stranger.refused(401, "token_invalid");
            for member in ["ended_at", "by"] {
                assert!(stranger.json().get(member).is_none(), "{member}");
            }
        }
    }
}

#[tokio::test]
async fn a_banned_user_is_403_everywhere_or_at_one_service() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let eve = open(&gateway, "eve", "d1", false).await;
        let until = now() + 3_600_000;

        let body = json!({"reason": "unpaid", "keep_sessions": true, "until": until});
        ask(&gateway, "PUT", "/v1/users/eve/bans/billing", body).await;
        let barred = get(&gateway, "/billing", token(&eve)).await;
        barred.refused(403, "service_disabled");
        assert!(barred.json()["until"].is_string());
        assert!(
            !String::from_utf8_lossy(&barred.body).contains("unpaid"),
            "not theirs to know"
        );
        passes(&gateway, "/", token(&eve)).await;

        let body = json!({"reason": "fraud", "keep_sessions": true});
        ask(&gateway, "PUT", "/v1/users/eve/bans/*", body).await;
        for path in ["/", "/billing", "/vault"] {
            get(&gateway, path, token(&eve))
                .await
                .refused(403, "account_disabled");
        }
        get(&gateway, "/", &guessed(token(&eve)))
            .await
            .refused(401, "token_invalid");
        ask(&gateway, "DELETE", "/v1/users/eve/bans/*", Value::Null).await;
        passes(&gateway, "/", token(&eve)).await;

        // By itself a ban ends the sessions, too: they do not come back with its end.
        ask(&gateway, "PUT", "/v1/users/eve/bans/*", json!({})).await;
        get(&gateway, "/", token(&eve))
            .await
            .refused(403, "account_disabled");
        ask(&gateway, "DELETE", "/v1/users/eve/bans/*", Value::Null).await;
        get(&gateway, "/", token(&eve))
            .await
            .refused(401, "session_kicked");
    }
}

#[tokio::test]
async fn a_session_or_user_that_is_too_risky_is_403_where_that_counts() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let gil = open(&gateway, "gil", "d1", false).await;
        passes(&gateway, "/calm", token(&gil)).await;
        let of_session = format!("/v1/users/gil/sessions/{}/risk", sid(&gil));
        for path in ["/v1/users/gil/risk", &of_session] {
            ask(&gateway, "PUT", path, json!({"level": 51})).await;
            get(&gateway, "/calm", token(&gil))
                .await
                .refused(403, "risk_too_high");
            passes(&gateway, "/", token(&gil)).await;
            ask(&gateway, "PUT", path, json!({"level": 50})).await;
            passes(&gateway, "/calm", token(&gil)).await;
        }
    }
}

#[tokio::test]
async fn what_needs_a_step_up_is_401_in_the_words_of_rfc_9470() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let ivy = open(&gateway, "ivy", "d1", false).await;
        let asked = get(&gateway, "/vault", token(&ivy)).await;
        asked.refused(401, "step_up_required");
        assert_eq!(asked.json()["max_age"], 300);
        let challenge = asked.header("www-authenticate").unwrap();
        for part in [
            "Bearer ",
            "error=\"insufficient_user_authentication\"",
            "max_age=\"300\"",
        ] {
            assert!(challenge.contains(part), "{challenge}");
        }
        passes(&gateway, "/", token(&ivy)).await;

        let path = format!("/v1/users/ivy/sessions/{}/step-up", sid(&ivy));
        ask(&gateway, "POST", &path, json!({"lifetime": 600})).await;
        passes(&gateway, "/vault", token(&ivy)).await;
        // It counts at once, and no longer than the route says: here a second.
        let start = Instant::now();
        loop {
            let reply = get(&gateway, "/now", token(&ivy)).await;
            if reply.status == 401 {
                reply.refused(401, "step_up_required");
                break;
            }
            assert_eq!(reply.status, 200);
            assert!(start.elapsed() < support::PATIENCE, "it counts for ever");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        passes(&gateway, "/vault", token(&ivy)).await;
    }
}

#[tokio::test]
async fn use_keeps_an_idle_session_and_a_route_that_only_polls_does_not() {
    let upstream = upstream();
    for (gateway, redis) in on_both(&upstream, "idle = \"3s\"").await {
        let used = open(&gateway, "una", "d1", false).await;
        let polled = open(&gateway, "una", "d2", false).await;
        let start = Instant::now();
        loop {
            passes(&gateway, "/", token(&used)).await;
            let reply = get(&gateway, "/poll", token(&polled)).await;
            if reply.status == 401 {
                break;
            }
            assert!(start.elapsed() < support::PATIENCE, "polling keeps it");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        passes(&gateway, "/", token(&used)).await;
        if let Some(redis) = redis {
            assert!(redis.calls("pexpire") > 0, "it was kept by moving its end");
        }
    }
}

#[tokio::test]
async fn an_upstream_learns_who_acts_and_for_whom() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let helper = open(&gateway, "helper", "d1", false).await;
        let body = json!({"actor_token": token(&helper), "subject": "ivy", "lifetime": 600});
        let acting = ask(&gateway, "POST", "/v1/act-as", body).await;

        passes(&gateway, "/", token(&acting)).await;
        let seen = upstream.last();
        assert_eq!(seen.header("x-user-id"), Some("ivy"));
        assert_eq!(seen.header("x-actor-id"), Some("helper"));
        let spoofed = Call::get("/").bearer(token(&helper));
        let spoofed = spoofed
            .header("x-actor-id", "admin")
            .header("x_actor_id", "admin");
        assert_eq!(gateway.send(spoofed).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.header("x-user-id"), Some("helper"));
        assert_eq!(seen.header("x-actor-id"), Some(""));
        assert!(!seen.head.contains("admin"), "{}", seen.head);

        let form = format!("token={}", token(&acting));
        let told = gateway
            .administer("root", support::admin::form("/introspect", &form))
            .await
            .json();
        assert_eq!(
            (&told["sub"], &told["act"]["sub"]),
            (&json!("ivy"), &json!("helper"))
        );

        // The actor leaves: so does whoever they were.
        let logout = Call::new("POST", "/.d/logout").bearer(token(&helper));
        assert_eq!(gateway.send(logout).await.status, 204);
        get(&gateway, "/", token(&acting))
            .await
            .refused(401, "session_logged_out");
    }
}

#[tokio::test]
async fn explain_tells_of_an_end_a_ban_and_a_step_up() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let gateway = doors(gateway().redis(&redis), &upstream, "").start().await;
    let explain = |path: &str, token: &str| {
        let config = gateway.config().display().to_string();
        let url = format!("http://a.test{path}");
        let output = Command::new(PROGRAM)
            .args([
                "explain", "--config", &config, "GET", &url, "--token", token,
            ])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let tells = |path: &str, token: &str, lines: &[&str]| {
        let told = explain(path, token);
        for line in lines {
            assert!(told.contains(line), "{line:?} is not in:\n{told}");
        }
    };
    let eve = open(&gateway, "eve", "d1", false).await;
    let helper = open(&gateway, "helper", "d1", false).await;
    let body = json!({"actor_token": token(&helper), "subject": "eve", "lifetime": 600});
    let acting = ask(&gateway, "POST", "/v1/act-as", body).await;

    tells(
        "/",
        token(&acting),
        &["user eve", "it is helper who acts as them"],
    );
    tells(
        "/vault",
        token(&eve),
        &[
            "FAILS:  step-up within 5m",
            "verdict   refused: 401 step_up_required",
        ],
    );
    let ban = json!({"reason": "unpaid", "keep_sessions": true});
    ask(&gateway, "PUT", "/v1/users/eve/bans/billing", ban).await;
    tells(
        "/billing",
        token(&eve),
        &[
            "ban       of billing: unpaid",
            "verdict   refused: 403 service_disabled",
        ],
    );
    ask(
        &gateway,
        "POST",
        "/v1/users/eve/kick",
        json!({"which": "all"}),
    )
    .await;
    tells(
        "/",
        token(&eve),
        &[
            "session   over: Kicked",
            "since 2",
            "verdict   refused: 401 session_kicked",
        ],
    );
    tells(
        "/",
        &guessed(token(&eve)),
        &["none: the token has no live session"],
    );
}

/// Kicks that the master dies amid: until another one is there nobody can tell, and nobody is logged out for that; what
/// was not confirmed is told so and said again; and then it stays, also when the old master comes back.
#[tokio::test]
async fn kicks_amid_a_failover_of_the_sentinels_stay_and_log_nobody_else_out() {
    let (upstream, mut sentinel) = (upstream(), Sentinel::start().await);
    let store = format!("redis = \"{}\"", sentinel.url());
    let gateway = doors(gateway().store(&store), &upstream, "").start().await;
    let bystander = open(&gateway, "bystander", "d1", false).await;
    let mut kicked = Vec::new();
    for n in 0..12 {
        kicked.push((
            format!("user-{n}"),
            open(&gateway, &format!("user-{n}"), "d1", false).await,
        ));
    }
    sentinel.servers[0].cli(&["WAIT", "1", "5000"]);

    let (mut outages, mut unconfirmed) = (0, Vec::new());
    for (n, (user, _)) in kicked.iter().enumerate() {
        if n == 6 {
            sentinel.servers[0].kill();
        }
        let path = format!("/v1/users/{user}/kick");
        let start = Instant::now();
        loop {
            let kick = call("POST", &path, &json!({"which": "all"}));
            let reply = gateway.administer("root", kick).await;
            let still = get(&gateway, "/", token(&bystander)).await;
            assert!(matches!(still.status, 200 | 503), "{still:?}");
            if reply.status == 200 {
                if reply.json()["confirmed"] != true {
                    unconfirmed.push(path);
                }
                break;
            }
            reply.refused(503, "session_store_unavailable");
            assert!(reply.header("retry-after").is_some());
            outages += 1;
            assert!(start.elapsed() < support::PATIENCE, "it does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(outages > 0, "there was an outage");
    assert!(
        !unconfirmed.is_empty(),
        "nobody can vouch for a master without a replica"
    );
    sentinel.servers[0].restart().await;
    let returned = sentinel.servers[0].cli(&["ROLE"]);
    support::redis::eventually("the old master follows", support::PATIENCE, || {
        sentinel.servers[0].cli(&["ROLE"]).contains("connected")
    })
    .await;
    assert!(!returned.is_empty());
    for path in unconfirmed {
        let start = Instant::now();
        loop {
            let told = ask(&gateway, "POST", &path, json!({"which": "all"})).await;
            if told["confirmed"] == true {
                break;
            }
            assert!(start.elapsed() < support::PATIENCE, "never confirmed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for (user, granted) in &kicked {
        let told = get(&gateway, "/", token(granted)).await;
        assert_eq!(told.status, 401, "{user} is back: {told:?}");
    }
    passes(&gateway, "/", token(&bystander)).await;
}
