//! How many files the system lets this process open: each connection is one, and the other side of it another.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept for stores, logs, the admin API and what else a process needs.
const RESERVED: u64 = 64;

/// Lets this process open as many files as it may allow itself; the soft limit is mostly far below that.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What stays is the limit that was there, and connections are bounded by it.
    setrlimit(Resource::Nofile, limit).ok();
}

/// How many client connections there is room for, if each may need one to an upstream: 40 % of the files.
pub fn connections() -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = files.saturating_sub(RESERVED) / 10 * 4;
    u32::try_from(room).unwrap_or(u32::MAX).max(1)
}
