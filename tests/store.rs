//! The store's contract, kept by every backend against real servers, and what happens when those fail.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/redis.rs"]
mod redis;
#[path = "support/signal.rs"]
mod signal;

#[path = "store/bench.rs"]
mod bench;
#[path = "store/contract.rs"]
mod contract;
#[path = "store/embedded.rs"]
mod embedded;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/listening.rs"]
mod listening;
#[path = "store/meter.rs"]
mod meter;
#[path = "store/primitive.rs"]
mod primitive;
#[path = "store/remembering.rs"]
mod remembering;
#[path = "store/write.rs"]
mod write;
