//! Clients that try one unknown token after the other.
//!
//! # Threat model
//! Tokens of ours cannot be guessed, those of others perhaps; and each guess costs the store a look-up. So a client that
//! has sent too many unknown tokens gets no more look-ups for a while, except for tokens that were good from there not
//! long ago: an office behind one address goes on working beside its attacker. Nobody is slowed for what came from
//! another address. A token is known here by a keyed 64-bit digest only, and a look-up is all that a collision wins.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;

use super::{Buckets, Meter, Metered, network};
use crate::token::Token;

/// Good tokens that are remembered, of all clients together; about 5 MiB when all are there.
const GOOD_TOKENS: usize = 65_536;

/// A client has sent too many unknown tokens; this one was not looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many unknown tokens came from this address")]
pub struct Slowed {
    /// When one more would be looked up.
    pub retry_after: Duration,
}

/// Who has sent unknown tokens, and which were good; shared by the workers.
#[derive(Debug)]
pub struct Guard {
    strikes: Buckets,
    good: Cache<u64, ()>,
    hash: RandomState,
    slowed: AtomicU64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            strikes: Buckets::default(),
            good: Cache::new(GOOD_TOKENS),
            hash: RandomState::default(),
            slowed: AtomicU64::new(0),
        }
    }
}

impl Guard {
    /// Whether to spend a look-up on this token, or `None` for something that cannot be one.
    ///
    /// # Errors
    /// [`Slowed`] if its client has sent more unknown ones than `meter` holds, and this one is not known to be good.
    pub fn admit(&self, meter: Meter, client: IpAddr, token: Option<&Token>) -> Result<(), Slowed> {
        let retry_after = self.strikes.wait(self.client(client), meter);
        if retry_after.is_zero() {
            return Ok(());
        }
        let known = |token: &Token| self.good.get(&self.pair(client, token)).is_some();
        if token.is_some_and(known) {
            return Ok(());
        }
        self.slowed.fetch_add(1, Ordering::Relaxed);
        Err(Slowed { retry_after })
    }

    /// Hears what a look-up came to. Guesses that were under way when the bucket ran out count as well, so that many at
    /// once are paid for by a longer wait.
    pub fn learn(&self, meter: Meter, client: IpAddr, token: &Token, good: bool) {
        let pair = self.pair(client, token);
        match (good, self.good.get(&pair)) {
            (true, None) => self.good.insert(pair, ()),
            (true, Some(())) => {}
            (false, known) => {
                if known.is_some() {
                    self.good.remove(&pair);
                }
                self.strikes.charge(self.client(client), meter);
            }
        }
    }

    /// How this client stands; nothing is charged.
    pub fn state(&self, meter: Meter, client: IpAddr) -> Metered {
        self.strikes.state(self.client(client), meter)
    }

    /// Forgets what this client has sent; says whether there was anything.
    pub fn forgive(&self, client: IpAddr) -> bool {
        self.strikes.fill(self.client(client))
    }

    /// How many tokens have not been looked up.
    pub fn slowed(&self) -> u64 {
        self.slowed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.good.len()
    }

    fn client(&self, client: IpAddr) -> u64 {
        self.hash.hash_one(network(client))
    }

    fn pair(&self, client: IpAddr, token: &Token) -> u64 {
        self.hash.hash_one((network(client), token.expose()))
    }
}
