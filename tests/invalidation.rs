//! A session that was ended is ended at every gateway: at once if all is well, within the bound if not.
//!
//! Which test goes red when one of the rules is switched off (`DRAWBRIDGE_SAFEGUARDS_OFF=age cargo nextest run --test
//! invalidation`, in a debug build; each of them also shows by itself what happens without the rule):
//!
//! | rule | tests |
//! |---|---|
//! | age | `safeguards::age_…`, `dropped::nobody_…`, `single::paused_…`, `single::frozen_redis_…`, `roll::frozen_gateway_…`, `roll::roll_that_was_lost_…`, `waiting::gateway_that_stands_still_…` |
//! | epoch | `safeguards::epoch_…` |
//! | fence | `groups::sentinel_fence_…` |
//! | in-flight marker | `safeguards::marker_…` |
//! | tombstone | `tombstones::tombstone_…` (all four), `tombstones::end_is_confirmed_…` |
//! | WAIT | `tombstones::end_is_confirmed_…`, `tombstones::tombstone_outlives_a_master_…` |
//!
//! Which test shows that nobody is let in beyond the bound, whatever fails; all of it under load, with rights and tunnels,
//! is in `checker`:
//!
//! | fault | tests |
//! |---|---|
//! | packets of the link dropped, or all of them, or one way | `dropped::nobody_…` (iptables), `safeguards::epoch_…` and `single::frozen_redis_…` (a proxy) |
//! | Redis stopped | `single::frozen_redis_…`, `checker` |
//! | Redis killed | `single::killed_redis_…`, `checker` |
//! | Redis restarted empty, or from an older dump | `single::redis_that_comes_back_empty_…`, `tombstones::tombstone_outlives_a_store_…`, `checker` |
//! | failover by Sentinel | `groups::session_that_is_ended_at_the_new_master_…`, `groups::sentinel_fence_…`, `checker` |
//! | failover in a cluster | `groups::cluster_failover_…`, `checker` |
//! | gateway stopped for 10 seconds | `single::paused_gateway_…`, `roll::frozen_gateway_…`, `checker` |

mod support;

#[path = "invalidation/bench.rs"]
mod bench;
#[path = "invalidation/checker.rs"]
mod checker;
#[path = "invalidation/counted.rs"]
mod counted;
#[path = "invalidation/dropped.rs"]
mod dropped;
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
