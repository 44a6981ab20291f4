//! Rate limits and the guard against guessed tokens: what is counted, where, and what becomes of requests when it cannot
//! be counted.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::gateway::{PROGRAM, log_in, log_out};
use support::redis::Cluster;
use support::{
    Answer, Call, Gateway, PATIENCE, Redis, Reply, Setup, Upstream, gateway, upstream,
    upstream_that, user,
};

const TOKEN: &str = "dbt_alice-0123456789abcdef0123456789abcdef";
const PHONE: &str = "dbt_alice-phone-0123456789abcdef0123456789";
const OTHER: &str = "dbt_bob-fedcba9876543210fedcba9876543210";

/// A gateway whose sessions are in this Redis.
fn on(redis: &Redis, upstream: &Upstream) -> Setup {
    for (token, id, device) in [
        (TOKEN, "alice", "tablet"),
        (PHONE, "alice", "phone"),
        (OTHER, "bob", "phone"),
    ] {
        let mut session = user(id, &["orders:read"]);
        session.device.id = device.to_owned().into();
        log_in(redis, token, &session);
    }
    gateway()
        .redis(redis)
        .secret(TOKEN)
        .secret(OTHER)
        .upstream("app", upstream)
}

fn route(path: &str, limits: &str) -> String {
    format!("prefix = \"{path}\"\nupstream = \"app\"\nlimits = [{limits}]")
}

async fn get(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.send(Call::get(path).bearer(token)).await
}

async fn statuses(gateway: &Gateway, path: &str, token: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(gateway, path, token).await.status);
    }
    statuses
}

/// How often this server has run a command.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Keys of buckets, each of which has an end.
fn buckets(redis: &Redis) -> Vec<String> {
    let keys = redis.cli(&["--scan", "--pattern", "login:limit:*"]);
    for key in keys.lines() {
        // -2: it has come to its end since.
        let left = redis.cli(&["PTTL", key]);
        assert_ne!(left, "-1", "{key} has no end");
    }
    keys.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn two_gateways_on_one_redis_count_a_shared_limit_together_and_a_local_one_apart() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let shared = |by| {
        format!("{{ by = \"{by}\", rate = \"6/h\", scope = \"shared\", on_error = \"deny\" }}")
    };
    let both = || {
        let mut setup = on(&redis, &upstream);
        for by in ["client", "token", "user", "device", "route"] {
            setup = setup.route(&route(&format!("/{by}"), &shared(by)));
        }
        setup
            .route(&route("/local", "{ by = \"user\", rate = \"6/h\" }"))
            .start()
    };
    let (one, two) = (both().await, both().await);

    for by in ["client", "token", "user", "device", "route"] {
        let path = format!("/{by}");
        let mut passed = 0;
        for _ in 0..5 {
            for gateway in [&one, &two] {
                let reply = get(gateway, &path, TOKEN).await;
                match reply.status {
                    200 => passed += 1,
                    _ => reply.refused(429, "rate_limited"),
                }
            }
        }
        assert_eq!(passed, 6, "{by}");
    }
    assert_eq!(get(&two, "/token", PHONE).await.status, 200);
    assert_eq!(get(&two, "/device", PHONE).await.status, 200);
    assert_eq!(get(&two, "/user", PHONE).await.status, 429);
    assert_eq!(get(&two, "/user", OTHER).await.status, 200);
    assert_eq!(get(&two, "/route", OTHER).await.status, 429);
    for gateway in [&one, &two] {
        assert_eq!(
            statuses(gateway, "/local", TOKEN, 8).await,
            [200, 200, 200, 200, 200, 200, 429, 429]
        );
    }
}

#[tokio::test]
async fn a_crowd_over_all_workers_of_two_gateways_gets_the_burst_and_no_more() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let limit =
        "{ by = \"user\", rate = \"1/h\", burst = 40, scope = \"shared\", on_error = \"deny\" }";
    let start = || {
        on(&redis, &upstream)
            .workers(2)
            .route(&route("/", limit))
            .start()
    };
    let gateways = [start().await, start().await];

    let mut sent = Vec::new();
    for number in 0..120 {
        let mut connection = support::Connection::plain(&gateways[number % 2]).await;
        sent.push(tokio::spawn(async move {
            connection.send(Call::get("/").bearer(TOKEN)).await.status
        }));
    }
    let mut passed = 0;
    for answer in sent {
        match answer.await.unwrap() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }

    assert_eq!(passed, 40);
    assert_eq!(upstream.seen().len(), 40);
}

#[tokio::test]
async fn counters_lie_in_their_own_redis_end_by_themselves_and_tell_nothing() {
    let (upstream, redis, counters) = (upstream(), Redis::start().await, Redis::start().await);
    let shared = |by: &str| {
        format!("{{ by = \"{by}\", rate = \"10/m\", scope = \"shared\", on_error = \"deny\" }}")
    };
    let all = ["client", "token", "user", "device", "route"]
        .map(shared)
        .join(", ");
    let gateway = on(&redis, &upstream)
        .toml(&format!("[limits]\nredis = \"{}\"", counters.url()))
        .route(&route("/", &all))
        .start()
        .await;

    assert_eq!(
        statuses(&gateway, "/", TOKEN, 12).await,
        [vec![200; 10], vec![429; 2]].concat()
    );

    assert_eq!(buckets(&counters).len(), 5);
    assert_eq!(buckets(&redis).len(), 0);
    assert_eq!(calls(&redis, "evalsha"), 0);
    let dump = counters.dump();
    for told in [TOKEN, "alice", "tablet", "127.0.0.1", "orders"] {
        assert!(!dump.contains(told), "{told} in {dump}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_full_again_is_gone() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let limit = "{ by = \"user\", rate = \"20/s\", scope = \"shared\", on_error = \"deny\" }";
    let gateway = on(&redis, &upstream)
        .route(&route("/", limit))
        .start()
        .await;

    statuses(&gateway, "/", TOKEN, 20).await;
    let start = Instant::now();
    while !buckets(&redis).is_empty() {
        assert!(start.elapsed() < PATIENCE, "it stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Routes that differ in what they do when the counting Redis is away.
async fn with_counters(upstream: &Upstream, redis: &Redis, counters: &Redis) -> Gateway {
    let shared = |rate: &str, on_error: &str| {
        format!(
            "{{ by = \"user\", rate = \"{rate}\", scope = \"shared\", on_error = \"{on_error}\" }}"
        )
    };
    let local = "{ by = \"user\", name = \"local\", rate = \"3/h\" }";
    let both = format!(
        "{}, {}",
        shared("1000/h", "allow"),
        shared("1000/h", "deny").replace("by = ", "name = \"second\", by = "),
    );
    on(redis, upstream)
        .toml(&format!("[limits]\nredis = \"{}\"", counters.url()))
        .route(&route("/allow", &shared("2/h", "allow")))
        .route(&route("/deny", &shared("1000/h", "deny")))
        .route(&route("/both", &both))
        .route(&route(
            "/local",
            &format!("{local}, {}", shared("1000/h", "deny")),
        ))
        .route(&route(
            "/door",
            "{ by = \"client\", rate = \"1000/h\", scope = \"shared\", on_error = \"deny\" }",
        ))
        .start()
        .await
}

async fn cannot_count(gateway: &Gateway) {
    for path in ["/deny", "/both", "/door"] {
        let reply = get(gateway, path, TOKEN).await;
        reply.refused(503, "rate_limit_unavailable");
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(statuses(gateway, "/allow", TOKEN, 4).await, [200; 4]);
    // Who is nobody is told so, whether or not anything can be counted.
    get(gateway, "/deny", "dbt_nobody")
        .await
        .refused(401, "token_invalid");
}

async fn counts_again(gateway: &Gateway) {
    let start = Instant::now();
    loop {
        let reply = get(gateway, "/deny", TOKEN).await;
        if reply.status == 200 {
            break;
        }
        reply.refused(503, "rate_limit_unavailable");
        assert!(start.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(statuses(gateway, "/allow", OTHER, 3).await, [200, 200, 429]);
}

#[tokio::test]
async fn a_dead_redis_allows_or_denies_as_each_limit_says_and_is_never_429() {
    let (upstream, redis, mut counters) = (upstream(), Redis::start().await, Redis::start().await);
    let gateway = with_counters(&upstream, &redis, &counters).await;
    assert_eq!(
        statuses(&gateway, "/allow", TOKEN, 3).await,
        [200, 200, 429]
    );
    assert_eq!(statuses(&gateway, "/local", TOKEN, 2).await, [200, 200]);

    counters.kill();
    cannot_count(&gateway).await;
    // What is counted here is known all the same, and certainty goes before "cannot tell".
    get(&gateway, "/local", TOKEN)
        .await
        .refused(503, "rate_limit_unavailable");
    get(&gateway, "/local", TOKEN)
        .await
        .refused(429, "rate_limited");

    counters.restart().await;
    counts_again(&gateway).await;
}

#[tokio::test]
async fn a_hung_redis_is_as_good_as_a_dead_one() {
    let (upstream, redis, counters) = (upstream(), Redis::start().await, Redis::start().await);
    let gateway = with_counters(&upstream, &redis, &counters).await;
    assert_eq!(get(&gateway, "/deny", TOKEN).await.status, 200);

    counters.freeze();
    cannot_count(&gateway).await;
    counters.thaw();
    counts_again(&gateway).await;
}

#[tokio::test]
async fn a_gateway_on_a_cluster_counts_exactly() {
    let (upstream, cluster) = (upstream(), Cluster::start(0).await);
    let limits = "{ by = \"client\", rate = \"30/h\", scope = \"shared\", on_error = \"deny\" },
        { by = \"route\", rate = \"20/h\", scope = \"shared\", on_error = \"deny\" }";
    let start = || {
        gateway()
            .store(&format!("redis = \"{}\"", cluster.url()))
            .upstream("app", &upstream)
            .route(&format!("{}\nauth = \"public\"", route("/a", limits)))
            .route(&format!("{}\nauth = \"public\"", route("/b", limits)))
            .start()
    };
    let gateways = [start().await, start().await];

    for path in ["/a", "/b"] {
        let mut codes = Vec::new();
        for number in 0..35 {
            codes.push(gateways[number % 2].send(Call::get(path)).await.status);
        }
        assert_eq!(codes, [vec![200; 20], vec![429; 15]].concat(), "{path}");
    }
    let keys: usize = cluster.nodes.iter().map(|node| buckets(node).len()).sum();
    assert_eq!(keys, 4);
}

#[tokio::test]
async fn a_client_beyond_its_limit_costs_the_store_nothing() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let gateway = on(&redis, &upstream)
        .route(&route("/", "{ by = \"client\", rate = \"5/h\" }"))
        .start()
        .await;

    statuses(&gateway, "/", TOKEN, 5).await;
    let before = (calls(&redis, "get"), calls(&redis, "pttl"));
    for token in [TOKEN, OTHER, "dbt_nobody", "a b"] {
        get(&gateway, "/", token).await.refused(429, "rate_limited");
    }

    assert_eq!((calls(&redis, "get"), calls(&redis, "pttl")), before);
    assert!(before.0 > 0, "the store was never asked at all");
}

#[tokio::test]
async fn who_is_not_let_in_uses_up_nothing_of_what_others_may_have() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let limits = "{ by = \"route\", rate = \"2/h\" }, { by = \"user\", rate = \"2/h\" }";
    let gateway = on(&redis, &upstream)
        .route(&format!(
            "{}\nrequire.all = [\"orders:read\"]",
            route("/orders", limits)
        ))
        .start()
        .await;
    log_in(&redis, "dbt_carol", &user("alice", &[]));

    for _ in 0..5 {
        get(&gateway, "/orders", "dbt_nobody")
            .await
            .refused(401, "token_invalid");
        get(&gateway, "/orders", "dbt_carol")
            .await
            .refused(403, "permission_denied");
        gateway
            .send(Call::get("/orders"))
            .await
            .refused(401, "token_missing");
    }

    assert_eq!(
        statuses(&gateway, "/orders", TOKEN, 3).await,
        [200, 200, 429]
    );
}

#[tokio::test]
async fn default_limits_count_all_their_routes_together_and_a_route_may_have_its_own() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let gateway = on(&redis, &upstream)
        .toml("[limits]\nrates = [{ by = \"user\", rate = \"3/h\" }, { by = \"client\", rate = \"100/h\" }]")
        .route("prefix = \"/a\"\nupstream = \"app\"")
        .route("prefix = \"/b\"\nupstream = \"app\"")
        .route("prefix = \"/open\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/maybe\"\nauth = \"optional\"\nupstream = \"app\"")
        .route(&route("/own", "{ by = \"user\", rate = \"1/h\" }"))
        .route(&route("/none", ""))
        .start()
        .await;

    assert_eq!(statuses(&gateway, "/a", TOKEN, 2).await, [200, 200]);
    assert_eq!(statuses(&gateway, "/b", TOKEN, 2).await, [200, 429]);
    assert_eq!(statuses(&gateway, "/own", TOKEN, 2).await, [200, 429]);
    assert_eq!(statuses(&gateway, "/none", TOKEN, 5).await, [200; 5]);
    assert_eq!(statuses(&gateway, "/open", TOKEN, 5).await, [200; 5]);
    assert_eq!(
        statuses(&gateway, "/maybe", "dbt_nobody", 5).await,
        [200; 5]
    );
    assert_eq!(statuses(&gateway, "/maybe", TOKEN, 1).await, [429]);
}

#[tokio::test]
async fn the_embedded_store_counts_shared_limits_in_its_process() {
    let upstream = upstream();
    let limit = "{ by = \"user\", rate = \"3/h\", scope = \"shared\", on_error = \"deny\" }";
    let gateway = gateway()
        .session(TOKEN, user("alice", &[]))
        .workers(2)
        .upstream("app", &upstream)
        .route(&route("/", limit))
        .start()
        .await;

    assert_eq!(
        statuses(&gateway, "/", TOKEN, 5).await,
        [200, 200, 200, 429, 429]
    );
}

#[tokio::test]
async fn answers_tell_the_state_where_that_is_wanted_and_429_always() {
    let redis = Redis::start().await;
    let plain = upstream();
    let proud = upstream_that(|_| {
        Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nRateLimit: \"mine\";r=1;t=2\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
    });
    let told = "{ by = \"user\", rate = \"2/m\", headers = true }, { by = \"client\", rate = \"60/h\", burst = 9, headers = true, scope = \"shared\", on_error = \"deny\" }";
    let gateway = on(&redis, &plain)
        .upstream("proud", &proud)
        .route(&route("/told", told))
        .route(&route("/untold", "{ by = \"user\", rate = \"1/h\" }"))
        .route(&route("/proud", told).replace("\"app\"", "\"proud\""))
        .start()
        .await;

    let reply = get(&gateway, "/told", TOKEN).await;
    assert_eq!(
        reply.header("ratelimit"),
        Some("\"client\";r=8;t=60, \"user\";r=1;t=30")
    );
    assert_eq!(
        reply.header("ratelimit-policy"),
        Some("\"client\";q=9;w=540, \"user\";q=2;w=60")
    );
    assert_eq!(reply.header("retry-after"), None);

    statuses(&gateway, "/told", TOKEN, 1).await;
    let reply = get(&gateway, "/told", TOKEN).await;
    reply.refused(429, "rate_limited");
    let state = reply.header("ratelimit").unwrap();
    assert!(state.starts_with("\"user\";r=0;t="), "{state}");
    assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=2;w=60"));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");

    let quiet = get(&gateway, "/untold", TOKEN).await;
    assert_eq!(
        (
            quiet.status,
            quiet.header("ratelimit"),
            quiet.header("ratelimit-policy")
        ),
        (200, None, None)
    );
    let refused = get(&gateway, "/untold", TOKEN).await;
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some("\"user\";q=1;w=3600")
    );

    let own = get(&gateway, "/proud", TOKEN).await;
    assert_eq!(
        own.headers.get_all("ratelimit").iter().collect::<Vec<_>>(),
        ["\"mine\";r=1;t=2"]
    );
    assert_eq!(own.header("ratelimit-policy"), None);
}

/// A call that comes from this address, through a proxy that is trusted.
fn from(address: &str, token: &str) -> Call {
    Call::get("/")
        .bearer(token)
        .header("x-forwarded-for", address)
}

fn guarded(redis: &Redis, upstream: &Upstream) -> Setup {
    on(redis, upstream)
        .toml(
            "[guard]\nunknown_tokens = \"20/h\"\n[forwarded]\ntrusted_proxies = [\"127.0.0.1/32\"]",
        )
        .route("prefix = \"/\"\nupstream = \"app\"")
}

#[tokio::test]
async fn guessing_tokens_costs_the_store_no_more_than_the_guard_allows() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let gateway = guarded(&redis, &upstream).start().await;
    assert_eq!(gateway.send(from("192.0.2.1", TOKEN)).await.status, 200);
    let before = calls(&redis, "get") + calls(&redis, "pttl");

    let mut codes = Vec::new();
    for number in 0..100 {
        let reply = gateway
            .send(from("192.0.2.1", &format!("dbt_guess{number}")))
            .await;
        codes.push(reply.status);
        if reply.status == 429 {
            reply.refused(429, "unknown_tokens");
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=180).contains(&wait), "{wait}");
        }
    }

    assert_eq!(codes, [vec![401; 20], vec![429; 80]].concat());
    let spent = calls(&redis, "get") + calls(&redis, "pttl") - before;
    assert_eq!(
        spent, 40,
        "one GET and one PTTL for each that was looked up"
    );
    gateway
        .send(from("192.0.2.1", "a b"))
        .await
        .refused(429, "unknown_tokens");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn good_tokens_go_on_beside_an_attacker_and_other_addresses_never_notice() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let gateway = guarded(&redis, &upstream).workers(2).start().await;
    assert_eq!(gateway.send(from("192.0.2.1", TOKEN)).await.status, 200);
    for number in 0..30 {
        gateway
            .send(from("192.0.2.1", &format!("dbt_guess{number}")))
            .await;
    }

    for _ in 0..5 {
        assert_eq!(gateway.send(from("192.0.2.1", TOKEN)).await.status, 200);
        for token in [TOKEN, PHONE, OTHER] {
            assert_eq!(gateway.send(from("192.0.2.2", token)).await.status, 200);
        }
        gateway
            .send(from("192.0.2.2", "dbt_nobody"))
            .await
            .refused(401, "token_invalid");
        gateway
            .send(from("192.0.2.1", OTHER))
            .await
            .refused(429, "unknown_tokens");
    }
    log_out(&redis, TOKEN);
    // Until the gateway has heard of it.
    let start = Instant::now();
    let reply = loop {
        let reply = gateway.send(from("192.0.2.1", TOKEN)).await;
        if reply.status != 200 || start.elapsed() > PATIENCE {
            break reply;
        }
    };
    reply.refused(401, "token_invalid");
    gateway
        .send(from("192.0.2.1", TOKEN))
        .await
        .refused(429, "unknown_tokens");
}

#[tokio::test]
async fn a_store_that_cannot_tell_is_no_strike_and_routes_that_do_not_look_are_not_guarded() {
    let (upstream, mut redis) = (upstream(), Redis::start().await);
    let gateway = guarded(&redis, &upstream)
        .route("prefix = \"/open\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/maybe\"\nauth = \"optional\"\nupstream = \"app\"")
        .start()
        .await;
    assert_eq!(gateway.send(from("192.0.2.1", TOKEN)).await.status, 200);

    redis.kill();
    for number in 0..30 {
        let reply = gateway
            .send(from("192.0.2.1", &format!("dbt_guess{number}")))
            .await;
        reply.refused(503, "session_store_unavailable");
    }
    redis.restart().await;
    log_in(&redis, OTHER, &user("bob", &[]));
    let start = Instant::now();
    while gateway.send(from("192.0.2.1", OTHER)).await.status != 200 {
        assert!(
            start.elapsed() < PATIENCE,
            "good tokens were counted as guesses"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let at = |path: &str| {
        Call::get(path)
            .header("x-forwarded-for", "192.0.2.1")
            .bearer("dbt_nobody")
    };
    for _ in 0..20 {
        assert_eq!(gateway.send(at("/maybe")).await.status, 200);
    }
    gateway
        .send(at("/maybe"))
        .await
        .refused(429, "unknown_tokens");
    assert_eq!(gateway.send(at("/open")).await.status, 200);
    let nobody = Call::get("/maybe").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(
        gateway.send(nobody).await.status,
        200,
        "no token is no guess"
    );
}

#[tokio::test]
async fn explain_tells_the_limits_and_takes_nothing() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    let limits = "{ by = \"client\", rate = \"9/s\" },
        { by = \"user\", name = \"slow\", rate = \"5/h\", burst = 2, scope = \"shared\", on_error = \"allow\" }";
    let gateway = on(&redis, &upstream)
        .route(&route("/", limits))
        .start()
        .await;
    let explain = |token: &str| {
        let config = gateway.config().display().to_string();
        let url = "http://a.test/";
        let output = Command::new(PROGRAM)
            .args(["explain", "--config", &config, "GET", url, "--token", token])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let told = explain(TOKEN);

    assert!(
        told.contains("limit     client by client: 9 in 1s, 9 at once, counted in each process"),
        "{told}"
    );
    assert!(
        told.contains(
            "limit     slow by user: 5 in 1h, 2 at once, shared, passes if it cannot be asked"
        ),
        "{told}"
    );
    assert_eq!(buckets(&redis).len(), 0);
    get(&gateway, "/", TOKEN).await;
    let keys = buckets(&redis);
    assert_eq!(keys.len(), 1);
    assert!(told.contains(&format!("key {}", keys[0])), "{told}");
    assert!(explain("dbt_nobody").contains("does not apply"));
}
