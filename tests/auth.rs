//! Who gets in, and who gets 401, 403, 404, 405 or 503.

mod support;

use std::time::{Duration, Instant};

use support::gateway::{log_in, log_out, now};
use support::{
    Call, Connection, Gateway, Raw, Redis, Setup, Upstream, gateway, soon, upstream, user,
};

const TOKEN: &str = "dbt_alice-0123456789abcdef0123456789abcdef";
const OTHER: &str = "dbt_bob-fedcba9876543210fedcba9876543210";
const UNKNOWN: &str = "dbt_nobody-00000000000000000000000000000";

/// Public, optional and required routes to one upstream; alice may read orders.
fn doors(upstream: &Upstream) -> Setup {
    gateway()
        .session(TOKEN, user("alice", &["orders:read", "files:*"]))
        .session(OTHER, user("bob", &[]))
        .secret(UNKNOWN)
        .upstream("app", upstream)
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("prefix = \"/private\"\nupstream = \"app\"")
}

async fn status(gateway: &Gateway, path: &str, token: &str) -> u16 {
    gateway.send(Call::get(path).bearer(token)).await.status
}

#[tokio::test]
async fn a_live_token_gets_in_and_no_token_or_a_dead_one_is_401() {
    let upstream = upstream();
    let gateway = doors(&upstream).start().await;

    let alive = gateway.send(Call::get("/private/x").bearer(TOKEN)).await;
    let missing = gateway.send(Call::get("/private/x")).await;
    let unknown = gateway.send(Call::get("/private/x").bearer(UNKNOWN)).await;

    assert_eq!(alive.status, 200);
    assert_eq!(alive.json()["user"], "alice");
    missing.refused(401, "token_missing");
    let challenge = missing.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    assert!(!challenge.contains("error"), "{challenge}");
    unknown.refused(401, "token_invalid");
    let challenge = unknown.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn the_same_holds_over_tls_with_http1_and_http2() {
    let upstream = upstream();
    let gateway = doors(&upstream).plain().tls(&["a.test"]).start().await;

    for mut connection in [
        Connection::tls(&gateway, "a.test").await,
        Connection::h2(&gateway, "a.test").await,
    ] {
        let alive = connection.send(Call::get("/private").bearer(TOKEN)).await;
        let missing = connection.send(Call::get("/private")).await;
        let unknown = connection.send(Call::get("/private").bearer(UNKNOWN)).await;

        assert_eq!(alive.json()["user"], "alice");
        missing.refused(401, "token_missing");
        unknown.refused(401, "token_invalid");
    }
}

#[tokio::test]
async fn a_public_route_passes_everybody_and_an_optional_one_tells_who_it_is() {
    let upstream = upstream();
    let gateway = doors(&upstream).start().await;

    let public = gateway.send(Call::get("/public").bearer(TOKEN)).await;
    let nobody = gateway.send(Call::get("/optional")).await;
    let dead = gateway.send(Call::get("/optional").bearer(UNKNOWN)).await;
    let junk = gateway.send(Call::get("/optional").bearer("a b")).await;
    let alice = gateway.send(Call::get("/optional").bearer(TOKEN)).await;

    for anonymous in [public, nobody, dead, junk] {
        assert_eq!(anonymous.status, 200);
        assert_eq!(anonymous.json()["user"], "");
    }
    assert_eq!(alice.json()["user"], "alice");
}

#[tokio::test]
async fn an_expired_session_is_401_though_the_store_still_has_it() {
    let upstream = upstream();
    let mut dying = user("carol", &[]);
    dying.expires_at = Some(now() + 2_500);
    let gateway = doors(&upstream).session("dbt_dying", dying).start().await;

    assert_eq!(status(&gateway, "/private", "dbt_dying").await, 200);
    let refused = async {
        while status(&gateway, "/private", "dbt_dying").await == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gateway
            .send(Call::get("/private").bearer("dbt_dying"))
            .await
    };

    soon("the end of the session", refused)
        .await
        .refused(401, "token_invalid");
}

#[tokio::test]
async fn conditions_on_permissions_roles_and_devices_decide_between_200_and_403() {
    let upstream = upstream();
    let rules = [
        ("all-has", "all = [\"orders:read\"]", 200),
        (
            "all-lacks",
            "all = [\"orders:read\", \"orders:write\"]",
            403,
        ),
        ("any-has", "any = [\"orders:write\", \"orders:read\"]", 200),
        ("any-lacks", "any = [\"orders:write\", \"users:read\"]", 403),
        ("none-lacks", "none = [\"admin\"]", 200),
        ("none-has", "none = [\"orders:read\"]", 403),
        ("wild-rule", "all = [\"orders:*\"]", 200),
        ("wild-rule-lacks", "all = [\"users:*\"]", 403),
        ("wild-session", "all = [\"files:write\"]", 200),
        ("no-prefix-match", "all = [\"orders:rea\"]", 403),
        ("role-has", "roles = [\"boss\", \"clerk\"]", 200),
        ("role-lacks", "roles = [\"boss\"]", 403),
        ("device-has", "device_types = [\"tablet\", \"phone\"]", 200),
        ("device-lacks", "device_types = [\"tablet\"]", 403),
        ("both", "all = [\"orders:read\"]\nroles = [\"boss\"]", 403),
    ];
    let mut setup = doors(&upstream);
    for (name, rule, _) in rules {
        setup = setup.route(&format!(
            "prefix = \"/{name}\"\nupstream = \"app\"\n[routes.require]\n{rule}"
        ));
    }
    let gateway = setup.start().await;

    for (name, _, expected) in rules {
        let reply = gateway
            .send(Call::get(&format!("/{name}")).bearer(TOKEN))
            .await;

        assert_eq!(reply.status, expected, "{name}");
        if expected == 403 {
            reply.refused(403, "permission_denied");
            let challenge = reply.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"insufficient_scope\""));
        }
        assert_eq!(status(&gateway, &format!("/{name}"), UNKNOWN).await, 401);
    }
}

#[tokio::test]
async fn an_unknown_path_or_host_is_404_and_another_method_405_with_allow() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route("host = \"a.test\"\nprefix = \"/api\"\nmethods = [\"GET\"]\nauth = \"public\"\nupstream = \"app\"")
        .route("host = \"a.test\"\nexact = \"/one\"\nauth = \"public\"\nupstream = \"app\"")
        .route("host = \"*.b.test\"\nprefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;

    for (call, expected) in [
        (Call::get("/api"), 200),
        (Call::get("/api/x"), 200),
        (Call::get("/one"), 200),
        (Call::get("/api").host("A.TEST"), 200),
        (Call::get("/api").host("a.test:8443"), 200),
        (Call::get("/api").host("a.test."), 200),
        (Call::get("/").host("x.b.test"), 200),
        (Call::get("/apix"), 404),
        (Call::get("/one/x"), 404),
        (Call::get("/API"), 404),
        (Call::get("/x?/api"), 404),
        (Call::get("/api").host("evil.test"), 404),
        (Call::get("/").host("x.y.b.test"), 404),
        (Call::get("/").host("b.test"), 404),
    ] {
        let shown = format!("{call:?}");
        let reply = gateway.send(call).await;
        assert_eq!(reply.status, expected, "{shown}");
        if expected == 404 {
            reply.refused(404, "route_not_found");
        }
    }
    for method in ["POST", "DELETE", "PROPFIND"] {
        let reply = gateway.send(Call::new(method, "/api")).await;
        reply.refused(405, "method_not_allowed");
        assert!(reply.header("allow").unwrap().contains("GET"));
    }
}

#[tokio::test]
async fn a_browser_that_asks_for_a_page_gets_one() {
    let upstream = upstream();
    let gateway = doors(&upstream).start().await;

    let call = Call::get("/private").header("accept", "text/html,application/json;q=0.9");
    let page = gateway.send(call).await;
    let call = Call::get("/private").header("accept", "application/json,text/html;q=0.5");
    let document = gateway.send(call).await;

    assert_eq!(page.status, 401);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    document.refused(401, "token_missing");
}

#[tokio::test]
async fn each_source_is_looked_at_and_two_different_tokens_are_refused() {
    let upstream = upstream();
    let gateway = doors(&upstream)
        .toml("[tokens]\nsources = [\"bearer\", \"header:X-Token\", \"cookie:session\"]")
        .start()
        .await;
    let cookie = |value: &str| format!("a=1; session={value}; b=2");

    for call in [
        Call::get("/private").bearer(TOKEN),
        Call::get("/private").header("authorization", &format!("bearer {TOKEN}")),
        Call::get("/private").header("x-token", TOKEN),
        Call::get("/private").header("cookie", &cookie(TOKEN)),
        Call::get("/private")
            .bearer(TOKEN)
            .header("cookie", &cookie(TOKEN)),
        Call::get("/private")
            .header("authorization", "Basic YTpi")
            .header("x-token", TOKEN),
    ] {
        let shown = format!("{call:?}");
        let reply = gateway.send(call).await;
        assert_eq!(reply.status, 200, "{shown}");
        assert_eq!(reply.json()["user"], "alice", "{shown}");
    }
    for call in [
        Call::get("/private").bearer(TOKEN).header("x-token", OTHER),
        Call::get("/private")
            .bearer(OTHER)
            .header("cookie", &cookie(TOKEN)),
        Call::get("/private").bearer(TOKEN).bearer(OTHER),
        Call::get("/private").header("cookie", &format!("session={TOKEN}; session={OTHER}")),
        Call::get("/private")
            .header("cookie", &format!("session={TOKEN}"))
            .header("cookie", &format!("session={OTHER}")),
        Call::get("/optional")
            .bearer(TOKEN)
            .header("x-token", OTHER),
    ] {
        gateway.send(call).await.refused(401, "token_malformed");
    }
    for (path, cookies) in [
        ("/private", format!("xsession={TOKEN}")),
        ("/private", format!("Session={TOKEN}")),
        ("/private", format!("session2={TOKEN}")),
        (
            &*format!("/private?session={TOKEN}&access_token={TOKEN}"),
            String::new(),
        ),
    ] {
        let reply = gateway
            .send(Call::get(path).header("cookie", &cookies))
            .await;
        reply.refused(401, "token_missing");
    }
}

#[tokio::test]
async fn what_cannot_be_a_token_is_401_and_the_store_is_not_asked() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let gateway = gateway()
        .redis(&redis)
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .start()
        .await;
    let gets = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        stats
            .lines()
            .filter(|line| line.contains("cmdstat_get:"))
            .count()
    };
    let long = "a".repeat(513);
    let huge = "a".repeat(8_000);

    for token in [
        "", " ", "a b", "a\"b", "a;b", "a*", "{a}", "a:b", "a%20b", "\u{e9}", "a,b", &long, &huge,
    ] {
        let reply = gateway.send(Call::get("/private").bearer(token)).await;
        assert_eq!(reply.status, 401, "{token:?}");
        assert_eq!(reply.json()["status"], 401);
    }
    assert_eq!(gets(), 0, "the store was asked");
    assert_eq!(status(&gateway, "/private", &"a".repeat(512)).await, 401);
    assert_eq!(gets(), 1, "512 bytes are a token that must be looked up");
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_removed_session_is_401_at_the_next_request() {
    let upstream = upstream();
    let redis = Redis::start().await;
    log_in(&redis, TOKEN, &user("alice", &[]));
    let gateway = gateway()
        .redis(&redis)
        .secret(TOKEN)
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nmax_staleness = \"0s\"\nupstream = \"app\"")
        .start()
        .await;
    let mut connection = Connection::plain(&gateway).await;

    for _ in 0..5 {
        let before = connection.send(Call::get("/private").bearer(TOKEN)).await;
        log_out(&redis, TOKEN);
        let after = connection.send(Call::get("/private").bearer(TOKEN)).await;
        log_in(&redis, TOKEN, &user("alice", &[]));

        assert_eq!(before.status, 200);
        after.refused(401, "token_invalid");
    }
    redis.cli(&["FLUSHALL"]);
    let flushed = connection.send(Call::get("/private").bearer(TOKEN)).await;
    flushed.refused(401, "token_invalid");
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_503_and_never_lets_in() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let deep = format!(
        "{{\"user_id\":\"a\",\"x\":{}1{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let large = format!("{{\"user_id\":\"a\",\"x\":\"{}\"}}", "y".repeat(100_000));
    let records = [
        "not json",
        "[]",
        "{}",
        "{\"user_id\":\"\"}",
        "{\"user_id\":{}}",
        &deep,
        &large,
    ];
    for (number, record) in records.iter().enumerate() {
        redis.cli(&["SET", &format!("login:token:bad{number}"), record]);
    }
    redis.cli(&["RPUSH", "login:token:list", "x"]);
    let gateway = gateway()
        .redis(&redis)
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nauth = \"optional\"\nupstream = \"app\"")
        .start()
        .await;

    for number in 0..records.len() {
        let token = format!("bad{number}");
        let reply = gateway.send(Call::get("/private").bearer(&token)).await;
        reply.refused(503, "session_unreadable");
    }
    let reply = gateway.send(Call::get("/private").bearer("list")).await;
    reply.refused(503, "session_unreadable");
    assert_eq!(upstream.seen().len(), 0);
}

/// A gateway on a Redis of its own in which alice is logged in.
async fn with_redis(upstream: &Upstream, redis: &Redis) -> Gateway {
    log_in(redis, TOKEN, &user("alice", &[]));
    gateway()
        .redis(redis)
        .upstream("app", upstream)
        // What is remembered would be let in for a while; here it is the store that is asked.
        .route("prefix = \"/private\"\nmax_staleness = \"0s\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nmax_staleness = \"0s\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await
}

/// 503 with Retry-After, soon, on every route that needs the store; 200 on the one that does not.
async fn cannot_tell(gateway: &Gateway) {
    for path in ["/private", "/optional"] {
        for token in [TOKEN, UNKNOWN] {
            // Its deadline is 250 ms.
            let asking = gateway.send(Call::get(path).bearer(token));
            let reply = soon("an answer without the store", asking).await;
            reply.refused(503, "session_store_unavailable");
            assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        }
    }
    let missing = gateway.send(Call::get("/private")).await;
    missing.refused(401, "token_missing");
    let public = gateway.send(Call::get("/public").bearer(TOKEN)).await;
    assert_eq!(public.status, 200);
}

/// 200 again soon; nothing but 200 and 503 until then.
async fn tells_again(gateway: &Gateway) {
    let start = Instant::now();
    loop {
        let status = status(gateway, "/private", TOKEN).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 503);
        assert!(start.elapsed() < support::PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status(gateway, "/private", UNKNOWN).await, 401);
}

#[tokio::test]
async fn a_dead_redis_is_503_with_retry_after_and_service_returns_with_it() {
    let upstream = upstream();
    let mut redis = Redis::start().await;
    let gateway = with_redis(&upstream, &redis).await;
    assert_eq!(status(&gateway, "/private", TOKEN).await, 200);

    for _ in 0..2 {
        redis.kill();
        cannot_tell(&gateway).await;
        redis.restart().await;
        log_in(&redis, TOKEN, &user("alice", &[]));
        tells_again(&gateway).await;
    }
}

#[tokio::test]
async fn a_hung_redis_is_503_and_never_401_or_200() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let gateway = with_redis(&upstream, &redis).await;
    assert_eq!(status(&gateway, "/private", TOKEN).await, 200);

    for _ in 0..2 {
        redis.freeze();
        for _ in 0..3 {
            cannot_tell(&gateway).await;
        }
        redis.thaw();
        tells_again(&gateway).await;
    }
}

#[tokio::test]
async fn a_gateway_starts_while_redis_is_away_and_serves_when_it_comes() {
    let upstream = upstream();
    let mut redis = Redis::start().await;
    log_in(&redis, TOKEN, &user("alice", &[]));
    redis.kill();
    let gateway = gateway()
        .redis(&redis)
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .start()
        .await;

    let reply = gateway.send(Call::get("/private").bearer(TOKEN)).await;
    reply.refused(503, "session_store_unavailable");
    redis.restart().await;
    log_in(&redis, TOKEN, &user("alice", &[]));

    tells_again(&gateway).await;
}

#[tokio::test]
async fn many_requests_to_a_hung_redis_are_all_answered_503() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let gateway = with_redis(&upstream, &redis).await;
    redis.freeze();

    let mut sent = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::plain(&gateway).await;
        sent.push(tokio::spawn(async move {
            connection
                .send(Call::get("/private").bearer(TOKEN))
                .await
                .status
        }));
    }
    for answer in sent {
        assert_eq!(answer.await.unwrap(), 503);
    }
    redis.thaw();
    tells_again(&gateway).await;
}

#[tokio::test]
async fn with_digests_at_rest_the_store_holds_no_token() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let gateway = gateway()
        .redis(&redis)
        .session(TOKEN, user("alice", &[]))
        .toml("[tokens]\nat_rest = \"sha256\"")
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .start()
        .await;

    assert_eq!(status(&gateway, "/private", TOKEN).await, 200);
    assert!(!redis.dump().contains(TOKEN));
    let keys = redis.cli(&["--scan"]);
    let digest = keys.trim().trim_start_matches("login:token:");
    assert_eq!(status(&gateway, "/private", digest).await, 401);
}

#[tokio::test]
async fn a_rate_limit_is_429_with_retry_after() {
    let upstream = upstream();
    let gateway = doors(&upstream)
        .route("prefix = \"/few\"\nauth = \"public\"\nupstream = \"app\"\nlimits = [{ by = \"client\", rate = \"3/m\" }]")
        .route("prefix = \"/mine\"\nupstream = \"app\"\nlimits = [{ by = \"user\", rate = \"2/m\" }]")
        .start()
        .await;

    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(gateway.send(Call::get("/few")).await.status);
    }
    assert_eq!(codes, [200, 200, 200, 429, 429]);
    let reply = gateway.send(Call::get("/few")).await;
    reply.refused(429, "rate_limited");
    assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    for (token, expected) in [(TOKEN, 200), (TOKEN, 200), (TOKEN, 429), (OTHER, 200)] {
        assert_eq!(status(&gateway, "/mine", token).await, expected);
    }
}

#[tokio::test]
async fn a_big_upload_without_a_token_is_refused_before_it_is_read() {
    let upstream = upstream();
    let gateway = doors(&upstream).start().await;
    let mut raw = Raw::connect(gateway.plain()).await;

    raw.write("POST /private HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1073741824\r\n\r\nhello")
        .await;
    let reply = raw.reply().await.unwrap();

    assert_eq!(reply.status, 401);
    assert_eq!(upstream.connections(), 0);
}
