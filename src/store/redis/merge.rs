//! Questions of the same moment, asked as one.
//!
//! A command costs more on its way through fred than all the rest of a look-up, and sessions in memory are asked for again
//! many at a time. What is asked before the worker comes to send it goes out as one `MGET`. Not in a cluster, where the
//! keys of a command have to lie together.
//!
//! `MGET` finds nothing under a key that holds something else than a string, where `GET` says so. "Nothing" is 401, "cannot
//! tell" is 503: what it does not find is asked for again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::interfaces::KeysInterface;
use fred::types::{Key, Value};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::failure::{code, failed};
use super::link::Link;
use super::together::together;
use crate::store::StoreError;

/// The most keys of one command: what is asked next should not wait for long behind it.
const MOST: usize = 64;

/// One worker's questions.
#[derive(Debug)]
pub(super) struct Merge {
    desk: Arc<Desk>,
    deadline: Duration,
}

#[derive(Debug)]
struct Desk {
    link: Arc<Link>,
    waiting: Mutex<Vec<Question>>,
    /// Each by itself: a cluster, or a user who may not run `MGET`.
    apart: AtomicBool,
}

#[derive(Debug)]
struct Question {
    key: Key,
    wants_end: bool,
    answer: oneshot::Sender<Result<Found, StoreError>>,
}

/// What was found out about a key.
#[derive(Debug)]
pub(super) struct Found {
    /// What `GET` says of it.
    pub(super) value: Value,
    /// What `PTTL` says of it; null if that was not asked.
    pub(super) left: Value,
    /// Whether `GET` would say the same.
    is_certain: bool,
}

impl Merge {
    pub(super) fn new(link: Arc<Link>, merges: bool, deadline: Duration) -> Self {
        let desk = Desk {
            link,
            waiting: Mutex::default(),
            apart: AtomicBool::new(!merges),
        };
        Self {
            desk: Arc::new(desk),
            deadline,
        }
    }

    /// What lies under this key, and if that is wanted, for how long.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub(super) async fn get(&self, key: Key, wants_end: bool) -> Result<Found, StoreError> {
        let began = Instant::now();
        let (answer, answered) = oneshot::channel();
        let question = Question {
            key: key.clone(),
            wants_end,
            answer,
        };
        if self.desk.apart.load(Ordering::Relaxed) {
            Box::pin(ask(&self.desk, vec![question])).await;
        } else {
            let mut waiting = self.desk.waiting.lock();
            waiting.push(question);
            if waiting.len() == 1 {
                // It runs when all that is ready now has had its turn, and perhaps a question.
                tokio::spawn(send(Arc::clone(&self.desk)));
            }
        }
        let mut found = answered.await.unwrap_or(Err(StoreError::Unreachable))?;
        if found.value.is_null() && !found.is_certain {
            let client = self.desk.link.client()?;
            let left = self.deadline.saturating_sub(began.elapsed());
            let value = timeout(left, Box::pin(client.get(key))).await;
            found.value = value.map_err(|_| StoreError::Deadline)?.map_err(failed)?;
        }
        Ok(found)
    }
}

async fn send(desk: Arc<Desk>) {
    let mut questions = std::mem::take(&mut *desk.waiting.lock());
    while questions.len() > MOST {
        let rest = questions.split_off(MOST);
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { ask(&desk, questions).await });
        questions = rest;
    }
    ask(&desk, questions).await;
}

/// Whoever asked may have gone away by the time of the answer.
async fn ask(desk: &Desk, questions: Vec<Question>) {
    let client = match desk.link.client() {
        Ok(client) => client,
        Err(error) => {
            for question in questions {
                question.answer.send(Err(error.clone())).ok();
            }
            return;
        }
    };
    let ends = questions.iter().filter(|one| one.wants_end).map(|one| {
        let (client, key) = (&client, one.key.clone());
        Box::pin(async move { client.pttl::<Value, _>(key).await.map_err(failed) })
    });
    let keys = questions.iter().map(|one| one.key.clone()).collect();
    let is_certain = questions.len() == 1;
    let (values, ends) = tokio::join!(
        Box::pin(desk.values(&client, keys)),
        together(ends.collect())
    );
    let values: Vec<_> = match values {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); questions.len()],
    };
    let mut ends = ends.into_iter();
    for (question, value) in questions.into_iter().zip(values) {
        let left = match question.wants_end {
            true => ends.next().unwrap_or(Err(StoreError::Mismatch)),
            false => Ok(Value::Null),
        };
        let found = value.and_then(|value| {
            Ok(Found {
                value,
                left: left?,
                is_certain,
            })
        });
        question.answer.send(found).ok();
    }
}

impl Desk {
    /// One value for each key.
    async fn values(&self, client: &Client, keys: Vec<Key>) -> Result<Vec<Value>, StoreError> {
        if let [key] = keys.as_slice() {
            let value = client.get(key.clone()).await.map_err(failed)?;
            return Ok(vec![value]);
        }
        let count = keys.len();
        match client.mget::<Value, _>(keys).await {
            Ok(Value::Array(values)) if values.len() == count => Ok(values),
            Ok(_) => {
                self.link.distrust();
                Err(StoreError::Mismatch)
            }
            Err(error) if code(&error) == Some("NOPERM") => {
                self.apart.store(true, Ordering::Relaxed);
                tracing::info!("this user may not run MGET: sessions are asked for one by one");
                Ok(vec![Value::Null; count])
            }
            Err(error) => Err(failed(error)),
        }
    }
}
