//! What users do with their own sessions at the gateway itself, on both stores.

#[path = "selfservice/backchannel.rs"]
mod backchannel;
mod support;

use serde_json::{Value, json};

use support::admin::{form, json as call};
use support::gateway::record;
use support::{Call, Gateway, Redis, Reply, Setup, Upstream, gateway, upstream, user};

pub(crate) fn doors(setup: Setup, upstream: &Upstream, more: &str) -> Setup {
    setup
        .admin()
        .toml("[tokens]\nsources = [\"bearer\", \"cookie:__Host-session\"]\nat_rest = \"sha256\"")
        .toml("[self_service]\nprefix = \"/.d\"\nlimits = []")
        .toml(more)
        .upstream("app", upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
}

/// A fresh gateway on the embedded store and one on Redis.
pub(crate) async fn on_both(upstream: &Upstream, more: &str) -> Vec<(Gateway, Option<Redis>)> {
    let redis = Redis::start().await;
    let embedded = doors(gateway(), upstream, more).start().await;
    let shared = doors(gateway().redis(&redis), upstream, more).start().await;
    vec![(embedded, None), (shared, Some(redis))]
}

/// Opens a session over the admin API: what it says.
pub(crate) async fn open(gateway: &Gateway, user: &str, device: &str, refresh: bool) -> Value {
    let body = json!({"user_id": user, "device": {"id": device, "type": "phone", "name": device}, "refresh": refresh});
    let reply = gateway
        .administer("root", call("POST", "/v1/sessions", &body))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

fn token(granted: &Value) -> &str {
    granted["access_token"].as_str().unwrap()
}

fn sid(granted: &Value) -> &str {
    granted["session"]["sid"].as_str().unwrap()
}

async fn alive(gateway: &Gateway, granted: &Value) -> u16 {
    gateway
        .send(Call::get("/private").bearer(token(granted)))
        .await
        .status
}

fn by_cookie(method: &str, target: &str, granted: &Value) -> Call {
    Call::new(method, target).header("cookie", &format!("__Host-session={}", token(granted)))
}

fn cookie(reply: &Reply, name: &str) -> Option<String> {
    let lines = reply.headers.get_all("set-cookie").iter();
    let mut values = lines.filter_map(|line| {
        let line = line
            .to_str()
            .unwrap()
            .strip_prefix(name)?
            .strip_prefix('=')?;
        Some(line.to_owned())
    });
    values.next()
}

#[tokio::test]
async fn a_user_sees_their_own_sessions_and_no_secret() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let phone = open(&gateway, "alice", "phone", true).await;
        let tablet = open(&gateway, "alice", "tablet", false).await;
        let bob = open(&gateway, "bob", "bobs", false).await;

        for call in [
            Call::get("/.d/sessions").bearer(token(&tablet)),
            by_cookie("GET", "/.d/sessions", &tablet),
        ] {
            let reply = gateway.send(call).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            let list = reply.json()["sessions"].as_array().unwrap().clone();
            let told: Vec<_> = list
                .iter()
                .map(|one| {
                    (
                        one["sid"].as_str().unwrap(),
                        one["device"]["id"].as_str().unwrap(),
                        one["current"].as_bool().unwrap(),
                    )
                })
                .collect();
            assert_eq!(
                told,
                [
                    (sid(&phone), "phone", false),
                    (sid(&tablet), "tablet", true)
                ]
            );
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            for granted in [&phone, &tablet, &bob] {
                assert!(!text.contains(token(granted)));
            }
            for word in ["key", "hash", "nonce", "family", "dbt_", "dbr_", "bob"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
        }
        gateway
            .send(Call::get("/.d/sessions"))
            .await
            .refused(401, "token_missing");
        gateway
            .send(Call::get("/.d/sessions").bearer("dbt_x"))
            .await
            .refused(401, "token_invalid");
    }
    assert!(
        upstream.seen().is_empty(),
        "none of it is the upstream's business"
    );
}

#[tokio::test]
async fn one_session_ends_and_only_ones_own() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let phone = open(&gateway, "alice", "phone", false).await;
        let tablet = open(&gateway, "alice", "tablet", false).await;
        let bob = open(&gateway, "bob", "bobs", false).await;
        let end = async |whose: &Value, sid: &str| {
            let call = Call::new("DELETE", &format!("/.d/sessions/{sid}")).bearer(token(whose));
            gateway.send(call).await
        };

        end(&phone, sid(&bob))
            .await
            .refused(404, "session_not_found");
        end(&phone, "nothing")
            .await
            .refused(404, "session_not_found");
        assert_eq!(
            (
                alive(&gateway, &phone).await,
                alive(&gateway, &tablet).await,
                alive(&gateway, &bob).await
            ),
            (200, 200, 200)
        );

        assert_eq!(end(&phone, sid(&tablet)).await.status, 204);
        let told = gateway
            .send(Call::get("/private").bearer(token(&tablet)))
            .await;
        told.refused(401, "session_kicked");
        assert_eq!(
            (alive(&gateway, &phone).await, alive(&gateway, &bob).await),
            (200, 200)
        );
        end(&phone, sid(&tablet))
            .await
            .refused(404, "session_not_found");

        let own = end(&phone, sid(&phone)).await;
        assert_eq!(own.status, 204);
        assert!(
            cookie(&own, "__Host-session").unwrap().starts_with(';'),
            "the cookie goes too"
        );
        assert_eq!(
            (alive(&gateway, &phone).await, alive(&gateway, &bob).await),
            (401, 200)
        );
    }
}

#[tokio::test]
async fn all_others_end_and_the_one_that_asks_stays() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let first = open(&gateway, "alice", "1", true).await;
        let second = open(&gateway, "alice", "2", true).await;
        let third = open(&gateway, "alice", "3", false).await;
        let bob = open(&gateway, "bob", "bobs", false).await;

        let reply = gateway
            .send(Call::new("DELETE", "/.d/sessions").bearer(token(&second)))
            .await;

        assert_eq!(reply.status, 200);
        let mut ended: Vec<_> = reply.json()["ended"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sid| sid.as_str().unwrap().to_owned())
            .collect();
        ended.sort();
        let mut expected = vec![sid(&first).to_owned(), sid(&third).to_owned()];
        expected.sort();
        assert_eq!(ended, expected);
        let mut codes = Vec::new();
        for granted in [&first, &second, &third, &bob] {
            codes.push(alive(&gateway, granted).await);
        }
        assert_eq!(codes, [401, 200, 401, 200]);
        let refresh = json!({"refresh_token": first["refresh_token"]});
        let reply = gateway.send(call("POST", "/.d/refresh", &refresh)).await;
        reply.refused(401, "session_kicked");
    }
}

#[tokio::test]
async fn a_refresh_token_in_the_body_gives_tokens_and_one_in_the_cookie_gives_cookies() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let granted = open(&gateway, "alice", "phone", true).await;
        let secret = granted["refresh_token"].as_str().unwrap();
        let reply = gateway
            .send(form(
                "/.d/refresh",
                &format!("grant_type=refresh_token&refresh_token={secret}"),
            ))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.headers.get("set-cookie"), None);
        let second = reply.json();
        assert_eq!(alive(&gateway, &second).await, 200);

        let cookied = |secret: &str| {
            Call::new("POST", "/.d/refresh").header("cookie", &format!("__Secure-refresh={secret}"))
        };
        let secret = second["refresh_token"].as_str().unwrap();
        // The cookie is ambient, so a page of another site cannot spend it, and does not use it up.
        gateway
            .send(cookied(secret))
            .await
            .refused(403, "csrf_refused");
        gateway
            .send(cookied(secret).header("origin", "https://evil.test"))
            .await
            .refused(403, "csrf_refused");
        let reply = gateway
            .send(cookied(secret).header("origin", "http://a.test"))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.json()["access_token"].is_null(),
            "what is in a cookie is not told to scripts"
        );
        assert!(reply.json()["expires_in"].as_u64().unwrap() > 800);
        let session = cookie(&reply, "__Host-session").unwrap();
        let refresh = cookie(&reply, "__Secure-refresh").unwrap();
        assert!(refresh.contains("Path=/.d/refresh"), "{refresh}");
        let session = json!({"access_token": session.split(';').next().unwrap()});
        assert_eq!(alive(&gateway, &session).await, 200);

        for (call, status, code) in [
            (
                Call::new("POST", "/.d/refresh"),
                401,
                "refresh_token_invalid",
            ),
            (
                form("/.d/refresh", "refresh_token=dbr_x"),
                401,
                "refresh_token_invalid",
            ),
            (
                form("/.d/refresh", "grant_type=password&refresh_token=x"),
                400,
                "bad_request",
            ),
            (
                form("/.d/refresh", "refresh_token=a&refresh_token=b"),
                400,
                "bad_request",
            ),
            (
                call("POST", "/.d/refresh", &json!({"refresh_token": 7})),
                400,
                "bad_request",
            ),
            (call("POST", "/.d/refresh", &json!([])), 400, "bad_request"),
            (
                form("/.d/refresh", &"a".repeat(40_000)),
                413,
                "body_too_large",
            ),
        ] {
            gateway.send(call).await.refused(status, code);
        }
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_again_after_its_child_ends_the_session() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let granted = open(&gateway, "alice", "phone", true).await;
        let refresh = async |secret: &str| {
            gateway
                .send(call(
                    "POST",
                    "/.d/refresh",
                    &json!({"refresh_token": secret}),
                ))
                .await
        };
        let first = granted["refresh_token"].as_str().unwrap();
        let second = refresh(first).await.json();
        assert_eq!(
            refresh(first).await.body,
            refresh(first).await.body,
            "a lost reply may be asked for again"
        );
        let third = refresh(second["refresh_token"].as_str().unwrap())
            .await
            .json();

        refresh(first).await.refused(401, "refresh_reused");

        assert_eq!(alive(&gateway, &third).await, 401);
        refresh(third["refresh_token"].as_str().unwrap())
            .await
            .refused(401, "refresh_reused");
    }
}

#[tokio::test]
async fn logout_ends_the_session_whoever_carries_the_token_and_twice_is_no_fault() {
    let upstream = upstream();
    for (gateway, redis) in on_both(&upstream, "").await {
        let phone = open(&gateway, "alice", "phone", true).await;
        let web = open(&gateway, "alice", "web", false).await;
        let by_bearer = Call::new("POST", "/.d/logout").bearer(token(&phone));
        assert_eq!(gateway.send(by_bearer).await.status, 204);
        assert_eq!(alive(&gateway, &phone).await, 401);
        let refresh = json!({"refresh_token": phone["refresh_token"]});
        gateway
            .send(call("POST", "/.d/refresh", &refresh))
            .await
            .refused(401, "session_logged_out");

        gateway
            .send(by_cookie("POST", "/.d/logout", &web))
            .await
            .refused(403, "csrf_refused");
        assert_eq!(alive(&gateway, &web).await, 200);
        for _ in 0..2 {
            let own = by_cookie("POST", "/.d/logout", &web).header("sec-fetch-site", "same-origin");
            let reply = gateway.send(own).await;
            assert_eq!(reply.status, 204);
            assert!(
                cookie(&reply, "__Host-session")
                    .unwrap()
                    .contains("Max-Age=0")
            );
            assert!(
                cookie(&reply, "__Secure-refresh")
                    .unwrap()
                    .contains("Max-Age=0")
            );
        }
        assert_eq!(alive(&gateway, &web).await, 401);
        gateway
            .send(Call::new("POST", "/.d/logout"))
            .await
            .refused(401, "token_missing");
        if let Some(mut redis) = redis {
            let last = open(&gateway, "alice", "last", false).await;
            redis.kill();
            let reply = gateway
                .send(Call::new("POST", "/.d/logout").bearer(token(&last)))
                .await;
            reply.refused(503, "session_store_unavailable");
            assert_eq!(
                reply.headers.get("set-cookie"),
                None,
                "so that it can be tried again"
            );
            let reply = gateway
                .send(Call::get("/.d/sessions").bearer(token(&last)))
                .await;
            reply.refused(503, "session_store_unavailable");
        }
    }
}

/// Issues a one-time login ticket over the admin API.
async fn ticket(gateway: &Gateway, purpose: &str, audience: &str, payload: Value) -> String {
    let body =
        json!({"purpose": purpose, "audience": audience, "payload": payload, "lifetime": 60});
    let reply = gateway
        .administer("root", call("POST", "/v1/once", &body))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_login_ticket_is_good_once_for_one_place_and_from_an_own_page() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let who = json!({"user_id": "alice", "roles": ["clerk"], "device": {"type": "web"}, "lifetime": 600});
        let redeem = async |ticket: &str, origin: &str| {
            let body = json!({"ticket": ticket});
            gateway
                .send(call("POST", "/.d/redeem", &body).header("origin", origin))
                .await
        };
        let good = ticket(&gateway, "login", "http://a.test", who.clone()).await;
        redeem(&good, "https://evil.test")
            .await
            .refused(403, "csrf_refused");

        let reply = redeem(&good, "http://a.test").await;

        assert_eq!(reply.status, 204, "a forged request has not used it up");
        let session = cookie(&reply, "__Host-session").unwrap();
        let session = json!({"access_token": session.split(';').next().unwrap()});
        assert_eq!(alive(&gateway, &session).await, 200);
        assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
        assert_eq!(upstream.last().header("x-user-roles"), Some("clerk"));
        redeem(&good, "http://a.test")
            .await
            .refused(401, "ticket_invalid");
        for (purpose, audience, payload) in [
            ("login", "https://a.test", who.clone()),
            ("login", "http://b.test", who.clone()),
            ("sso", "http://a.test", who.clone()),
            (
                "login",
                "http://a.test",
                json!({"user_id": "alice", "admin": true}),
            ),
            ("login", "http://a.test", json!({})),
        ] {
            let other = ticket(&gateway, purpose, audience, payload).await;
            let reply = redeem(&other, "http://a.test").await;
            reply.refused(401, "ticket_invalid");
            assert_eq!(reply.headers.get("set-cookie"), None);
        }
        redeem("dbo_x", "http://a.test")
            .await
            .refused(401, "ticket_invalid");
        redeem("", "http://a.test")
            .await
            .refused(400, "bad_request");
        assert!(!gateway.logs().contains(&good));
    }
}

#[tokio::test]
async fn who_acts_for_somebody_may_look_and_leave_and_no_more() {
    let upstream = upstream();
    for (gateway, _) in on_both(&upstream, "").await {
        let alice = open(&gateway, "alice", "phone", false).await;
        let support = open(&gateway, "support", "desk", false).await;
        let body = json!({"actor_token": token(&support), "subject": "alice", "lifetime": 600});
        let acting = gateway
            .administer("root", call("POST", "/v1/act-as", &body))
            .await;
        assert_eq!(acting.status, 201, "{acting:?}");
        let acting = acting.json();

        let send = async |method: &str, path: &str| {
            gateway
                .send(Call::new(method, path).bearer(token(&acting)))
                .await
        };
        assert_eq!(send("GET", "/.d/sessions").await.status, 200);
        send("DELETE", &format!("/.d/sessions/{}", sid(&alice)))
            .await
            .refused(403, "session_acting");
        send("DELETE", "/.d/sessions")
            .await
            .refused(403, "session_acting");
        assert_eq!(alive(&gateway, &alice).await, 200);
        assert_eq!(send("POST", "/.d/logout").await.status, 204);
        assert_eq!(alive(&gateway, &acting).await, 401);
    }
}

#[tokio::test]
async fn a_session_that_somebody_else_opened_and_a_banned_user_manage_nothing() {
    let upstream = upstream();
    for (gateway, redis) in on_both(&upstream, "").await {
        let alice = open(&gateway, "alice", "phone", false).await;
        if let Some(redis) = &redis {
            // The store keeps digests: what a login service writes lies under one.
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"foreign-token");
            let digest: String = digest
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            redis.cli(&[
                "SET",
                &format!("login:token:{digest}"),
                &record(&user("alice", &[])),
                "PX",
                "60000",
            ]);
            for (method, path) in [("GET", "/.d/sessions"), ("DELETE", "/.d/sessions")] {
                let reply = gateway
                    .send(Call::new(method, path).bearer("foreign-token"))
                    .await;
                reply.refused(403, "session_foreign");
            }
            assert_eq!(alive(&gateway, &alice).await, 200);
        }
        let ban = json!({"reason": "fraud", "keep_sessions": true});
        let reply = gateway
            .administer("root", call("PUT", "/v1/users/alice/bans/*", &ban))
            .await;
        assert!(reply.status < 300, "{reply:?}");
        let reply = gateway
            .send(Call::get("/.d/sessions").bearer(token(&alice)))
            .await;
        reply.refused(403, "account_disabled");
    }
}

#[tokio::test]
async fn what_is_below_the_prefix_is_never_routed_and_counts_against_its_limit() {
    let upstream = upstream();
    let gateway = doors(gateway(), &upstream, "").start().await;
    for (method, path, status, code) in [
        ("GET", "/.d", 404, "route_not_found"),
        ("GET", "/.d/", 404, "route_not_found"),
        ("GET", "/.d/else", 404, "route_not_found"),
        ("GET", "/.d/sso", 404, "route_not_found"),
        ("POST", "/.d/backchannel-logout", 404, "route_not_found"),
        ("GET", "/.d/logout", 405, "method_not_allowed"),
        ("PUT", "/.d/sessions", 405, "method_not_allowed"),
    ] {
        gateway
            .send(Call::new(method, path))
            .await
            .refused(status, code);
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.send(Call::get("/.dx")).await.status, 200);

    let limited = gateway_with_limit(&upstream).await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(limited.send(Call::get("/.d/sessions")).await.status);
    }
    assert_eq!(codes, [401, 401, 401, 429]);
}

async fn gateway_with_limit(upstream: &Upstream) -> Gateway {
    gateway()
        .toml("[sessions]\n[self_service]\nprefix = \"/.d\"\nlimits = [{ by = \"client\", rate = \"3/m\" }]")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await
}
