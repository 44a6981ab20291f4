//! Bounds on clients. Each has a default, so that a gateway may stand on the internet as it is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::limit::RateLimit;
use super::value::{ByteRate, Duration, RedisUrl, Size};
use crate::pace::Pace;

/// Bounds on clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// TLS handshake, from accept to finished.
    pub handshake_timeout: Duration,
    /// From accept (with TLS: from the end of the handshake) to the first byte of the first request. Linux keeps a
    /// connection that says nothing to itself for about a second before it is accepted.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request head to its end. 408, then the connection is closed.
    pub header_timeout: Duration,
    /// From the end of an answer to the next request on the same connection, which is closed then. Longer than that of
    /// a load balancer in front, so that it is never we who close first.
    pub idle_timeout: Duration,
    /// Without the client taking anything of its answer; the connection, over HTTP/2 the stream, is cut off then.
    pub write_timeout: Duration,
    /// Slower than this, in bytes that the client sends of a request body while it is waited for, is 408, then the connection
    /// is closed. `"0B/s"`: any speed.
    pub min_body_rate: ByteRate,
    /// For how long a client may be slower than `min_body_rate`.
    pub min_body_grace: Duration,
    /// From the head of a request to the end of its body; 408 beyond it. Absent: as long as `min_body_rate` lets it.
    pub body_timeout: Option<Duration>,
    /// The whole request head; 431 beyond it. At least 8 KiB.
    pub max_head: Size,
    /// Headers of one request, over HTTP/2 without its cookies; 431 beyond it.
    pub max_headers: u16,
    /// One header, name and value; 431 beyond it.
    pub max_header: Size,
    /// The request target; 414 beyond it.
    pub max_uri: Size,
    /// Client connections; one more waits in the system's accept queue. 40 % of the files that the system lets the process
    /// open, if that is less.
    pub max_connections: u32,
    /// Connections of one client address, of IPv6 of one /64 network; one more is closed at once. Trusted proxies may have
    /// any number.
    pub max_connections_per_client: u32,
    /// Requests that one connection may bring; it is told to end with the answer to the last one.
    pub max_requests_per_connection: u32,
    /// How old a connection may be, give or take a tenth, so that not all end at once; it is told to end with the next
    /// answer then.
    pub max_connection_age: Duration,
    /// Requests under way, over all connections; one more is answered 503 at once.
    pub max_in_flight: u32,
    /// Requests under way on one HTTP/2 connection.
    pub max_streams: u32,
    /// HTTP/2 frames a second, on one connection, that are neither a request nor data (PING, SETTINGS, PRIORITY, resets and
    /// so on), beyond what requests and answers call for. A client that sends more is told ENHANCE_YOUR_CALM and cut off.
    pub max_control_frames: u32,
    /// Rate limits of every route that has none of its own. Each counts the requests of all these routes together.
    #[schemars(with = "Vec<RateLimit>")]
    pub rates: Vec<Spanned<RateLimit>>,
    /// Redis for shared rate limits; the store's if absent. Counters are written with every request and are no loss.
    #[schemars(with = "Option<RedisUrl>")]
    pub redis: Option<Spanned<RedisUrl>>,
    /// PEM file with the authorities that may sign that server's certificate; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub redis_ca: Option<Spanned<PathBuf>>,
    /// A shared limit that has no answer by then does what its `on_error` says.
    pub redis_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            min_body_rate: ByteRate::kib(1),
            min_body_grace: Duration::from_secs(10),
            body_timeout: None,
            max_head: Size::kib(32),
            max_headers: 100,
            max_header: Size::kib(8),
            max_uri: Size::kib(8),
            max_connections: 16_384,
            max_connections_per_client: 4096,
            max_requests_per_connection: 10_000,
            max_connection_age: Duration::from_secs(3600),
            max_in_flight: 16_384,
            max_streams: 100,
            max_control_frames: 1000,
            rates: Vec::new(),
            redis: None,
            redis_ca: None,
            redis_deadline: Duration::from_millis(100),
        }
    }
}

impl Limits {
    /// How slowly a client may send a body.
    pub fn pace(&self) -> Pace {
        Pace {
            rate: self.min_body_rate.get(),
            grace: self.min_body_grace.get(),
            whole: self.body_timeout.map(Duration::get),
        }
    }
}
