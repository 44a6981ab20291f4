//! Signed identity: what no upstream could verify, and what would be taken for something else.

use std::ops::Range;

use super::identity::{fold, source_headers};
use super::readable;
use crate::config::fault::Fault;
use crate::config::{Assertion, Config};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let Some(assertion) = &config.assertion else {
        return check_audiences(config, faults);
    };
    if assertion.issuer.get_ref().is_empty() {
        faults.push(
            Fault::error(
                Some(assertion.issuer.span()),
                "upstreams have to know whose word it is",
            )
            .help(
                "write a name that only this gateway has, such as \"https://gateway.example.com\"",
            ),
        );
    }
    check_header(config, assertion, faults);
    check_times(config, assertion, faults);
    check_keys(config, assertion, faults);
    check_path(config, assertion, faults);
    for (index, route) in config.routes.iter().enumerate() {
        let audience = route.get_ref().audience.as_ref();
        if audience.is_some_and(|audience| audience.get_ref().is_empty()) {
            let at = format!("routes[{index}].audience");
            faults.push(
                Fault::error(place(config, &at), "an audience is never empty")
                    .help("remove the line to have the name of the upstream"),
            );
        }
    }
}

fn place(config: &Config, path: &str) -> Option<Range<usize>> {
    config.places.value(path)
}

fn check_audiences(config: &Config, faults: &mut Vec<Fault>) {
    for route in &config.routes {
        if let Some(audience) = &route.get_ref().audience {
            faults.push(
                Fault::error(
                    Some(audience.span()),
                    "an audience, but there is no `[assertion]`",
                )
                .help("add `[assertion]` with an `issuer`, or remove the line"),
            );
        }
    }
}

/// One header for two things: the one would be taken for the other, or a token for an assertion.
fn check_header(config: &Config, assertion: &Assertion, faults: &mut Vec<Fault>) {
    let name = assertion.header.as_str();
    let folded = fold(name);
    let at = || place(config, "assertion.header");
    let plans = config.routes.iter();
    let plans = plans.filter_map(|route| route.get_ref().headers.clone());
    let mut identity = plans.chain([config.identity.plan()]);
    let login = config.login.headers.all();
    let taken = if folded == "forwarded" || folded.starts_with("xforwarded") {
        Some("is rebuilt for every request")
    } else if source_headers(config).contains_key(&folded) {
        Some("is where a token is looked for")
    } else if identity.any(|plan| plan.keys().any(|name| fold(name.as_str()) == folded)) {
        Some("carries identity that is not signed")
    } else if login.iter().any(|(_, name)| fold(name.as_str()) == folded) {
        Some("announces logins")
    } else {
        None
    };
    if let Some(taken) = taken {
        faults.push(
            Fault::error(
                at(),
                format!("`{name}` {taken}, and cannot carry assertions"),
            )
            .help("choose another name, such as \"x-drawbridge-assertion\""),
        );
    }
}

fn check_times(config: &Config, assertion: &Assertion, faults: &mut Vec<Fault>) {
    let lifetime = assertion.lifetime.get().as_secs();
    if !(10..=600).contains(&lifetime) {
        faults.push(
            Fault::error(
                place(config, "assertion.lifetime"),
                "an assertion is good for 10 s to 10 min",
            )
            .help("write \"60s\": a session that has ended is believed for as long by upstreams that verify nothing else"),
        );
    }
    let max_age = assertion.max_age.get().as_secs();
    if !(10..=86_400).contains(&max_age) {
        faults.push(
            Fault::error(
                place(config, "assertion.max_age"),
                "verifiers keep the keys for 10 s to 1 day",
            )
            .help("write \"5m\""),
        );
    }
}

fn check_keys(config: &Config, assertion: &Assertion, faults: &mut Vec<Fault>) {
    for key in &assertion.keys {
        readable(key.get_ref(), key.span(), "the key", faults);
    }
    if assertion.keys.is_empty() {
        let several = match config.store.get_ref().redis {
            Some(_) => {
                ", and with each gateway: what one has signed the others' keys do not verify"
            }
            None => "",
        };
        faults.push(
            Fault::warning(
                place(config, "assertion"),
                format!("assertions are signed with a key that changes with every start{several}"),
            )
            .help("name a key file in `keys`: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"),
        );
    }
}

fn check_path(config: &Config, assertion: &Assertion, faults: &mut Vec<Fault>) {
    let path = assertion.path.as_str();
    for (index, route) in config.routes.iter().enumerate() {
        let exact = route.get_ref().exact.as_ref();
        if exact.is_some_and(|exact| exact.get_ref().as_str() == path) {
            faults.push(
                Fault::warning(
                    place(config, &format!("routes[{index}].exact")),
                    "this route never matches: the keys of `[assertion]` are here",
                )
                .help("give one of them another path")
                .also(place(config, "assertion.path"), "takes it"),
            );
        }
    }
}
