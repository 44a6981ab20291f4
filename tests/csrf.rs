//! A page of another site can make a browser send requests, but not requests that are paid for with a cookie.

mod support;

use support::{Call, Connection, Gateway, Raw, Setup, Upstream, gateway, upstream, user};

const TOKEN: &str = "dbt_alice-0123456789abcdef0123456789abcdef";

fn doors(upstream: &Upstream, more: &str) -> Setup {
    gateway()
        .session(TOKEN, user("alice", &[]))
        .plain()
        .tls(&["a.test"])
        .toml("[tokens]\nsources = [\"bearer\", \"cookie:session\", \"header:X-Token\"]")
        .toml(more)
        .upstream("app", upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/live\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
}

fn cookie(method: &str, path: &str) -> Call {
    Call::new(method, path).header("cookie", &format!("theme=dark; session={TOKEN}"))
}

/// Status of a call with these further headers; over TLS, so the gateway's own origin is `https://a.test`.
async fn secure(gateway: &Gateway, call: Call, headers: &[(&str, &str)]) -> (u16, String) {
    let call = headers
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value));
    let reply = Connection::tls(gateway, "a.test").await.send(call).await;
    if reply.status == 403 {
        reply.refused(403, "csrf_refused");
        assert_eq!(
            reply.header("www-authenticate"),
            None,
            "another token would not help"
        );
        return (403, String::new());
    }
    let user = reply.json()["user"].as_str().unwrap_or_default().to_owned();
    (reply.status, user)
}

const SITE: &str = "sec-fetch-site";

#[tokio::test]
async fn only_own_pages_spend_a_cookie() {
    let upstream = upstream();
    let gateway = doors(&upstream, "").start().await;
    let cases: [(&[(&str, &str)], u16); 14] = [
        (&[(SITE, "same-origin")], 200),
        (&[(SITE, "none")], 200),
        (&[("origin", "https://a.test")], 200),
        (&[(SITE, "same-origin"), ("origin", "https://a.test")], 200),
        (&[(SITE, "cross-site")], 403),
        (&[(SITE, "same-site"), ("origin", "https://b.a.test")], 403),
        (&[(SITE, "cross-site"), ("origin", "https://a.test")], 403),
        (&[("origin", "https://evil.test")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "http://a.test")], 403),
        (&[("origin", "https://a.test:8443")], 403),
        (&[("origin", "https://a.test.evil.test")], 403),
        (&[("referer", "https://a.test/form")], 403),
        (&[], 403),
    ];

    for (headers, expected) in cases {
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            for path in ["/private", "/optional"] {
                let before = upstream.seen().len();
                let (status, user) = secure(&gateway, cookie(method, path), headers).await;

                assert_eq!(status, expected, "{method} {path} {headers:?}");
                let arrived = upstream.seen().len() - before;
                assert_eq!(arrived, usize::from(expected == 200), "{headers:?}");
                if expected == 200 {
                    assert_eq!(user, "alice");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_changes_nothing_and_what_no_browser_adds_is_exempt() {
    let upstream = upstream();
    let gateway = doors(&upstream, "").start().await;
    let evil = &[(SITE, "cross-site"), ("origin", "https://evil.test")][..];

    for method in ["GET", "HEAD", "OPTIONS"] {
        let call = cookie(method, "/private");
        let call = evil
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        let reply = Connection::tls(&gateway, "a.test").await.send(call).await;
        assert_eq!(reply.status, 200, "{method}");
    }
    for call in [
        Call::new("POST", "/private").bearer(TOKEN),
        Call::new("POST", "/private").header("x-token", TOKEN),
        // A page of another site cannot add it, so the cookie next to it is not what pays.
        cookie("POST", "/private").bearer(TOKEN),
    ] {
        assert_eq!(
            secure(&gateway, call, evil).await,
            (200, "alice".to_owned())
        );
    }
    // A public route asks nobody who they are, and the upstream never sees the cookie.
    assert_eq!(
        secure(&gateway, cookie("POST", "/public"), evil).await,
        (200, String::new())
    );
    assert!(!upstream.last().head.contains(TOKEN));
}

#[tokio::test]
async fn a_websocket_handshake_with_a_cookie_must_come_from_an_own_page() {
    let upstream = upstream();
    let gateway = doors(&upstream, "").start().await;
    let shake = async |headers: &str, path: &str| {
        let mut raw = Raw::tls(&gateway, "a.test").await;
        raw.write(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        ))
        .await;
        raw.reply().await.expect("an answer").status
    };
    let with = format!("Cookie: session={TOKEN}\r\n");

    for (headers, expected) in [
        (format!("{with}Origin: https://a.test\r\n"), 200),
        (format!("{with}Origin: https://evil.test\r\n"), 403),
        (format!("{with}Origin: null\r\n"), 403),
        (with.clone(), 403),
        (
            format!("Authorization: Bearer {TOKEN}\r\nOrigin: https://evil.test\r\n"),
            200,
        ),
    ] {
        assert_eq!(shake(&headers, "/live").await, expected, "{headers}");
    }
    // Where the route lets nobody switch it is a GET like any other.
    let evil = format!("{with}Origin: https://evil.test\r\n");
    assert_eq!(shake(&evil, "/private").await, 200);
}

#[tokio::test]
async fn settings_open_what_they_say() {
    let upstream = upstream();
    let listed = "[csrf]\nallowed_origins = [\"https://app.test\"]\nallow_same_site = true\nallow_missing_origin = true";
    let open = doors(&upstream, listed).start().await;
    let off = doors(&upstream, "[csrf]\nenabled = false").start().await;
    let post = || cookie("POST", "/private");

    for (headers, expected) in [
        (
            &[("origin", "https://app.test"), (SITE, "cross-site")][..],
            200,
        ),
        (&[("origin", "https://app.test")], 200),
        (&[(SITE, "same-site")], 200),
        (&[], 200),
        (&[("origin", "https://evil.test")], 403),
        (&[(SITE, "cross-site")], 403),
        (
            &[
                ("origin", "https://app.test"),
                ("origin", "https://app.test"),
            ],
            403,
        ),
    ] {
        assert_eq!(
            secure(&open, post(), headers).await.0,
            expected,
            "{headers:?}"
        );
    }
    let evil = &[("origin", "https://evil.test"), (SITE, "cross-site")];
    assert_eq!(secure(&off, post(), evil).await.0, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_origin_is_the_one_that_the_browser_sees() {
    let upstream = upstream();
    let trusting = doors(&upstream, "[forwarded]\ntrusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let alone = doors(&upstream, "").start().await;
    let call = || {
        cookie("POST", "/private")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "www.test")
    };

    let fine = trusting
        .send(call().header("origin", "https://www.test"))
        .await;
    assert_eq!(fine.status, 200);
    let other = trusting
        .send(call().header("origin", "http://a.test"))
        .await;
    other.refused(403, "csrf_refused");
    // A client's own word for where it was sent to is not believed.
    let forged = alone
        .send(call().header("origin", "https://www.test"))
        .await;
    forged.refused(403, "csrf_refused");
    assert_eq!(
        alone
            .send(call().header("origin", "http://a.test"))
            .await
            .status,
        200
    );
}
