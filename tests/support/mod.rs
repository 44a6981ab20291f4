//! What whole-system tests are told in: an [`upstream`], a [`gateway`] between, a client ([`Call`], [`Connection`]),
//! and [`raw`] bytes where a client would be too polite.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test program uses another part of it"
)]

pub(crate) mod admin;
pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod h2_raw;
pub(crate) mod netns;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod signal;
pub(crate) mod upstream;

pub(crate) use self::certs::Authority;
pub(crate) use self::client::{Call, Connection, Reply};
pub(crate) use self::gateway::{Gateway, Setup, gateway, record, user};
pub(crate) use self::program::{Program, installed};
pub(crate) use self::raw::{Raw, RawReply};
pub(crate) use self::redis::Redis;
pub(crate) use self::upstream::{Answer, Held, Seen, Upstream, upstream, upstream_that};

use std::time::Duration;

/// Longer than anything that is not broken takes, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("gave up waiting: {what}"),
    }
}
