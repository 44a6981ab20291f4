//! Spans on their way to a collector, by OTLP over HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;

use super::Trace;

/// Requests whose spans are sent at once, and for how long the first of them waits for others.
const BATCH: usize = 512;
const PAUSE: Duration = Duration::from_secs(1);
/// How long one sending may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at an exporter that is finishing.
const FINISH_STEP: Duration = Duration::from_millis(2);
/// Between two words about a collector that takes nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// A part of a request that was waited for.
#[derive(Debug, Clone, Copy)]
pub struct Lap {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Lap {
    /// When it ended.
    pub fn ended(self) -> Instant {
        self.began + self.took
    }

    /// Both, as if they had followed one another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            began: self.began,
            took: self.took + other.took,
        }
    }
}

/// What the spans of a request tell.
#[derive(Debug)]
pub struct Facts<'a> {
    /// When the request began, on two clocks.
    pub began: Instant,
    /// The time of day then.
    pub began_at: SystemTime,
    /// From there to the end of the answer.
    pub total: Duration,
    /// The request's method.
    pub method: &'a str,
    /// Its host.
    pub host: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// The name of its route.
    pub route: &'a str,
    /// The client's address.
    pub client: &'a str,
    /// Its user.
    pub user: &'a str,
    /// Its id.
    pub id: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Why it was refused; empty if it was forwarded.
    pub refusal: &'a str,
    /// The upstream's name.
    pub upstream: &'a str,
    /// Asking shared limits.
    pub limits: Option<Lap>,
    /// Looking up the session.
    pub store: Option<Lap>,
    /// From handing it to the upstream to the head of its answer.
    pub forward: Option<Lap>,
}

/// The spans of one request: its own, and one for each thing that was waited for.
pub(super) fn spans(trace: Trace, facts: &Facts<'_>) -> Vec<SpanData> {
    let name = match facts.route {
        "" => facts.method.to_owned(),
        route => format!("{} {route}", facts.method),
    };
    let whole = Lap {
        began: facts.began,
        took: facts.total,
    };
    let mut own = span(trace, facts, whole, (trace.span, name));
    own.parent_span_id = trace.parent.unwrap_or(SpanId::INVALID);
    own.parent_span_is_remote = trace.parent.is_some();
    own.span_kind = SpanKind::Server;
    own.attributes = attributes(facts);
    if facts.status >= 500 {
        own.status = Status::error(facts.refusal.to_owned());
    }
    let mut all = vec![own];
    let bits = u64::from_be_bytes(trace.span.to_bytes());
    let child = |place: u64| SpanId::from_bytes((bits ^ place << 1).to_be_bytes());
    all.extend(
        facts
            .limits
            .map(|lap| span(trace, facts, lap, (child(1), "rate limits".to_owned()))),
    );
    all.extend(
        facts
            .store
            .map(|lap| span(trace, facts, lap, (child(2), "session lookup".to_owned()))),
    );
    all.extend(facts.forward.map(|lap| {
        let mut asked = span(
            trace,
            facts,
            lap,
            (trace.upstream, format!("upstream {}", facts.upstream)),
        );
        asked.span_kind = SpanKind::Client;
        asked
    }));
    all
}

fn span(trace: Trace, facts: &Facts<'_>, lap: Lap, (id, name): (SpanId, String)) -> SpanData {
    let start = facts.began_at + lap.began.saturating_duration_since(facts.began);
    SpanData {
        span_context: SpanContext::new(
            trace.id,
            id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: trace.span,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: start,
        end_time: start + lap.took,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// Named as OpenTelemetry's conventions for HTTP have it, where they have a name.
fn attributes(facts: &Facts<'_>) -> Vec<KeyValue> {
    let texts = [
        ("http.request.method", facts.method),
        ("server.address", facts.host),
        ("url.path", facts.path),
        ("http.route", facts.route),
        ("client.address", facts.client),
        ("user.id", facts.user),
        ("drawbridge.request_id", facts.id),
        ("drawbridge.refusal", facts.refusal),
    ];
    let there = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let status = KeyValue::new("http.response.status_code", i64::from(facts.status));
    there
        .map(|(name, text)| KeyValue::new(name, text.to_owned()))
        .chain([status])
        .collect()
}

/// The thread that sends.
#[derive(Debug)]
pub struct Exporter(JoinHandle<()>);

/// What waits to be sent, and how many requests found no room there.
type Waiting = (mpsc::Receiver<Vec<SpanData>>, Arc<AtomicU64>);

impl Exporter {
    pub(super) fn start(collector: &str, service: String, waiting: Waiting) -> io::Result<Self> {
        let endpoint = format!("{collector}/v1/traces");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || runtime.block_on(send_all(&endpoint, service, waiting)))?;
        Ok(Self(thread))
    }

    /// Waits until every span is sent, once all tracers are dropped, but no longer than `patience`.
    pub fn finish(self, patience: Duration) {
        let give_up = Instant::now() + patience;
        while !self.0.is_finished() && Instant::now() < give_up {
            std::thread::sleep(FINISH_STEP);
        }
    }
}

async fn send_all(endpoint: &str, service: String, (mut waiting, lost): Waiting) {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .with_headers(std::collections::HashMap::new())
        .build();
    let mut exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => return tracing::error!(%error, "traces cannot be sent"),
    };
    exporter.set_resource(&Resource::builder_empty().with_service_name(service).build());
    let mut told: Option<Instant> = None;
    let mut requests = Vec::new();
    while waiting.recv_many(&mut requests, BATCH).await > 0 {
        let give_up = Instant::now() + PAUSE;
        while requests.len() < BATCH {
            let more = waiting.recv_many(&mut requests, BATCH);
            match tokio::time::timeout_at(give_up.into(), more).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        let count = requests.len();
        let spans = requests.drain(..).flatten().collect();
        let sent = tokio::time::timeout(PATIENCE, exporter.export(spans)).await;
        let error = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let quiet = told.is_some_and(|told| told.elapsed() < SILENCE);
        let dropped = lost.load(Ordering::Relaxed);
        if let Some(error) = error.filter(|_| !quiet) {
            told = Some(Instant::now());
            tracing::warn!(
                error,
                requests = count,
                dropped,
                "the collector takes no traces"
            );
        }
    }
}
