//! What is said about the bound on what is kept in memory.

use crate::support::{VALID, lines, rendered};

/// What is said with this store and these lines in `[cache]`.
fn said(store: &str, cache: &str) -> Vec<String> {
    let text = VALID.replace("embedded = \"s.redb\"", store);
    lines(&format!("{text}[cache]\n{cache}"))
}

const SINGLE: &str = "redis = \"redis://127.0.0.1\"";
const SENTINEL: &str = "redis = \"redis-sentinel://127.0.0.1:26379?sentinelServiceName=main\"";

#[test]
fn bounds_that_can_be_kept_have_nothing_said_about_them() {
    for (store, bound) in [
        (SINGLE, "5s"),
        (SINGLE, "0s"),
        (SINGLE, "251ms"),
        (SENTINEL, "0s"),
        (SENTINEL, "1751ms"),
        ("embedded = \"s.redb\"", "1h"),
    ] {
        let found = said(store, &format!("max_staleness = \"{bound}\""));
        assert_eq!(found, [""; 0], "{store} {bound}");
    }
}

#[test]
fn bound_that_leaves_no_time_to_keep_anything_is_refused_where_it_stands() {
    for (store, bound, least) in [
        (SINGLE, "250ms", "250ms"),
        (SENTINEL, "1750ms", "1750ms"),
        (SENTINEL, "1s", "1750ms"),
    ] {
        let found = said(store, &format!("max_staleness = \"{bound}\""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("error 12:17 a bound of"), "{found:?}");
        let text = VALID.replace("embedded = \"s.redb\"", store);
        let text = rendered(&format!("{text}[cache]\nmax_staleness = \"{bound}\""));
        assert!(
            text.contains(&format!("write more than \"{least}\"")),
            "{text}"
        );
    }
}

#[test]
fn bound_of_a_route_and_a_slow_look_up_count_too() {
    let route = VALID.replace("embedded = \"s.redb\"", SINGLE).replace(
        "upstream = \"app\"\n",
        "upstream = \"app\"\nmax_staleness = \"150ms\"\n",
    );
    let found = lines(&route);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("a bound of 150ms leaves no time"),
        "{found:?}"
    );

    let slow = VALID.replace(
        "embedded = \"s.redb\"",
        &format!("{SINGLE}\nlookup_deadline = \"6s\""),
    );
    let found = lines(&slow);
    assert!(
        found
            .iter()
            .any(|line| line.contains("a bound of 5s leaves no time")),
        "the default is a bound as well: {found:?}"
    );
}

#[test]
fn room_for_nothing_is_refused() {
    for name in ["max_sessions", "max_misses"] {
        let found = said(SINGLE, &format!("{name} = 0"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(name), "{found:?}");
    }
}
