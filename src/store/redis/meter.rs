//! Buckets that all gateways share: one small script for each decision, on one key.
//!
//! The script goes by the server's clock and never leaves a key without an end: when the bucket is full again, the key
//! is gone. It is sent once. Whether a script whose answer was lost took something cannot be known, and a second try
//! would take twice.

use std::time::Duration;

use fred::interfaces::ClientLike;
use fred::types::Value;
use fred::types::config::Options;

use super::RedisStore;
use super::failure::failed;
use super::script::{self, METER};
use super::together::together;
use crate::limit::{Meter, Metered};
use crate::store::{Key, StoreError};

impl RedisStore {
    /// See [`crate::store::SessionStore::meter`].
    pub async fn meter(
        &self,
        questions: &[(Key, Meter)],
        deadline: Duration,
    ) -> Vec<Result<Metered, StoreError>> {
        // They fail one by one, so that a node of a cluster that is away spoils no other node's answer. They do not wait
        // for one another, but each is a write of its own: fred 10 flushes after a script.
        let asked = questions
            .iter()
            .map(|(key, meter)| Box::pin(self.meter_one(key, *meter, deadline)));
        together(asked.collect()).await
    }

    async fn meter_one(
        &self,
        key: &Key,
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
        let arguments = vec![
            Value::from(meter.interval().to_string()),
            Value::from(meter.window().to_string()),
        ];
        let answer = script::run(&METER, &client, key, arguments)
            .await
            .map_err(failed)?;
        read(&answer, meter).inspect_err(|_| self.link.distrust())
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
