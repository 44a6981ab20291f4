//! Single sign-on in a real browser: the cookies, redirects and origins are Chromium's, not what we think of them.

#[path = "browser/driver.rs"]
mod driver;
mod support;

use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use driver::Chromium;
use support::{Answer, Gateway, PATIENCE, Seen, Setup, Upstream, gateway, upstream_that};

/// Pages: one with a button to log in as alice, one that forges a request to the shop, and one that says whose it is.
fn pages(seen: &Seen) -> Answer {
    let (path, query) = seen.target().split_once('?').unwrap_or((seen.target(), ""));
    let mut head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n".to_owned();
    let body = match (seen.method(), path) {
        ("POST", "/login") => {
            let back = query.strip_prefix("return=").unwrap_or("%2F");
            let back = percent_encoding::percent_decode_str(back)
                .decode_utf8()
                .unwrap();
            head = format!("HTTP/1.1 303 See Other\r\nlocation: {back}\r\nx-login-user: alice\r\n");
            String::new()
        }
        ("GET", "/login") => {
            format!("<form method=post action='/login?{query}'><button>Log in</button></form>")
        }
        (_, "/forge") => "<form method=post action='https://shop.test/.d/logout'>\
             <button>You have won</button></form>"
            .to_owned(),
        _ => format!(
            "hello {}",
            seen.header("x-user-id").unwrap_or("whoever you are")
        ),
    };
    let page = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    Answer::Bytes(page.into_bytes())
}

fn routes(setup: Setup, upstream: &Upstream) -> Setup {
    setup
        .toml("[sessions]\n[self_service]\nprefix = \"/.d\"\nlimits = []")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("exact = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"")
}

fn encoded(url: &str) -> String {
    utf8_percent_encode(url, NON_ALPHANUMERIC).to_string()
}

fn sso(host: &str, back: &str) -> String {
    format!("https://{host}/.d/sso?return={}", encoded(back))
}

/// The browser is on this page and is somebody there.
async fn is_alice_at(browser: &Chromium, address: &str) {
    // A click may be answered before the browser has set out for the page that comes of it.
    let start = Instant::now();
    while browser.address().await != address && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(browser.address().await, address);
    assert_eq!(browser.text().await, "hello alice");
}

async fn refuses(browser: &Chromium, address: &str, status: u64, code: &str) {
    browser.go(address).await;
    let text = browser.text().await;
    assert_eq!(browser.status().await, status, "{address}: {text}");
    assert!(text.contains(code), "{address}: {text}");
}

async fn domains(upstream: &Upstream) -> Gateway {
    let hosts = ["home.test", "shop.test", "news.test", "evil.test"];
    let setup = gateway()
        .tls(&hosts)
        .toml("[tokens]\nsources = [\"cookie:__Host-session\"]\nat_rest = \"sha256\"")
        .toml("[sso]\nhome = \"https://home.test\"\nlogin = \"/login\"")
        .toml("origins = [\"https://shop.test\", \"https://news.test\"]");
    routes(setup, upstream)
        .route("host = \"evil.test\"\nprefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await
}

#[tokio::test]
#[ignore = "needs Chromium; tests/run.sh installs it and runs this"]
async fn one_session_across_domains_by_a_ticket_and_no_other_place_gets_one() {
    let upstream = upstream_that(pages);
    let gateway = domains(&upstream).await;
    let browser = Chromium::start(gateway.secure()).await;
    refuses(&browser, "https://shop.test/cart", 401, "token_missing").await;

    // Nobody is logged in anywhere: the way leads over the login page at home.
    browser
        .go(&sso("shop.test", "https://shop.test/cart?a=b%20c"))
        .await;
    let page = browser.address().await;
    assert!(
        page.starts_with("https://home.test/login?return="),
        "{page}"
    );
    browser.click("button").await;
    is_alice_at(&browser, "https://shop.test/cart?a=b%20c").await;
    let cookie = browser.cookie("__Host-session").await.unwrap();
    assert_eq!(
        (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"]),
        (&true.into(), &true.into(), &"Lax".into())
    );
    assert_eq!(cookie["domain"], "shop.test", "of this host alone");
    assert_eq!(
        browser.run("return document.cookie").await,
        "",
        "no script sees it"
    );

    // From now on nobody is asked for anything.
    browser
        .go(&sso("news.test", "https://news.test/today"))
        .await;
    is_alice_at(&browser, "https://news.test/today").await;
    let other = browser.cookie("__Host-session").await.unwrap();
    assert_ne!(cookie["value"], other["value"], "each domain has its own");

    // Another page's form cannot spend the cookie.
    browser.go("https://evil.test/forge").await;
    browser.click("button").await;
    let start = Instant::now();
    while browser.address().await != "https://shop.test/.d/logout" && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(browser.address().await, "https://shop.test/.d/logout");
    assert!(matches!(browser.status().await, 401 | 403));
    browser.go("https://shop.test/").await;
    is_alice_at(&browser, "https://shop.test/").await;

    // It is one session: ended in one place, it is over in all of them, and the browser is told why.
    let script = "return fetch('/.d/logout', { method: 'POST' }).then((answer) => answer.status)";
    assert_eq!(browser.run(script).await, 204);
    refuses(&browser, "https://shop.test/", 401, "token_missing").await;
    for host in ["home.test", "news.test"] {
        let address = format!("https://{host}/");
        refuses(&browser, &address, 401, "session_logged_out").await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium; tests/run.sh installs it and runs this"]
async fn nobody_is_sent_to_a_place_that_does_not_take_part() {
    let upstream = upstream_that(pages);
    let gateway = domains(&upstream).await;
    let browser = Chromium::start(gateway.secure()).await;
    browser.go("https://home.test/login").await;
    browser.click("button").await;
    is_alice_at(&browser, "https://home.test/").await;

    for address in [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test/",
        "https:\\\\evil.test",
        "https://shop.test@evil.test/",
        "https://shop.test\\@evil.test/",
        "https://shop.test.evil.test/",
        "https://shop.test%2eevil.test/",
        "http://shop.test/",
        "javascript:location='https://evil.test/'",
    ] {
        for host in ["home.test", "shop.test"] {
            let start = sso(host, address);
            refuses(&browser, &start, 400, "return_refused").await;
            assert_eq!(browser.address().await, start);
        }
    }
    let visited = upstream.seen();
    assert!(!visited.is_empty());
    for seen in visited {
        assert_ne!(seen.header("host"), Some("evil.test"), "{}", seen.line());
    }
}

#[tokio::test]
#[ignore = "needs Chromium; tests/run.sh installs it and runs this"]
async fn hosts_of_one_domain_share_the_cookie() {
    let upstream = upstream_that(pages);
    let setup = gateway()
        .tls(&["a.shop.test", "b.shop.test", "other.test"])
        .toml("[tokens]\nsources = [\"cookie:__Secure-session\"]\nat_rest = \"sha256\"")
        .toml("[login.cookie]\nname = \"__Secure-session\"\ndomain = \"shop.test\"");
    let gateway = routes(setup, &upstream).start().await;
    let browser = Chromium::start(gateway.secure()).await;

    browser.go("https://a.shop.test/login").await;
    browser.click("button").await;
    is_alice_at(&browser, "https://a.shop.test/").await;
    browser.go("https://b.shop.test/").await;
    is_alice_at(&browser, "https://b.shop.test/").await;
    refuses(&browser, "https://other.test/", 401, "token_missing").await;

    browser.go("https://b.shop.test/").await;
    let script = "return fetch('/.d/logout', { method: 'POST' }).then((answer) => answer.status)";
    assert_eq!(browser.run(script).await, 204);
    refuses(&browser, "https://a.shop.test/", 401, "token_missing").await;
}
