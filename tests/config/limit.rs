//! What is said about rate limits.

use crate::support::{VALID, lines, rendered};

const REDIS: &str = "redis = \"redis://127.0.0.1\"";

/// What is said about a route with this list of limits, on a store that is embedded or a Redis.
fn said(store: &str, route: &str, limits: &str, rest: &str) -> Vec<String> {
    let text = VALID.replace("embedded = \"s.redb\"", store).replace(
        "upstream = \"app\"",
        &format!("upstream = \"app\"\n{route}"),
    );
    lines(&format!("{text}limits = [{limits}]\n{rest}"))
}

fn expect(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.contains(expected),
            "expected {expected}\nfound    {found}"
        );
    }
}

#[test]
fn limits_that_make_sense_have_nothing_said_about_them() {
    let every = "{ by = \"client\", rate = \"100/s\", burst = 1 }, { by = \"token\", rate = \"1/m\" },
        { by = \"user\", rate = \"1000/h\", headers = true }, { by = \"device\", rate = \"1/s\" },
        { by = \"route\", rate = \"1/s\", scope = \"shared\", on_error = \"allow\" },
        { by = \"user\", name = \"slow\", rate = \"1/s\", scope = \"shared\", on_error = \"deny\" }";

    expect(&said(REDIS, "", every, ""), &[]);
    expect(&said(REDIS, "auth = \"optional\"", every, ""), &[]);
    expect(
        &said(
            "embedded = \"s.redb\"",
            "",
            every,
            "[limits]\nredis = \"redis://127.0.0.1:6380\"",
        ),
        &[],
    );
    expect(&said(REDIS, "", "", ""), &[]);
}

#[test]
fn quantities_that_let_nothing_through_or_take_days() {
    for (limit, expected) in [
        (
            "rate = \"1/s\", burst = 0",
            "error 12:48 `burst` is zero: every request would be refused",
        ),
        ("rate = \"1/h\", burst = 24", ""),
        (
            "rate = \"1/h\", burst = 25",
            "warning 12:48 an empty bucket of 25 takes 1day 1h to be full",
        ),
        (
            "rate = \"1/h\", burst = 9000",
            "error 12:48 an empty bucket of 9000 takes 1year",
        ),
        ("rate = \"4000000000/h\", burst = 4000000000", ""),
    ] {
        let expected: Vec<_> = [expected]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        expect(
            &said(REDIS, "", &format!("{{ by = \"user\", {limit} }}"), ""),
            &expected,
        );
    }
}

#[test]
fn a_shared_limit_says_what_it_does_on_an_error_and_has_somebody_to_share_with() {
    let shared = "{ by = \"user\", rate = \"1/s\", scope = \"shared\" }";
    let denying = "{ by = \"user\", rate = \"1/s\", scope = \"shared\", on_error = \"deny\" }";
    let local = "{ by = \"user\", rate = \"1/s\", on_error = \"deny\" }";

    expect(
        &said(REDIS, "", shared, ""),
        &["error 12:48 a shared limit has to say"],
    );
    expect(
        &said(REDIS, "", local, ""),
        &["warning 12:51 `on_error` can never apply"],
    );
    expect(
        &said("embedded = \"s.redb\"", "", denying, ""),
        &["warning 12:48 this limit is shared with nobody"],
    );
}

#[test]
fn on_a_public_route_nobody_is_known() {
    for by in ["token", "user", "device"] {
        let limit = format!("{{ by = \"{by}\", rate = \"1/s\" }}");
        let expected = format!("error 12:18 a limit by {by} can never apply");

        expect(&said(REDIS, "auth = \"public\"", &limit, ""), &[&expected]);
    }
    let fine = "{ by = \"client\", rate = \"1/s\" }, { by = \"route\", rate = \"1/s\" }";
    expect(&said(REDIS, "auth = \"public\"", fine, ""), &[]);
}

#[test]
fn two_limits_of_one_list_have_two_names() {
    let twice = "{ by = \"user\", rate = \"1/s\" }, { by = \"user\", rate = \"9/h\" }";
    let named =
        "{ by = \"user\", rate = \"1/s\" }, { by = \"client\", rate = \"9/h\", name = \"user\" }";

    expect(
        &said(REDIS, "", twice, ""),
        &["error 12:42 two limits of one list are called `user`"],
    );
    expect(
        &said(REDIS, "", named, ""),
        &["error 12:80 two limits of one list are called `user`"],
    );
}

#[test]
fn the_default_list_is_looked_at_as_well() {
    let rates = "[limits]\nrates = [{ by = \"user\", rate = \"1/s\", burst = 0 }]";

    expect(
        &said(REDIS, "", "", rates),
        &["error 14:47 `burst` is zero"],
    );
    expect(
        &said(
            REDIS,
            "auth = \"public\"",
            "",
            &rates.replace(", burst = 0", ""),
        ),
        &[],
    );
}

#[test]
fn a_redis_that_only_counts_has_something_to_count_and_is_not_asked_in_the_clear() {
    let shared = "{ by = \"user\", rate = \"1/s\", scope = \"shared\", on_error = \"deny\" }";
    let redis = |url: &str, more: &str| format!("[limits]\nredis = \"{url}\"\n{more}");

    expect(
        &said(REDIS, "", "", &redis("redis://127.0.0.1:6380", "")),
        &["warning 14:9 no rate limit is shared"],
    );
    expect(
        &said(REDIS, "", shared, &redis("redis://u:hunter2@10.0.0.5", "")),
        &["warning 14:9 the password travels to Redis in the clear"],
    );
    expect(
        &said(REDIS, "", shared, &redis("rediss://10.0.0.5", "")),
        &[],
    );
    expect(
        &said(
            REDIS,
            "",
            shared,
            &redis(
                "redis://127.0.0.1",
                "redis_deadline = \"0s\"\nredis_ca = \"none.pem\"",
            ),
        ),
        &[
            "error 15:18 `redis_deadline` is zero",
            "error 16:12 the CA for limits file",
        ],
    );
    let text = format!("{VALID}[limits]\nredis = \"redis://u:hunter2@10.0.0.5\"\n");
    assert!(!rendered(&text).contains("hunter2"), "{}", rendered(&text));
}
