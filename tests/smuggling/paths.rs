//! B-66 to B-70: no spelling of a path walks round its rule.

use super::*;

#[tokio::test]
async fn no_spelling_of_a_path_walks_round_its_rule() {
    let mut cases = Vec::new();
    for target in [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public/.%2E/private",
        "/./private",
        "/public/.",
        "/public/..",
        "/public%2f..%2fprivate",
        "/public%2Fx",
        "/public/..%5cprivate",
        "/public/..\\private",
        "/public/..;/private",
        "/public/..%3b/private",
        "/private;x",
        "/public;/../private",
        "//private",
        "/public//private",
        "/public//../private",
        "/public%00",
        "/public%0d%0a",
        "/public%7f",
        "/public%",
        "/public%4",
        "/public%zz",
        "/public/%u002e%u002e/private",
        "/public/..%c0%afprivate",
        "/public/%c0%ae%c0%ae/private",
        "/public/%e0%80%ae",
        "/public#/../private",
        "/public#",
        "/public?x#y",
    ] {
        cases.push((target, get(target), Refused(400)));
    }
    for target in [
        "/private?x=/public",
        "/private?/public/",
        "/private%3f/public",
        "/%70rivate",
        "/publicity",
        "/PUBLIC",
        "/public.",
        "/public%20",
        "/private/%252e%252e/public",
        "/private%23/public",
    ] {
        cases.push((target, get(target), Denied(401)));
    }
    for target in [
        "/public",
        "/public/",
        "/%70ublic",
        "/public?x=/../private",
        "/public/%252e%252e/x",
        "/public/%23",
        "/public/a%20b",
        "/public/..a",
        "/public/...",
        "/public?",
    ] {
        cases.push((target, get(target), Served));
    }
    all(&cases).await;
}

#[tokio::test]
async fn the_path_that_is_judged_is_the_one_that_is_sent() {
    let upstream = upstream();
    let gateway = door(&upstream).await;
    for (sent, received) in [
        ("/%70ublic/%7euser", "/public/~user"),
        ("/public/%c3%a9%3b", "/public/%C3%A9%3B"),
        ("/public/%252e%252e/x", "/public/%252e%252e/x"),
        ("/public?a=%2e%2E&b=/../;x", "/public?a=%2e%2E&b=/../;x"),
        ("http://a.test/public/x?y", "/public/x?y"),
    ] {
        attack(&gateway, false, &get(sent), Served).await;

        assert_eq!(upstream.last().target(), received, "{sent}");
    }
}

#[tokio::test]
async fn of_an_absolute_target_without_a_path_the_path_is_a_slash() {
    let upstream = upstream();
    let gateway = gateway()
        .plain()
        .upstream("app", &upstream)
        .route("exact = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;
    for (sent, received) in [
        ("http://a.test", "/"),
        ("http://a.test?", "/?"),
        ("http://a.test?a=/../b", "/?a=/../b"),
    ] {
        let mut raw = Raw::connect(gateway.plain()).await;
        raw.write(get(sent)).await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{sent}");

        assert_eq!(upstream.last().target(), received, "{sent}");
    }
}
