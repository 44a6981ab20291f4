//! Identity headers and token sources: no two names that an upstream may take for one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::config::fault::Fault;
use crate::config::value::{HeaderName, TokenSource};
use crate::config::{Auth, Config, IdentityField};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let sources = source_headers(config);
    let shared = match config.identity.headers {
        Some(_) => "identity.headers",
        None => "identity.preset",
    };
    check_plan(config, shared, &config.identity.plan(), &sources, faults);
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(plan) = &route.get_ref().headers {
            check_plan(
                config,
                &format!("routes[{index}].headers"),
                plan,
                &sources,
                faults,
            );
        }
    }
    check_sources(config, faults);
    check_cookies(config, faults);
}

/// What is left of a name for an upstream that maps `-`, `_` and `.` to one another, as CGI and its heirs do.
pub(super) fn fold(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Every list of token sources, with its place.
fn source_lists(config: &Config) -> impl Iterator<Item = (String, &Vec<TokenSource>)> {
    let of_routes = config.routes.iter().enumerate();
    let of_routes = of_routes.filter_map(|(index, route)| {
        let sources = route.get_ref().tokens.as_ref()?;
        Some((format!("routes[{index}].tokens"), sources))
    });
    of_routes.chain([("tokens.sources".to_owned(), &config.tokens.sources)])
}

/// Folded names of the headers that carry tokens, each with its place.
pub(super) fn source_headers(config: &Config) -> HashMap<String, Option<Range<usize>>> {
    let mut found = HashMap::new();
    for (path, sources) in source_lists(config) {
        for (index, source) in sources.iter().enumerate() {
            let name = match source {
                TokenSource::Bearer => "authorization",
                TokenSource::Header(name) => name.as_str(),
                TokenSource::Cookie(_) => "cookie",
            };
            found.insert(fold(name), config.places.value(&format!("{path}[{index}]")));
        }
    }
    found
}

fn check_plan(
    config: &Config,
    path: &str,
    plan: &BTreeMap<HeaderName, IdentityField>,
    sources: &HashMap<String, Option<Range<usize>>>,
    faults: &mut Vec<Fault>,
) {
    let mut seen: HashMap<String, (String, Option<Range<usize>>)> = HashMap::new();
    for (name, span) in names(config, path, plan) {
        let folded = fold(&name);
        if folded == "forwarded" || folded.starts_with("xforwarded") {
            faults.push(
                Fault::error(
                    span.clone(),
                    format!("`{name}` is rebuilt for every request and cannot carry identity"),
                )
                .help(
                    "choose a name that does not start with `X-Forwarded`, such as \"x-user-id\"",
                ),
            );
        }
        if let Some(source) = sources.get(&folded) {
            faults.push(
                Fault::error(
                    span.clone(),
                    format!("`{name}` is where a token is looked for, and cannot carry identity"),
                )
                .help("choose another name: identity headers are removed from what clients send")
                .also(source.clone(), "looked for here"),
            );
        }
        if let Some((other, place)) = seen.get(&folded) {
            faults.push(
                Fault::error(
                    span.clone(),
                    format!("`{name}` and `{other}` are one header to upstreams that drop case and punctuation"),
                )
                .help("choose names that differ in letters or digits")
                .also(place.clone(), "the other one"),
            );
        }
        seen.insert(folded, (name, span));
    }
}

/// The names as they are written; two that differ in case only are one in the plan, so the file is asked first.
fn names(
    config: &Config,
    path: &str,
    plan: &BTreeMap<HeaderName, IdentityField>,
) -> Vec<(String, Option<Range<usize>>)> {
    let written = config.places.names(path);
    if written.is_empty() {
        return plan
            .keys()
            .map(|name| (name.as_str().to_owned(), config.places.value(path)))
            .collect();
    }
    let mut names: Vec<_> = written
        .into_iter()
        .map(|(name, span)| (name.to_owned(), Some(span)))
        .collect();
    names.sort_by_key(|(_, span)| span.as_ref().map_or(0, |span| span.start));
    names
}

/// A route that needs a token has to look somewhere.
fn check_sources(config: &Config, faults: &mut Vec<Fault>) {
    let mut inherited = None;
    for (index, route) in config.routes.iter().enumerate() {
        let route = route.get_ref();
        if route.auth == Auth::Public {
            continue;
        }
        match &route.tokens {
            Some(sources) if sources.is_empty() => faults.push(
                Fault::error(
                    config.places.value(&format!("routes[{index}].tokens")),
                    "this route asks for a session, but looks for a token nowhere",
                )
                .help("name a source such as \"bearer\", or remove the line to have `[tokens] sources`"),
            ),
            Some(_) => {}
            None => inherited = inherited.or(Some(index)),
        }
    }
    if let (Some(index), true) = (inherited, config.tokens.sources.is_empty()) {
        faults.push(
            Fault::error(
                config.places.value("tokens.sources"),
                "routes ask for a session, but tokens are looked for nowhere",
            )
            .help("name a source: \"bearer\", \"header:NAME\" or \"cookie:NAME\"")
            .also(
                config.places.value(&format!("routes[{index}]")),
                "asked for here",
            ),
        );
    }
}

/// A browser sends a cookie by itself, over plain HTTP too.
fn check_cookies(config: &Config, faults: &mut Vec<Fault>) {
    if config
        .listeners
        .iter()
        .any(|listener| listener.get_ref().tls.is_some())
    {
        return;
    }
    for (path, sources) in source_lists(config) {
        for (index, source) in sources.iter().enumerate() {
            if let TokenSource::Cookie(name) = source {
                faults.push(
                    Fault::warning(
                        config.places.value(&format!("{path}[{index}]")),
                        format!("the cookie `{name}` carries a token, but no listener has TLS"),
                    )
                    .help("add `[listeners.tls]`: a browser sends a cookie in the clear unless it is `Secure`, and then only over TLS"),
                );
            }
        }
    }
}
