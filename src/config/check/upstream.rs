//! Upstreams: somewhere to send to, not in the clear across a network, and bounds that let something through.

use std::ops::Range;

use super::bounds::zero;
use super::{is_loopback, readable};
use crate::config::fault::Fault;
use crate::config::places::child;
use crate::config::{Config, Protocol, Upstream};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    for (name, upstream) in &config.upstreams {
        let one = One {
            config,
            name,
            at: child("upstreams", name),
            upstream: upstream.get_ref(),
        };
        one.endpoints(upstream.span(), faults);
        one.weights(faults);
        one.protocol(faults);
        one.bounds(faults);
        one.ejection(faults);
        one.tls(faults);
    }
}

/// One upstream.
struct One<'a> {
    config: &'a Config,
    name: &'a str,
    at: String,
    upstream: &'a Upstream,
}

impl One<'_> {
    fn place(&self, entry: &str) -> Option<Range<usize>> {
        self.config.places.value(&format!("{}.{entry}", self.at))
    }

    fn endpoints(&self, span: Range<usize>, faults: &mut Vec<Fault>) {
        let name = self.name;
        if self.upstream.endpoints.is_empty() {
            faults.push(
                Fault::error(
                    self.place("endpoints"),
                    format!("the upstream `{name}` has no endpoint"),
                )
                .help("write at least one, such as [\"http://127.0.0.1:9000\"]"),
            );
        }
        let routes = self.config.routes.iter();
        let mut named = routes.filter_map(|route| route.get_ref().upstream.as_ref());
        if !named.any(|upstream| upstream.get_ref() == name) {
            faults.push(
                Fault::warning(span, format!("no route leads to the upstream `{name}`"))
                    .help("name it in a route, or remove it"),
            );
        }
        for endpoint in &self.upstream.endpoints {
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
    }

    fn weights(&self, faults: &mut Vec<Fault>) {
        let (weights, endpoints) = (self.upstream.weights.len(), self.upstream.endpoints.len());
        if weights != 0 && weights != endpoints {
            let found = format!("there are {weights} weights for {endpoints} endpoints");
            faults.push(
                Fault::error(self.place("weights"), found)
                    .help("write one for each endpoint in its order, or none"),
            );
        }
    }

    fn protocol(&self, faults: &mut Vec<Fault>) {
        let encrypted = self.upstream.endpoints.iter().any(|one| one.get_ref().tls);
        if self.upstream.protocol == Protocol::Auto && !encrypted {
            let found = "in the clear an endpoint cannot be asked what it speaks";
            faults.push(
                Fault::warning(self.place("protocol"), found)
                    .help("HTTP/1.1 is spoken; write \"h1\", or \"h2\" if the endpoints speak it"),
            );
        }
        if self.upstream.protocol != Protocol::H2 {
            return;
        }
        for (index, route) in self.config.routes.iter().enumerate() {
            let named = route.get_ref().upstream.as_ref();
            let leads_here = named.is_some_and(|upstream| upstream.get_ref() == self.name);
            if leads_here && !route.get_ref().upgrades.is_empty() {
                let at = format!("routes[{index}].upgrades");
                faults.push(
                    Fault::error(
                        self.config.places.value(&at),
                        format!(
                            "upgrades go over HTTP/1.1, and the upstream `{}` speaks HTTP/2",
                            self.name
                        ),
                    )
                    .help("send this route to an upstream with `protocol = \"h1\"` or \"auto\"")
                    .also(self.place("protocol"), "what it speaks"),
                );
            }
        }
    }

    fn bounds(&self, faults: &mut Vec<Fault>) {
        let upstream = self.upstream;
        if upstream.idle_timeout.get().is_zero() {
            let place = self.place("idle_timeout");
            let fault = zero(place, "idle_timeout", "no connection would ever be kept");
            faults.push(
                fault.help("write more than zero; to keep no connections write `max_idle = 0`"),
            );
        }
        if upstream.queue_timeout.get().is_zero() {
            let place = self.place("queue_timeout");
            let fault = zero(place, "queue_timeout", "whoever waits would be refused");
            faults.push(
                fault.help("write more than zero; to let nobody wait write `max_pending = 0`"),
            );
        }
        if upstream.max_connections == Some(0) {
            let place = self.place("max_connections");
            faults.push(zero(place, "max_connections", "no request would be sent"));
        }
        let mut zeros = vec![(
            upstream.resolve.get().is_zero(),
            "resolve",
            "names would be looked up without a pause",
        )];
        if let Some(health) = &upstream.health {
            let endless = "no endpoint would ever change";
            zeros.extend([
                (
                    health.interval.get().is_zero(),
                    "health.interval",
                    "endpoints would be asked without a pause",
                ),
                (
                    health.timeout.get().is_zero(),
                    "health.timeout",
                    "no answer would be in time",
                ),
                (
                    health.unhealthy_after == 0,
                    "health.unhealthy_after",
                    endless,
                ),
                (health.healthy_after == 0, "health.healthy_after", endless),
            ]);
        }
        for (_, path, effect) in zeros.into_iter().filter(|(zero, ..)| *zero) {
            let name = path.rsplit('.').next().unwrap_or(path);
            faults.push(zero(self.place(path), name, effect));
        }
        if upstream.retry_budget.percent > 100 {
            faults.push(
                Fault::error(
                    self.place("retry_budget.percent"),
                    "more than all requests cannot be sent again",
                )
                .help("0 to 100 are allowed"),
            );
        }
    }

    fn ejection(&self, faults: &mut Vec<Fault>) {
        let ejection = &self.upstream.ejection;
        if ejection.after == 0 {
            return;
        }
        if ejection.time.get().is_zero() {
            let fault = zero(
                self.place("ejection.time"),
                "time",
                "no endpoint would be left out",
            );
            faults.push(
                fault.help("write more than zero; to leave out no endpoint write `after = 0`"),
            );
        }
        if ejection.max_time < ejection.time {
            faults.push(
                Fault::error(
                    self.place("ejection.max_time"),
                    "`max_time` is shorter than `time`, which is where it begins",
                )
                .help("write at least as much as `time`"),
            );
        }
    }

    fn tls(&self, faults: &mut Vec<Fault>) {
        let tls = &self.upstream.tls;
        for (file, what) in [
            (&tls.ca, "the upstream's CA"),
            (&tls.cert, "the certificate"),
            (&tls.key, "the key"),
        ] {
            if let Some(file) = file {
                readable(file.get_ref(), file.span(), what, faults);
            }
        }
        let (half, missing) = match (&tls.cert, &tls.key) {
            (Some(cert), None) => (cert, "key"),
            (None, Some(key)) => (key, "cert"),
            (Some(_), Some(_)) | (None, None) => return,
        };
        faults.push(
            Fault::error(half.span(), format!("`tls.{missing}` is missing"))
                .help("a certificate and its key are of use together only"),
        );
    }
}
