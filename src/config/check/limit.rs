//! Rate limits: ones that would refuse everything, count nothing, or not do what they say.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::bounds::zero;
use super::readable;
use super::store::travels_in_the_clear;
use crate::config::fault::Fault;
use crate::config::{Auth, Config, LimitScope, RateLimit};

/// An empty bucket that takes longer to be full is probably not meant.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// The longest that can be counted exactly everywhere.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let mut lists = vec![List {
        config,
        at: "limits.rates".to_owned(),
        auth: None,
        limits: &config.limits.rates,
    }];
    for (index, route) in config.routes.iter().enumerate() {
        let route = route.get_ref();
        lists.extend(route.limits.as_ref().map(|limits| List {
            config,
            at: format!("routes[{index}].limits"),
            auth: Some((route.auth, format!("routes[{index}].auth"))),
            limits,
        }));
    }
    lists.extend(config.self_service.as_ref().map(|endpoints| List {
        config,
        at: "self_service.limits".to_owned(),
        auth: None,
        limits: &endpoints.limits,
    }));
    for list in &lists {
        for (index, limit) in list.limits.iter().enumerate() {
            list.quantity(index, limit.get_ref(), faults);
            list.errors(index, limit.get_ref(), faults);
            list.subject(index, limit.get_ref(), faults);
            list.name(index, limit.get_ref(), faults);
        }
    }
    let shared = lists
        .iter()
        .flat_map(|list| list.limits)
        .any(|limit| limit.get_ref().scope == LimitScope::Shared);
    check_redis(config, shared, faults);
}

/// Limits that stand together.
struct List<'a> {
    config: &'a Config,
    at: String,
    /// Whether the route needs a session, and where that is written; nothing for the default limits.
    auth: Option<(Auth, String)>,
    limits: &'a [Spanned<RateLimit>],
}

impl List<'_> {
    fn place(&self, index: usize, entry: &str) -> Option<Range<usize>> {
        let places = &self.config.places;
        let path = format!("{}[{index}].{entry}", self.at);
        places.value(&path)
    }

    fn quantity(&self, index: usize, limit: &RateLimit, faults: &mut Vec<Fault>) {
        let burst = limit.burst.unwrap_or(limit.rate.count.get());
        if burst == 0 {
            let place = self.place(index, "burst");
            faults.push(zero(place, "burst", "every request would be refused"));
        }
        let fills_in = (limit.rate.per / limit.rate.count.get()).saturating_mul(burst);
        let takes = format!(
            "an empty bucket of {burst} takes {} to be full",
            humantime::format_duration(Duration::from_secs(fills_in.as_secs())),
        );
        let help = "write a smaller `burst` or a higher `rate`";
        if fills_in > LONGEST {
            faults.push(Fault::error(self.place(index, "burst"), takes).help(help));
        } else if fills_in > LONG {
            let fault = Fault::warning(self.place(index, "burst"), takes);
            faults.push(fault.help(help));
        }
    }

    fn errors(&self, index: usize, limit: &RateLimit, faults: &mut Vec<Fault>) {
        match (limit.scope, limit.on_error) {
            (LimitScope::Shared, None) => faults.push(
                Fault::error(
                    self.place(index, "scope"),
                    "a shared limit has to say what becomes of requests while its Redis is away",
                )
                .help("write `on_error = \"deny\"` (503) or `on_error = \"allow\"` (they pass uncounted)"),
            ),
            (LimitScope::Local, Some(_)) => faults.push(
                Fault::warning(
                    self.place(index, "on_error"),
                    "`on_error` can never apply: this limit is counted in the process itself",
                )
                .help("write `scope = \"shared\"`, or remove it"),
            ),
            (LimitScope::Shared, Some(_)) | (LimitScope::Local, None) => {}
        }
        let embedded = self.config.store.get_ref().redis.is_none();
        if limit.scope == LimitScope::Shared && embedded && self.config.limits.redis.is_none() {
            faults.push(
                Fault::warning(
                    self.place(index, "scope"),
                    "this limit is shared with nobody: the embedded store counts in this process only",
                )
                .help("set `redis` in `[limits]`, or write `scope = \"local\"`"),
            );
        }
    }

    fn subject(&self, index: usize, limit: &RateLimit, faults: &mut Vec<Fault>) {
        let Some((Auth::Public, auth)) = &self.auth else {
            return;
        };
        if limit.by.needs_session() {
            faults.push(
                Fault::error(
                    self.place(index, "by"),
                    format!(
                        "a limit by {} can never apply: this route is public, so nobody is known here",
                        limit.by.word()
                    ),
                )
                .help("write `auth = \"required\"`, or count by \"client\" or \"route\"")
                .also(self.config.places.value(auth), "public here"),
            );
        }
    }

    /// Two of one name would be one bucket, and clients could not tell them apart.
    fn name(&self, index: usize, limit: &RateLimit, faults: &mut Vec<Fault>) {
        let named_so = |other: &Spanned<RateLimit>| other.get_ref().label() == limit.label();
        let first = self.limits.iter().position(named_so).unwrap_or(index);
        if first < index {
            faults.push(
                Fault::error(
                    self.place(index, "name"),
                    format!("two limits of one list are called `{}`", limit.label()),
                )
                .help("give this one a `name` of its own, such as \"hourly\"")
                .also(self.place(first, "name"), "the first one"),
            );
        }
    }
}

/// The Redis that only counts.
fn check_redis(config: &Config, shared: bool, faults: &mut Vec<Fault>) {
    let limits = &config.limits;
    if limits.redis_deadline.get().is_zero() {
        faults.push(zero(
            config.places.value("limits.redis_deadline"),
            "redis_deadline",
            "no shared limit could ever be asked",
        ));
    }
    if let Some(authority) = &limits.redis_ca {
        readable(
            authority.get_ref(),
            authority.span(),
            "the CA for limits",
            faults,
        );
    }
    let Some(redis) = &limits.redis else { return };
    if !shared {
        faults.push(
            Fault::warning(
                redis.span(),
                "no rate limit is shared, so nothing is counted here",
            )
            .help("write `scope = \"shared\"` in a limit, or remove it"),
        );
    }
    if travels_in_the_clear(redis.get_ref().expose()) {
        faults.push(
            Fault::warning(
                redis.span(),
                "the password travels to Redis in the clear, and not only within this machine",
            )
            .help("use TLS: `rediss://`, `rediss-sentinel://` or `rediss-cluster://`"),
        );
    }
}
