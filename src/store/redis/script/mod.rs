//! The scripts. Each works on one key and names it literally, `KEYS[1]`, so that a cluster and whatever stands before
//! one can tell where it belongs. Each is sent once: whether one whose answer was lost has run cannot be known.

use std::sync::LazyLock;

use fred::clients::WithOptions;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::prelude::Client;
use fred::types::Value;
use fred::types::scripts::Script;

use super::failure::code;

type Lazy = LazyLock<Script>;

/// One decision of a bucket.
pub(super) static METER: Lazy = LazyLock::new(|| Script::from_lua(include_str!("meter.lua")));
/// Compare and swap.
pub(super) static SWAP: Lazy = LazyLock::new(|| Script::from_lua(include_str!("swap.lua")));
/// An earlier end.
pub(super) static SHORTEN: Lazy = LazyLock::new(|| Script::from_lua(include_str!("shorten.lua")));
/// A later end.
pub(super) static EXTEND: Lazy = LazyLock::new(|| Script::from_lua(include_str!("extend.lua")));
/// A write that changes nothing.
pub(super) static RENEW: Lazy = LazyLock::new(|| Script::from_lua(include_str!("renew.lua")));

/// Runs a script by its digest; with its text where the server has not got it, which then has not run.
pub(super) async fn run(
    script: &Script,
    client: &WithOptions<Client>,
    key: &str,
    arguments: Vec<Value>,
) -> Result<Value, Error> {
    let answer = client.evalsha(script.sha1().clone(), key, arguments.clone());
    match answer.await {
        Err(error) if code(&error) == Some("NOSCRIPT") => {
            let text = script.lua().cloned().unwrap_or_default();
            client.eval(text, key, arguments).await
        }
        answer => answer,
    }
}
