//! Signed identity: what no upstream could verify, and what would be taken for something else.

use crate::check::expect;

const STORE: &str = "[store]\n";

fn with(lines: &str) -> String {
    format!("[assertion]\nissuer = \"us\"\nkeys = [\"/etc/hostname\"]\n{lines}\n[store]\n")
}

#[test]
fn a_header_that_means_something_else_cannot_carry_assertions() {
    for (header, why) in [
        (
            "X-Forwarded-Assertion",
            "`x-forwarded-assertion` is rebuilt for every request",
        ),
        (
            "X_User_ID",
            "`x_user_id` carries identity that is not signed",
        ),
        (
            "authorization",
            "`authorization` is where a token is looked for",
        ),
        ("x-login-user", "`x-login-user` announces logins"),
    ] {
        let expected = format!("error 7:10 {why}, and cannot carry assertions");
        let text = with(&format!("header = \"{header}\""));
        expect(&[(STORE, &text, &[&expected])]);
    }
    expect(&[(STORE, &with("header = \"x-whose\""), &[])]);
}

#[test]
fn times_are_within_reason() {
    for lines in [
        "lifetime = \"10s\"\nmax_age = \"1day\"",
        "lifetime = \"10m\"\nmax_age = \"10s\"",
    ] {
        expect(&[(STORE, &with(lines), &[])]);
    }
    for lifetime in ["9s", "11m"] {
        let text = with(&format!("lifetime = \"{lifetime}\""));
        expect(&[(
            STORE,
            &text,
            &["error 7:12 an assertion is good for 10 s to 10 min"],
        )]);
    }
    for max_age in ["9s", "2days"] {
        let text = with(&format!("max_age = \"{max_age}\""));
        expect(&[(
            STORE,
            &text,
            &["error 7:11 verifiers keep the keys for 10 s to 1 day"],
        )]);
    }
}

#[test]
fn keys_that_others_do_not_have_are_told_of() {
    let alone = "[assertion]\nissuer = \"us\"\n[store]\n";
    let told = "warning 4:1 assertions are signed with a key that changes with every start";
    expect(&[(STORE, alone, &[told])]);

    let shared = crate::support::VALID
        .replace("embedded = \"s.redb\"", "redis = \"redis://127.0.0.1\"")
        .replace(STORE, alone);
    let found = crate::support::lines(&shared);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("and with each gateway"), "{found:?}");

    let text = "[assertion]\nissuer = \"\"\nkeys = [\"no.pem\"]\n[store]\n";
    expect(&[(
        STORE,
        text,
        &[
            "error 5:10 upstreams have to know whose word it is",
            "error 6:9 the key file `/nowhere/no.pem` cannot be read",
        ],
    )]);
}

#[test]
fn an_audience_needs_assertions_and_their_keys_a_path_of_their_own() {
    let route = "prefix = \"/\"";
    let audience = "prefix = \"/\"\naudience = \"app\"";
    expect(&[(
        route,
        audience,
        &["error 10:12 an audience, but there is no `[assertion]`"],
    )]);
    let text = with("").replace("[store]\n", "")
        + "[[routes]]\nexact = \"/.drawbridge/jwks.json\"\nupstream = \"app\"\naudience = \"\"\n";
    expect(&[(
        "",
        &text,
        &[
            "warning 16:9 this route never matches: the keys of `[assertion]` are here",
            "error 18:12 an audience is never empty",
        ],
    )]);
}
