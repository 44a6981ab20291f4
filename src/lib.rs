//! drawbridge: a reverse-proxy auth gateway whose tokens can be taken back at once.
//!
//! # The walk of a request
//! ```text
//! server   accepts, shakes hands, reads a head         server/
//! gateway  ── the path; start reading here ──          gateway.rs
//!   head     the one form of the request                 head.rs
//!   route    which rule it falls under                    route.rs
//!   limit    how much its sender may ask for               limit/
//!   token    the secret it carries                          token.rs
//!   store    the session of that token                       store/
//!   policy   may it pass? makes a Permit                      policy.rs
//!   headers  strip, dress: makes an Outbound of a Permit       headers/
//!   upstream send the Outbound, hand the answer back            upstream/
//!   refusal  every way to say no                          refusal.rs
//! ```
//! It is a wheel: every step leaves the hub and comes back to it, and no spoke touches another. A request that has not
//! been judged cannot be forwarded, because [`upstream::Upstream::forward`] takes a [`headers::Outbound`], and that is
//! only made from a [`policy::Permit`].
//!
//! # Three outcomes that never mix
//! 401 means that there is no such session, 403 that the session does not allow it, and 503 that nobody can tell.
//! Nothing is let in because something broke.
//!
//! # Threads
//! Each worker is one thread with one single-threaded runtime, its own sockets (`SO_REUSEPORT`), its own pool of
//! upstream connections and its own connection to the store. What workers share is read-only, but for the rate limits and
//! the counts of connections.

pub mod access;
pub mod admin;
pub mod assertion;
pub mod audit;
pub mod body;
pub mod cache;
pub mod changes;
pub mod chunked;
pub mod clock;
pub mod command;
pub mod config;
pub mod cookie;
pub mod crowd;
pub mod csrf;
pub mod deadline;
pub mod descriptors;
pub mod field;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod head;
pub mod headers;
pub mod imprint;
pub mod inquiry;
pub mod layout;
pub mod limit;
pub mod log_file;
pub mod login;
pub mod metrics;
pub mod monitor;
pub mod oidc;
pub mod pace;
pub mod peer;
pub mod permission;
pub mod policy;
pub mod quota;
pub mod refusal;
pub mod request_id;
pub mod route;
pub mod safeguard;
pub mod selfservice;
pub mod server;
pub mod session;
pub mod sessions;
pub mod slot;
pub mod socket;
pub mod store;
pub mod token;
pub mod tombstone;
pub mod tracer;
pub mod until;
pub mod upgraded;
pub mod upstream;
pub mod uptime;
pub mod user;
