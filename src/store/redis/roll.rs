//! See [`crate::store::Roll`].

use std::time::Duration;

use fred::types::Value;

use super::RedisStore;
use super::script::{ANSWER, ANSWERS, ENROLL, ROLL, STRIKE};
use crate::clock::millis;
use crate::store::{Enrolled, Key, Roll, StoreError};

impl RedisStore {
    pub(in crate::store) async fn enroll(
        &self,
        roll: &Key,
        gateway: &Enrolled,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let arguments = vec![
            Value::from(gateway.name.as_str()),
            Value::from(millis(lease).to_string()),
            Value::from(millis(gateway.bound).to_string()),
        ];
        self.run(&ENROLL, roll, arguments).await.map(|_| ())
    }

    pub(in crate::store) async fn strike(&self, roll: &Key, name: &str) -> Result<(), StoreError> {
        let name = vec![Value::from(name)];
        self.run(&STRIKE, roll, name).await.map(|_| ())
    }

    pub(in crate::store) async fn roll(&self, roll: &Key) -> Result<Roll, StoreError> {
        let answer = self.run(&ROLL, roll, Vec::new()).await?;
        self.trusted(read(answer))
    }

    pub(in crate::store) async fn call(
        &self,
        call: &Key,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let end = crate::clock::now().saturating_add(millis(lasts));
        self.put(call, b"", Some(end), false).await.map(|_| ())
    }

    pub(in crate::store) async fn answer(
        &self,
        answers: &Key,
        gateway: &str,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let arguments = vec![Value::from(gateway), Value::from(millis(lasts).to_string())];
        self.run(&ANSWER, answers, arguments).await.map(|_| ())
    }

    pub(in crate::store) async fn answers(&self, answers: &Key) -> Result<Vec<String>, StoreError> {
        let answer = self.run(&ANSWERS, answers, Vec::new()).await?;
        let names = answer.convert::<Vec<String>>();
        self.trusted(names.map_err(|_| StoreError::Mismatch))
    }
}

fn read(answer: Value) -> Result<Roll, StoreError> {
    let Value::Array(parts) = answer else {
        return Err(StoreError::Mismatch);
    };
    let mut parts = parts.into_iter();
    let number = |value: Option<Value>| match value {
        Some(Value::Integer(number)) => u64::try_from(number).map(Duration::from_millis).ok(),
        Some(_) | None => None,
    };
    let age = number(parts.next()).ok_or(StoreError::Mismatch)?;
    let mut gateways = Vec::new();
    while let Some(name) = parts.next() {
        gateways.push(Enrolled {
            name: name.as_string().ok_or(StoreError::Mismatch)?,
            bound: number(parts.next()).ok_or(StoreError::Mismatch)?,
        });
    }
    Ok(Roll { age, gateways })
}
