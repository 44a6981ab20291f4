//! Sessions that can be ended: lengths of time and limits that nobody could log in with, and what needs `[sessions]`.

use crate::check::expect;

/// Each line is the whole of `[sessions]`.
fn table(cases: &[(&str, &[&str])]) {
    for (line, expected) in cases {
        expect(&[("", &format!("[sessions]\n{line}\n"), *expected)]);
    }
}

#[test]
fn sessions_that_end_when_they_begin_are_an_error() {
    table(&[
        ("", &[]),
        ("idle = \"1s\"", &[]),
        ("refresh_grace = \"60s\"", &[]),
        ("refresh_grace = \"0s\"", &[]),
        (
            "access_lifetime = \"0s\"",
            &["error 12:19 `access_lifetime` is zero: sessions would end when they begin"],
        ),
        (
            "lifetime = \"0s\"",
            &["error 12:12 `lifetime` is zero: sessions would end when they begin"],
        ),
        (
            "refresh_lifetime = \"0s\"",
            &["error 12:20 `refresh_lifetime` is zero: sessions would end when they begin"],
        ),
        (
            "refresh_idle = \"0s\"",
            &["error 12:16 `refresh_idle` is zero: sessions would end when they begin"],
        ),
        (
            "idle = \"999ms\"",
            &["error 12:8 `idle` is less than a second"],
        ),
        (
            "refresh_grace = \"61s\"",
            &["error 12:17 `refresh_grace` is above 60 s"],
        ),
    ]);
}

#[test]
fn limits_that_let_nobody_in_or_cannot_be_kept_are_an_error() {
    table(&[
        ("max_per_user = 1", &[]),
        ("max_per_user = 256", &[]),
        (
            "max_per_user = 0",
            &["error 12:16 `max_per_user` is zero: nobody could log in"],
        ),
        (
            "max_per_user = 257",
            &["error 12:16 `max_per_user` is above 256"],
        ),
        ("max_per_type = { phone = 1, tv = 3 }", &[]),
        (
            "max_per_type = { phone = 1, tv = 0 }",
            &["error 12:34 `tv` is zero: nobody could log in on such a device"],
        ),
        ("on_limit = \"refuse\"", &[]),
        ("on_limit = \"least_recently_seen\"\nidle = \"1h\"", &[]),
        (
            "on_limit = \"least_recently_seen\"",
            &["error 12:12 `on_limit` is \"least_recently_seen\", but nothing notes when"],
        ),
        (
            "on_limit = \"newest\"",
            &["error 12:12 `newest` is not allowed here"],
        ),
        ("realm = \"a b\"", &["error 12:9 "]),
        ("sessions = 3", &["error 12:1 "]),
    ]);
}

#[test]
fn tokens_that_could_not_be_read_again_are_an_error() {
    expect(&[
        (
            "",
            "[tokens]\ncharset = \"hex\"\n[sessions]",
            &["error 12:11 the tokens that `[sessions]` mints are not hex"],
        ),
        ("", "[tokens]\ncharset = \"hex\"", &[]),
        (
            "",
            "[tokens]\nmax_length = \"62B\"\n[sessions]",
            &["error 12:14 the tokens that `[sessions]` mints have 63 bytes"],
        ),
        ("", "[tokens]\nmax_length = \"63B\"\n[sessions]", &[]),
        ("", "[tokens]\nmax_length = \"62B\"", &[]),
    ]);
}

#[test]
fn what_a_route_asks_of_users_needs_their_records() {
    for (line, name) in [
        ("service = \"billing\"", "service"),
        ("max_risk = 50", "max_risk"),
        ("elevated_within = \"5m\"", "elevated_within"),
    ] {
        let without = format!("error 11:1 `{name}` without `[sessions]`");
        expect(&[
            ("", line, &[&without]),
            ("", &format!("{line}\n[sessions]"), &[]),
        ]);
    }
    expect(&[(
        "",
        "max_risk = 101\n[sessions]",
        &["error 11:12 `max_risk` is above 100"],
    )]);
}
