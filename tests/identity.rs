//! Forged identity never arrives; the right one does, and nothing of the token.

mod support;

use drawbridge::session::Session;
use support::{Call, Connection, Gateway, Raw, Setup, Upstream, gateway, soon, upstream, user};

const TOKEN: &str = "dbt_alice-0123456789abcdef0123456789abcdef";

/// Names that the gateway writes, in the form in which an upstream might fold what a client sends.
const MANAGED: [&str; 6] = [
    "X-User-Id",
    "X-User-Permissions",
    "X-User-Roles",
    "X-Device-Id",
    "X-Device-Type",
    "X-Request-Id",
];

const FORGED: &str = "forged-by-the-client";

fn doors(upstream: &Upstream, session: Session) -> Setup {
    gateway()
        .session(TOKEN, session)
        .plain()
        .tls(&["a.test"])
        .upstream("app", upstream)
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("prefix = \"/private\"\nupstream = \"app\"")
}

fn alice() -> Session {
    user("alice", &["orders:read", "orders:write"])
}

/// Every way to write a name so that some upstream takes it for the managed one.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![
        name.to_owned(),
        name.to_lowercase(),
        name.to_uppercase(),
        name.replace('-', ""),
        format!("{name}-"),
        format!("{name}_"),
        name.replace('-', "--"),
        name.replacen('-', "_", 1),
    ];
    for mark in [
        "_", ".", "!", "~", "'", "*", "+", "^", "`", "|", "#", "$", "%", "&",
    ] {
        all.push(name.replace('-', mark));
    }
    all
}

/// The letters and digits of a name, which is what is left when an upstream folds it.
fn folded(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}

/// The last request has each managed header exactly once, under its own name, and nothing forged.
fn is_clean(upstream: &Upstream, what: &str) {
    let seen = upstream.last();
    for name in MANAGED {
        let found: Vec<_> = seen
            .headers()
            .into_iter()
            .filter(|(found, _)| folded(found) == folded(name))
            .map(|(found, _)| found.to_lowercase())
            .collect();
        assert_eq!(found, [name.to_lowercase()], "{what}");
    }
    assert!(!seen.head.contains(FORGED), "{what}: {}", seen.head);
    assert!(
        !format!("{:?}", seen.trailers).contains(FORGED),
        "{what}: {:?}",
        seen.trailers
    );
}

#[tokio::test]
async fn no_spelling_of_a_managed_header_reaches_the_upstream_over_http1() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;

    for path in ["/public", "/optional", "/private"] {
        let mut raw = Raw::connect(gateway.plain()).await;
        for spelling in MANAGED.iter().flat_map(|name| spellings(name)) {
            let token = if path == "/private" {
                format!("Authorization: Bearer {TOKEN}\r\n")
            } else {
                String::new()
            };
            raw.write(format!(
                "GET {path} HTTP/1.1\r\nHost: a.test\r\n{token}{spelling}: {FORGED}\r\n{spelling}: {FORGED}2\r\n\r\n"
            ))
            .await;
            let reply = raw.reply().await.expect("an answer");

            assert_eq!(reply.status, 200, "{spelling}");
            is_clean(&upstream, &spelling);
        }
    }
}

#[tokio::test]
async fn no_spelling_of_a_managed_header_reaches_the_upstream_over_http2() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;
    let mut connection = Connection::h2(&gateway, "a.test").await;

    for (path, expected) in [
        ("/public", ""),
        ("/optional", "alice"),
        ("/private", "alice"),
    ] {
        for spelling in MANAGED.iter().flat_map(|name| spellings(name)) {
            let call = Call::get(path)
                .bearer(TOKEN)
                .header(&spelling.to_lowercase(), FORGED);
            let reply = connection.send(call).await;

            assert_eq!(reply.json()["user"], expected, "{spelling}");
            is_clean(&upstream, &spelling);
        }
    }
}

#[tokio::test]
async fn headers_of_a_routes_own_plan_are_managed_on_every_other_route_too() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice())
        .route("prefix = \"/own\"\nupstream = \"app\"\nheaders = { Remote-User = \"user_id\" }")
        .start()
        .await;

    for path in ["/public", "/optional", "/private", "/own"] {
        let call = Call::get(path)
            .bearer(TOKEN)
            .header("remote_user", FORGED)
            .header("remote-user", FORGED);
        assert_eq!(gateway.send(call).await.status, 200);
        assert!(!upstream.last().head.contains(FORGED), "{path}");
    }
    assert_eq!(upstream.last().header("remote-user"), Some("alice"));
}

#[tokio::test]
async fn connection_cannot_nominate_our_headers_for_removal() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;
    let mut raw = Raw::connect(gateway.plain()).await;

    raw.write(format!(
        "GET /private HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: X-User-Id, x-user-roles, X-Mine, X-Forwarded-For, Host, Authorization\r\n\
         X-Mine: {FORGED}\r\nX-Other: stays\r\n\r\n"
    ))
    .await;
    let reply = raw.reply().await.unwrap();

    assert_eq!(reply.status, 200);
    is_clean(&upstream, "nominated");
    let seen = upstream.last();
    assert_eq!(seen.header("x-user-id"), Some("alice"));
    assert_eq!(seen.header("x-user-roles"), Some("clerk"));
    assert_eq!(seen.header("host"), Some("a.test"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-other"), Some("stays"));
    assert_eq!(seen.header("connection"), None);
}

#[tokio::test]
async fn trailers_carry_no_identity_and_nothing_that_is_barred_from_them() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;
    let mut raw = Raw::connect(gateway.plain()).await;

    raw.write(format!(
        "POST /optional HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
         Trailer: X-User-Id, X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-User-Id: {FORGED}\r\nx_user_id: {FORGED}\r\n\
         X.User.Roles: {FORGED}\r\nX-Forwarded-For: {FORGED}\r\nAuthorization: {FORGED}\r\n\
         Content-Length: 9\r\nHost: {FORGED}\r\nX-Sum: 42\r\n\r\n"
    ))
    .await;
    let reply = raw.reply().await.unwrap();

    assert_eq!(reply.status, 200);
    is_clean(&upstream, "trailers");
    let seen = upstream.last();
    assert_eq!(seen.body, b"hello");
    for (name, _) in &seen.trailers {
        assert_eq!(name.to_lowercase(), "x-sum");
    }
    let values = upstream.last();
    assert_eq!(values.header("x-user-id"), Some(""));
}

#[tokio::test]
async fn the_whole_identity_arrives_and_an_anonymous_one_is_empty() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;

    let reply = gateway.send(Call::get("/private").bearer(TOKEN)).await;
    assert_eq!(reply.status, 200);
    let seen = upstream.last();
    for (name, value) in [
        ("x-user-id", "alice"),
        ("x-user-permissions", "orders:read,orders:write"),
        ("x-user-roles", "clerk"),
        ("x-device-id", "alice-device"),
        ("x-device-type", "phone"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    gateway.send(Call::get("/optional")).await;
    let seen = upstream.last();
    for name in MANAGED.iter().filter(|name| **name != "X-Request-Id") {
        assert_eq!(seen.header(name), Some(""), "{name}");
    }
}

/// A header, and what it says of alice and of nobody.
type Told = (&'static str, &'static str, &'static str);

/// What upstreams hear that know the names of another gateway.
const PRESETS: [(&str, &[Told]); 5] = [
    (
        "drawbridge",
        &[
            ("x-user-id", "alice", ""),
            ("x-user-permissions", "orders:read,orders:write", ""),
            ("x-user-roles", "clerk,porter", ""),
            ("x-device-id", "alice-device", ""),
            ("x-device-type", "phone", ""),
            ("x-actor-id", "", ""),
        ],
    ),
    (
        "oauth2-proxy",
        &[
            ("x-auth-request-user", "alice", ""),
            ("x-auth-request-preferred-username", "alice", ""),
            ("x-auth-request-groups", "clerk,porter", ""),
            ("x-auth-request-email", "", ""),
            ("x-auth-request-access-token", "", ""),
        ],
    ),
    (
        "authelia",
        &[
            ("remote-user", "alice", ""),
            ("remote-name", "alice", ""),
            ("remote-groups", "clerk,porter", ""),
            ("remote-email", "", ""),
        ],
    ),
    (
        "authentik",
        &[
            ("x-authentik-username", "alice", ""),
            ("x-authentik-uid", "alice", ""),
            ("x-authentik-name", "alice", ""),
            ("x-authentik-groups", "clerk|porter", ""),
            ("x-authentik-entitlements", "orders:read|orders:write", ""),
            ("x-authentik-email", "", ""),
            ("x-authentik-jwt", "", ""),
        ],
    ),
    (
        "kong",
        &[
            ("x-consumer-id", "alice", ""),
            ("x-consumer-username", "alice", ""),
            ("x-consumer-custom-id", "alice", ""),
            ("x-consumer-groups", "clerk,porter", ""),
            ("x-anonymous-consumer", "", "true"),
            ("x-credential-identifier", "", ""),
        ],
    ),
];

#[tokio::test]
async fn every_preset_says_who_it_is_to_upstreams_and_to_proxies_that_ask() {
    let mut session = alice();
    session.roles = vec!["clerk".to_owned(), "porter".to_owned()].into();
    for (preset, told) in PRESETS {
        let upstream = upstream();
        let gateway = doors(&upstream, session.clone())
            .asked_by("traefik", "")
            .toml(&format!("[identity]\npreset = \"{preset}\""))
            .start()
            .await;
        for (path, signed_in) in [("/private", true), ("/optional", false)] {
            let call = |target: &str| {
                let forged = told.iter().fold(Call::get(target), |call, (name, ..)| {
                    call.header(name, FORGED)
                        .header(&name.replace('-', "_"), FORGED)
                });
                if signed_in {
                    forged.bearer(TOKEN)
                } else {
                    forged
                }
            };
            let expected = |of_alice, of_nobody| if signed_in { of_alice } else { of_nobody };

            assert_eq!(gateway.send(call(path)).await.status, 200, "{preset}");
            let seen = upstream.last();
            for (name, alice, nobody) in told {
                let found = seen.headers().into_iter();
                let found = found.filter(|(found, _)| folded(found) == folded(name));
                let found: Vec<_> = found.map(|(_, value)| value.to_owned()).collect();
                assert_eq!(found, [*expected(alice, nobody)], "{preset}: {name}");
            }
            assert!(!seen.head.contains(FORGED), "{preset}: {}", seen.head);

            let stream = tokio::net::TcpStream::connect(gateway.asked("Traefik"));
            let asked = call("/")
                .header("x-forwarded-method", "GET")
                .header("x-forwarded-proto", "http")
                .header("x-forwarded-host", "a.test")
                .header("x-forwarded-uri", path);
            let mut connection = Connection::h1_over(stream.await.unwrap()).await;
            let reply = connection.send(asked).await;
            assert_eq!(reply.status, 200, "{preset}");
            for (name, alice, nobody) in told {
                let expected = *expected(alice, nobody);
                assert_eq!(reply.header(name), Some(expected), "{preset}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn hostile_values_are_percent_encoded_and_make_no_second_header() {
    let upstream = upstream();
    let mut session = user(
        "bob\r\nX-Role: admin",
        &["a,b", "c d", "100%", "\u{e9}", "e\0f"],
    );
    session.device.id = " lead".into();
    session.device.kind = "\u{1f4f1}".into();
    let gateway = doors(&upstream, session).start().await;

    let reply = gateway.send(Call::get("/private").bearer(TOKEN)).await;

    assert_eq!(reply.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-role"), None);
    assert_eq!(seen.header("x-user-id"), Some("bob%0D%0AX-Role:%20admin"));
    assert_eq!(
        seen.header("x-user-permissions"),
        Some("a%2Cb,c%20d,100%25,%C3%A9,e%00f")
    );
    assert!(seen.head.contains("%20lead"), "{}", seen.head);
    assert_eq!(seen.header("x-device-type"), Some("%F0%9F%93%B1"));
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_whole() {
    let upstream = upstream();
    let gateway = doors(&upstream, user(&"x".repeat(10_000), &[]))
        .start()
        .await;

    let reply = gateway.send(Call::get("/private").bearer(TOKEN)).await;

    assert_eq!(reply.status, 500);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn encoding_refuse_refuses_what_a_header_cannot_carry() {
    let upstream = upstream();
    let gateway = doors(&upstream, user("bob\r\nX-Role: admin", &[]))
        .toml("[identity]\nencoding = \"refuse\"")
        .start()
        .await;

    assert_eq!(
        gateway
            .send(Call::get("/private").bearer(TOKEN))
            .await
            .status,
        500
    );
    assert_eq!(upstream.seen().len(), 0);
}

async fn sources(upstream: &Upstream) -> Gateway {
    doors(upstream, alice())
        .toml("[tokens]\nsources = [\"bearer\", \"header:X-Token\", \"cookie:session\"]")
        .route("prefix = \"/keep\"\nupstream = \"app\"\nforward_token = true")
        .start()
        .await
}

#[tokio::test]
async fn the_token_goes_no_further_and_the_other_cookies_stay_byte_for_byte() {
    let upstream = upstream();
    let gateway = sources(&upstream).await;
    let token = format!("session={TOKEN}");
    for (sent, kept) in [
        (token.clone(), None),
        (format!("a=1; {token}; b=2"), Some("a=1; b=2")),
        (
            format!("{token}; b=\"x y\"; =odd; c"),
            Some("b=\"x y\"; =odd; c"),
        ),
        (format!("a=1;b=2;{token}"), Some("a=1;b=2")),
        (
            format!("a=1; xsession=2; {token}; session_2=3"),
            Some("a=1; xsession=2; session_2=3"),
        ),
        (format!("a=1; {token}; {token}; b=%20"), Some("a=1; b=%20")),
    ] {
        let reply = gateway
            .send(Call::get("/private").header("cookie", &sent))
            .await;
        assert_eq!(reply.status, 200, "{sent}");
        assert_eq!(upstream.last().header("cookie"), kept, "{sent}");
    }
    for path in ["/private", "/optional", "/public"] {
        let call = Call::get(path)
            .bearer(TOKEN)
            .header("x-token", TOKEN)
            .header("cookie", &format!("{token}; a=1"));
        assert_eq!(gateway.send(call).await.status, 200);
        let seen = upstream.last();
        assert!(!seen.head.contains(TOKEN), "{path}: {}", seen.head);
        assert_eq!(seen.header("cookie"), Some("a=1"));
    }
    let call = Call::get("/optional").header("authorization", "Basic YTpi");
    gateway.send(call).await;
    assert_eq!(upstream.last().header("authorization"), Some("Basic YTpi"));
    let call = Call::get("/keep").bearer(TOKEN);
    gateway.send(call).await;
    let kept = format!("Bearer {TOKEN}");
    assert_eq!(upstream.last().header("authorization"), Some(kept.as_str()));
}

#[tokio::test]
async fn cookies_in_several_http2_fields_are_one_line_and_the_token_among_them_is_found() {
    let upstream = upstream();
    let gateway = sources(&upstream).await;

    let call = Call::get("/private")
        .header("cookie", "a=1")
        .header("cookie", &format!("session={TOKEN}"))
        .header("cookie", "b=2");
    let reply = gateway.send_h2(call).await;

    assert_eq!(reply.json()["user"], "alice");
    assert_eq!(upstream.last().header("cookie"), Some("a=1; b=2"));
}

#[tokio::test]
async fn forwarded_headers_are_rebuilt_and_nothing_of_the_clients_survives() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;
    let lies = [
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "x-forwarded-anything",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
    ];
    let forge = |mut call: Call| {
        for name in lies {
            call = call.header(name, FORGED);
        }
        call
    };

    let plain = gateway.send(forge(Call::get("/public"))).await;
    assert_eq!(plain.status, 200);
    let seen = upstream.last();
    let port = gateway.plain().port().to_string();
    assert!(!seen.head.contains(FORGED), "{}", seen.head);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("a.test"));
    assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
    let secure = gateway.send_h2(forge(Call::get("/public"))).await;
    assert_eq!(secure.status, 200);
    let seen = upstream.last();
    assert!(!seen.head.contains(FORGED), "{}", seen.head);
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("host"), Some("a.test"));
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_appended_to() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice())
        .toml("[forwarded]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nrfc7239 = true")
        .start()
        .await;

    let call = Call::get("/public")
        .header("x-forwarded-for", "1.2.3.4, 203.0.113.9, 10.1.1.1")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.test")
        .header("x-request-id", "given-by-the-proxy");
    gateway.send(call).await;

    let seen = upstream.last();
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("1.2.3.4, 203.0.113.9, 10.1.1.1, 127.0.0.1")
    );
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
    assert_eq!(seen.header("x-request-id"), Some("given-by-the-proxy"));
    assert!(seen.header("forwarded").unwrap().contains("for=127.0.0.1"));
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own_that_the_client_learns_from_a_refusal() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice()).start().await;
    let mut ids = Vec::new();

    for _ in 0..20 {
        let call = Call::get("/public").header("x-request-id", FORGED);
        gateway.send(call).await;
        ids.push(upstream.last().header("x-request-id").unwrap().to_owned());
    }
    let refused = gateway.send(Call::get("/private")).await;
    ids.push(refused.header("x-request-id").unwrap().to_owned());

    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() >= 16 && id != FORGED));
}

#[tokio::test]
async fn pipelined_requests_keep_their_own_identities() {
    let upstream = upstream();
    let gateway = doors(&upstream, alice())
        .session("dbt_bob", user("bob", &[]))
        .start()
        .await;
    let mut raw = Raw::connect(gateway.plain()).await;
    let get = |token: &str| {
        format!("GET /private HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n")
    };

    let all = [get(TOKEN), get("dbt_bob"), get("dbt_nobody"), get(TOKEN)].concat();
    raw.write(all).await;
    let mut users = Vec::new();
    for _ in 0..4 {
        let reply = soon("an answer", raw.reply()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        users.push((reply.status, body["user"].as_str().map(str::to_owned)));
    }

    let someone = |user: &str| (200, Some(user.to_owned()));
    assert_eq!(
        users,
        [
            someone("alice"),
            someone("bob"),
            (401, None),
            someone("alice")
        ]
    );
}
