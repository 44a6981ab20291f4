//! Whether the bound on staleness can be kept at all.

use std::time::Duration;

use super::bounds::zero;
use crate::config::Config;
use crate::config::fault::Fault;

/// So long a server may answer although the sentinels have made another one the master.
const FENCE: Duration = Duration::from_millis(1500);

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let cache = &config.cache;
    for (count, name) in [
        (cache.max_sessions, "max_sessions"),
        (cache.max_misses, "max_misses"),
    ] {
        if count == 0 {
            let place = config.places.value(&format!("cache.{name}"));
            let effect =
                "nothing could be kept; to ask the store each time set `max_staleness = \"0s\"`";
            faults.push(zero(place, name, effect));
        }
    }
    staleness(
        config,
        cache.max_staleness.get(),
        "cache.max_staleness",
        faults,
    );
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(bound) = route.get_ref().max_staleness {
            let path = format!("routes[{index}].max_staleness");
            staleness(config, bound.get(), &path, faults);
        }
    }
}

/// A bound of zero asks each time and keeps nothing. Any other one has to leave some time to keep something for.
fn staleness(config: &Config, bound: Duration, path: &str, faults: &mut Vec<Fault>) {
    let store = config.store.get_ref();
    let sentinel = store.redis.as_ref().is_some_and(|url| {
        let scheme = url.get_ref().expose().split("://").next();
        scheme.is_some_and(|scheme| scheme.ends_with("-sentinel"))
    });
    let lookup = store.lookup_deadline.get();
    let fence = if sentinel { FENCE } else { Duration::ZERO };
    let least = lookup.saturating_add(fence);
    if bound.is_zero() || bound > least {
        return;
    }
    let parts = match sentinel {
        true => format!(
            "{lookup:?} for the look-up (store.lookup_deadline) and {fence:?} until a lost master is noticed"
        ),
        false => format!("{lookup:?} for the look-up (store.lookup_deadline)"),
    };
    faults.push(
        Fault::error(
            config.places.value(path),
            format!("a bound of {bound:?} leaves no time to keep anything: {parts} come off it"),
        )
        .help(format!(
            "write more than \"{}ms\", or \"0s\" to ask the store for each request",
            least.as_millis()
        )),
    );
}
