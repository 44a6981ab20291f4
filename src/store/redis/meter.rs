//! Buckets that all gateways share: one small script for each decision, on one key.
//!
//! The script goes by the server's clock and never leaves a key without an end: when the bucket is full again, the key
//! is gone. It is sent once. Whether a script whose answer was lost took something cannot be known, and a second try
//! would take twice.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use fred::clients::WithOptions;
use fred::error::Error;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::prelude::Client;
use fred::types::Value;
use fred::types::config::Options;
use fred::types::scripts::Script;

use super::RedisStore;
use super::failure::{code, failed};
use crate::limit::{Meter, Metered};
use crate::store::StoreError;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("meter.lua")));

impl RedisStore {
    /// See [`crate::store::SessionStore::meter`].
    pub async fn meter(
        &self,
        questions: &[(String, Meter)],
        deadline: Duration,
    ) -> Vec<Result<Metered, StoreError>> {
        // Commands that are handed to fred at once leave in one write; unlike a pipeline of fred they also fail one by
        // one, so that a node of a cluster that is away spoils no other node's answer.
        let one = |(bucket, meter): &(String, Meter)| {
            Box::pin(self.meter_one(format!("login:limit:{bucket}"), *meter, deadline))
        };
        together(questions.iter().map(one).collect()).await
    }

    async fn meter_one(
        &self,
        key: String,
        meter: Meter,
        deadline: Duration,
    ) -> Result<Metered, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let client = client.with_options(&Options {
            max_attempts: Some(1),
            timeout: Some(deadline),
            ..Options::default()
        });
        let answer = ask(&client, key, meter).await.map_err(failed)?;
        read(&answer, meter).inspect_err(|_| self.link.distrust())
    }
}

/// By digest; with its text where the server has not got the script, which then has not run.
async fn ask(client: &WithOptions<Client>, key: String, meter: Meter) -> Result<Value, Error> {
    let args = || vec![meter.interval().to_string(), meter.window().to_string()];
    let answer = client.evalsha(SCRIPT.sha1().clone(), key.clone(), args());
    match answer.await {
        Err(error) if code(&error) == Some("NOSCRIPT") => {
            let text = SCRIPT.lua().cloned().unwrap_or_default();
            client.eval(text, key, args()).await
        }
        answer => answer,
    }
}

fn read(answer: &Value, meter: Meter) -> Result<Metered, StoreError> {
    let Value::Array(parts) = answer else {
        return Err(StoreError::Mismatch);
    };
    let [Value::Integer(allowed @ (0 | 1)), Value::Integer(ahead)] = parts.as_slice() else {
        return Err(StoreError::Mismatch);
    };
    match u64::try_from(*ahead) {
        Ok(ahead) if ahead <= meter.window() => Ok(meter.read(*allowed == 1, ahead)),
        Ok(_) | Err(_) => Err(StoreError::Mismatch),
    }
}

/// Lets all of them run at once, on this task; the outputs stand in the order of the futures.
async fn together<F: Future>(futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut futures = futures;
    poll_fn(|cx| {
        let mut all = true;
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
