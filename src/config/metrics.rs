//! What the gateway tells about itself: numbers, and whether it is alive and ready.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::value::PathPattern;

/// What the gateway tells about itself, over plain HTTP and without a key: names of routes and upstreams and how often
/// what happened to them, never anything of a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// IP address and port, such as `"127.0.0.1:9100"`. Port 0 lets the system choose. Absent: told nowhere.
    #[schemars(with = "Option<SocketAddr>")]
    pub listen: Option<Spanned<SocketAddr>>,
    /// Where Prometheus reads the numbers (OpenMetrics text).
    #[schemars(with = "PathPattern")]
    pub path: Spanned<PathPattern>,
    /// 200 as long as the process runs.
    #[schemars(with = "PathPattern")]
    pub live: Spanned<PathPattern>,
    /// 200 while requests should be sent here, else 503; the JSON object says what is missing.
    #[schemars(with = "PathPattern")]
    pub ready: Spanned<PathPattern>,
}

impl Default for Metrics {
    fn default() -> Self {
        let path = |text: &str| {
            let path = PathPattern::try_from(text.to_owned());
            Spanned::new(0..0, path.expect("a plain path"))
        };
        Self {
            listen: None,
            path: path("/metrics"),
            live: path("/live"),
            ready: path("/ready"),
        }
    }
}
