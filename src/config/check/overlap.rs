//! Routes against each other: doubles, requests that never arrive, and holes in what is protected.
//!
//! How a request finds its route: the most specific host that has a matching path (exact, then `*.name`, then any);
//! in it the exact path, then the longest prefix; then the method. A host wins over a path, however long the path.
//! Where the path's routes do not know the method the answer is 405; no shorter path is tried.

use std::ops::Range;

use crate::config::fault::Fault;
use crate::config::value::HostPattern;
use crate::config::{Auth, Config, Route};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let areas: Vec<Area<'_>> = config
        .routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| Area::new(config, index, route.get_ref()))
        .collect();
    for (index, area) in areas.iter().enumerate() {
        let earlier = areas.get(..index).unwrap_or_default();
        if let Some(first) = earlier.iter().find(|other| area.doubles(other)) {
            faults.push(double(area, first));
        }
        check_shadow(area, &areas, faults);
        if area.route.auth != Auth::Required {
            check_opening(area, &areas, faults);
        }
    }
}

/// What a route answers for.
struct Area<'a> {
    route: &'a Route,
    host: Option<&'a HostPattern>,
    path: &'a str,
    exact: bool,
    /// Of its path.
    span: Option<Range<usize>>,
}

impl<'a> Area<'a> {
    /// `None` for a route that does not say which path; that is a fault of its own.
    fn new(config: &Config, index: usize, route: &'a Route) -> Option<Self> {
        let (pattern, name) = match (&route.prefix, &route.exact) {
            (Some(prefix), None) => (prefix, "prefix"),
            (None, Some(exact)) => (exact, "exact"),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Self {
            route,
            host: route.host.as_ref().map(toml::Spanned::get_ref),
            path: pattern.get_ref().as_str(),
            exact: name == "exact",
            span: config.places.value(&format!("routes[{index}].{name}")),
        })
    }

    /// What to call it in a message.
    fn name(&self) -> String {
        let kind = if self.exact { "exact" } else { "prefix" };
        let host = match self.host {
            Some(host) => format!(" on `{host}`"),
            None => String::new(),
        };
        format!("{kind} `{}`{host}", self.path)
    }

    fn doubles(&self, other: &Self) -> bool {
        self.host == other.host
            && self.exact == other.exact
            && self.path == other.path
            && self.shared_method(other).is_some()
    }

    /// A method that both answer to; `every method` where neither names any.
    fn shared_method(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (&self.route.methods, &other.route.methods);
        let first = match (mine.is_empty(), theirs.is_empty()) {
            (true, true) => return Some("every method".to_owned()),
            (true, false) => theirs.first(),
            (false, true) => mine.first(),
            (false, false) => mine.iter().find(|method| theirs.contains(method)),
        };
        first.map(|method| method.get().to_string())
    }

    /// Whether every path of the other one is one of its paths too.
    fn covers(&self, other: &Self) -> bool {
        if self.exact {
            return other.exact && other.path == self.path;
        }
        match other.path.strip_prefix(self.path.trim_end_matches('/')) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// How early its host is tried.
    fn rank(&self) -> u8 {
        match self.host {
            Some(HostPattern::Exact(_)) => 2,
            Some(HostPattern::Below(_)) => 1,
            None => 0,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self.host, other.host) {
            (None, _) | (_, None) => true,
            (Some(HostPattern::Exact(name)), Some(HostPattern::Below(parent)))
            | (Some(HostPattern::Below(parent)), Some(HostPattern::Exact(name))) => {
                name.split_once('.').is_some_and(|(_, rest)| rest == parent)
            }
            (Some(a), Some(b)) => a == b,
        }
    }

    /// Whether its host is tried first where both match, so that it takes every path it covers.
    fn goes_before(&self, other: &Self) -> bool {
        self.meets(other) && self.rank() > other.rank()
    }
}

fn double(area: &Area<'_>, first: &Area<'_>) -> Fault {
    let method = area.shared_method(first).unwrap_or_default();
    Fault::error(
        area.span.clone(),
        format!("two routes answer to {method} for {}", area.name()),
    )
    .help("remove one, or give each its own `methods`")
    .also(first.span.clone(), "the other one")
}

/// A longer path on a less specific host: people expect it to win, and it never does.
fn check_shadow(area: &Area<'_>, areas: &[Area<'_>], faults: &mut Vec<Fault>) {
    for over in areas {
        let same_path = over.path == area.path;
        // An opening says the same and more.
        let opens = over.route.auth != Auth::Required && area.route.auth == Auth::Required;
        if over.goes_before(area) && over.covers(area) && !same_path && !opens {
            let host = over.host.map(ToString::to_string).unwrap_or_default();
            faults.push(
                Fault::warning(
                    area.span.clone(),
                    format!(
                        "the route for {} never matches on `{host}`: {} takes everything there",
                        area.name(),
                        over.name()
                    ),
                )
                .help(format!("a host wins over a path, however long the path; for `{host}` repeat this route with that host"))
                .also(over.span.clone(), "takes it"),
            );
        }
    }
}

/// A route that lets requests in without a session, next to one that does not.
fn check_opening(open: &Area<'_>, areas: &[Area<'_>], faults: &mut Vec<Fault>) {
    let closed: Vec<&Area<'_>> = areas
        .iter()
        .filter(|area| area.route.auth == Auth::Required && area.meets(open))
        .collect();
    let how = match open.route.auth {
        Auth::Public => "is public",
        Auth::Optional => "needs no session",
        Auth::Required => return,
    };
    // One exact path is one decision; a prefix lets in whatever is added below it one day.
    let inside = closed
        .iter()
        .filter(|area| area.covers(open) && area.path != open.path && area.rank() <= open.rank())
        .max_by_key(|area| area.path.len())
        .filter(|_| !open.exact);
    if let Some(around) = inside {
        faults.push(
            Fault::warning(
                open.span.clone(),
                format!(
                    "{} {how}, inside {} which needs a session",
                    open.name(),
                    around.name()
                ),
            )
            .help("everything below it is open, now and later; use `exact` where one path is meant")
            .also(around.span.clone(), "needs a session"),
        );
    }
    let mut covered = closed
        .iter()
        .filter(|area| open.covers(area) && (area.path != open.path || open.goes_before(area)))
        .peekable();
    let Some(first) = covered.peek() else {
        return;
    };
    let (message, help) = if open.goes_before(first) {
        (
            format!(
                "{} {how} and takes what {} should protect there",
                open.name(),
                first.name()
            ),
            "a host wins over a path, however long the path; repeat the protected route with this host",
        )
    } else {
        (
            format!(
                "{} {how}, around {} which needs a session",
                open.name(),
                first.name()
            ),
            "a path that is forgotten or mistyped is open; let the outer route need a session, and open what is public",
        )
    };
    let fault = Fault::warning(open.span.clone(), message).help(help);
    faults.push(covered.fold(fault, |fault, area| {
        fault.also(area.span.clone(), "needs a session")
    }));
}
