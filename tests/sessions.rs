//! Sessions that can be ended: what is promised of them, on the embedded store, one Redis, and a cluster of three masters.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

#[path = "support/redis.rs"]
mod redis;
#[path = "support/signal.rs"]
mod signal;

#[path = "sessions/acting.rs"]
mod acting;
#[path = "sessions/bench.rs"]
mod bench;
#[path = "sessions/chain.rs"]
mod chain;
#[path = "sessions/failover.rs"]
mod failover;
#[path = "sessions/hygiene.rs"]
mod hygiene;
#[path = "sessions/race.rs"]
mod race;
#[path = "sessions/rights.rs"]
mod rights;
