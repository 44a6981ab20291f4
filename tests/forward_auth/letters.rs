//! Questions letter for letter as proxies send them that cannot be run here, with everything that a client can add to them;
//! and proxies that show a certificate.

use tokio_rustls::rustls::ALL_VERSIONS;

use crate::support::client::shake_hands_at;
use crate::support::{Authority, Gateway, Raw, RawReply, upstream, user};
use crate::table::{ALICE, IDENTITY, Verdict, setup};

async fn ask(gateway: &Gateway, proxy: &str, lines: &[String]) -> RawReply {
    let mut raw = Raw::connect(gateway.asked(proxy)).await;
    raw.write(lines.join("\r\n") + "\r\n\r\n").await;
    raw.reply().await.unwrap()
}

/// What is told of alice, or that nothing is told of anybody.
fn is_told(reply: &RawReply, user: &str) {
    assert_eq!(reply.status, 200, "{}", reply.head);
    assert!(reply.body.is_empty());
    for name in IDENTITY {
        assert!(
            reply.header(name).is_some(),
            "{name} is left out: {}",
            reply.head
        );
    }
    assert_eq!(reply.header("x-user-id"), Some(user));
    assert_eq!(
        reply.header("x-drawbridge-assertion").unwrap().is_empty(),
        user.is_empty()
    );
    assert_eq!(reply.header("set-cookie"), None);
}

/// Headers by which a client claims to want something else, to be somebody else, or to be somewhere else.
const CLAIMS: [&str; 9] = [
    "X-Forwarded-Uri: /public",
    "X-Forwarded-Host: b.test",
    "X-Forwarded-Method: OPTIONS",
    "X-Original-URI: /public",
    "X-Auth-Request-Redirect: /public",
    "X-User-Id: root",
    "X_User_Id: root",
    "X-Drawbridge-Assertion: root",
    "Forwarded: for=203.0.113.7;host=b.test",
];

/// Of a GET, by ingress-nginx 1.15: `auth-url` alone, with `auth-method`, and with `auth-keepalive`, which asks from Lua. Its
/// template passes all of the client's headers on and replaces its own.
fn ingress_nginx(target: &str, own: &[&str], clients: &[&str]) -> Vec<String> {
    let mut lines = vec![
        "GET / HTTP/1.1".to_owned(),
        "Host: drawbridge.auth.svc.cluster.local".to_owned(),
        format!("X-Original-URL: https://a.test{target}"),
        "X-Original-Method: GET".to_owned(),
        "X-Sent-From: nginx-ingress-controller".to_owned(),
        "X-Real-IP: 198.51.100.4".to_owned(),
        "X-Forwarded-For: 198.51.100.4".to_owned(),
        format!("X-Auth-Request-Redirect: {target}"),
        "X-Request-ID: 0f3a".to_owned(),
    ];
    lines.extend(own.iter().chain(clients).map(|line| (*line).to_owned()));
    lines
}

#[tokio::test]
async fn ingress_nginx_asks_with_auth_url() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let bearer = format!("Authorization: Bearer {ALICE}");
    let with_method = ["X-Original-URI: /private?a=/public", "X-Scheme: https"];
    // What it replaces itself a client cannot add; the rest arrives.
    let claims: Vec<_> = CLAIMS
        .into_iter()
        .filter(|line| !line.starts_with("X-Auth-Request"))
        .collect();
    let claims_beside_uri: Vec<_> = claims
        .iter()
        .copied()
        .filter(|line| !line.starts_with("X-Original"))
        .collect();

    for (own, claims) in [
        (&["Connection: close"][..], &claims),
        (&["Connection: keep-alive"], &claims),
        (&with_method, &claims_beside_uri),
    ] {
        let claims: Vec<&str> = claims.clone();
        let signed_in: Vec<&str> = claims
            .iter()
            .copied()
            .chain([bearer.as_str(), "Accept: */*"])
            .collect();

        is_told(
            &ask(
                &gateway,
                "IngressNginx",
                &ingress_nginx("/private?a=/public", own, &signed_in),
            )
            .await,
            "alice",
        );
        is_told(
            &ask(
                &gateway,
                "IngressNginx",
                &ingress_nginx("/public", own, &claims),
            )
            .await,
            "",
        );
        let refused = ask(
            &gateway,
            "IngressNginx",
            &ingress_nginx("/private?a=/public", own, &claims),
        )
        .await;
        let verdict = Verdict::of(&refused);
        assert_eq!(
            (verdict.status, verdict.code.as_str()),
            (401, "token_missing")
        );
        let forbidden = ask(
            &gateway,
            "IngressNginx",
            &ingress_nginx("/nowhere", own, &signed_in),
        )
        .await;
        assert_eq!(Verdict::of(&forbidden).status, 404);
    }
    assert_eq!(upstream.seen().len(), 0);
}

/// By Traefik 3: GET to the address without the path, its own X-Forwarded- headers in place of the client's, hop-by-hop
/// headers taken off.
fn traefik(method: &str, proto: &str, target: &str, clients: &[&str]) -> Vec<String> {
    let mut lines = vec![
        "GET / HTTP/1.1".to_owned(),
        "Host: drawbridge.drawbridge.svc.cluster.local:9191".to_owned(),
        "User-Agent: ".to_owned(),
        "X-Forwarded-For: 198.51.100.4".to_owned(),
        "X-Forwarded-Host: a.test".to_owned(),
        format!("X-Forwarded-Method: {method}"),
        "X-Forwarded-Port: 443".to_owned(),
        format!("X-Forwarded-Proto: {proto}"),
        "X-Forwarded-Server: traefik-7d8f".to_owned(),
        format!("X-Forwarded-Uri: {target}"),
        "X-Real-Ip: 198.51.100.4".to_owned(),
        "Accept-Encoding: gzip".to_owned(),
    ];
    lines.extend(clients.iter().map(|line| (*line).to_owned()));
    lines
}

#[tokio::test]
async fn traefik_asks_with_forward_auth() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let bearer = format!("Authorization: Bearer {ALICE}");
    let cookie = format!("Cookie: session={ALICE}");
    let claims: Vec<&str> = CLAIMS
        .into_iter()
        .filter(|line| !line.starts_with("X-Forwarded-"))
        .collect();
    let with = |more: &[&'static str], token: &str| -> Vec<String> {
        claims
            .iter()
            .chain(more)
            .map(|line| (*line).to_owned())
            .chain([token.to_owned()])
            .collect()
    };
    let asked = async |method, proto, target, lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        ask(&gateway, "Traefik", &traefik(method, proto, target, &lines)).await
    };

    is_told(
        &asked("GET", "https", "/private?x=%2F", &with(&[], &bearer)).await,
        "alice",
    );
    is_told(
        &asked("DELETE", "https", "/public", &with(&[], "A: b")).await,
        "",
    );
    let refused = asked("GET", "https", "/private", &with(&[], "A: b")).await;
    assert_eq!(Verdict::of(&refused).code, "token_missing");

    // Handshakes of WebSockets come with the scheme of those.
    let handshake = [
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    let own = [handshake[0], handshake[1], "Origin: https://a.test"];
    let evil = [handshake[0], handshake[1], "Origin: https://evil.test"];
    for (proto, status) in [("wss", 200), ("ws", 403)] {
        let reply = asked("GET", proto, "/private", &with(&own, &cookie)).await;
        assert_eq!(reply.status, status, "{proto}: {}", reply.head);
        assert_eq!(reply.header("upgrade"), None);
    }
    let forged = asked("GET", "wss", "/private", &with(&evil, &cookie)).await;
    assert_eq!(Verdict::of(&forged).code, "csrf_refused");
    assert_eq!(upstream.seen().len(), 0);
}

/// By a Gateway with the `ExternalAuth` filter over HTTP, which Envoy carries out: the client's method and host, the path
/// behind `path`, the five headers that are told in any case, and those of `allowedHeaders`.
fn gateway_api(line: &str, more: &[&str]) -> Vec<String> {
    let (method, target) = line.split_once(' ').unwrap();
    let mut lines = vec![
        format!("{method} /ask{target} HTTP/1.1"),
        "host: a.test".to_owned(),
        "content-length: 0".to_owned(),
        "x-forwarded-for: 198.51.100.4".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        "x-envoy-internal: true".to_owned(),
        "x-envoy-expected-rq-timeout-ms: 2000".to_owned(),
    ];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    lines
}

#[tokio::test]
async fn a_gateway_asks_with_external_auth() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let bearer = format!("authorization: Bearer {ALICE}");

    for door in ["GatewayApi", "Envoy"] {
        let asked = async |line, more: &[&str]| ask(&gateway, door, &gateway_api(line, more)).await;

        let reply = asked("GET /private/x?a=b", &[&bearer, "accept: */*"]).await;
        is_told(&reply, "alice");
        assert_eq!(
            reply.header("x-envoy-auth-headers-to-remove"),
            Some("authorization")
        );
        is_told(&asked("PUT /public", &[]).await, "");
        assert_eq!(asked("POST /read", &[&bearer]).await.status, 405);
        let refused = asked("GET /private", &CLAIMS).await;
        assert_eq!(Verdict::of(&refused).code, "token_missing");
        // Without what `path` puts in front it is somebody else's question.
        let mut other = gateway_api("GET /public", &[]);
        "GET /public HTTP/1.1".clone_into(&mut other[0]);
        assert_eq!(
            Verdict::of(&ask(&gateway, door, &other).await).code,
            "inquiry_unusable"
        );
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_has_to_show_a_certificate_is_known_by_it_and_its_clients_are_not() {
    let door = |proxy: &str, trusted: &str| {
        format!("forward_auth = {{ proxy = \"{proxy}\", trusted = [\"{trusted}\"] }}\n")
    };
    for (trusted, expected) in [("127.0.0.1", 200), ("203.0.113.1", 403)] {
        let setup = crate::support::gateway();
        let leaf = setup.authority().sign(&["drawbridge.test"]);
        let asking = setup.authority().sign(&["traefik.test"]);
        let rule = format!(
            "client_auth = \"required\"\nclient_ca = {:?}",
            setup.authority().file()
        );
        let gateway = setup
            .tls_with(&[leaf], &rule)
            .listening(&door("traefik", trusted))
            .session(ALICE, user("alice", &[]))
            .toml("[identity.headers]\nx-user-id = \"user_id\"\nx-cert = \"cert_subject\"\nx-san = \"cert_san\"")
            .route("prefix = \"/\"")
            .start()
            .await;
        let bearer = format!("Authorization: Bearer {ALICE}");
        let question = traefik("GET", "https", "/x", &[&bearer]).join("\r\n") + "\r\n\r\n";
        let shown = async |authority: &Authority, leaf| {
            let config = authority.client(&["http/1.1"], leaf, ALL_VERSIONS);
            let mut raw = Raw::over(
                shake_hands_at(gateway.asked("Traefik"), "drawbridge.test", config)
                    .await
                    .ok()?,
            );
            raw.write(&question).await;
            raw.reply().await
        };

        let reply = shown(gateway.authority(), Some(&asking)).await.unwrap();
        assert_eq!(reply.status, expected, "{}", reply.head);
        if expected == 200 {
            assert_eq!(reply.header("x-user-id"), Some("alice"));
            // The certificate is the proxy's: nothing is known of one of the client's.
            assert_eq!(
                (reply.header("x-cert"), reply.header("x-san")),
                (Some(""), Some(""))
            );
        }
        assert!(
            shown(gateway.authority(), None).await.is_none(),
            "without a certificate"
        );
        let others = Authority::new();
        let stranger = others.sign(&["traefik.test"]);
        assert!(
            shown(gateway.authority(), Some(&stranger)).await.is_none(),
            "of another authority"
        );
    }
}
