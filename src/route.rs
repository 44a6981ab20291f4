//! Which rule a request falls under.
//!
//! The most specific host pattern that has the path decides, within it the exact path before the longest prefix, and
//! then the method. A path whose rules do not know the method is refused with 405: falling through to a less specific
//! path would let a method nobody thought of pass under a rule nobody meant.

mod plan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::{HeaderName, Method};
use toml::Spanned;

use crate::assertion::Assertions;
use crate::cache::MaxAge;
use crate::config::value::{HostPattern, TokenSource};
use crate::config::{self, Balance, Config, IdentityField, LoginAnswer, Protocol};
use crate::cookie::Cookies;
use crate::headers::{ForwardedPlan, HeaderPlan, Managed};
use crate::layout;
use crate::limit::RouteLimits;
use crate::policy::{Guard, Policy};
use crate::token::TokenSources;
use crate::upstream::{UpstreamId, Upstreams};

/// One rule, ready to run.
#[derive(Debug)]
pub struct Route {
    /// Its place in `gateway.toml`, from 0.
    pub number: usize,
    /// Its name in logs.
    pub name: Arc<str>,
    /// Which methods it takes; empty means all.
    pub methods: Vec<Method>,
    /// Where its tokens are.
    pub tokens: TokenSources,
    /// Who may pass.
    pub policy: Policy,
    /// Whether a request counts as use of its session.
    pub touch: bool,
    /// What is stripped and written.
    pub headers: HeaderPlan,
    /// Where it goes; `None` if only another proxy's questions fall under it.
    pub upstream: Option<UpstreamId>,
    /// Largest request body in bytes.
    pub max_body: u64,
    /// Whether its upstream speaks HTTP/2, or may.
    pub speaks_h2: bool,
    /// What its upstream's answers may announce.
    pub announces: Announces,
    /// Protocols that may be upgraded to, in lower case.
    pub upgrades: Vec<String>,
    /// How old what is known of a session may be.
    pub max_age: MaxAge,
    /// Whether a tunnel, and any other answer, is cut when its session ends.
    pub cuts: Cuts,
    /// How many requests it takes; routes without limits of their own share the default ones.
    pub limits: Arc<RouteLimits>,
}

/// What is cut when its session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// Connections that were upgraded.
    pub tunnels: bool,
    /// Answers that are still being sent.
    pub answers: bool,
}

/// What the upstream's answers on a route may announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announces {
    /// Nothing.
    Nothing,
    /// Logins.
    Logins,
    /// Logouts.
    Logouts,
}

impl Announces {
    /// What a route with these marks announces.
    pub fn of(login: bool, logout: bool) -> Self {
        match (login, logout) {
            (true, _) => Self::Logins,
            (false, true) => Self::Logouts,
            (false, false) => Self::Nothing,
        }
    }
}

/// No rule for a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No rule has this host and path. 404.
    #[error("no route for this host and path")]
    NotFound,
    /// The rules of this path do not know the method. 405.
    #[error("the route does not take this method")]
    Method {
        /// The methods that they know.
        allow: Vec<Method>,
    },
}

type Map<T> = HashMap<String, T, RandomState>;

/// All rules.
#[derive(Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    exact: Map<Paths>,
    below: Map<Paths>,
    any: Paths,
}

/// The paths of one host pattern; each leads to the rules that have it, by number.
#[derive(Debug, Default)]
struct Paths {
    exact: Map<Vec<usize>>,
    /// Without a slash at the end; the root is the empty text.
    prefix: Map<Vec<usize>>,
}

impl Routes {
    /// Compiles the rules of a configuration that has passed `config::check`.
    pub fn build(
        config: &Config,
        upstreams: &Upstreams,
        assertions: Option<&Arc<Assertions>>,
    ) -> Self {
        let login = config.login.headers.all();
        let identity = config.identity.plan();
        let own = config.routes.iter();
        let own = own.filter_map(|route| route.get_ref().headers.as_ref());
        let names: BTreeSet<_> = own.chain([&identity]).flat_map(BTreeMap::keys).collect();
        let texts = names.iter().map(|name| name.as_str());
        let texts = texts.chain(login.iter().map(|(_, name)| name.as_str()));
        let texts = texts.chain(assertions.map(|assertions| assertions.header.as_str()));
        let shared = Shared {
            managed: Arc::new(Managed::new(texts)),
            names: names.iter().map(|name| name.to_http()).collect(),
            identity: &identity,
            forwarded: ForwardedPlan::new(&config.forwarded),
            limits: Arc::new(RouteLimits::new(None, &config.limits.rates)),
            sets_cookies: sets_cookies(config),
            assertions,
            config,
        };
        let mut routes = Self::default();
        for (number, route) in config.routes.iter().enumerate() {
            let route = route.get_ref();
            let named = route.upstream.as_ref().map(Spanned::get_ref);
            let upstream = named.and_then(|name| upstreams.id(name));
            // A route without a path or with an unknown upstream does not pass `config::check`.
            if named.is_none() || upstream.is_some() {
                routes.place(number, route);
                routes.routes.push(shared.compile(number, route, upstream));
            }
        }
        routes
    }

    fn place(&mut self, number: usize, route: &config::Route) {
        let paths = match route.host.as_ref().map(Spanned::get_ref) {
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(HostPattern::Below(name)) => self.below.entry(name.clone()).or_default(),
            None => &mut self.any,
        };
        if let Some(path) = &route.exact {
            paths
                .exact
                .entry(path.get_ref().as_str().to_owned())
                .or_default()
                .push(number);
        }
        if let Some(prefix) = &route.prefix {
            paths
                .prefix
                .entry(trimmed(prefix.get_ref().as_str()).to_owned())
                .or_default()
                .push(number);
        }
    }

    /// The rule for a request. `host` and `path` are in their one form.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<&Route, RouteError> {
        let below = host
            .split_once('.')
            .and_then(|(_, rest)| self.below.get(rest));
        let candidates = [self.exact.get(host), below, Some(&self.any)];
        let numbers = candidates
            .into_iter()
            .flatten()
            .find_map(|paths| paths.find(path))
            .ok_or(RouteError::NotFound)?;
        let routes = || numbers.iter().filter_map(|number| self.routes.get(*number));
        let takes = |method: &Method| {
            routes().find(|route| route.methods.is_empty() || route.methods.contains(method))
        };
        // HEAD is GET without the body (RFC 9110 section 9.3.2), so a rule for GET covers it.
        let found = takes(method).or_else(|| {
            if *method == Method::HEAD {
                takes(&Method::GET)
            } else {
                None
            }
        });
        found.ok_or_else(|| RouteError::Method {
            allow: routes().flat_map(|route| route.methods.clone()).collect(),
        })
    }

    /// All rules, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Vec<usize>> {
        if let Some(found) = self.exact.get(path) {
            return Some(found);
        }
        if self.prefix.is_empty() {
            return None;
        }
        let mut prefix = trimmed(path);
        loop {
            if let Some(found) = self.prefix.get(prefix) {
                return Some(found);
            }
            prefix = prefix.rsplit_once('/')?.0;
        }
    }
}

/// Without the slash at its end, so that `/admin` and `/admin/` are one prefix.
fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// What all routes share while they are compiled.
struct Shared<'a> {
    managed: Arc<Managed>,
    /// Identity headers of all routes.
    names: Vec<HeaderName>,
    /// Those of routes that have none of their own.
    identity: &'a BTreeMap<config::value::HeaderName, IdentityField>,
    forwarded: ForwardedPlan,
    limits: Arc<RouteLimits>,
    /// Whether there are cookies of ours.
    sets_cookies: bool,
    assertions: Option<&'a Arc<Assertions>>,
    config: &'a Config,
}

fn sets_cookies(config: &Config) -> bool {
    let logs_in = config.routes.iter().any(|route| route.get_ref().login);
    config.login.answer == LoginAnswer::Cookie
        && (logs_in || config.self_service.is_some() || config.store.get_ref().migrate)
}

impl Shared<'_> {
    fn compile(&self, number: usize, route: &config::Route, upstream: Option<UpstreamId>) -> Route {
        let sources: &[TokenSource] = route
            .tokens
            .as_deref()
            .unwrap_or(&self.config.tokens.sources);
        let name: Arc<str> = route.label().into();
        Route {
            number,
            methods: route
                .methods
                .iter()
                .map(|method| method.get().clone())
                .collect(),
            policy: policy(route),
            touch: route.touch,
            headers: self.header_plan(route, &name),
            tokens: layout::sources(sources, self.config),
            name,
            upstream,
            speaks_h2: self.upstream(route).is_some_and(speaks_h2),
            max_body: route.max_body.get(),
            announces: Announces::of(route.login, route.logout),
            upgrades: route
                .upgrades
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            max_age: self.max_age(route),
            cuts: Cuts {
                tunnels: route.close_on_revoke.unwrap_or(true),
                answers: route.close_on_revoke.unwrap_or(false),
            },
            limits: route.limits.as_ref().map_or_else(
                || Arc::clone(&self.limits),
                |own| Arc::new(RouteLimits::new(Some(&route.place()), own)),
            ),
        }
    }

    /// What is left of the bound after the look-up.
    fn max_age(&self, route: &config::Route) -> MaxAge {
        let bound = route
            .max_staleness
            .unwrap_or(self.config.cache.max_staleness);
        let lookup = self.config.store.get_ref().lookup_deadline.get();
        MaxAge::new(bound.get().saturating_sub(lookup))
    }

    /// What the upstream does not see: the route's tokens, unless it may, and our cookies, which are nobody's business
    /// wherever the token is looked for.
    fn hidden(&self, route: &config::Route) -> Option<TokenSources> {
        let mut sources: Vec<TokenSource> = Vec::new();
        if !route.forward_token {
            sources.extend_from_slice(
                route
                    .tokens
                    .as_deref()
                    .unwrap_or(&self.config.tokens.sources),
            );
        }
        let plan = &self.config.login.cookie;
        let session = plan.name.as_str();
        let ours = Cookies::all_names(plan).into_iter();
        for name in ours.filter(|name| !(route.forward_token && *name == session)) {
            let source = TokenSource::Cookie(name.to_owned());
            if self.sets_cookies && !sources.contains(&source) {
                sources.push(source);
            }
        }
        (!sources.is_empty()).then(|| layout::sources(&sources, self.config))
    }

    fn upstream(&self, route: &config::Route) -> Option<&config::Upstream> {
        let named = route.upstream.as_ref().map(Spanned::get_ref);
        let upstream = named.and_then(|name| self.config.upstreams.get(name));
        upstream.map(Spanned::get_ref)
    }
}

fn names_sender(upstream: &config::Upstream) -> bool {
    upstream.balance == Balance::User
}

fn speaks_h2(upstream: &config::Upstream) -> bool {
    upstream.protocol != Protocol::H1
}

fn policy(route: &config::Route) -> Policy {
    Policy::new(route.auth, &route.require).guarded(Guard {
        service: route.service.as_ref().map(|name| name.get_ref().clone()),
        max_risk: route.max_risk,
        elevated_within: route.elevated_within.map(config::value::Duration::get),
    })
}

#[cfg(test)]
mod tests;
