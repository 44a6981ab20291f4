//! Browsers are sent to sign in, programs are told 401.

use crate::support::{Call, Raw, upstream};
use crate::table::{ALICE, Asked, PROXIES, Verdict, asked_by_all, question, through};

const PAGE: &str = "https://login.test/in?rd=http%3A%2F%2Fa.test%2Fprivate%3Fa%3Db%26c";
const BROWSER: &[(&str, &str)] = &[
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
];

#[tokio::test]
async fn a_browser_that_goes_to_a_page_is_sent_to_sign_in_and_told_the_way_back() {
    let upstream = upstream();
    let gateway = asked_by_all()
        .session(ALICE, crate::support::user("alice", &[]))
        .toml("[login]\nsignin = \"https://login.test/in?rd={url}\"")
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nrequire = { all = [\"x\"] }\nupstream = \"app\"")
        .start()
        .await;
    let cases = [
        ("GET", BROWSER, true),
        ("HEAD", BROWSER, true),
        ("POST", BROWSER, false),
        ("GET", &[], false),
        ("GET", &[("accept", "text/html")], true),
        ("GET", &[("accept", "application/json, text/html")], false),
        (
            "GET",
            &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            false,
        ),
        (
            "GET",
            &[
                ("sec-fetch-mode", "navigate"),
                ("authorization", "Bearer unknown"),
            ],
            true,
        ),
        (
            "GET",
            &[
                ("sec-fetch-mode", "navigate"),
                ("authorization", "Bearer a"),
                ("authorization", "Bearer b"),
            ],
            false,
        ),
        // Signed in already, and not allowed: signing in again would change nothing.
        (
            "GET",
            &[
                ("sec-fetch-mode", "navigate"),
                (
                    "authorization",
                    "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
                ),
            ],
            false,
        ),
    ];

    for (method, headers, sent) in cases {
        let line = format!("{method} /private?a=b&c");
        let asked: Asked<'_> = (&line, "A.test", headers);
        let mut call = Call::new(method, "/private?a=b&c").host("A.test");
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let reply = gateway.send(call).await;
        assert_eq!(reply.status == 302, sent, "inline {method} {headers:?}");
        assert_eq!(reply.header("location"), sent.then_some(PAGE));
        for proxy in PROXIES {
            // Envoy asks with the request's own method, and an answer to HEAD has a length and no body.
            let (mut raw, asked) = (
                Raw::connect(gateway.asked(proxy.1)).await,
                question(proxy.0, asked),
            );
            raw.write(asked).await;
            let head = raw.until("\r\n\r\n").await.unwrap();
            let status = match (sent, proxy.0) {
                (true, "nginx" | "ingress-nginx") => "401",
                (true, _) => "302",
                (false, _) => &head[9..12],
            };
            assert_eq!(&head[9..12], status, "{proxy:?} {method} {headers:?}");
            let location = format!("\r\nlocation: {PAGE}\r\n");
            assert_eq!(
                head.contains(&location),
                sent,
                "{proxy:?} {method} {headers:?}: {head}"
            );
            assert!(sent || !head.starts_with("HTTP/1.1 302"));
            assert!(head.contains("cache-control: no-store"));
        }
    }
}

#[tokio::test]
async fn a_listener_may_have_a_page_of_its_own_and_nobody_chooses_another() {
    let gateway = crate::support::gateway()
        .asked_by("traefik", "signin = \"https://other.test/?x=1&rd={url}\"")
        .asked_by("caddy", "")
        .route("prefix = \"/\"")
        .start()
        .await;
    let asked: Asked<'_> = (
        "GET //evil.test/..?rd=https://evil.test",
        "a.test",
        &[
            ("sec-fetch-mode", "navigate"),
            ("x-auth-request-redirect", "https://evil.test"),
        ],
    );

    let refused = through(&gateway, ("traefik", "Traefik"), asked).await;
    assert_eq!(refused.status, 400, "such a path is not even looked at");
    let asked: Asked<'_> = ("GET /?rd=https://evil.test&x=2", asked.1, asked.2);
    let sent = through(&gateway, ("traefik", "Traefik"), asked).await;
    assert_eq!(
        sent.header("location"),
        Some(
            "https://other.test/?x=1&rd=http%3A%2F%2Fa.test%2F%3Frd%3Dhttps%3A%2F%2Fevil.test%26x%3D2"
        )
    );
    let without = through(&gateway, ("caddy", "Caddy"), asked).await;
    assert_eq!(Verdict::of(&without).code, "token_missing");
    assert_eq!(without.header("location"), None);
}
