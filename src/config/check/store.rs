//! The store: exactly one, and no tokens in the clear on the way to it.

use super::{is_loopback, readable};
use crate::config::Config;
use crate::config::fault::Fault;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let store = config.store.get_ref();
    let place = |name: &str| config.places.value(&format!("store.{name}"));
    match (&store.embedded, &store.redis) {
        (None, None) => faults.push(
            Fault::error(
                config.store.span(),
                "the store is neither `embedded` nor `redis`",
            )
            .help("write `embedded = \"sessions.redb\"` or `redis = \"redis://127.0.0.1:6379\"`"),
        ),
        (Some(_), Some(redis)) => faults.push(
            Fault::error(
                config.places.key("store.redis").unwrap_or(redis.span()),
                "the store is both `embedded` and `redis`",
            )
            .help("sessions live in one place: remove one of the two")
            .also(config.places.key("store.embedded"), "and this"),
        ),
        (None, Some(redis)) => {
            if travels_in_the_clear(redis.get_ref().expose()) {
                faults.push(
                    Fault::warning(
                        redis.span(),
                        "tokens and the password travel to Redis in the clear, and not only within this machine",
                    )
                    .help("use TLS: `rediss://`, `rediss-sentinel://` or `rediss-cluster://`"),
                );
            }
        }
        (Some(_), None) => {}
    }
    if let Some(authority) = &store.tls_ca {
        readable(
            authority.get_ref(),
            authority.span(),
            "the store's CA",
            faults,
        );
    }
    let bounds = [
        (
            store.lookup_deadline.get().is_zero(),
            "lookup_deadline",
            "every lookup would give up at once",
        ),
        (
            store.max_in_flight == 0,
            "max_in_flight",
            "no lookup would ever start",
        ),
        (
            store.max_record.get() == 0,
            "max_record",
            "no session would ever be read",
        ),
        (
            store.max_depth == 0,
            "max_depth",
            "no session would ever be read: a record is an object, which is one level",
        ),
    ];
    for (_, name, effect) in bounds.into_iter().filter(|(zero, ..)| *zero) {
        faults.push(super::bounds::zero(place(name), name, effect));
    }
}

/// Whether a Redis URL has no TLS and names a host that is not this machine.
pub(super) fn travels_in_the_clear(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    if scheme.starts_with("rediss") {
        return false;
    }
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may hold any character, so the host starts behind the last `@`.
    let address = address.rsplit('@').next().unwrap_or_default();
    let first = address.split('/').next().unwrap_or_default();
    let nodes = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("node="));
    std::iter::once(first)
        .chain(nodes)
        .any(|node| !is_loopback(host_of(node)))
}

/// A host without its port; IPv6 stands in brackets.
fn host_of(node: &str) -> &str {
    match node.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => node,
    }
}
