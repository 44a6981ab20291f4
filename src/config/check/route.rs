//! Each route by itself: its path, its upstream, and conditions that could never hold.

use super::bounds::zero;
use super::is_loopback;
use crate::config::fault::Fault;
use crate::config::{Auth, Config, Require, Route, wording};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    if config.routes.is_empty() {
        faults.push(
            Fault::error(config.places.value("routes"), "there is no route")
                .help("add `[[routes]]` with `prefix` or `exact`, and `upstream`"),
        );
    }
    for (index, route) in config.routes.iter().enumerate() {
        let one = One {
            config,
            route: route.get_ref(),
            at: format!("routes[{index}]"),
        };
        one.path(faults);
        one.rewriting(faults);
        one.upstream(faults);
        one.conditions(faults);
        one.timeouts(faults);
        one.name(faults);
    }
}

struct One<'a> {
    config: &'a Config,
    route: &'a Route,
    at: String,
}

impl One<'_> {
    fn place(&self, entry: &str) -> Option<std::ops::Range<usize>> {
        self.config.places.value(&format!("{}.{entry}", self.at))
    }

    fn key(&self, entry: &str) -> Option<std::ops::Range<usize>> {
        let key = self.config.places.key(&format!("{}.{entry}", self.at));
        key.or_else(|| self.place(entry))
    }

    /// Routes that were given one name cannot be told apart in logs, metrics and `explain`.
    fn name(&self, faults: &mut Vec<Fault>) {
        let Some(name) = &self.route.name else { return };
        let named_so = |route: &toml::Spanned<Route>| route.get_ref().name.as_ref() == Some(name);
        let first = self.config.routes.iter().position(named_so);
        let first = first.map(|index| format!("routes[{index}]"));
        let Some(first) = first.filter(|first| *first != self.at) else {
            return;
        };
        faults.push(
            Fault::warning(
                self.place("name"),
                format!("two routes have the name `{name}`"),
            )
            .help("logs and metrics could not tell them apart; give each its own")
            .also(
                self.config.places.value(&format!("{first}.name")),
                "the first one",
            ),
        );
    }

    fn path(&self, faults: &mut Vec<Fault>) {
        match (&self.route.prefix, &self.route.exact) {
            (None, None) => faults.push(
                Fault::error(
                    self.place("prefix"),
                    "this route has neither `prefix` nor `exact`",
                )
                .help("write the path: `prefix = \"/\"` covers everything"),
            ),
            (Some(_), Some(_)) => faults.push(
                Fault::error(
                    self.key("exact"),
                    "this route has both `prefix` and `exact`",
                )
                .help("a prefix covers its own path too; for two paths write two routes")
                .also(self.key("prefix"), "and this"),
            ),
            (Some(prefix), None) => {
                let path = prefix.get_ref().as_str();
                if path.len() > 1 && path.ends_with('/') {
                    let without = path.trim_end_matches('/');
                    faults.push(
                        Fault::error(prefix.span(), format!("the prefix `{path}` ends with `/`")).help(
                            format!("write `{without}`: it covers `{without}`, `{path}` and all below, never `{without}x`"),
                        ),
                    );
                }
            }
            (None, Some(_)) => {}
        }
    }

    fn rewriting(&self, faults: &mut Vec<Fault>) {
        if self.route.strip_prefix && self.route.replace_prefix.is_some() {
            faults.push(
                Fault::error(
                    self.key("strip_prefix"),
                    "this route has both `strip_prefix` and `replace_prefix`",
                )
                .help("`replace_prefix` takes the prefix off too: remove `strip_prefix`")
                .also(self.key("replace_prefix"), "and this"),
            );
        }
        let uses = [
            ("strip_prefix", self.route.strip_prefix),
            ("replace_prefix", self.route.replace_prefix.is_some()),
        ];
        for (name, used) in uses {
            if used && self.route.prefix.is_none() {
                faults.push(
                    Fault::error(self.key(name), format!("`{name}` without a `prefix`"))
                        .help("it needs a prefix to work on; an `exact` route has none"),
                );
            }
        }
    }

    fn upstream(&self, faults: &mut Vec<Fault>) {
        let Some(name) = &self.route.upstream else {
            return;
        };
        let Some(upstream) = self.config.upstreams.get(name.get_ref()) else {
            let known = self.config.upstreams.keys().map(String::as_str);
            faults.push(
                Fault::error(
                    name.span(),
                    format!("there is no upstream `{}`", name.get_ref()),
                )
                .help(wording::suggest(name.get_ref(), known)),
            );
            return;
        };
        let mut endpoints = upstream.get_ref().endpoints.iter();
        let clear = endpoints.find(|e| !e.get_ref().tls && !is_loopback(&e.get_ref().host));
        if let (true, Some(endpoint)) = (self.route.forward_token, clear) {
            faults.push(
                Fault::warning(
                    self.key("forward_token"),
                    format!(
                        "the token itself travels to {} in the clear",
                        endpoint.get_ref()
                    ),
                )
                .help("use https:// for this upstream, or leave `forward_token` off")
                .also(endpoint.span(), "goes here"),
            );
        }
    }

    /// Conditions on a session, where no session is looked up or none is needed.
    fn conditions(&self, faults: &mut Vec<Fault>) {
        let (why, here) = match self.route.auth {
            Auth::Required => return,
            Auth::Public => (
                "can never apply: this route is public, so nobody is known here",
                "public here",
            ),
            Auth::Optional => (
                "protects nothing: without a token the request passes anyway",
                "optional here",
            ),
        };
        let Require {
            all,
            any,
            none,
            roles,
            device_types,
        } = &self.route.require;
        let conditions = [
            ("require.all", !all.is_empty()),
            ("require.any", !any.is_empty()),
            ("require.none", !none.is_empty()),
            ("require.roles", !roles.is_empty()),
            ("require.device_types", !device_types.is_empty()),
            ("service", self.route.service.is_some()),
            ("max_risk", self.route.max_risk.is_some()),
            ("elevated_within", self.route.elevated_within.is_some()),
        ];
        for (name, _) in conditions.into_iter().filter(|(_, set)| *set) {
            faults.push(
                Fault::error(self.key(name), format!("`{name}` {why}"))
                    .help("write `auth = \"required\"`, or remove it")
                    .also(self.place("auth"), here),
            );
        }
    }

    fn timeouts(&self, faults: &mut Vec<Fault>) {
        let timeouts = &self.route.timeouts;
        let all = [
            ("connect", timeouts.connect),
            ("response", timeouts.response),
            ("idle", timeouts.idle),
        ];
        let total = timeouts.total.map(|total| ("total", total));
        for (name, value) in all.into_iter().chain(total) {
            if value.get().is_zero() {
                faults.push(zero(
                    self.place(&format!("timeouts.{name}")),
                    name,
                    "every request would fail",
                ));
            }
        }
    }
}
