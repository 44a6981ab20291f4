//! An upstream says who has logged in, and the gateway does the rest; nobody else can say it.

mod support;

use std::collections::HashMap;

use http::StatusCode;
use support::{
    Answer, Call, Connection, Gateway, Redis, Reply, Seen, Setup, Upstream, gateway, upstream_that,
};

/// Answers with the headers that stand in the query: `/login?x-login-user=alice&status=302`.
fn speaks(seen: &Seen) -> Answer {
    let query = seen.target().split_once('?').map_or("", |(_, query)| query);
    let mut status = 200;
    let mut head = String::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "status" => status = value.parse().unwrap(),
            _ => head += &format!("{name}: {}\r\n", value.replace('+', " ")),
        }
    }
    let body = format!("welcome; cookies: {:?}", seen.all("cookie"));
    let reason = StatusCode::from_u16(status).unwrap();
    let length = body.len();
    let text = format!("HTTP/1.1 {reason}\r\n{head}content-length: {length}\r\n\r\n{body}");
    Answer::Bytes(text.into_bytes())
}

/// Doors of an application whose own part in logins are two headers.
fn doors(setup: Setup, upstream: &Upstream, more: &str) -> Setup {
    setup
        .toml("[tokens]\nsources = [\"cookie:__Host-session\", \"bearer\"]\nat_rest = \"sha256\"")
        .toml(more)
        .upstream("app", upstream)
        .route("exact = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"")
        .route("exact = \"/logout\"\nlogout = true\nupstream = \"app\"")
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/api\"\nauth = \"optional\"\ntokens = [\"bearer\"]\nupstream = \"app\"")
}

const SESSIONS: &str = "[sessions]";

/// A fresh gateway on the embedded store and one on Redis.
async fn on_both(upstream: &Upstream, more: &str) -> Vec<(Gateway, Option<Redis>)> {
    let redis = Redis::start().await;
    let embedded = doors(gateway(), upstream, more).start().await;
    let shared = doors(gateway().redis(&redis), upstream, more).start().await;
    vec![(embedded, None), (shared, Some(redis))]
}

fn post(target: &str) -> Call {
    Call::new("POST", target).header("origin", "http://a.test")
}

/// The cookies that an answer sets: name, value, everything after.
fn set(reply: &Reply) -> HashMap<String, (String, String)> {
    let lines = reply.headers.get_all("set-cookie").iter();
    lines
        .map(|line| {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').unwrap();
            (
                name.to_owned(),
                (value.to_owned(), attributes.trim().to_owned()),
            )
        })
        .collect()
}

/// Logs in; the token.
async fn log_in(gateway: &Gateway, user: &str) -> String {
    let reply = gateway
        .send(post(&format!("/login?x-login-user={user}")))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    set(&reply)["__Host-session"].0.clone()
}

fn with(token: &str, method: &str, target: &str) -> Call {
    Call::new(method, target)
        .header("origin", "http://a.test")
        .header("cookie", &format!("__Host-session={token}"))
}

/// The answer has nothing of the upstream's, and sets nothing.
fn shows_nothing(reply: &Reply) {
    assert!(
        !String::from_utf8_lossy(&reply.body).contains("welcome"),
        "{reply:?}"
    );
    assert_eq!(reply.headers.get("set-cookie"), None, "{reply:?}");
}

#[tokio::test]
async fn an_announced_login_is_a_cookie_that_gets_in() {
    let upstream = upstream_that(speaks);
    for (gateway, redis) in on_both(&upstream, SESSIONS).await {
        let target = "/login?x-login-user=M%C3%BCller&x-login-permissions=orders:read,files:*&\
                      x-login-roles=clerk&x-login-device-type=phone&set-cookie=lang=de&x-other=stays";
        let reply = gateway.send(post(target)).await;

        assert_eq!(reply.status, 200);
        assert!(
            reply.body.starts_with(b"welcome"),
            "the upstream's own page"
        );
        assert_eq!(reply.header("x-other"), Some("stays"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let names = reply.headers.keys().map(|name| name.as_str());
        assert!(names.into_iter().all(|name| !name.starts_with("x-login")));
        let cookies = set(&reply);
        assert_eq!(cookies["lang"].0, "de");
        let (token, attributes) = &cookies["__Host-session"];
        assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/");
        assert!(token.starts_with("dbt_"));
        assert_eq!(
            gateway.send(with(token, "GET", "/private")).await.status,
            200
        );
        let seen = upstream.last();
        assert_eq!(seen.header("x-user-id"), Some("M%C3%BCller"));
        assert_eq!(
            seen.header("x-user-permissions"),
            Some("orders:read,files:*")
        );
        assert_eq!(seen.header("x-user-roles"), Some("clerk"));
        assert_eq!(seen.header("x-device-type"), Some("phone"));
        assert!(!gateway.logs().contains(token.as_str()));
        if let Some(redis) = redis {
            assert!(
                !redis.dump().contains(token.as_str()),
                "only digests are kept"
            );
        }
    }
}

#[tokio::test]
async fn a_redirect_after_a_login_counts_and_a_failure_with_the_header_does_not() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SESSIONS).await {
        for (status, logs_in) in [
            (200, true),
            (204, true),
            (302, true),
            (400, false),
            (401, false),
            (500, false),
        ] {
            let target = format!("/login?status={status}&x-login-user=alice&location=/home");
            let reply = gateway.send(post(&target)).await;

            assert_eq!(reply.status, status);
            assert_eq!(
                set(&reply).contains_key("__Host-session"),
                logs_in,
                "{status}"
            );
            assert_eq!(reply.header("x-login-user"), None, "{status}");
        }
        let nobody = gateway.send(post("/login?x-login-roles=boss")).await;
        assert_eq!(nobody.status, 200);
        assert!(set(&nobody).is_empty());
    }
}

#[tokio::test]
async fn with_tokens_as_the_answer_the_body_is_theirs() {
    let upstream = upstream_that(speaks);
    let settings = "[sessions]\n[login]\nanswer = \"tokens\"\nrefresh = true\n[self_service]\nprefix = \"/.d\"";
    for (gateway, _) in on_both(&upstream, settings).await {
        let target =
            "/login?x-login-user=alice&content-encoding=br&etag=x&location=/home&status=302";
        let reply = gateway.send(Call::new("POST", target)).await;

        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        for field in ["content-encoding", "etag", "location", "set-cookie"] {
            assert_eq!(reply.header(field), None, "{field}");
        }
        let tokens = reply.json();
        assert_eq!(tokens["token_type"], "Bearer");
        let lasts = tokens["expires_in"].as_u64().unwrap();
        assert!((800..=900).contains(&lasts), "{lasts}");
        assert!(
            tokens["refresh_token"]
                .as_str()
                .unwrap()
                .starts_with("dbr_")
        );
        let token = tokens["access_token"].as_str().unwrap();
        let reply = gateway.send(Call::get("/private").bearer(token)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
    }
}

#[tokio::test]
async fn a_login_that_comes_to_nothing_does_not_look_like_one() {
    let upstream = upstream_that(speaks);
    let settings = "[sessions]\nmax_per_user = 1\non_limit = \"refuse\"";
    for (gateway, redis) in on_both(&upstream, settings).await {
        log_in(&gateway, "alice").await;
        let second = gateway.send(post("/login?x-login-user=alice")).await;
        second.refused(403, "too_many_sessions");
        shows_nothing(&second);
        for target in [
            "/login?x-login-user=",
            "/login?x-login-user=a&x-login-user=b",
            "/login?x-login-user=50%25off%",
            "/login?x-login-user=a&x-login-lifetime=soon",
            &format!("/login?x-login-user={}", "a".repeat(300)),
        ] {
            let reply = gateway.send(post(target)).await;
            reply.refused(502, "login_unusable");
            shows_nothing(&reply);
        }
        if let Some(mut redis) = redis {
            redis.kill();
            let reply = gateway.send(post("/login?x-login-user=bob")).await;
            reply.refused(503, "session_store_unavailable");
            assert!(reply.header("retry-after").is_some());
            shows_nothing(&reply);
        }
    }
}

#[tokio::test]
async fn only_marked_routes_announce_and_clients_never_do() {
    let upstream = upstream_that(speaks);
    let spellings = [
        "x-login-user",
        "X_Login_User",
        "x.login.user",
        "XLoginUser",
        "x-login--user",
        "x_logout",
        "X-Login-Oidc-Sid",
    ];
    for (gateway, _) in on_both(&upstream, SESSIONS).await {
        let token = log_in(&gateway, "alice").await;
        for spelling in spellings {
            for path in ["/public", "/private", "/public/logout", "/api"] {
                let reply = gateway
                    .send(with(&token, "GET", &format!("{path}?{spelling}=eve")))
                    .await;
                assert_eq!(reply.status, 200, "{path}");
                assert!(set(&reply).is_empty(), "{path} {spelling}");
                assert_eq!(
                    reply.headers.get(spelling.to_lowercase()),
                    None,
                    "{path} {spelling}"
                );
            }
            for path in ["/login", "/public", "/private", "/api"] {
                let call = with(&token, "POST", path).header(spelling, "forged-by-the-client");
                let reply = gateway.send(call).await;
                assert_eq!(reply.status, 200, "{path}");
                assert!(
                    !upstream.last().head.contains("forged"),
                    "{path} {spelling}"
                );
                assert!(set(&reply).is_empty(), "{path} {spelling}");
            }
        }
        // Another spelling from the right upstream is no announcement either.
        let reply = gateway.send(post("/login?x_login_user=eve")).await;
        assert!(set(&reply).is_empty());
        assert_eq!(reply.headers.get("x_login_user"), None);
    }
}

#[tokio::test]
async fn an_announced_logout_ends_the_session_and_takes_the_cookie() {
    let upstream = upstream_that(speaks);
    for (gateway, redis) in on_both(&upstream, SESSIONS).await {
        let token = log_in(&gateway, "alice").await;
        let failed = gateway
            .send(with(&token, "POST", "/logout?status=500"))
            .await;
        assert_eq!(failed.status, 500);
        assert_eq!(
            gateway.send(with(&token, "GET", "/private")).await.status,
            200
        );

        let reply = gateway.send(with(&token, "POST", "/logout")).await;

        assert_eq!(reply.status, 200);
        let (value, attributes) = &set(&reply)["__Host-session"];
        assert_eq!(
            (value.as_str(), attributes.as_str()),
            ("", "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0")
        );
        assert_eq!(
            gateway.send(with(&token, "GET", "/private")).await.status,
            401
        );
        if let Some(mut redis) = redis {
            let token = log_in(&gateway, "alice").await;
            redis.kill();
            let reply = gateway.send(with(&token, "POST", "/logout")).await;
            reply.refused(503, "session_store_unavailable");
            shows_nothing(&reply);
        }
    }
}

#[tokio::test]
async fn with_a_header_as_the_sign_the_header_decides() {
    let upstream = upstream_that(speaks);
    let settings = "[sessions]\n[login]\nlogout = \"header\"";
    for (gateway, _) in on_both(&upstream, settings).await {
        let token = log_in(&gateway, "alice").await;
        let asks = gateway.send(with(&token, "POST", "/logout")).await;
        assert!(set(&asks).is_empty());
        assert_eq!(
            gateway.send(with(&token, "GET", "/private")).await.status,
            200
        );

        let leaves = gateway
            .send(with(&token, "POST", "/logout?x-logout=1"))
            .await;

        assert_eq!(leaves.header("x-logout"), None);
        assert_eq!(set(&leaves)["__Host-session"].0, "");
        assert_eq!(
            gateway.send(with(&token, "GET", "/private")).await.status,
            401
        );
    }
}

#[tokio::test]
async fn a_new_login_of_a_browser_ends_its_old_session() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SESSIONS).await {
        let other = log_in(&gateway, "alice").await;
        let old = log_in(&gateway, "alice").await;
        let reply = gateway
            .send(with(&old, "POST", "/login?x-login-user=bob"))
            .await;
        let new = set(&reply)["__Host-session"].0.clone();

        assert_ne!(old, new);
        assert_eq!(
            gateway.send(with(&new, "GET", "/private")).await.status,
            200
        );
        assert_eq!(
            gateway.send(with(&old, "GET", "/private")).await.status,
            401
        );
        assert_eq!(
            gateway.send(with(&other, "GET", "/private")).await.status,
            200
        );
    }
}

#[tokio::test]
async fn pages_of_other_sites_log_nobody_in_or_out() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SESSIONS).await {
        let token = log_in(&gateway, "alice").await;
        let before = upstream.seen().len();
        for target in ["/login?x-login-user=eve", "/logout"] {
            for (name, value) in [
                ("origin", "https://evil.test"),
                ("sec-fetch-site", "cross-site"),
            ] {
                let call = Call::new("POST", target)
                    .header(name, value)
                    .header("cookie", &format!("__Host-session={token}"));
                let reply = gateway.send(call).await;
                reply.refused(403, "csrf_refused");
            }
        }
        let unnamed = gateway
            .send(Call::new("POST", "/login?x-login-user=eve"))
            .await;
        unnamed.refused(403, "csrf_refused");
        assert_eq!(
            upstream.seen().len(),
            before,
            "the upstream has heard nothing of it"
        );
        assert_eq!(
            gateway.send(with(&token, "GET", "/private")).await.status,
            200
        );
    }
}

#[tokio::test]
async fn our_cookies_go_to_no_upstream_even_where_tokens_are_sought_elsewhere() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SESSIONS).await {
        let token = log_in(&gateway, "alice").await;
        for path in ["/api", "/public", "/private", "/login"] {
            let call = Call::new("POST", path).header("origin", "http://a.test").header(
                "cookie",
                &format!("a=1; __Host-session={token}; __Secure-refresh=dbr_x; __Host-sso-state=s; b=2"),
            );
            assert_eq!(gateway.send(call).await.status, 200, "{path}");
            assert_eq!(upstream.last().header("cookie"), Some("a=1; b=2"), "{path}");
        }
    }
}

#[tokio::test]
async fn the_lifetime_that_is_announced_is_that_of_session_and_cookie() {
    let upstream = upstream_that(speaks);
    let settings = "[sessions]\nlifetime = \"2h\"\n[login.cookie]\npersistent = true";
    for (gateway, _) in on_both(&upstream, settings).await {
        for (wish, least, most) in [("600", 590, 600), ("999999", 7190, 7200), ("2", 0, 2)] {
            let target = format!("/login?x-login-user=alice&x-login-lifetime={wish}");
            let reply = gateway.send(post(&target)).await;
            let (token, attributes) = set(&reply)["__Host-session"].clone();
            let age = attributes
                .rsplit_once("Max-Age=")
                .unwrap()
                .1
                .parse::<u64>()
                .unwrap();
            assert!((least..=most).contains(&age), "{wish}: {age}");
            if wish == "2" {
                let over = async {
                    while gateway.send(with(&token, "GET", "/private")).await.status != 401 {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                };
                support::soon("the end of the session", over).await;
            }
        }
    }
}

#[tokio::test]
async fn the_same_holds_over_tls_and_http2() {
    let upstream = upstream_that(speaks);
    let gateway = doors(gateway().tls(&["a.test"]), &upstream, SESSIONS)
        .start()
        .await;
    let mut connection = Connection::h2(&gateway, "a.test").await;

    let call = Call::new("POST", "/login?x-login-user=alice").header("origin", "https://a.test");
    let reply = connection.send(call).await;
    let token = set(&reply)["__Host-session"].0.clone();
    let call = Call::get("/private").header("cookie", &format!("__Host-session={token}"));
    assert_eq!(connection.send(call).await.status, 200);

    let forged = Call::new("POST", "/login?x-login-user=alice").header("origin", "http://a.test");
    connection.send(forged).await.refused(403, "csrf_refused");
}
