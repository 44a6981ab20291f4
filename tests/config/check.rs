//! Faults and warnings across values.

use crate::support::{VALID, faults, lines, rendered};

/// Spoils the valid file: replaces, or appends where nothing is to be replaced.
fn spoil(old: &str, new: &str) -> String {
    if old.is_empty() {
        return format!("{VALID}{new}\n");
    }
    assert!(VALID.contains(old), "{old}");
    VALID.replacen(old, new, 1)
}

/// Each text has exactly these lines said about it, by their beginnings.
pub(crate) fn expect(cases: &[(&str, &str, &[&str])]) {
    for (old, new, expected) in cases {
        let text = spoil(old, new);
        let found = lines(&text);
        assert_eq!(found.len(), expected.len(), "{new}: {found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(
                found.starts_with(expected),
                "{new}\nexpected {expected}\nfound    {found}"
            );
        }
        for fault in faults(&text) {
            assert!(fault.help.is_some(), "no help: {fault:?}");
        }
        assert_eq!(rendered(&text).is_empty(), expected.is_empty());
    }
}

const LISTEN: &str = "address = \"127.0.0.1:0\"";
const STORE: &str = "embedded = \"s.redb\"";
const ENDPOINTS: &str = "endpoints = [\"http://127.0.0.1:9000\"]";
const PATH: &str = "prefix = \"/\"";

#[test]
fn the_valid_file_has_nothing_said_about_it() {
    assert!(lines(VALID).is_empty(), "{:?}", lines(VALID));
}

#[test]
fn listeners() {
    expect(&[
        (
            "[[listeners]]\naddress = \"127.0.0.1:0\"",
            "listeners = []",
            &["error 2:13 there is no listener"],
        ),
        (
            LISTEN,
            "address = \"127.0.0.1:80\"\n[[listeners]]\naddress = \"127.0.0.1:80\"",
            &["error 5:11 two listeners have the address 127.0.0.1:80"],
        ),
        (
            LISTEN,
            "address = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"127.0.0.1:0\"",
            &[],
        ),
        (
            LISTEN,
            "address = \"0.0.0.0:80\"",
            &["warning 3:11 tokens reach 0.0.0.0:80 in the clear"],
        ),
        (LISTEN, "address = \"[::1]:80\"", &[]),
        (
            LISTEN,
            "address = \"0.0.0.0:443\"\ntls = { certificates = [] }",
            &["error 4:24 this TLS listener has no certificate"],
        ),
        (
            LISTEN,
            "address = \"0.0.0.0:443\"\ntls = { certificates = [{ cert = \"Cargo.toml\", key = \"/\" }] }",
            &[
                "error 4:34 the certificate file `/nowhere/Cargo.toml` cannot be read: there is no such file",
                "error 4:54 the key file `/` cannot be read: it is a folder",
            ],
        ),
        (
            LISTEN,
            "address = \"0.0.0.0:443\"\ntls = { certificates = [{ cert = \"/dev/null\", key = \"/dev/null\" }], client_auth = \"required\" }",
            &["error 4:83 clients are to show a certificate"],
        ),
        (
            LISTEN,
            "address = \"0.0.0.0:443\"\ntls = { certificates = [{ cert = \"/dev/null\", key = \"/dev/null\" }], client_auth = \"optional\", client_ca = \"ca\" }",
            &["error 4:107 the client CA file `/nowhere/ca` cannot be read"],
        ),
    ]);
}

/// A listener with this `acme` entry.
fn ordering(acme: &str) -> String {
    format!("address = \"0.0.0.0:443\"\n[listeners.tls.acme]\n{acme}")
}

#[test]
fn certificates_by_acme() {
    let fine = "domains = [\"a.test\"]\naccept_terms = true\ncache = \"/tmp/acme\"";
    let with = |from: &str, to: &str| {
        assert!(fine.contains(from));
        ordering(&fine.replace(from, to))
    };
    let twice = |settings: &str| {
        format!(
            "{}\n[[listeners]]\n{}{settings}",
            ordering(fine),
            ordering(fine).replace("0.0.0.0", "[::]")
        )
    };
    for (text, expected) in [
        (ordering(fine), None),
        (twice(""), None),
        (
            with("accept_terms = true\n", ""),
            Some("error 4:1 nobody has agreed to the authority's terms of service"),
        ),
        (
            with("= true", "= false"),
            Some("error 6:16 nobody has agreed to the authority's terms of service"),
        ),
        (
            with("[\"a.test\"]", "[]"),
            Some("error 5:11 no certificate is ordered"),
        ),
        (
            with("[\"a.test\"]", "[\"a.test\", \"b.test\", \"A.test\"]"),
            Some("error 5:32 `a.test` is there twice"),
        ),
        (
            with("[\"a.test\"]", "[\"b.test\", \"*.a.test\"]"),
            Some("error 5:22 `*.a.test` is a wildcard, which TLS-ALPN-01 cannot prove"),
        ),
        (
            with("cache", "contact = \"ops@a.test\"\ncache"),
            Some("error 7:11 `ops@a.test` is not a contact"),
        ),
        (
            with("cache", "directory = \"http://a.test/dir\"\ncache"),
            Some("error 7:13 this is not the directory of an authority"),
        ),
        (
            with("cache", "ca = \"gone.pem\"\ncache"),
            Some("error 7:6 the CA file `/nowhere/gone.pem` cannot be read"),
        ),
        (
            with("/tmp/acme", "/dev/null/acme"),
            Some(
                "error 7:9 certificates cannot be kept in `/dev/null/acme`: `/dev/null/acme`: not a directory",
            ),
        ),
        (
            with("/tmp/acme", "/dev/null"),
            Some("error 7:9 certificates cannot be kept in `/dev/null`: `/dev/null` is no folder"),
        ),
        (
            with(
                "cache",
                "external_account = { id = \"1\", secret = \"hunter 2\" }\ncache",
            ),
            Some("error 7:41 this is not the key of an account: it is not base64url"),
        ),
        (
            with(
                "cache",
                "external_account = { id = \"1\", secret = \"==\" }\ncache",
            ),
            Some("error 7:41 this is not the key of an account: it is not base64url"),
        ),
        (
            twice("\ncontact = \"mailto:ops@a.test\""),
            Some("error 11:12 `a.test` is ordered in another way at another listener"),
        ),
        (
            twice("\nca = \"/dev/null\""),
            Some("error 11:12 `a.test` is ordered in another way at another listener"),
        ),
        (
            twice("\nexternal_account = { id = \"1\", secret = \"c2VjcmV0\" }"),
            Some("error 11:12 `a.test` is ordered in another way at another listener"),
        ),
    ] {
        let expected: Vec<&str> = expected.into_iter().collect();
        expect(&[(LISTEN, &text, &expected)]);
    }
    let secret = with(
        "cache",
        "external_account = { id = \"1\", secret = \"hunter 2\" }\ncache",
    );
    let shown = rendered(&VALID.replacen(LISTEN, &secret, 1));
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn store() {
    expect(&[
        (STORE, "", &["error 4:1 the store is neither"]),
        (
            STORE,
            "embedded = \"s\"\nredis = \"redis://127.0.0.1\"",
            &["error 6:1 the store is both"],
        ),
        (STORE, "redis = \"redis://127.0.0.1:6379\"", &[]),
        (STORE, "redis = \"redis://:p@[::1]:6379/0\"", &[]),
        (STORE, "redis = \"rediss://redis.example.com\"", &[]),
        (
            STORE,
            "redis = \"redis://redis.example.com:6379\"",
            &["warning 5:9 tokens and the password travel to Redis in the clear"],
        ),
        (
            STORE,
            "redis = \"redis-cluster://localhost:1?node=10.0.0.2:2\"",
            &["warning 5:9 tokens and the password"],
        ),
        (
            STORE,
            "redis = \"redis-sentinel://localhost:1?node=localhost:2&sentinelServiceName=m\"",
            &[],
        ),
        (
            STORE,
            "embedded = \"s\"\ntls_ca = \"ca.pem\"",
            &["error 6:10 the store's CA file `/nowhere/ca.pem` cannot be read"],
        ),
        (
            STORE,
            "embedded = \"s\"\nlookup_deadline = \"0s\"",
            &["error 6:19 `lookup_deadline` is zero"],
        ),
        (
            STORE,
            "embedded = \"s\"\nmax_in_flight = 0",
            &["error 6:17 `max_in_flight` is zero"],
        ),
        (
            STORE,
            "embedded = \"s\"\nmax_record = \"0B\"",
            &["error 6:14 `max_record` is zero"],
        ),
        (
            STORE,
            "embedded = \"s\"\nmax_depth = 0",
            &["error 6:13 `max_depth` is zero"],
        ),
    ]);
}

#[test]
fn bounds() {
    expect(&[
        (
            "",
            "[limits]\nmax_head = \"7KiB\"",
            &["error 12:12 `max_head` is below 8 KiB"],
        ),
        (
            "",
            "[limits]\nhandshake_timeout = \"0s\"",
            &["error 12:21 `handshake_timeout` is zero"],
        ),
        (
            "",
            "[limits]\nheader_timeout = \"0s\"",
            &["error 12:18 `header_timeout` is zero"],
        ),
        (
            "",
            "[limits]\nfirst_byte_timeout = \"0s\"\nidle_timeout = \"0s\"",
            &[
                "error 12:22 `first_byte_timeout` is zero",
                "error 13:16 `idle_timeout` is zero",
            ],
        ),
        (
            "",
            "[limits]\nmax_headers = 0\nmax_header = \"0B\"",
            &[
                "error 12:15 `max_headers` is zero",
                "error 13:14 `max_header` is zero",
            ],
        ),
        (
            "",
            "[limits]\nmax_uri = \"0B\"",
            &["error 12:11 `max_uri` is zero"],
        ),
        (
            "",
            "[limits]\nmax_connections_per_client = 0\nmax_in_flight = 0\nbody_timeout = \"0s\"",
            &[
                "error 12:30 `max_connections_per_client` is zero",
                "error 13:17 `max_in_flight` is zero",
                "error 14:16 `body_timeout` is zero",
            ],
        ),
        (
            "",
            "[limits]\nmax_connections = 0",
            &["error 12:19 `max_connections` is zero"],
        ),
        (
            "",
            "[limits]\nmax_streams = 0",
            &["error 12:15 `max_streams` is zero"],
        ),
        (
            "",
            "[tokens]\nmax_length = \"0B\"",
            &["error 12:14 `max_length` is zero"],
        ),
        (
            "",
            "[tokens]\nlifetime = \"0s\"",
            &["error 12:12 `lifetime` is zero"],
        ),
        (
            "",
            "[identity]\nmax_value = \"0B\"",
            &["error 12:13 `max_value` is zero"],
        ),
        ("", "[server]\ndrain_timeout = \"0s\"", &[]),
        ("", "max_body = \"0B\"", &[]),
        (
            "",
            "timeouts = { connect = \"0s\", idle = \"0s\" }",
            &[
                "error 11:24 `connect` is zero",
                "error 11:37 `idle` is zero",
            ],
        ),
        (
            "",
            "timeouts.response = \"0s\"",
            &["error 11:21 `response` is zero"],
        ),
        (
            "",
            "[forwarded]\ntrusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\", \"::/0\"]",
            &[
                "warning 12:34 everybody is a trusted proxy",
                "warning 12:47 everybody is a trusted proxy",
            ],
        ),
    ]);
}

#[test]
fn identity() {
    expect(&[
        (
            "",
            "[identity.headers]\nx-user-id = \"user_id\"\nx_user_ID = \"roles\"",
            &["error 13:1 `x_user_ID` and `x-user-id` are one header"],
        ),
        (
            "",
            "[identity.headers]\nx-user-id = \"user_id\"\nX-User-Id = \"roles\"",
            &["error 13:1 `X-User-Id` and `x-user-id` are one header"],
        ),
        (
            "",
            "[identity.headers]\nx-forwarded-user = \"user_id\"",
            &["error 12:1 `x-forwarded-user` is rebuilt"],
        ),
        (
            "",
            "[identity.headers]\nforwarded = \"user_id\"",
            &["error 12:1 `forwarded` is rebuilt"],
        ),
        (
            "",
            "[identity.headers]\nauthorization = \"user_id\"",
            &["error 12:1 `authorization` is where a token is looked for"],
        ),
        (
            "",
            "headers = { x-a = \"user_id\", X_A = \"roles\", x-key = \"route\" }\ntokens = [\"header:X-Key\"]",
            &[
                "error 11:30 `X_A` and `x-a` are one header",
                "error 11:45 `x-key` is where a token is looked for",
            ],
        ),
        (
            "",
            "tokens = []",
            &["error 11:10 this route asks for a session"],
        ),
        ("", "tokens = []\nauth = \"public\"", &[]),
        (
            "",
            "[tokens]\nsources = []",
            &["error 12:11 routes ask for a session"],
        ),
        ("", "tokens = [\"bearer\"]\n[tokens]\nsources = []", &[]),
        (
            "",
            "[tokens]\nsources = [\"bearer\", \"cookie:s\"]",
            &["warning 12:22 the cookie `s` carries a token"],
        ),
        (
            "",
            "tokens = [\"cookie:s\"]",
            &["warning 11:11 the cookie `s` carries a token"],
        ),
    ]);
}

#[test]
fn upstreams() {
    expect(&[
        (
            ENDPOINTS,
            "endpoints = []",
            &["error 7:13 the upstream `app` has no endpoint"],
        ),
        (
            ENDPOINTS,
            "endpoints = [\"https://example.com\", \"http://localhost\", \"http://10.0.0.1:80\"]",
            &["warning 7:57 identity and requests travel to http://10.0.0.1 in the clear"],
        ),
        ("", "forward_token = true", &[]),
        (
            "[upstreams.app]\nendpoints = [\"http://127.0.0.1:9000\"]\n[[routes]]",
            "[upstreams.app]\nendpoints = [\"http://10.0.0.1:81\"]\n[[routes]]\nforward_token = true",
            &[
                "warning 7:14 identity and requests travel",
                "warning 9:1 the token itself travels to http://10.0.0.1:81",
            ],
        ),
        (
            "",
            "[upstreams.other]\nendpoints = [\"http://127.0.0.1:1\"]",
            &["warning 11:1 no route leads to the upstream `other`"],
        ),
        (
            ENDPOINTS,
            "endpoints = [\"http://127.0.0.1:1\"]\nidle_timeout = \"0s\"",
            &["error 8:16 `idle_timeout` is zero"],
        ),
        (
            ENDPOINTS,
            "endpoints = [\"https://a\"]\ntls.ca = \"ca\"",
            &["error 8:10 the upstream's CA file `/nowhere/ca` cannot be read"],
        ),
    ]);
}

#[test]
fn one_route() {
    expect(&[
        (
            PATH,
            "",
            &["error 8:1 this route has neither `prefix` nor `exact`"],
        ),
        (
            PATH,
            "prefix = \"/\"\nexact = \"/a\"",
            &["error 10:1 this route has both `prefix` and `exact`"],
        ),
        (
            PATH,
            "prefix = \"/a/\"",
            &["error 9:10 the prefix `/a/` ends with `/`"],
        ),
        (PATH, "exact = \"/a/\"", &[]),
        (
            "",
            "strip_prefix = true\nreplace_prefix = \"/b\"",
            &["error 11:1 this route has both `strip_prefix` and `replace_prefix`"],
        ),
        (
            PATH,
            "exact = \"/a\"\nstrip_prefix = true",
            &["error 10:1 `strip_prefix` without a `prefix`"],
        ),
        (
            PATH,
            "exact = \"/a\"\nreplace_prefix = \"/b\"",
            &["error 10:1 `replace_prefix` without a `prefix`"],
        ),
        (
            "upstream = \"app\"",
            "upstream = \"ap\"",
            &[
                "warning 6:1 no route leads to the upstream `app`",
                "error 10:12 there is no upstream `ap`",
            ],
        ),
    ]);
    let wrong = faults(&spoil("upstream = \"app\"", "upstream = \"ap\""));
    assert_eq!(
        wrong[1].help.as_deref(),
        Some("did you mean `app`? allowed here: `app`")
    );
}

#[test]
fn conditions_where_nobody_is_known() {
    expect(&[
        (
            "",
            "auth = \"public\"\nrequire.all = [\"a\"]",
            &["error 12:9 `require.all` can never apply"],
        ),
        (
            "",
            "auth = \"public\"\nrequire.any = [\"a\"]",
            &["error 12:9 `require.any` can never apply"],
        ),
        (
            "",
            "auth = \"public\"\nrequire.none = [\"a\"]",
            &["error 12:9 `require.none` can never apply"],
        ),
        (
            "",
            "auth = \"public\"\nrequire.roles = [\"a\"]",
            &["error 12:9 `require.roles` can never apply"],
        ),
        (
            "",
            "auth = \"public\"\nrequire.device_types = [\"a\"]",
            &["error 12:9 `require.device_types` can never apply"],
        ),
        (
            "",
            "auth = \"optional\"\nrequire.all = [\"a\"]",
            &["error 12:9 `require.all` protects nothing"],
        ),
    ]);
}

#[test]
fn several_faults_across_values_are_reported_together() {
    let text = VALID
        .replace(STORE, "")
        .replace("upstream = \"app\"", "upstream = \"none\"")
        .replace(LISTEN, "address = \"0.0.0.0:1\"");

    let found = lines(&text);

    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn command_check_prints_all_and_says_whether_it_would_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let good = drawbridge::command::check::run(&path, &mut out, false).unwrap();
        (good, String::from_utf8(out).unwrap())
    };

    let (good, said) = check(VALID);
    assert!(
        good && said.ends_with("gateway.toml is fine: 1 listener, 1 route, 1 upstream\n"),
        "{said}"
    );
    let (good, said) = check(&spoil(LISTEN, "address = \"0.0.0.0:1\""));
    assert!(
        good && said.ends_with("gateway.toml: 1 warning; 1 listener, 1 route, 1 upstream\n"),
        "{said}"
    );
    assert!(said.starts_with("warning: tokens reach"), "{said}");
    let (good, said) = check(&spoil("upstream = \"app\"", "upstream = \"ap\""));
    assert!(
        !good && said.ends_with("gateway.toml: 1 error, 1 warning\n"),
        "{said}"
    );
    let (good, said) = check(&spoil("prefix = \"/\"", "prefix = \"no\""));
    assert!(
        !good && said.ends_with("gateway.toml: 1 error; whether the rest fits together is looked at when each value is right\n"),
        "{said}"
    );

    std::fs::remove_file(&path).unwrap();
    let mut out = Vec::new();
    assert!(!drawbridge::command::check::run(&path, &mut out, false).unwrap());
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains("cannot be read"), "{said}");
    assert!(
        said.contains("help: name the file with --config FILE"),
        "{said}"
    );
}
