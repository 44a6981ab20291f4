//! The numbers as Prometheus reads them: summed over the workers, in the OpenMetrics text format.

mod out;
mod sums;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::out::Out;
use super::Metrics;

/// First digits of statuses, as a label.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The text.
pub(super) fn render(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::with_prefix("drawbridge");
    registry.register_collector(Box::new(View(Arc::clone(metrics))));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

/// What is looked at.
#[derive(Debug)]
struct View(Arc<Metrics>);

impl Collector for View {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.requests(&mut out)?;
        self.sessions(&mut out)?;
        self.cache(&mut out)?;
        self.clients(&mut out)?;
        self.upstreams(&mut out)?;
        self.process(&mut out)
    }
}

impl View {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let routes = self.0.routes();
        let mut counts = Vec::new();
        for (name, route) in &routes {
            let labels =
                |outcome, reason| [("route", &**name), ("outcome", outcome), ("reason", reason)];
            counts.push((labels("forwarded", ""), route.forwarded));
            for ((outcome, reason), count) in &route.refused {
                counts.push((labels(outcome, reason), *count));
            }
        }
        let help = "Requests, by route, what became of them, and why";
        out.counters("requests", help, &counts)?;
        let times: Vec<_> = routes
            .iter()
            .map(|(name, route)| ([("route", &**name)], &route.time))
            .collect();
        let help = "From the head of a request to the head of its answer";
        out.timings("request_duration", help, &times)?;
        let shed = self.0.reasons(|worker| &worker.shed);
        let help = "Requests and connections turned away unread because there were too many";
        out.counters("shed", help, &by("reason", shed))
    }

    fn sessions(&self, out: &mut Out<'_>) -> fmt::Result {
        let found = [
            ("found", self.0.count(|worker| &worker.lookups.found)),
            ("absent", self.0.count(|worker| &worker.lookups.absent)),
            ("failed", self.0.count(|worker| &worker.lookups.failed)),
        ];
        let help = "Look-ups of sessions, by what was found";
        out.counters("session_lookups", help, &by("result", found))?;
        let time = self.0.time(|worker| &worker.lookups.time);
        let help = "How long a look-up of a session took, cached or not";
        out.timing("session_lookup_duration", help, &time)?;
        let memory = self.0.process.memory.get();
        let time = sums::timing(memory.map(|memory| memory.store()));
        let help = "From a question to the session store to its answer";
        out.timing("store_duration", help, &time)?;
        let time = sums::timing(memory.and_then(|memory| memory.revocation()));
        let help = "From the end of a session to when this gateway heard of it, by the clocks of both gateways";
        out.timing("revocation_duration", help, &time)
    }

    fn cache(&self, out: &mut Out<'_>) -> fmt::Result {
        let memory = self.0.process.memory.get();
        let told = memory.map(|memory| memory.remembered()).unwrap_or_default();
        let found = [
            ("hit", told.hits),
            ("miss", told.misses),
            ("strict", told.strict),
            ("doubted", told.doubted),
        ];
        let help = "Look-ups in the session cache, by what came of them";
        out.counters("cache_lookups", help, &by("result", found))?;
        let help = "Sessions asked for again in the background before they were too old";
        out.counter("cache_refreshes", help, told.refreshes)?;
        let help = "Records that were heard to have changed; what rests on them is asked for again";
        out.counter("cache_invalidations", help, told.changes)?;
        let help = "Times that everything of a store's server was doubted because changes may have been missed";
        out.counter("cache_doubts", help, told.doubts)?;
        let entries = i64::try_from(told.entries).unwrap_or(i64::MAX);
        out.gauge("cache_entries", "Sessions in the cache", entries)
    }

    fn clients(&self, out: &mut Out<'_>) -> fmt::Result {
        let accepted = self.0.count(|worker| &worker.clients.accepted);
        out.counter(
            "client_connections",
            "Client connections accepted",
            accepted,
        )?;
        let open = self.0.level(|worker| &worker.clients.open);
        out.gauge(
            "client_connections_open",
            "Client connections open now",
            open,
        )?;
        let kinds = [
            ("full", self.0.count(|worker| &worker.clients.handshakes)),
            (
                "resumed",
                self.0.count(|worker| &worker.clients.resumptions),
            ),
        ];
        let help = "TLS handshakes with clients that were finished";
        out.counters("handshakes", help, &by("kind", kinds))?;
        let failed = self.0.reasons(|worker| &worker.clients.failed_handshakes);
        let help = "TLS and PROXY handshakes with clients that came to nothing";
        out.counters("handshakes_failed", help, &by("reason", failed))
    }

    fn upstreams(&self, out: &mut Out<'_>) -> fmt::Result {
        let upstreams = self.0.upstreams();
        let mut answers = Vec::new();
        let mut failures = Vec::new();
        let mut sent = Vec::new();
        for (name, upstream) in &upstreams {
            for (class, count) in CLASSES.iter().zip(upstream.answers) {
                answers.push(([("upstream", &**name), ("status", *class)], count));
            }
            for (reason, count) in &upstream.failed {
                failures.push(([("upstream", &**name), ("reason", *reason)], *count));
            }
            for (kind, count) in [("opened", upstream.opened), ("reused", upstream.reused)] {
                sent.push(([("upstream", &**name), ("connection", kind)], count));
            }
        }
        out.counters(
            "upstream_answers",
            "Answers of upstreams, by status",
            &answers,
        )?;
        let help = "Requests that an upstream did not answer, by reason";
        out.counters("upstream_failures", help, &failures)?;
        let help = "Requests sent to upstreams, by whether a connection had to be opened";
        out.counters("upstream_sends", help, &sent)?;
        let each = |pick: fn(&sums::UpstreamSum) -> u64| {
            let all = upstreams.iter();
            all.map(|(name, sum)| ([("upstream", &**name)], pick(sum)))
                .collect::<Vec<_>>()
        };
        out.counters(
            "upstream_retries",
            "Requests sent a second time",
            &each(|sum| sum.retries),
        )?;
        let help = "Endpoints taken out of turn because they failed";
        out.counters("upstream_ejections", help, &each(|sum| sum.ejections))?;
        let all = upstreams.iter();
        let idle: Vec<_> = all
            .clone()
            .map(|(name, sum)| ([("upstream", &**name)], sum.idle))
            .collect();
        out.gauges(
            "upstream_connections_idle",
            "Connections that wait for a request",
            &idle,
        )?;
        let times: Vec<_> = all
            .map(|(name, sum)| ([("upstream", &**name)], &sum.time))
            .collect();
        let help = "From handing a request to an upstream to the head of its answer";
        out.timings("upstream_duration", help, &times)
    }

    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        let process = &self.0.process;
        let results = [
            ("applied", process.reloads.get()),
            ("refused", process.failed_reloads.get()),
        ];
        let help = "Configurations read while running";
        out.counters("reloads", help, &by("result", results))?;
        let help = "When the configuration in use was taken over";
        let configured_at = process.configured_at.get();
        out.gauge("configured_timestamp_seconds", help, configured_at)?;
        let help = "Lines of the access log dropped because its reader was too slow";
        out.counter("access_log_lost_lines", help, process.lost_lines.get())?;
        let certificates = process.certificates.lock();
        let there = certificates.iter().filter(|one| one.expires.get() != 0);
        let expiries: Vec<_> = there
            .map(|one| {
                (
                    [("listener", &*one.listener), ("file", &*one.file)],
                    one.expires.get(),
                )
            })
            .collect();
        let help = "When a certificate that clients are shown expires";
        out.gauges("certificate_expiry_timestamp_seconds", help, &expiries)?;
        let results = [
            ("obtained", process.certificate_orders.obtained.get()),
            ("failed", process.certificate_orders.failed.get()),
        ];
        let help = "Certificates ordered by ACME";
        out.counters("certificate_orders", help, &by("result", results))?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauges("build", "Always 1", &[(version, 1)])
    }
}

/// The same numbers, each under one label of this name.
fn by<'a>(
    name: &'static str,
    counts: impl IntoIterator<Item = (&'a str, u64)>,
) -> Vec<([out::Label<'a>; 1], u64)> {
    counts
        .into_iter()
        .map(|(value, count)| ([(name, value)], count))
        .collect()
}
