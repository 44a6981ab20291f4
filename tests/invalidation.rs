//! A session that was ended is ended at every gateway: at once if all is well, within the bound if not.

mod support;

#[path = "invalidation/bench.rs"]
mod bench;
#[path = "invalidation/checker.rs"]
mod checker;
#[path = "invalidation/counted.rs"]
mod counted;
#[path = "invalidation/groups.rs"]
mod groups;
#[path = "invalidation/own.rs"]
mod own;
#[path = "invalidation/roll.rs"]
mod roll;
#[path = "invalidation/safeguards.rs"]
mod safeguards;
#[path = "invalidation/single.rs"]
mod single;
#[path = "invalidation/streams.rs"]
mod streams;
#[path = "invalidation/tombstones.rs"]
mod tombstones;
#[path = "invalidation/waiting.rs"]
mod waiting;
#[path = "invalidation/witness.rs"]
mod witness;
#[path = "invalidation/world.rs"]
mod world;
