//! Logins, cookies and the gateway's own endpoints: what browsers would refuse, and what would lead nowhere.

use std::collections::HashMap;
use std::ops::Range;

use super::identity::fold;
use super::{is_loopback, readable};
use crate::config::fault::Fault;
use crate::config::value::{Jwks, TokenSource};
use crate::config::{Config, LoginAnswer, Route, SameSite, SelfService, Sso};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    check_headers(config, faults);
    check_cookie(config, faults);
    for (index, route) in config.routes.iter().enumerate() {
        check_route(config, index, route.get_ref(), faults);
    }
    if let Some(endpoints) = &config.self_service {
        check_overlap(config, endpoints, faults);
    }
    if let Some(sso) = &config.sso {
        check_sso(config, sso, faults);
    }
    check_oidc(config, faults);
    check_guard(config, faults);
    check_sessions(config, faults);
}

/// What opens or ends sessions needs records of users.
fn check_sessions(config: &Config, faults: &mut Vec<Fault>) {
    if config.sessions.is_some() {
        return;
    }
    let marked = config.routes.iter().position(|route| {
        let route = route.get_ref();
        route.login || route.logout
    });
    let (at, what) = match (marked, &config.self_service) {
        (Some(index), _) => (
            format!("routes[{index}]"),
            "this route logs users in or out",
        ),
        (None, Some(_)) => (
            "self_service".to_owned(),
            "these endpoints are about users' sessions",
        ),
        (None, None) => return,
    };
    faults.push(
        Fault::error(
            place(config, &at),
            format!("{what}, but there is no `[sessions]`"),
        )
        .help("add `[sessions]`; every key in it has a default"),
    );
}

fn place(config: &Config, path: &str) -> Option<Range<usize>> {
    config.places.value(path)
}

/// Two names that an upstream could take for one would make one header mean two things.
fn check_headers(config: &Config, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for (key, name) in config.login.headers.all() {
        if let Some(other) = seen.insert(fold(name.as_str()), key) {
            faults.push(
                Fault::error(
                    place(config, &format!("login.headers.{key}")),
                    format!(
                        "`{key}` and `{other}` have the same header `{}`",
                        name.as_str()
                    ),
                )
                .help("choose names that differ in letters or digits"),
            );
        }
    }
}

fn check_cookie(config: &Config, faults: &mut Vec<Fault>) {
    let cookie = &config.login.cookie;
    let name = cookie.name.as_str();
    let why = match &cookie.domain {
        Some(_) => Some(("login.cookie.domain", "a domain")),
        None if cookie.path.as_str() != "/" => Some(("login.cookie.path", "a path")),
        None => None,
    };
    if let (true, Some((at, what))) = (cookie.name.is_host_only(), why) {
        faults.push(
            Fault::error(
                place(config, at),
                format!("browsers refuse the cookie `{name}` with {what}"),
            )
            .help("a name that begins with `__Host-` is for one host and the whole of it; call it \"__Secure-session\"")
            .also(place(config, "login.cookie.name"), "this name"),
        );
    }
    if cookie.refresh_name.is_host_only() {
        faults.push(
            Fault::error(
                place(config, "login.cookie.refresh_name"),
                format!(
                    "browsers refuse the cookie `{}`: it is sent below one path only",
                    cookie.refresh_name.as_str()
                ),
            )
            .help("call it \"__Secure-refresh\""),
        );
    }
    if cookie.refresh_name == cookie.name {
        faults.push(
            Fault::error(
                place(config, "login.cookie.refresh_name"),
                format!("the session and the refresh token have one cookie, `{name}`"),
            )
            .help("call one of them otherwise"),
        );
    }
}

fn check_route(config: &Config, index: usize, route: &Route, faults: &mut Vec<Fault>) {
    let key = |name: &str| {
        let path = format!("routes[{index}].{name}");
        config.places.key(&path).or_else(|| place(config, &path))
    };
    if route.login && route.logout {
        faults.push(
            Fault::error(key("logout"), "this route logs users in and out at once")
                .help("make two routes of it, each with its own path or `methods`")
                .also(key("login"), "and this"),
        );
    }
    if route.login && config.login.answer == LoginAnswer::Cookie && !is_read(config) {
        faults.push(
            Fault::error(
                key("login"),
                format!(
                    "a login here sets the cookie `{}`, but tokens are never looked for there",
                    config.login.cookie.name.as_str()
                ),
            )
            .help(format!(
                "add \"cookie:{}\" to `[tokens] sources`, or write `answer = \"tokens\"` in `[login]`",
                config.login.cookie.name.as_str()
            ))
            .also(place(config, "tokens.sources"), "looked for here"),
        );
    }
    if route.login && config.login.refresh && config.self_service.is_none() {
        faults.push(
            Fault::error(
                place(config, "login.refresh"),
                "logins give a refresh token, but there is no endpoint that takes one",
            )
            .help("add `[self_service]` with a `prefix`, or leave `refresh` off"),
        );
    }
}

/// Whether a route looks for its token in the login cookie.
pub(super) fn is_read(config: &Config) -> bool {
    let of_routes = config
        .routes
        .iter()
        .filter_map(|route| route.get_ref().tokens.as_deref());
    of_routes
        .chain([config.tokens.sources.as_slice()])
        .flatten()
        .any(|source| matches!(source, TokenSource::Cookie(name) if name == config.login.cookie.name.as_str()))
}

fn check_overlap(config: &Config, endpoints: &SelfService, faults: &mut Vec<Fault>) {
    let prefix = endpoints.prefix.as_str();
    if prefix.ends_with('/') {
        faults.push(
            Fault::error(
                place(config, "self_service.prefix"),
                format!("the prefix `{prefix}` ends with `/`"),
            )
            .help("write a path of its own, such as \"/.drawbridge\""),
        );
        return;
    }
    let inside = |path: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for (index, route) in config.routes.iter().enumerate() {
        let route = route.get_ref();
        for (key, path) in [("prefix", &route.prefix), ("exact", &route.exact)] {
            if path
                .as_ref()
                .is_some_and(|path| inside(path.get_ref().as_str()))
            {
                faults.push(
                    Fault::warning(
                        place(config, &format!("routes[{index}].{key}")),
                        format!("this route never matches: the gateway's own endpoints are below `{prefix}`"),
                    )
                    .help("give one of them another path")
                    .also(place(config, "self_service.prefix"), "takes it"),
                );
            }
        }
    }
}

fn check_sso(config: &Config, sso: &Sso, faults: &mut Vec<Fault>) {
    if config.self_service.is_none() {
        faults.push(
            Fault::error(
                place(config, "sso"),
                "single sign-on has no endpoints without `[self_service]`",
            )
            .help("add `[self_service]` with a `prefix`"),
        );
    }
    if config.login.answer != LoginAnswer::Cookie || !is_read(config) {
        faults.push(
            Fault::error(
                place(config, "sso"),
                "single sign-on needs the session in a cookie",
            )
            .help("write `answer = \"cookie\"` in `[login]`, and let `[tokens] sources` have that cookie"),
        );
    }
    if config.login.cookie.same_site == SameSite::Strict {
        faults.push(
            Fault::error(
                place(config, "login.cookie.same_site"),
                "with `strict` no browser shows its session when another site sends it here",
            )
            .help("write \"lax\"")
            .also(place(config, "sso"), "needed here"),
        );
    }
    let lifetime = sso.ticket_lifetime.get().as_secs();
    if !(1..=300).contains(&lifetime) {
        faults.push(
            Fault::error(
                place(config, "sso.ticket_lifetime"),
                "a ticket is good for 1 s to 5 min",
            )
            .help("write \"30s\""),
        );
    }
    let origins = sso.origins.iter().enumerate();
    let named = origins.map(|(index, origin)| (format!("sso.origins[{index}]"), origin));
    for (at, origin) in named.chain([("sso.home".to_owned(), &sso.home)]) {
        let host = origin.authority().split(':').next().unwrap_or_default();
        if !origin.is_secure() && !is_loopback(host) {
            faults.push(
                Fault::error(
                    place(config, &at),
                    format!("{origin} is in the clear, so no browser keeps its session cookie"),
                )
                .help("write https://"),
            );
        }
    }
}

fn check_oidc(config: &Config, faults: &mut Vec<Fault>) {
    for (index, provider) in config.oidc.iter().enumerate() {
        let at = |key: &str| place(config, &format!("oidc[{index}].{key}"));
        if config.self_service.is_none() {
            faults.push(
                Fault::error(
                    at("issuer"),
                    "back-channel logout has no endpoint without `[self_service]`",
                )
                .help("add `[self_service]` with a `prefix`"),
            );
        }
        if let Some(ca) = &provider.tls_ca {
            readable(ca.get_ref(), ca.span(), "CA", faults);
        }
        let issuer = provider.issuer.get_ref();
        let earlier = config.oidc.iter().take(index);
        if issuer.is_empty() || provider.audience.is_empty() {
            faults.push(
                Fault::error(at("issuer"), "an issuer and its audience are never empty")
                    .help("write them as they stand in the provider's tokens"),
            );
        }
        if earlier
            .into_iter()
            .any(|other| other.issuer.get_ref() == issuer)
        {
            faults.push(
                Fault::error(
                    at("issuer"),
                    format!("the issuer `{issuer}` is there twice"),
                )
                .help("remove one"),
            );
        }
        if provider.algorithms.is_empty() {
            faults.push(
                Fault::error(at("algorithms"), "no token could be verified")
                    .help("write [\"RS256\"], or what the provider signs with"),
            );
        }
        if let Jwks::Url { origin, .. } = provider.jwks.get_ref()
            && !origin.tls
            && !is_loopback(&origin.host)
        {
            faults.push(
                Fault::error(
                    at("jwks"),
                    format!("the keys of `{issuer}` travel in the clear: anybody on the way could put in their own"),
                )
                .help("write https://"),
            );
        }
    }
}

/// A guard that is switched off where browsers carry tokens.
fn check_guard(config: &Config, faults: &mut Vec<Fault>) {
    let lists = config
        .routes
        .iter()
        .filter_map(|route| route.get_ref().tokens.as_deref());
    let mut sources = lists.chain([config.tokens.sources.as_slice()]).flatten();
    let cookies = sources.any(|source| matches!(source, TokenSource::Cookie(_)));
    if cookies && !config.csrf.enabled {
        faults.push(
            Fault::warning(
                place(config, "csrf.enabled"),
                "cookies carry tokens, and requests that other sites forge are not refused",
            )
            .help("remove the line, and name origins that may send requests in `allowed_origins`"),
        );
    }
}
