//! One login for several domains: a browser goes home and comes back with a session, and nobody else does.

mod support;

use std::collections::HashMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;
use support::admin::json as call;
use support::{
    Answer, Call, Connection, Gateway, Redis, Reply, Seen, Setup, Upstream, gateway, upstream_that,
};

/// `/login?user=alice` logs alice in; everything else says who it is for.
fn speaks(seen: &Seen) -> Answer {
    let user = seen.header("x-user-id").unwrap_or_default();
    let announced = match seen.target().split_once("/login?user=") {
        Some((_, name)) => format!("x-login-user: {name}\r\nx-login-permissions: news:read\r\n"),
        None => String::new(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\n{announced}content-length: {}\r\n\r\n{user}",
        user.len()
    );
    Answer::Bytes(head.into_bytes())
}

const HOSTS: [&str; 4] = ["home.test", "shop.test", "news.test", "other.test"];
const SSO: &str = "[sso]\nhome = \"https://home.test\"\norigins = [\"https://shop.test\", \"https://news.test\"]\n";

fn doors(setup: Setup, upstream: &Upstream, more: &str) -> Setup {
    setup
        .tls(&HOSTS)
        .admin()
        .toml("[tokens]\nsources = [\"cookie:__Host-session\"]\nat_rest = \"sha256\"")
        .toml("[self_service]\nprefix = \"/.d\"\nlimits = []")
        .toml(more)
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"")
        .route("prefix = \"/news\"\nupstream = \"app\"\n[routes.require]\nall = [\"news:read\"]")
}

async fn on_both(upstream: &Upstream, more: &str) -> Vec<(Gateway, Option<Redis>)> {
    let redis = Redis::start().await;
    let embedded = doors(gateway(), upstream, more).start().await;
    let shared = doors(gateway().redis(&redis), upstream, more).start().await;
    vec![(embedded, None), (shared, Some(redis))]
}

fn encoded(url: &str) -> String {
    utf8_percent_encode(url, NON_ALPHANUMERIC).to_string()
}

/// Keeps cookies for each host, and follows nothing by itself.
#[derive(Default)]
struct Browser {
    jar: HashMap<String, HashMap<String, String>>,
}

impl Browser {
    async fn visit(&mut self, gateway: &Gateway, url: &str) -> Reply {
        self.send(gateway, "GET", url).await
    }

    async fn send(&mut self, gateway: &Gateway, method: &str, url: &str) -> Reply {
        let rest = url.strip_prefix("https://").expect("only ever to https");
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let jar = self.jar.entry(host.to_owned()).or_default();
        let cookies: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut call = Call::new(method, path)
            .host(host)
            .header("sec-fetch-site", "none");
        if !cookies.is_empty() {
            call = call.header("cookie", &cookies.join("; "));
        }
        let reply = Connection::tls(gateway, host).await.send(call).await;
        for line in reply.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            assert!(
                line.contains("Secure") && line.contains("HttpOnly"),
                "{line}"
            );
            assert!(!line.contains("Domain"), "for this host only: {line}");
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => jar.remove(name),
                _ => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        reply
    }

    async fn log_in(&mut self, gateway: &Gateway, user: &str) {
        let reply = self
            .send(
                gateway,
                "POST",
                &format!("https://home.test/login?user={user}"),
            )
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Follows redirects to the end: the answer there, and everywhere it was sent.
    async fn follow(&mut self, gateway: &Gateway, url: &str) -> (Reply, Vec<String>) {
        let mut hops = vec![url.to_owned()];
        loop {
            let reply = self.visit(gateway, hops.last().unwrap()).await;
            if reply.status != 302 {
                return (reply, hops);
            }
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
            hops.push(reply.header("location").unwrap().to_owned());
            assert!(hops.len() < 10, "round and round: {hops:?}");
        }
    }

    fn token(&self, host: &str) -> &str {
        &self.jar[host]["__Host-session"]
    }
}

fn says(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn sso(host: &str, back: &str) -> String {
    format!("https://{host}/.d/sso?return={}", encoded(back))
}

#[tokio::test]
async fn a_browser_that_is_logged_in_at_home_is_logged_in_elsewhere_after_one_round() {
    let upstream = upstream_that(speaks);
    for (gateway, redis) in on_both(&upstream, SSO).await {
        let mut browser = Browser::default();
        browser.log_in(&gateway, "alice").await;
        assert_eq!(
            browser
                .visit(&gateway, "https://shop.test/cart")
                .await
                .status,
            401
        );

        for (start, host) in [("shop.test", "shop.test"), ("home.test", "news.test")] {
            let back = format!("https://{host}/cart?a=b%20c&d=e");
            let (reply, hops) = browser.follow(&gateway, &sso(start, &back)).await;

            assert_eq!(
                (reply.status, says(&reply).as_str()),
                (200, "alice"),
                "{hops:?}"
            );
            assert_eq!(hops.last(), Some(&back), "byte for byte");
            let ticket = hops
                .iter()
                .find_map(|hop| hop.split_once("ticket="))
                .expect("a ticket")
                .1;
            let ticket = ticket.split('&').next().unwrap();
            for secret in [ticket, browser.token(host), browser.token("home.test")] {
                assert!(!gateway.logs().contains(secret), "logged");
                if let Some(redis) = &redis {
                    assert!(!redis.dump().contains(secret), "kept");
                }
            }
            assert_ne!(browser.token(host), browser.token("home.test"));
        }
        let home = browser
            .follow(&gateway, &sso("home.test", "https://home.test/x"))
            .await;
        assert_eq!(
            (home.0.status, home.1.len()),
            (200, 2),
            "no ticket for home itself"
        );
    }
}

#[tokio::test]
async fn it_is_one_session_so_ending_it_anywhere_ends_it_everywhere() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SSO).await {
        for (method, url) in [
            ("POST", "https://shop.test/.d/logout"),
            ("POST", "https://home.test/.d/logout"),
            ("admin", ""),
        ] {
            let mut browser = Browser::default();
            browser.log_in(&gateway, "alice").await;
            browser
                .follow(&gateway, &sso("shop.test", "https://shop.test/"))
                .await;
            let list = browser
                .visit(&gateway, "https://shop.test/.d/sessions")
                .await
                .json();
            let list = list["sessions"].as_array().unwrap();
            assert_eq!(list.len(), 1, "one session, however many domains: {list:?}");
            assert_eq!(list[0]["current"], true);
            let copy = Browser {
                jar: browser.jar.clone(),
            };

            if method == "admin" {
                let body = json!({"which": "all"});
                let reply = gateway
                    .administer("root", call("POST", "/v1/users/alice/kick", &body))
                    .await;
                assert!(reply.status < 300, "{reply:?}");
            } else {
                assert_eq!(browser.send(&gateway, method, url).await.status, 204);
            }

            let mut copy = copy;
            for host in ["home.test", "shop.test"] {
                let reply = copy.visit(&gateway, &format!("https://{host}/")).await;
                assert_eq!(reply.status, 401, "{url} {host}");
            }
        }
    }
}

#[tokio::test]
async fn rights_that_are_taken_away_are_gone_on_every_domain() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SSO).await {
        let mut browser = Browser::default();
        browser.log_in(&gateway, "alice").await;
        let grant = json!({"grant": ["extra:x"]});
        gateway
            .administer("root", call("PATCH", "/v1/users/alice/rights", &grant))
            .await;
        browser
            .follow(&gateway, &sso("shop.test", "https://shop.test/"))
            .await;
        assert_eq!(
            browser
                .visit(&gateway, "https://shop.test/news")
                .await
                .status,
            200
        );
        let seen = upstream.last();
        assert!(
            seen.header("x-user-permissions")
                .unwrap()
                .contains("extra:x")
        );

        let edit = json!({"revoke": ["extra:x"], "deny": ["news:read"]});
        let reply = gateway
            .administer("root", call("PATCH", "/v1/users/alice/rights", &edit))
            .await;
        assert!(reply.status < 300, "{reply:?}");

        for host in ["home.test", "shop.test"] {
            assert_eq!(
                browser
                    .visit(&gateway, &format!("https://{host}/news"))
                    .await
                    .status,
                403,
                "{host}"
            );
            browser.visit(&gateway, &format!("https://{host}/")).await;
            let seen = upstream.last();
            assert!(
                !seen
                    .header("x-user-permissions")
                    .unwrap()
                    .contains("extra:x"),
                "{host}: nothing was frozen into the ticket"
            );
        }
    }
}

#[tokio::test]
async fn a_browser_without_a_session_logs_in_at_home_and_comes_back() {
    let upstream = upstream_that(speaks);
    let settings = format!("{SSO}login = \"/login\"");
    for (gateway, _) in on_both(&upstream, &settings).await {
        let mut browser = Browser::default();
        let (_, hops) = browser
            .follow(&gateway, &sso("shop.test", "https://shop.test/cart"))
            .await;
        let page = hops.last().unwrap();
        let back = page
            .strip_prefix("https://home.test/login?return=")
            .expect("the login page");
        let back = percent_decode_str(back).decode_utf8().unwrap().into_owned();
        assert!(back.starts_with("https://home.test/.d/sso?"), "{back}");
        assert!(back.contains("&state="), "one round is enough: {back}");

        browser.log_in(&gateway, "bob").await;
        let (reply, hops) = browser.follow(&gateway, &back).await;
        assert_eq!(
            (reply.status, says(&reply).as_str()),
            (200, "bob"),
            "{hops:?}"
        );
        assert_eq!(hops.last().unwrap(), "https://shop.test/cart");
    }
    for (gateway, _) in on_both(&upstream, SSO).await {
        let (reply, _) = Browser::default()
            .follow(&gateway, &sso("shop.test", "https://shop.test/"))
            .await;
        reply.refused(401, "token_missing");
    }
}

#[tokio::test]
async fn nobody_is_sent_anywhere_else() {
    let upstream = upstream_that(speaks);
    let gateway = doors(gateway(), &upstream, SSO).start().await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, "alice").await;
    for address in [
        "https://evil.test/",
        "https://other.test/",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/cart",
        "https:evil.test",
        "https:/evil.test",
        "https:\\\\evil.test",
        "http://shop.test/",
        "https://shop.test.evil.test/",
        "https://shop.test@evil.test/",
        "https://shop.test:443@evil.test/",
        "https://user@shop.test/",
        "https://shop.test:8443/",
        "https://shop.test\\@evil.test/",
        "https://shop.test\\.evil.test/",
        "https://shop.test#@evil.test/",
        "https://shop.test?@evil.test/",
        "https://shop.test/\r\nSet-Cookie: a=b",
        "https://shop.test/\n",
        "https://shop.test/\0",
        "https://shop.test/\t",
        "https://sh\u{f6}p.test/",
        "https://shop.test\u{2044}evil/",
        "https://shop\u{3002}test/",
        "https://\u{ff53}hop.test/",
        "https://SHOP.test/",
        "HTTPS://shop.test/",
        " https://shop.test/",
        "https://shop.test/ x",
        "https://shop.test/\u{202e}",
        "javascript:alert(1)",
        "data:text/html,x",
        "",
    ] {
        for host in ["home.test", "shop.test"] {
            for extra in ["", "&state=AAAAAAAAAAAAAAAAAAAAAA"] {
                let reply = browser
                    .visit(&gateway, &format!("{}{extra}", sso(host, address)))
                    .await;
                reply.refused(400, "return_refused");
                assert_eq!(reply.headers.get("location"), None, "{address:?}");
            }
        }
        let accept = format!(
            "https://shop.test/.d/sso/accept?ticket=dbo_x&return={}",
            encoded(address)
        );
        browser
            .visit(&gateway, &accept)
            .await
            .refused(400, "return_refused");
    }
    for (url, status, code) in [
        // A page of another party: its state cookie would be of no use here.
        (
            sso("shop.test", "https://news.test/"),
            400,
            "return_refused",
        ),
        (
            sso("other.test", "https://shop.test/"),
            404,
            "route_not_found",
        ),
        ("https://home.test/.d/sso".to_owned(), 400, "return_refused"),
        (
            format!("{}&return=x", sso("home.test", "https://shop.test/")),
            400,
            "bad_request",
        ),
        (
            format!("{}&state=<script>", sso("home.test", "https://shop.test/"))
                .replace('<', "%3C")
                .replace('>', "%3E"),
            400,
            "bad_request",
        ),
    ] {
        browser.visit(&gateway, &url).await.refused(status, code);
    }
}

/// The browser's way up to the ticket: the address that would redeem it.
async fn ticket(browser: &mut Browser, gateway: &Gateway) -> String {
    let mut url = sso("shop.test", "https://shop.test/");
    while !url.contains("/accept?") {
        let reply = browser.visit(gateway, &url).await;
        assert_eq!(reply.status, 302, "{url}: {reply:?}");
        url = reply.header("location").unwrap().to_owned();
    }
    url
}

#[tokio::test]
async fn a_ticket_is_good_once_in_the_browser_that_asked_for_it_and_at_its_place() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SSO).await {
        let mut alice = Browser::default();
        alice.log_in(&gateway, "alice").await;
        let refused = |reply: &Reply| {
            reply.refused(401, "ticket_invalid");
            assert_eq!(reply.headers.get("set-cookie"), None);
        };

        // Stolen: another browser has no state, or a state of its own.
        let url = ticket(&mut alice, &gateway).await;
        refused(&Browser::default().visit(&gateway, &url).await);
        let mut mallory = Browser::default();
        mallory.log_in(&gateway, "mallory").await;
        let planted = ticket(&mut mallory, &gateway).await;
        // Planted: somebody makes alice's browser open the ticket of their own account.
        refused(&alice.visit(&gateway, &planted).await);
        assert!(
            !alice.jar["shop.test"].contains_key("__Host-session"),
            "alice is not mallory"
        );
        // For another origin.
        let elsewhere = ticket(&mut alice, &gateway)
            .await
            .replace("shop.test", "news.test");
        let state = alice.jar["shop.test"].clone();
        alice.jar.insert("news.test".to_owned(), state);
        refused(&alice.visit(&gateway, &elsewhere).await);
        // Used.
        let url = ticket(&mut alice, &gateway).await;
        assert_eq!(alice.visit(&gateway, &url).await.status, 302);
        refused(&alice.visit(&gateway, &url).await);
    }
}

#[tokio::test]
async fn a_ticket_ends_with_its_time_and_with_its_session() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, &format!("{SSO}ticket_lifetime = \"1s\"")).await {
        let mut browser = Browser::default();
        browser.log_in(&gateway, "alice").await;
        let url = ticket(&mut browser, &gateway).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        browser
            .visit(&gateway, &url)
            .await
            .refused(401, "ticket_invalid");

        let url = ticket(&mut browser, &gateway).await;
        assert_eq!(
            browser
                .send(&gateway, "POST", "https://home.test/.d/logout")
                .await
                .status,
            204
        );
        browser
            .visit(&gateway, &url)
            .await
            .refused(401, "ticket_invalid");
    }
}

#[tokio::test]
async fn who_acts_for_somebody_does_not_carry_the_role_to_another_domain() {
    let upstream = upstream_that(speaks);
    for (gateway, _) in on_both(&upstream, SSO).await {
        let mut actor = Browser::default();
        actor.log_in(&gateway, "support").await;
        let body =
            json!({"actor_token": actor.token("home.test"), "subject": "alice", "lifetime": 600});
        let acting = gateway
            .administer("root", call("POST", "/v1/act-as", &body))
            .await
            .json();
        let token = acting["access_token"].as_str().unwrap().to_owned();
        actor
            .jar
            .get_mut("home.test")
            .unwrap()
            .insert("__Host-session".to_owned(), token);

        let (reply, _) = actor
            .follow(&gateway, &sso("shop.test", "https://shop.test/"))
            .await;
        reply.refused(403, "session_acting");
    }
}

#[tokio::test]
async fn hosts_of_one_domain_share_the_cookie_itself() {
    let upstream = upstream_that(speaks);
    let gateway = gateway()
        .tls(&["a.shop.test", "b.shop.test"])
        .toml("[sessions]\n[tokens]\nsources = [\"cookie:__Secure-session\"]")
        .toml("[login.cookie]\nname = \"__Secure-session\"\ndomain = \"shop.test\"")
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"")
        .start()
        .await;
    let login = Call::new("POST", "/login?user=alice")
        .host("a.shop.test")
        .header("origin", "https://a.shop.test");
    let reply = Connection::tls(&gateway, "a.shop.test")
        .await
        .send(login)
        .await;
    let line = reply.header("set-cookie").unwrap();
    assert!(
        line.ends_with("; Secure; Path=/; Domain=shop.test"),
        "{line}"
    );

    let pair = line.split(';').next().unwrap();
    let call = Call::get("/").host("b.shop.test").header("cookie", pair);
    let reply = Connection::tls(&gateway, "b.shop.test")
        .await
        .send(call)
        .await;
    assert_eq!((reply.status, says(&reply).as_str()), (200, "alice"));
}
