//! The services behind the gateway, and what is done when one of their endpoints fails.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::value::{Duration, Origin, Status, Target, Weight};

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `"http://host:port"` or `"https://host:port"`, without a path. Several share the load.
    #[schemars(with = "Vec<Origin>")]
    pub endpoints: Vec<Spanned<Origin>>,
    /// How much of the load each endpoint takes, 1 to 100, in the order of `endpoints`. Absent: all the same.
    #[serde(default)]
    pub weights: Vec<Weight>,
    /// Which endpoint a request goes to.
    #[serde(default)]
    pub balance: Balance,
    /// What is spoken with the endpoints.
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS towards `https` endpoints.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// The `Host` the upstream sees.
    #[serde(default)]
    pub host: HostHeader,
    /// Idle connections kept per endpoint and worker.
    #[serde(default = "default_max_idle")]
    pub max_idle: u32,
    /// Idle connections older than this are closed. Keep it below the upstream's own keep-alive.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Duration,
    /// How often the names of endpoints are looked up. What was found before stays in use while a look-up fails.
    #[serde(default = "default_resolve")]
    pub resolve: Duration,
    /// How often one request may be sent again, to another endpoint where there is one. Only what cannot be carried out
    /// twice is sent again: a request that never left, or one that may be repeated (RFC 9110 section 9.2.2), without a
    /// body, that was not answered with a single byte.
    #[serde(default = "default_retries")]
    pub retries: u8,
    /// How many of all requests may be sent again.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// Requests under way per endpoint and worker; over HTTP/1.1 each has a connection of its own, and an upgraded
    /// connection counts until it ends. Absent: any number.
    pub max_connections: Option<u32>,
    /// Requests per endpoint and worker that wait while `max_connections` are under way. One more is 503 at once.
    #[serde(default = "default_max_pending")]
    pub max_pending: u32,
    /// How long one of them waits; 503 beyond it.
    #[serde(default = "default_queue_timeout")]
    pub queue_timeout: Duration,
    /// When an endpoint that fails is left out for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// Asks each endpoint from time to time whether it is well. Absent: none is asked.
    pub health: Option<Health>,
}

fn default_max_idle() -> u32 {
    128
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_resolve() -> Duration {
    Duration::from_secs(30)
}

fn default_retries() -> u8 {
    1
}

fn default_max_pending() -> u32 {
    1024
}

fn default_queue_timeout() -> Duration {
    Duration::from_secs(1)
}

/// Which endpoint a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Two are drawn, and the one with fewer requests under way is taken.
    #[default]
    LeastBusy,
    /// One after the other.
    RoundRobin,
    /// The same one for all requests of a user, or of a client address where there is no user. When endpoints come and
    /// go, only the users of those move.
    User,
}

/// What is spoken with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2: over TLS, or in the clear without asking first (RFC 9113 section 3.3). gRPC needs it.
    H2,
    /// Over TLS whatever the endpoint chooses (ALPN), HTTP/2 first; in the clear HTTP/1.1.
    Auto,
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostHeader {
    /// The one the client sent.
    #[default]
    Client,
    /// The endpoint's own.
    Endpoint,
}

/// TLS towards an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities that may sign the upstream's certificate; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub ca: Option<Spanned<PathBuf>>,
    /// PEM file with a certificate to show if the upstream asks for one, followed by its intermediates. Needs `key`.
    #[schemars(with = "Option<PathBuf>")]
    pub cert: Option<Spanned<PathBuf>>,
    /// PEM file with the private key of `cert`.
    #[schemars(with = "Option<PathBuf>")]
    pub key: Option<Spanned<PathBuf>>,
    /// The name to verify, if it is not the endpoint's host.
    #[schemars(with = "Option<String>")]
    pub server_name: Option<Spanned<String>>,
}

/// How many of all requests may be sent again: when an upstream is down, retries would make it twice the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// So many of a hundred requests, per worker.
    pub percent: u8,
    /// So many a second in any case, per worker.
    pub min_per_second: u16,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            min_per_second: 10,
        }
    }
}

/// When an endpoint that fails is left out for a while. Never more than half of an upstream's endpoints, and never the only
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// After so many failures in a row: no connection, no answer in time, none that can be used. 0: never.
    pub after: u32,
    /// For so long the first time, twice as long each time it fails again at once.
    pub time: Duration,
    /// But not longer than this.
    pub max_time: Duration,
    /// Statuses of answers that count as failures.
    pub statuses: Vec<Status>,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            after: 5,
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            statuses: Vec::new(),
        }
    }
}

/// Asks each endpoint from time to time whether it is well; one that is not gets no requests. If none is, all get them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked for with GET, such as `"/health"`.
    pub path: Target,
    /// From one question to the next.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// How long an answer may take.
    #[serde(default = "default_health_timeout")]
    pub timeout: Duration,
    /// Statuses that mean that it is well. Absent: 200 to 299.
    #[serde(default)]
    pub statuses: Vec<Status>,
    /// Bad answers in a row until it gets no more requests.
    #[serde(default = "default_unhealthy_after")]
    pub unhealthy_after: u32,
    /// Good answers in a row until it gets requests again.
    #[serde(default = "default_healthy_after")]
    pub healthy_after: u32,
}

fn default_interval() -> Duration {
    Duration::from_secs(5)
}

fn default_health_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_unhealthy_after() -> u32 {
    3
}

fn default_healthy_after() -> u32 {
    2
}
