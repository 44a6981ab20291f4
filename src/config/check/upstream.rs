//! Upstreams: somewhere to send to, and not in the clear across a network.

use super::bounds::zero;
use super::{is_loopback, readable};
use crate::config::Config;
use crate::config::fault::Fault;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    for (name, upstream) in &config.upstreams {
        let span = upstream.span();
        let upstream = upstream.get_ref();
        let at = crate::config::places::child("upstreams", name);
        let place = |entry: &str| config.places.value(&format!("{at}.{entry}"));
        if upstream.endpoints.is_empty() {
            faults.push(
                Fault::error(
                    place("endpoints"),
                    format!("the upstream `{name}` has no endpoint"),
                )
                .help("write at least one, such as [\"http://127.0.0.1:9000\"]"),
            );
        }
        let used = config
            .routes
            .iter()
            .any(|route| route.get_ref().upstream.get_ref() == name);
        if !used {
            faults.push(
                Fault::warning(span, format!("no route leads to the upstream `{name}`"))
                    .help("name it in a route, or remove it"),
            );
        }
        for endpoint in &upstream.endpoints {
            let origin = endpoint.get_ref();
            if !origin.tls && !is_loopback(&origin.host) {
                faults.push(
                    Fault::warning(
                        endpoint.span(),
                        format!("identity and requests travel to {origin} in the clear"),
                    )
                    .help("use https:// unless the network between is yours alone"),
                );
            }
        }
        if upstream.idle_timeout.get().is_zero() {
            let fault = zero(
                place("idle_timeout"),
                "idle_timeout",
                "no connection would ever be kept",
            );
            faults.push(
                fault.help("write more than zero; to keep no connections write `max_idle = 0`"),
            );
        }
        if let Some(authority) = &upstream.tls.ca {
            readable(
                authority.get_ref(),
                authority.span(),
                "the upstream's CA",
                faults,
            );
        }
    }
}
