//! What the gateway tells of each request: a line in the access log, and traces.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::value::{Origin, Ratio};

/// One line per request, at the end of its answer: who, what, the verdict and why, and where the time went. Never a token,
/// a query or a header.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// To standard output.
    pub stdout: bool,
    /// To the end of this file instead (mode 0600), which is opened anew when it was renamed or removed (log rotation).
    #[schemars(with = "Option<PathBuf>")]
    pub file: Option<Spanned<PathBuf>>,
    /// How a line looks.
    pub format: AccessFormat,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `name=value` pairs.
    Logfmt,
}

/// Traces of requests for an OpenTelemetry collector (OTLP over HTTP). What it does not take in time is dropped.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// The collector, `http://HOST:PORT`. Absent: no traces, and what requests say of theirs is passed on as it is.
    #[schemars(with = "Option<Origin>")]
    pub otlp: Option<Spanned<Origin>>,
    /// How many of the requests that begin a trace are sampled.
    pub sample: Ratio,
    /// Whose `traceparent` is gone on from, and whose word on sampling is taken: everybody else's requests begin a trace.
    pub parent: ParentFrom,
    /// What the collector knows this gateway as (`service.name`).
    pub service: String,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp: None,
            sample: Ratio::percent(1),
            parent: ParentFrom::Trusted,
            service: "drawbridge".to_owned(),
        }
    }
}

/// Whose `traceparent` is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParentFrom {
    /// That of `forwarded.trusted_proxies`.
    #[default]
    Trusted,
    /// Everybody's: clients can have any number of their requests sampled.
    Anyone,
}
