//! Keys of several types, read at once.

use std::collections::HashMap;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{CustomCommand, Value};

use super::RedisStore;
use super::failure::failed;
use super::primitive::{bytes, end, slot};
use super::together::together;
use crate::layout::{Form, Found, Value as Held};
use crate::store::{Key, StoreError};

/// One command of those that are written together.
#[derive(Clone, Copy)]
enum Question {
    Value(Form),
    End,
}

impl RedisStore {
    pub(in crate::store) async fn find_parts(
        &self,
        parts: &[(Key, Form)],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let questions = parts
            .iter()
            .flat_map(|(key, form)| [(key, Question::Value(*form)), (key, Question::End)]);
        let ask = |(key, question): (&Key, Question)| {
            let (client, key) = (client.clone(), key.clone());
            Box::pin(async move { ask(&client, &key, question).await })
        };
        let answers = together(questions.map(ask).collect()).await;
        let mut answers = answers.into_iter();
        let mut next = || {
            let answer = answers.next().ok_or(StoreError::Mismatch)?;
            answer.map_err(failed)
        };
        let read = |(_, form): &(Key, Form)| {
            let (value, left) = (next(), next());
            found(value?, &left?, *form)
        };
        let found = parts.iter().map(read).collect();
        self.trusted(found)
    }
}

async fn ask(client: &Client, key: &Key, question: Question) -> Result<Value, fred::error::Error> {
    match question {
        Question::Value(Form::Text) => client.get(key.as_str()).await,
        Question::Value(Form::Hash) => {
            let command = CustomCommand::new_static("HGETALL", slot(key), false);
            client
                .custom(command, vec![Value::from(key.as_str())])
                .await
        }
        Question::End => client.pttl(key.as_str()).await,
    }
}

fn found(value: Value, left: &Value, form: Form) -> Result<Option<Found>, StoreError> {
    let value = match form {
        Form::Text => bytes(value)?.map(Held::Text),
        Form::Hash => Some(hash(value)?)
            .filter(|all| !all.is_empty())
            .map(Held::Hash),
    };
    let Some(value) = value else { return Ok(None) };
    let ends_at = end(left)?;
    Ok(ends_at.map(|ends_at| Found { value, ends_at }))
}

fn hash(value: Value) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let all: HashMap<Bytes, Bytes> = value.convert().map_err(|_| StoreError::Mismatch)?;
    Ok(all.into_iter().collect())
}
