//! The scripts. Each works on one key and names it literally, `KEYS[1]`, so that a cluster and whatever stands before
//! one can tell where it belongs. Each is sent once: whether one whose answer was lost has run cannot be known.

use std::sync::LazyLock;

use fred::clients::WithOptions;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::prelude::Client;
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand, Value};
use fred::util::redis_keyslot;

use super::failure::code;
use crate::store::Key;

type Lazy = LazyLock<Script>;

/// One decision of a bucket.
pub(super) static METER: Lazy = LazyLock::new(|| Script::from_lua(include_str!("meter.lua")));
/// Compare and swap.
pub(super) static SWAP: Lazy = LazyLock::new(|| Script::from_lua(include_str!("swap.lua")));
/// An earlier end.
pub(super) static SHORTEN: Lazy = LazyLock::new(|| Script::from_lua(include_str!("shorten.lua")));
/// A later end.
pub(super) static EXTEND: Lazy = LazyLock::new(|| Script::from_lua(include_str!("extend.lua")));
/// A place on the roll.
pub(super) static ENROLL: Lazy = LazyLock::new(|| Script::from_lua(include_str!("enroll.lua")));
/// Who is on the roll.
pub(super) static ROLL: Lazy = LazyLock::new(|| Script::from_lua(include_str!("roll.lua")));
/// A place on the roll that is given up.
pub(super) static STRIKE: Lazy = LazyLock::new(|| Script::from_lua(include_str!("strike.lua")));
/// Who has answered a roll call.
pub(super) static ANSWERS: Lazy = LazyLock::new(|| Script::from_lua(include_str!("answers.lua")));
/// An answer to a roll call.
pub(super) static ANSWER: Lazy = LazyLock::new(|| Script::from_lua(include_str!("answer.lua")));
/// A write that changes nothing.
pub(super) static RENEW: Lazy = LazyLock::new(|| Script::from_lua(include_str!("renew.lua")));

/// Runs a script by its digest; with its text where the server has not got it, which then has not run.
pub(super) async fn run(
    script: &Script,
    client: &WithOptions<Client>,
    key: &Key,
    arguments: Vec<Value>,
) -> Result<Value, Error> {
    let digest = script.sha1().clone().into();
    match send("EVALSHA", digest, client, key, arguments.clone()).await {
        Err(error) if code(&error) == Some("NOSCRIPT") => {
            let text = script.lua().cloned().unwrap_or_default().into();
            send("EVAL", text, client, key, arguments).await
        }
        answer => answer,
    }
}

/// Not by fred's own `evalsha`: a client with options does not have it, and hands the call on to the client without
/// them, which would send the script again on a new connection.
async fn send(
    command: &'static str,
    script: Value,
    client: &WithOptions<Client>,
    key: &Key,
    arguments: Vec<Value>,
) -> Result<Value, Error> {
    let slot = ClusterHash::Custom(redis_keyslot(key.as_str().as_bytes()));
    let command = CustomCommand::new_static(command, slot, false);
    let mut whole = vec![script, 1.into(), key.as_str().into()];
    whole.extend(arguments);
    client.custom(command, whole).await
}
