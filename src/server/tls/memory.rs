//! What lets a client take up an earlier TLS session.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

use crate::config::fault::Fault;

/// TLS 1.2 sessions remembered for clients that take no tickets.
const MAX_SESSIONS: usize = 4096;

/// What earlier sessions are taken up with: shared by the workers, and kept when certificates change.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) sessions: Arc<dyn StoresServerSessions>,
    pub(super) tickets: Arc<dyn ProducesTickets>,
}

impl Memory {
    pub(super) fn new() -> Result<Self, Fault> {
        // Its key changes by itself every six hours; tickets of the key before are still taken.
        let tickets = aws_lc_rs::Ticketer::new()
            .map_err(|_| Fault::error(None, "the system gives no random numbers"))?;
        Ok(Self {
            sessions: ServerSessionMemoryCache::new(MAX_SESSIONS),
            tickets,
        })
    }
}
