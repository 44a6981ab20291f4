//! What can be done with one key in a single step; see [`crate::store::SessionStore`] for what each promises.
//!
//! Ends are sent as lengths of time, so that the clock of the server does not have to agree with ours.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client, Pipeline};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::Options;
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand, Expiration, SetOptions, Value};
use fred::util::redis_keyslot;

use super::RedisStore;
use super::failure::failed;
use super::script::{self, EXTEND, RENEW, SHORTEN, SWAP};
use super::together::together;
use crate::clock::now;
use crate::safeguard::Safeguard;
use crate::store::{Ends, Kept, Key, StoreError, Swapped};

/// How long replicas are waited for.
const REPLICATION_MILLIS: i64 = 100;
/// When to stop waiting for the answer to that.
const REPLICATION_DEADLINE: Duration = Duration::from_millis(250);

impl RedisStore {
    pub(in crate::store) async fn get(
        &self,
        keys: &[Key],
        ends: Ends,
    ) -> Result<Vec<Option<Kept>>, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let wants_end = |place: usize| match ends {
            Ends::All => true,
            Ends::First => place == 0,
            Ends::None => false,
        };
        let mut questions = Vec::with_capacity(2 * keys.len());
        for (place, key) in keys.iter().enumerate() {
            questions.push((key, false));
            if wants_end(place) {
                questions.push((key, true));
            }
        }
        let ask = |(key, end): (&Key, bool)| {
            let (client, key) = (client.clone(), fred::types::Key::from(key.as_str()));
            Box::pin(async move {
                match end {
                    true => client.pttl::<Value, _>(key).await,
                    false => client.get::<Value, _>(key).await,
                }
            })
        };
        let mut answers = together(questions.into_iter().map(ask).collect())
            .await
            .into_iter();
        let mut next = || {
            let answer = answers.next().ok_or(StoreError::Mismatch)?;
            answer.map_err(failed)
        };
        let read = |place: usize| {
            let value = next()?;
            let left = if wants_end(place) {
                Some(next()?)
            } else {
                None
            };
            kept(value, left.as_ref())
        };
        let found = (0..keys.len()).map(read).collect();
        self.trusted(found)
    }

    /// This key has been changed by this process.
    pub(in crate::store) fn note(&self, key: &Key) {
        if let Some(tracking) = &self.tracking {
            tracking.changes().change(key.as_str().as_bytes());
        }
    }

    pub(in crate::store) async fn swap(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        ends_at: Option<u64>,
    ) -> Result<Swapped, StoreError> {
        let end = ends_at.map(|end| length(end).to_string());
        let arguments = vec![
            Value::Bytes(Bytes::copy_from_slice(expected.unwrap_or_default())),
            Value::Bytes(Bytes::copy_from_slice(new.unwrap_or_default())),
            Value::from(end.unwrap_or_default()),
        ];
        let answer = self.run(&SWAP, key, arguments).await?;
        self.trusted(read_swap(answer))
    }

    pub(in crate::store) async fn put(
        &self,
        key: &Key,
        bytes: &[u8],
        ends_at: Option<u64>,
        only_new: bool,
    ) -> Result<bool, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let client = client.with_options(&self.once());
        let end = ends_at.map(|end| Expiration::PX(length(end)));
        let condition = only_new.then_some(SetOptions::NX);
        let answer: Value = client
            .set(key.as_str(), bytes, end, condition, false)
            .await
            .map_err(failed)?;
        let put = answer.as_str().as_deref() == Some("OK");
        let refused = only_new && answer.is_null();
        self.trusted(match put || refused {
            true => Ok(put),
            false => Err(StoreError::Mismatch),
        })
    }

    pub(in crate::store) async fn take(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let client = client.with_options(&self.once());
        let answer: Value = client.getdel(key.as_str()).await.map_err(failed)?;
        self.trusted(bytes(answer))
    }

    pub(in crate::store) async fn shorten(
        &self,
        key: &Key,
        ends_at: u64,
    ) -> Result<bool, StoreError> {
        let answer = self
            .run(&SHORTEN, key, vec![length(ends_at).into()])
            .await?;
        self.trusted(yes_or_no(&answer))
    }

    pub(in crate::store) async fn extend(
        &self,
        key: &Key,
        ends_at: u64,
    ) -> Result<bool, StoreError> {
        let answer = self.run(&EXTEND, key, vec![length(ends_at).into()]).await?;
        self.trusted(yes_or_no(&answer))
    }

    pub(in crate::store) async fn discard(&self, key: &Key) -> Result<bool, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let client = client.with_options(&self.once());
        let answer: Value = client.del(key.as_str()).await.map_err(failed)?;
        self.trusted(yes_or_no(&answer))
    }

    /// WAIT counts from the last write of its own connection, and keeps that connection from everything else. So it has
    /// one of its own, on which the value is written again first: whatever became of the connection since it was put
    /// there, and whichever server this one leads to, a replica that has this write has the value.
    pub(in crate::store) async fn confirm(&self, key: &Key, bytes: &[u8]) -> bool {
        if !Safeguard::Wait.holds() {
            return true;
        }
        let (Ok(client), Ok(_place)) = (self.link.client(), self.enter()) else {
            return false;
        };
        match self.replicas(&client, key).await {
            Some(0) => return self.alone,
            Some(_) => {}
            None => return false,
        }
        let Ok(aside) = self.aside.client().await else {
            return false;
        };
        // It may lead to another server than the first one did.
        match self.replicas(&aside, key).await {
            Some(replicas @ 1..) => self.is_on(replicas, &aside, (key, bytes)).await,
            Some(_) | None => false,
        }
    }

    /// How many replicas the master of this key has; nothing if that cannot be told.
    async fn replicas(&self, client: &Client, key: &Key) -> Option<i64> {
        let role = CustomCommand::new_static("ROLE", slot(key), false);
        let client = client.with_options(&self.once());
        let role = client.custom::<Value, Value>(role, Vec::new()).await;
        role.as_ref().ok().and_then(replicas)
    }

    /// Whether so many replicas have this value.
    async fn is_on(&self, replicas: i64, client: &Client, (key, bytes): (&Key, &[u8])) -> bool {
        let pipeline = Pipeline::from(client.with_options(&Options {
            timeout: Some(self.deadline.max(REPLICATION_DEADLINE)),
            ..self.once()
        }));
        let renew = CustomCommand::new_static("EVAL", slot(key), false);
        let renewed = vec![
            Value::from(RENEW.lua().cloned().unwrap_or_default()),
            Value::from(1),
            Value::from(key.as_str()),
            Value::Bytes(Bytes::copy_from_slice(bytes)),
        ];
        let wait = CustomCommand::new_static("WAIT", slot(key), false);
        let limits = vec![Value::from(replicas), Value::from(REPLICATION_MILLIS)];
        let queued = async {
            pipeline.custom::<(), Value>(renew, renewed).await?;
            pipeline.custom::<(), Value>(wait, limits).await?;
            pipeline.all::<Value>().await
        };
        match queued.await {
            Ok(Value::Array(answers)) => matches!(
                answers.as_slice(),
                [Value::Integer(1), Value::Integer(have)] if *have >= replicas
            ),
            Ok(_) | Err(_) => false,
        }
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        key: &Key,
        arguments: Vec<Value>,
    ) -> Result<Value, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let client = client.with_options(&self.once());
        script::run(script, &client, key, arguments)
            .await
            .map_err(failed)
    }

    /// Leaves a connection whose answer does not fit the question.
    pub(super) fn trusted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(read, Err(StoreError::Mismatch)) {
            self.link.distrust();
        }
        read
    }
}

/// Where a command goes that names no key.
pub(super) fn slot(key: &Key) -> ClusterHash {
    ClusterHash::Custom(redis_keyslot(key.as_str().as_bytes()))
}

/// From now until then in milliseconds, at least one: Redis takes no less.
fn length(ends_at: u64) -> i64 {
    i64::try_from(ends_at.saturating_sub(now()))
        .unwrap_or(i64::MAX)
        .max(1)
}

/// The answers to GET and, if it was asked, PTTL.
fn kept(value: Value, left: Option<&Value>) -> Result<Option<Kept>, StoreError> {
    let Some(bytes) = bytes(value)? else {
        return Ok(None);
    };
    let ends_at = left.map_or(Ok(Some(None)), end)?;
    Ok(ends_at.map(|ends_at| Kept { bytes, ends_at }))
}

/// The answer to PTTL: when the key ends, if it does; `None` if it ended between the two commands.
pub(super) fn end(left: &Value) -> Result<Option<Option<u64>>, StoreError> {
    let Value::Integer(left) = *left else {
        return Err(StoreError::Mismatch);
    };
    match left {
        -1 => Ok(Some(None)),
        -2 => Ok(None),
        left => {
            let left = u64::try_from(left).map_err(|_| StoreError::Mismatch)?;
            Ok(Some(Some(now().saturating_add(left))))
        }
    }
}

pub(super) fn bytes(value: Value) -> Result<Option<Bytes>, StoreError> {
    if value.is_null() {
        return Ok(None);
    }
    if !value.is_bytes() && !value.is_string() {
        return Err(StoreError::Mismatch);
    }
    value.convert().map(Some).map_err(|_| StoreError::Mismatch)
}

fn read_swap(answer: Value) -> Result<Swapped, StoreError> {
    let Value::Array(parts) = answer else {
        return Err(StoreError::Mismatch);
    };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(Value::Integer(1)), None) => Ok(Swapped::Done),
        (Some(Value::Integer(0)), Some(held)) => Ok(Swapped::Conflict(bytes(held)?)),
        _ => Err(StoreError::Mismatch),
    }
}

fn yes_or_no(answer: &Value) -> Result<bool, StoreError> {
    if let Value::Integer(number @ (0 | 1)) = answer {
        return Ok(*number == 1);
    }
    Err(StoreError::Mismatch)
}

/// How many replicas a master has, by its answer to ROLE; nothing if it is none.
fn replicas(role: &Value) -> Option<i64> {
    let Value::Array(parts) = role else {
        return None;
    };
    match parts.as_slice() {
        [kind, _, Value::Array(replicas)] if kind.as_str().as_deref() == Some("master") => {
            i64::try_from(replicas.len()).ok()
        }
        _ => None,
    }
}
