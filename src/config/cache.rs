//! How long what the store said is believed, and how much of it is kept in memory.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::Duration;

/// Sessions in memory: how many, and for how long after their end one may still be taken for live if everything goes wrong.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The bound: no request is let in later than this after its session was ended, whatever fails. Usually it takes
    /// milliseconds. `"0s"` asks the store for each request.
    pub max_staleness: Duration,
    /// Sessions kept in memory, by all workers together; about half a kilobyte each.
    pub max_sessions: u32,
    /// How long it is believed that there is no such session. `"0s"`: each time it is asked again.
    pub misses: Duration,
    /// Tokens of which it is known that there is no such session; kept apart from the sessions.
    pub max_misses: u32,
    /// The `cluster-node-timeout` of a Redis Cluster that does not tell it: its user may not run `CONFIG GET`.
    pub cluster_node_timeout: Option<Duration>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(5),
            max_sessions: 100_000,
            misses: Duration::from_secs(1),
            max_misses: 10_000,
            cluster_node_timeout: None,
        }
    }
}
