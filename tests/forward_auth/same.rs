//! The same request, sent to the gateway itself and asked about by every proxy: one verdict.

use crate::support::redis::Redis;
use crate::support::upstream;
use crate::table::{
    ALICE, Asked, PROXIES, TABLE, Verdict, asked_by_all, in_redis, inline, setup, through,
};

#[tokio::test]
async fn a_request_is_judged_alike_however_the_gateway_hears_of_it() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let mut statuses = std::collections::BTreeMap::new();

    for asked in TABLE {
        let expected = inline(&gateway, &upstream, *asked).await;
        *statuses.entry(expected.status).or_insert(0) += 1;
        let forwarded = upstream.seen().len();
        for proxy in PROXIES {
            let reply = through(&gateway, proxy, *asked).await;

            assert_eq!(Verdict::of(&reply), expected, "{proxy:?} {asked:?}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("set-cookie"), None);
            if reply.status == 200 {
                assert!(reply.body.is_empty(), "{proxy:?} {asked:?}");
            } else {
                assert_eq!(reply.header("x-user-id"), None);
            }
        }
        assert_eq!(upstream.seen().len(), forwarded, "a question was forwarded");
    }

    // The table would prove little if all of it came to one answer.
    for status in [200, 400, 401, 403, 404, 405] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
}

#[tokio::test]
async fn a_websocket_of_another_site_is_refused_though_a_proxy_takes_the_upgrade_off() {
    const COOKIE: (&str, &str) = (
        "cookie",
        "session=dbt_alice-0123456789abcdef0123456789abcdef",
    );
    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const EVIL: (&str, &str) = ("origin", "http://evil.test");
    const HANDSHAKE: Asked<'static> = (
        "GET /private",
        "a.test",
        &[
            COOKIE,
            KEY,
            EVIL,
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ],
    );
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let expected = inline(&gateway, &upstream, HANDSHAKE).await;
    assert_eq!(
        (expected.status, expected.code.as_str()),
        (403, "csrf_refused")
    );

    for proxy in PROXIES {
        for headers in [&[COOKIE, KEY, EVIL][..], HANDSHAKE.2] {
            let asked = ("GET /private", "a.test", headers);
            let reply = through(&gateway, proxy, asked).await;
            assert_eq!(Verdict::of(&reply), expected, "{proxy:?} {headers:?}");
        }
        // The site's own page may, and nothing is switched here.
        let own = [
            COOKIE,
            KEY,
            ("origin", "http://a.test"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ];
        let reply = through(&gateway, proxy, ("GET /private", "a.test", &own)).await;
        assert_eq!(reply.status, 200, "{proxy:?}");
        assert_eq!(reply.header("upgrade"), None);
    }
}

#[tokio::test]
async fn a_limit_counts_what_is_asked_about_and_what_is_sent_in_one_bucket() {
    let upstream = upstream();
    let gateway = asked_by_all()
        .upstream("app", &upstream)
        .route(
            "prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"\n\
             limits = [{ by = \"client\", rate = \"8/h\", headers = true }]",
        )
        .start()
        .await;
    const ASKED: Asked<'static> = ("GET /x", "a.test", &[("x-forwarded-for", "127.0.0.1")]);

    // Seven proxies ask, one client sends: eight, and the next one is too many for all of them.
    for proxy in PROXIES {
        let reply = through(&gateway, proxy, ASKED).await;
        assert_eq!(reply.status, 200, "{proxy:?}");
        assert!(reply.header("ratelimit").is_some());
    }
    assert_eq!(inline(&gateway, &upstream, ASKED).await.status, 200);

    for proxy in PROXIES {
        let reply = through(&gateway, proxy, ASKED).await;
        assert_eq!(reply.status, 429, "{proxy:?}");
        assert!(reply.header("retry-after").is_some());
    }
    let others: Asked<'_> = ("GET /x", "a.test", &[("x-forwarded-for", "203.0.113.9")]);
    for proxy in PROXIES {
        let reply = through(&gateway, proxy, others).await;
        assert_eq!(reply.status, 200, "another client's bucket: {proxy:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_503_and_never_401_or_200() {
    let upstream = upstream();
    let mut redis = Redis::start().await;
    crate::support::gateway::log_in(&redis, ALICE, &crate::support::user("alice", &[]));
    let gateway = in_redis(&redis, &upstream).start().await;
    const OF_ALICE: &[(&str, &str)] = &[(
        "authorization",
        "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
    )];
    const ASKED: Asked<'static> = ("GET /private", "a.test", OF_ALICE);
    for proxy in PROXIES {
        assert_eq!(through(&gateway, proxy, ASKED).await.status, 200);
    }

    redis.kill();

    for proxy in PROXIES {
        let reply = through(&gateway, proxy, ASKED).await;
        assert_eq!(reply.status, 503, "{proxy:?}");
        assert_eq!(Verdict::of(&reply).code, "session_store_unavailable");
        assert!(reply.header("retry-after").is_some());
        assert_eq!(reply.header("x-user-id"), None);
    }
}
