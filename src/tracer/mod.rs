//! Traces: which request belongs to which (W3C Trace Context), and spans for an OpenTelemetry collector.
//!
//! A request costs what it takes to write one header, unless it is sampled: then its spans are put into a bounded queue,
//! and a thread of its own sends them. Whether there is a collector, and how fast it is, no request ever notices.

mod context;
mod export;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use self::context::Parent;
pub use self::export::Exporter;
pub use self::export::{Facts, Lap};
use crate::config::{self, ParentFrom};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Spans that may wait to be sent.
const QUEUE: usize = 8192;

/// What makes traces; clones share it.
#[derive(Debug, Clone)]
pub struct Tracer {
    /// A trace is sampled if the last half of its id is below this.
    below: u64,
    parent: ParentFrom,
    spans: mpsc::Sender<Vec<SpanData>>,
    lost: Arc<AtomicU64>,
}

/// One request's place in its trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    /// The request's own span, and the one that its upstream goes on from.
    span: SpanId,
    upstream: SpanId,
    parent: Option<SpanId>,
    sampled: bool,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Tracer {
    /// Starts what sends spans; `None` if none are to be sent. It ends when the last clone of the tracer is dropped.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(config: &config::Tracing) -> std::io::Result<Option<(Self, Exporter)>> {
        let Some(collector) = &config.otlp else {
            return Ok(None);
        };
        let (spans, waiting) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let exporter = Exporter::start(
            &collector.get_ref().to_string(),
            config.service.clone(),
            (waiting, Arc::clone(&lost)),
        )?;
        let tracer = Self {
            below: config.sample.of(u64::MAX),
            parent: config.parent,
            spans,
            lost,
        };
        Ok(Some((tracer, exporter)))
    }

    /// The place of a request with these headers, which from now on name the place of its upstream.
    pub fn begin(&self, headers: &mut HeaderMap, from_trusted: bool) -> Trace {
        let believed = match self.parent {
            ParentFrom::Anyone => true,
            ParentFrom::Trusted => from_trusted,
        };
        let parent = believed.then(|| Parent::of(headers)).flatten();
        let mut random = [0_u8; 32];
        // Without random bits traces would only be mixed up, and nothing else depends on them.
        aws_lc_rs::rand::fill(&mut random).ok();
        let random = u128::from_be_bytes(*random.first_chunk().unwrap_or(&[0; 16])) | 1;
        let mut spans = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut spans).ok();
        let (one, other) = spans.split_at(8);
        let span = |bytes: &[u8]| {
            let number = bytes
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            SpanId::from_bytes((number | 1).to_be_bytes())
        };
        let trace = Trace {
            id: parent.as_ref().map_or_else(
                || TraceId::from_bytes(random.to_be_bytes()),
                |parent| parent.trace,
            ),
            span: span(one),
            upstream: span(other),
            parent: parent.as_ref().map(|parent| parent.span),
            sampled: parent
                .as_ref()
                .map_or_else(|| self.samples(random), |parent| parent.sampled),
        };
        if parent.is_none() {
            headers.remove(&TRACESTATE);
        }
        headers.insert(TRACEPARENT, trace.value());
        trace
    }

    /// The lower half of an id is what is random in it, whoever made it.
    fn samples(&self, id: u128) -> bool {
        let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        low < self.below
    }

    /// Sends the spans of a request that has come to its end, if it is sampled.
    pub fn end(&self, trace: Trace, facts: &Facts<'_>) {
        if trace.sampled && self.spans.try_send(export::spans(trace, facts)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Trace {
    /// Whether its spans are sent.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id, in hex.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// What its upstream is told.
    fn value(&self) -> HeaderValue {
        let text = format!(
            "00-{}-{}-0{}",
            self.id,
            self.upstream,
            u8::from(self.sampled)
        );
        HeaderValue::try_from(text).expect("hex and dashes are plain ASCII")
    }
}
