//! The rules of policies, against an oracle that knows no wildcards: what a pattern stands for is written out in full.

use std::collections::BTreeSet;
use std::sync::Arc;

use drawbridge::config::{Auth, Require};
use drawbridge::policy::{Denied, Holder, Policy};
use drawbridge::session::Session;
use proptest::prelude::*;

/// Deeper than any pattern below, so that every overlap of two patterns has a witness.
const DEPTH: usize = 4;
const PARTS: [&str; 3] = ["a", "b", "c"];

/// Every permission of up to [`DEPTH`] parts.
fn universe() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&str>> = PARTS.iter().map(|part| vec![*part]).collect();
    let mut last = all.clone();
    for _ in 1..DEPTH {
        last = last
            .iter()
            .flat_map(|begin| PARTS.map(|part| [begin.as_slice(), &[part]].concat()))
            .collect();
        all.extend(last.clone());
    }
    all
}

/// What a pattern stands for: a star is any one part, and at the end any rest.
fn meant(pattern: &str) -> BTreeSet<Vec<&'static str>> {
    let parts: Vec<&str> = pattern.split(':').collect();
    let stands_for = |permission: &Vec<&str>| {
        let open = parts.last() == Some(&"*");
        let fits = match open {
            true => permission.len() >= parts.len(),
            false => permission.len() == parts.len(),
        };
        fits && parts
            .iter()
            .zip(permission)
            .all(|(part, found)| *part == "*" || part == found)
    };
    universe().into_iter().filter(stands_for).collect()
}

fn overlaps(left: &str, right: &str) -> bool {
    !meant(left).is_disjoint(&meant(right))
}

/// The rule as its documentation tells it.
fn allowed(rule: &Rule, session: &Session) -> bool {
    let has = |wanted: &String| {
        session
            .permissions
            .iter()
            .any(|held| overlaps(wanted, held))
    };
    rule.all.iter().all(has)
        && (rule.any.is_empty() || rule.any.iter().any(has))
        && !rule.none.iter().any(has)
        && (rule.roles.is_empty() || rule.roles.iter().any(|role| session.roles.contains(role)))
        && (rule.device_types.is_empty()
            || rule
                .device_types
                .iter()
                .any(|kind| *kind == session.device.kind))
}

#[derive(Debug, Clone, serde::Serialize)]
struct Rule {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
    roles: Vec<String>,
    device_types: Vec<String>,
}

fn policy(auth: Auth, rule: &Rule) -> Policy {
    let require: Require = serde_json::from_value(serde_json::to_value(rule).unwrap()).unwrap();
    Policy::new(auth, &require)
}

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..=3)
        .prop_map(|parts| parts.join(":"))
}

fn words(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(from), 0..3)
        .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

prop_compose! {
    fn rule()(
        all in prop::collection::vec(pattern(), 0..3),
        any in prop::collection::vec(pattern(), 0..3),
        none in prop::collection::vec(pattern(), 0..2),
        roles in words(&["r", "s"]),
        device_types in words(&["phone", "tv"]),
    ) -> Rule {
        Rule { all, any, none, roles, device_types }
    }
}

prop_compose! {
    fn session()(
        permissions in prop::collection::vec(pattern(), 0..4),
        roles in words(&["r", "s", "t"]),
        kind in prop::sample::select(vec!["phone", "tv", ""]),
    ) -> Session {
        let mut session = Session { user_id: "alice".into(), permissions: permissions.into(), roles: roles.into(), ..Session::default() };
        session.device.kind = kind.into();
        session
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_session_is_let_in_exactly_if_every_condition_of_the_rule_holds(rule in rule(), session in session()) {
        let verdict = policy(Auth::Required, &rule).judge(Holder::Session(Arc::new(session.clone())));

        match verdict {
            Ok(permit) => {
                prop_assert!(allowed(&rule, &session));
                prop_assert_eq!(permit.session(), Some(&session));
            }
            Err(denied) => {
                prop_assert!(!allowed(&rule, &session));
                prop_assert!(matches!(denied, Denied::Unmet(_)), "{:?}", denied);
            }
        }
    }

    #[test]
    fn more_permissions_never_shut_out_where_none_is_forbidden(rule in rule(), session in session(), more in pattern()) {
        let rule = Rule { none: Vec::new(), ..rule };
        let policy = policy(Auth::Required, &rule);
        let mut richer = session.clone();
        let with_it = session.permissions.iter().cloned().chain([more]);
        richer.permissions = with_it.collect();

        let before = policy.judge(Holder::Session(Arc::new(session)));
        let after = policy.judge(Holder::Session(Arc::new(richer)));

        prop_assert!(before.is_err() || after.is_ok());
    }

    #[test]
    fn nobody_passes_a_required_rule_and_nobody_is_somebody_on_an_optional_one(rule in rule()) {
        let holders = || [Holder::Nobody, Holder::Malformed, Holder::Unknown];

        for holder in holders() {
            prop_assert!(policy(Auth::Required, &rule).judge(holder).is_err());
        }
        for holder in holders() {
            let permit = policy(Auth::Optional, &rule).judge(holder);
            prop_assert!(permit.is_ok_and(|permit| permit.session().is_none()));
        }
    }
}
