//! Sessions of other frameworks: settings that mean nothing, and what cannot be had with them.

use crate::check::expect;

const REDIS: &str = "redis = \"redis://127.0.0.1:6379\"";
const EMBEDDED: &str = "embedded = \"s.redb\"";

/// Each text stands in place of the store, whose first line is the fifth of the file.
fn stores(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        expect(&[(EMBEDDED, text, expected)]);
    }
}

/// Each text stands below a store with this layout and the secrets that it needs: it begins in the tenth line.
fn with(layout: &str, cases: &[(&str, &[&str])]) {
    let secrets = match layout {
        "connect-redis" | "lua-resty-session" => "secrets = [\"s\"]",
        _ => "",
    };
    for (text, expected) in cases {
        let text = format!("{REDIS}\nlayout = \"{layout}\"\n[store.foreign]\n{secrets}\n\n{text}");
        stores(&[(&text, expected)]);
    }
}

const LAYOUTS: [&str; 7] = [
    "drawbridge",
    "connect-redis",
    "flask-session",
    "spring-session",
    "sa-token",
    "laravel",
    "lua-resty-session",
];

#[test]
fn settings_that_a_framework_has_no_use_for_are_warned_about() {
    let signs = [
        "connect-redis",
        "flask-session",
        "laravel",
        "lua-resty-session",
    ];
    let resty = ["lua-resty-session"];
    for (name, value, used_by) in [
        (
            "secrets",
            "[\"base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
            &signs[..],
        ),
        ("idle", "\"30m\"", &["sa-token", "lua-resty-session"]),
        ("rolling", "\"1h\"", &resty),
        ("absolute", "\"1day\"", &resty),
        ("hashed_keys", "true", &resty),
    ] {
        for layout in LAYOUTS {
            let needed =
                matches!(layout, "connect-redis" | "lua-resty-session") && name != "secrets";
            let secrets = if needed { "\nsecrets = [\"s\"]" } else { "" };
            let text = format!(
                "{REDIS}\nlayout = \"{layout}\"\n[store.foreign]\n{name} = {value}{secrets}"
            );
            let warning =
                format!("warning 8:1 `{name}` means nothing with the layout \"{layout}\"");
            let expected: &[&str] = if used_by.contains(&layout) {
                &[]
            } else {
                &[&warning]
            };
            stores(&[(&text, expected)]);
        }
    }
}

#[test]
fn cookies_that_are_signed_need_secrets() {
    for layout in LAYOUTS {
        let text = format!("{REDIS}\nlayout = \"{layout}\"");
        let error = format!("error 6:1 without `secrets` no cookie of \"{layout}\" can be read");
        let needed = matches!(layout, "connect-redis" | "lua-resty-session");
        let expected: &[&str] = if needed { &[&error] } else { &[] };
        stores(&[(&text, expected)]);
    }
    let none = format!("{REDIS}\nlayout = \"connect-redis\"\n[store.foreign]\nsecrets = []");
    stores(&[(&none, &["error 6:1 without `secrets`"])]);
}

#[test]
fn no_file_has_sessions_of_a_framework() {
    stores(&[
        (
            "embedded = \"s.redb\"\nlayout = \"spring-session\"",
            &["error 6:1 no file has sessions of \"spring-session\""],
        ),
        (
            "layout = \"laravel\"\nembedded = \"s.redb\"",
            &["error 5:1 no file has sessions of \"laravel\""],
        ),
        ("embedded = \"s.redb\"\nlayout = \"drawbridge\"", &[]),
    ]);
}

#[test]
fn where_the_other_keys_of_sa_token_lie_has_to_be_told() {
    let key = |key: &str| format!("{REDIS}\nlayout = \"sa-token\"\nkey = \"{key}\"");
    let wrong: &[&str] =
        &["error 7:1 where Sa-Token's other keys lie cannot be told from this one"];
    stores(&[
        (&key("shop:login:token:{token}"), &[]),
        (&key("token:{token}"), &[]),
        (&key("satoken:login:{token}"), wrong),
        (&key("satoken:login:token:{token}:x"), wrong),
        (
            &format!("{REDIS}\nlayout = \"flask-session\"\nkey = \"any:{{token}}:x\""),
            &[],
        ),
    ]);
}

#[test]
fn sessions_are_moved_where_there_are_two_kinds_and_a_cookie_for_ours() {
    let sources = "[tokens]\nsources = [\"cookie:__Host-session\", \"cookie:connect.sid\"]";
    let sessions = "[sessions]\nforeign_without_iat = \"refuse\"";
    let moving = |rest: &str| {
        format!(
            "{REDIS}\nlayout = \"connect-redis\"\nmigrate = true\n[store.foreign]\nsecrets = [\"s\"]\n{rest}"
        )
    };
    let no_sessions = "error 7:1 sessions of ours need `[sessions]`, with `foreign = \"check\"`";
    let no_cookie = "error 7:1 tokens are never looked for in the cookie that would be set";
    let insecure = "warning";
    let found =
        |text: &str| crate::support::lines(&crate::support::VALID.replacen(EMBEDDED, text, 1));
    // No listener of the valid file has TLS, which is another matter.
    let errors = |text: &str| -> Vec<String> {
        let all = found(text).into_iter();
        all.filter(|line| !line.starts_with(insecure)).collect()
    };
    for (text, expected) in [
        (moving(&format!("{sources}\n{sessions}")), &[][..]),
        (moving(sources), &[no_sessions]),
        (
            moving(&format!("{sources}\n{sessions}\nforeign = \"trust\"")),
            &[no_sessions],
        ),
        (
            moving(&format!(
                "[tokens]\nsources = [\"cookie:connect.sid\"]\n{sessions}"
            )),
            &[no_cookie],
        ),
        (
            moving(&format!(
                "{sources}\n{sessions}\n[login]\nanswer = \"tokens\""
            )),
            &[no_cookie],
        ),
        (
            moving(&format!(
                "{sources}\n{sessions}\n[login.cookie]\nname = \"other\""
            )),
            &[no_cookie],
        ),
        (
            moving("[tokens]\nsources = [\"cookie:connect.sid\"]"),
            &[no_sessions, no_cookie],
        ),
        (
            format!("{REDIS}\nmigrate = true\n{sources}\n{sessions}"),
            &["error 6:1 there is no framework to move sessions from"],
        ),
    ] {
        let errors = errors(&text);
        assert_eq!(errors.len(), expected.len(), "{text}: {errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(
                error.starts_with(expected),
                "{text}\nexpected {expected}\nfound    {error}"
            );
        }
    }
}

#[test]
fn kicks_need_to_know_when_a_session_began() {
    let error = |place: &str, layout: &str| {
        format!("error {place} sessions of \"{layout}\" do not say when they began")
    };
    for layout in LAYOUTS {
        let tells = matches!(
            layout,
            "drawbridge" | "spring-session" | "lua-resty-session"
        );
        let silent = error("10:1", layout);
        let accepting = error("11:23", layout);
        let when_silent = |error| if tells { vec![] } else { vec![error] };
        with(
            layout,
            &[
                ("[sessions]", &when_silent(silent.as_str())),
                (
                    "[sessions]\nforeign_without_iat = \"allow\"",
                    &when_silent(accepting.as_str()),
                ),
                ("[sessions]\nforeign_without_iat = \"refuse\"", &[]),
                ("[sessions]\nforeign = \"trust\"", &[]),
                ("[sessions]\n[store.fields]\nissued_at = \"since\"", &[]),
            ],
        );
    }
}
