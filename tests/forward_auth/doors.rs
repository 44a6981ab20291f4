//! Who may ask, in whose way, and what is answered besides the verdict.

use crate::support::{Call, Connection, Gateway, Raw, upstream};
use crate::table::{ALICE, PROXIES, Verdict, question, setup, text, through};

async fn ask(gateway: &Gateway, proxy: &str, text: &str) -> crate::support::RawReply {
    let mut raw = Raw::connect(gateway.asked(proxy)).await;
    raw.write(text).await;
    raw.reply().await.unwrap()
}

#[tokio::test]
async fn whoever_asks_from_elsewhere_gets_403_and_a_line_in_the_log() {
    let upstream = upstream();
    let elsewhere = "trusted = [\"203.0.113.0/24\", \"2001:db8::/32\"]";
    let gateway = crate::support::gateway()
        .asked_by("traefik", elsewhere)
        .asked_by("nginx", elsewhere)
        .asked_by("envoy", elsewhere)
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;

    for proxy in [
        ("traefik", "Traefik"),
        ("nginx", "Nginx"),
        ("envoy", "Envoy"),
    ] {
        // Saying that one is a trusted proxy's client does not make one a trusted proxy.
        let claim: &[(&str, &str)] = &[
            ("x-forwarded-for", "203.0.113.1"),
            ("x-real-ip", "203.0.113.1"),
        ];
        for headers in [&[], claim] {
            let reply = through(&gateway, proxy, ("GET /x", "a.test", headers)).await;
            let verdict = Verdict::of(&reply);
            assert_eq!(
                (verdict.status, verdict.code.as_str()),
                (403, "inquiry_refused")
            );
            assert_eq!(reply.header("x-user-id"), None);
        }
    }

    // One line, whoever knocks how often; it names the address and not what was asked.
    assert_eq!(gateway.told("somebody asks who may not"), 1);
    assert!(gateway.logs().contains("\"address\":\"127.0.0.1\""));
}

#[tokio::test]
async fn the_way_of_another_proxy_is_not_understood_whoever_wrote_it() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let original = [
        ("x-original-url", "http://a.test/public"),
        ("x-original-method", "GET"),
        ("x-original-uri", "/public"),
        ("x-auth-request-redirect", "/public"),
    ];
    let forwarded = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.test"),
        ("x-forwarded-uri", "/public"),
    ];
    let tells_otherwise = |proxy: &str| match proxy {
        "nginx" | "ingress-nginx" => forwarded.to_vec(),
        "traefik" | "caddy" | "haproxy" => original.to_vec(),
        _ => [original, forwarded].concat(),
    };

    for proxy in PROXIES {
        // Alone: nothing is asked.
        let alone = text("GET /public", "a.test", &tells_otherwise(proxy.0));
        let verdict = Verdict::of(&ask(&gateway, proxy.1, &alone).await);
        assert_eq!(
            (verdict.status, verdict.code.as_str()),
            (400, "inquiry_unusable"),
            "{proxy:?}"
        );

        // Beside what the proxy tells: the client asks for something public, and is judged by what it really wants.
        let claims = tells_otherwise(proxy.0);
        let asked = ("GET /private", "a.test");
        let both = |more: &[(&'static str, &'static str)]| {
            let headers: Vec<_> = claims.iter().chain(more).copied().collect();
            question(proxy.0, (asked.0, asked.1, &headers))
        };
        let refused = ask(&gateway, proxy.1, &both(&[])).await;
        assert_eq!(Verdict::of(&refused).code, "token_missing", "{proxy:?}");
    }
}

#[tokio::test]
async fn two_values_of_what_a_proxy_tells_are_refused() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;

    for (proxy, header) in [
        ("Nginx", "x-original-url: http://a.test/public"),
        ("IngressNginx", "x-original-method: GET"),
        ("Traefik", "x-forwarded-uri: /public"),
        ("Caddy", "X-Forwarded-Host: a.test"),
        ("Haproxy", "x-forwarded-method: GET"),
    ] {
        let name = PROXIES
            .iter()
            .find(|(_, printed)| *printed == proxy)
            .unwrap()
            .0;
        let once = question(name, ("GET /public", "a.test", &[]));
        assert_eq!(ask(&gateway, proxy, &once).await.status, 200, "{proxy}");

        let twice = once.replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1);
        let reply = ask(&gateway, proxy, &twice).await;
        assert_eq!(Verdict::of(&reply).code, "inquiry_unusable", "{proxy}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body_on_the_same_connection() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let stream = tokio::net::TcpStream::connect(gateway.asked("Haproxy"))
        .await
        .unwrap();
    let mut connection = Connection::h1_over(stream).await;
    let asked = |method: &str, target: &str| {
        Call::new(method, "/")
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "a.test")
            .header("x-forwarded-uri", target)
    };

    for target in ["/private", "/public", "/nowhere", "/public/../x"] {
        for token in [None, Some(ALICE)] {
            let with = |call: Call| match token {
                Some(token) => call.bearer(token),
                None => call,
            };
            let get = connection.send(with(asked("GET", target))).await;
            let head = connection.send(with(asked("HEAD", target))).await;

            assert_eq!(head.status, get.status, "{target}");
            assert!(head.body.is_empty());
            for name in [
                "x-user-id",
                "x-user-roles",
                "www-authenticate",
                "cache-control",
            ] {
                assert_eq!(head.header(name), get.header(name), "{target} {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_question_with_a_body_is_answered_without_waiting_for_it() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;

    let asked = question(
        "traefik",
        ("GET /public", "a.test", &[("content-length", "100000")]),
    );
    let reply = ask(&gateway, "Traefik", &asked).await;

    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn envoy_is_told_what_to_take_off() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let headers: &[(&str, &str)] = &[
        (
            "authorization",
            "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
        ),
        ("x_user_id", "root"),
        ("x-http-method-override", "DELETE"),
        ("accept", "*/*"),
    ];

    let reply = through(
        &gateway,
        ("envoy", "Envoy"),
        ("GET /private", "a.test", headers),
    )
    .await;

    let told = reply.header("x-envoy-auth-headers-to-remove").unwrap();
    let mut names: Vec<_> = told.split(", ").collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["authorization", "x-http-method-override", "x_user_id"]
    );
    let traefik = through(
        &gateway,
        ("traefik", "Traefik"),
        ("GET /private", "a.test", headers),
    );
    assert_eq!(traefik.await.header("x-envoy-auth-headers-to-remove"), None);
}

#[tokio::test]
async fn a_route_without_an_upstream_is_for_those_who_ask() {
    let gateway = crate::support::gateway()
        .plain()
        .asked_by("caddy", "")
        .session(ALICE, crate::support::user("alice", &[]))
        .route("prefix = \"/\"")
        .start()
        .await;
    let asked = question(
        "caddy",
        (
            "GET /x",
            "a.test",
            &[(
                "authorization",
                "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
            )],
        ),
    );

    assert_eq!(ask(&gateway, "Caddy", &asked).await.status, 200);
    let inline = gateway.send(Call::get("/x").bearer(ALICE)).await;
    inline.refused(404, "route_not_found");
}

#[tokio::test]
async fn a_listener_that_changes_hands_in_a_reload_forgets_whom_it_let_in() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let mut old = Raw::connect(gateway.asked("Traefik")).await;
    let asked = question("traefik", ("GET /public", "a.test", &[]));
    old.write(&asked).await;
    assert_eq!(old.reply().await.unwrap().status, 200);

    gateway.edit(
        "proxy = \"traefik\"\n\ntrusted = [\"127.0.0.1\"]",
        "proxy = \"traefik\"\n\ntrusted = [\"203.0.113.1\"]",
    );
    gateway.signal("-HUP");
    gateway.tells("taken over", 1).await;

    // The connection that was let in is closed; whatever it still answers is the last.
    let mut new = Raw::connect(gateway.asked("Traefik")).await;
    new.write(&asked).await;
    assert_eq!(new.reply().await.unwrap().status, 403);
    old.write(&asked).await;
    old.replies_until_close().await;
}
