//! Proxies that ask, and where browsers sign in: what would let nobody in, or everybody.

use crate::check::expect;

const ADDRESS: &str = "address = \"127.0.0.1:0\"\n";
const UPSTREAM: &str = "upstream = \"app\"\n";

fn asked(lines: &str) -> String {
    format!("{ADDRESS}[listeners.forward_auth]\n{lines}\n")
}

#[test]
fn a_listener_where_nobody_or_everybody_may_ask_is_told_of() {
    for (lines, expected) in [
        ("proxy = \"nginx\"\ntrusted = [\"10.0.0.0/8\"]", &[][..]),
        (
            "proxy = \"nginx\"\ntrusted = []",
            &["error 6:11 nobody may ask here: `trusted` is empty"],
        ),
        (
            "proxy = \"nginx\"\ntrusted = [\"::1\", \"0.0.0.0/0\"]",
            &["warning 6:11 everybody may ask here, and pretend to be any client"],
        ),
        (
            "proxy = \"apache\"\ntrusted = [\"::1\"]",
            &["error 5:9 `apache` is not allowed here"],
        ),
        (
            "proxy = \"traefik\"\ntrusted = [\"::1\"]\npath_prefix = \"/x\"",
            &[
                "error 7:15 only the proxies `envoy` and `gateway-api` put something in front of paths",
            ],
        ),
        (
            "proxy = \"envoy\"\ntrusted = [\"::1\"]\npath_prefix = \"/x\"",
            &[],
        ),
        (
            "proxy = \"gateway-api\"\ntrusted = [\"::1\"]\npath_prefix = \"/x\"",
            &[],
        ),
    ] {
        expect(&[(ADDRESS, &asked(lines), expected)]);
    }
}

#[test]
fn a_proxy_that_asks_is_not_introduced_by_another() {
    let lines = "proxy = \"caddy\"\ntrusted = [\"::1\"]";
    let text = asked(lines).replace(
        ADDRESS,
        &format!("{ADDRESS}proxy_protocol = \"optional\"\n"),
    );
    let trusted = "[forwarded]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[store]\n";
    let text = crate::support::VALID
        .replace(ADDRESS, &text)
        .replace("[store]\n", trusted);
    let found = crate::support::lines(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("error 4:18 a proxy that asks speaks for itself"),
        "{found:?}"
    );
}

#[test]
fn grpc_needs_a_listener_that_offers_http2() {
    let tls = "[listeners.tls]\nalpn = [\"http/1.1\"]\ncertificates = []";
    let lines = format!("proxy = \"envoy-grpc\"\ntrusted = [\"::1\"]\n{tls}");
    let expected = [
        "error 8:8 gRPC is spoken over HTTP/2, and this listener does not offer it",
        "error 9:16 this TLS listener has no certificate",
    ];
    expect(&[(ADDRESS, &asked(&lines), &expected)]);
}

#[test]
fn a_route_without_an_upstream_needs_somebody_who_asks() {
    const UNUSED: &str = "warning 6:1 no route leads to the upstream `app`";
    expect(&[(
        UPSTREAM,
        "",
        &[UNUSED, "error 8:1 this route has no `upstream`"],
    )]);
    let with = |route: &str| {
        let text = crate::support::VALID.replace(UPSTREAM, route);
        let lines = asked("proxy = \"caddy\"\ntrusted = [\"::1\"]");
        crate::support::lines(&text.replace(ADDRESS, &lines))
    };
    assert_eq!(
        with(""),
        ["warning 9:1 no route leads to the upstream `app`"]
    );
    let login = with("login = true\n");
    assert!(
        login
            .iter()
            .any(|line| line.starts_with("error 13:1 `login` is about an upstream's answers")),
        "{login:?}"
    );
}

#[test]
fn a_page_to_sign_in_at_is_an_absolute_url_and_not_in_the_clear() {
    for (page, expected) in [
        ("https://login.example/?rd={url}", &[][..]),
        ("http://127.0.0.1:9000/?rd={url}", &[]),
        ("https://login.example", &[]),
        (
            "http://login.example/?rd={url}",
            &["warning 12:10 users sign in at http://login.example in the clear"],
        ),
        (
            "https://{url}",
            &["error 12:10 `https://{url}` is not where users sign in"],
        ),
        (
            "/login?rd={url}",
            &["error 12:10 `/login?rd={url}` is not where users sign in"],
        ),
    ] {
        let lines = format!("[login]\nsignin = \"{page}\"\n");
        expect(&[("", &lines, expected)]);
    }
    let lines = asked("proxy = \"nginx\"\ntrusted = [\"::1\"]\nsignin = \"http://login.example/\"");
    expect(&[(
        ADDRESS,
        &lines,
        &["warning 7:10 users sign in at http://login.example in the clear"],
    )]);
}

#[test]
fn a_preset_has_the_names_that_upstreams_of_another_gateway_know() {
    for (preset, names) in [
        (
            "drawbridge",
            "x-actor-id x-device-id x-device-type x-request-id x-user-id x-user-permissions x-user-roles",
        ),
        (
            "oauth2-proxy",
            "x-auth-request-access-token x-auth-request-email x-auth-request-groups \
             x-auth-request-preferred-username x-auth-request-user",
        ),
        (
            "authelia",
            "remote-email remote-groups remote-name remote-user",
        ),
        (
            "authentik",
            "x-authentik-email x-authentik-entitlements x-authentik-groups x-authentik-jwt \
             x-authentik-name x-authentik-uid x-authentik-username",
        ),
        (
            "kong",
            "x-anonymous-consumer x-consumer-custom-id x-consumer-groups x-consumer-id \
             x-consumer-username x-credential-identifier",
        ),
    ] {
        let text = format!(
            "{}[identity]\npreset = \"{preset}\"\n",
            crate::support::VALID
        );
        let plan = crate::support::read(&text).unwrap().identity.plan();
        let found: Vec<_> = plan.keys().map(|name| name.as_str()).collect();
        assert_eq!(found.join(" "), names);
        assert!(crate::support::lines(&text).is_empty());

        let own = format!("{text}[identity.headers]\nx-who = \"user_id\"\n");
        let plan = crate::support::read(&own).unwrap().identity.plan();
        assert_eq!(
            plan.len(),
            1,
            "a table of one's own takes the place of any preset"
        );
    }
    let token = "[identity]\npreset = \"authelia\"\n[tokens]\nsources = [\"header:Remote-User\"]\n";
    expect(&[(
        "",
        token,
        &["error 12:10 `remote-user` is where a token is looked for, and cannot carry identity"],
    )]);
}
