//! Where sessions live: one front, two backends.
//!
//! A look-up has three outcomes and they never mix: `Ok(Some)` is a live session, `Ok(None)` means there is no such
//! session (401), and `Err` means that nobody could tell (503).

mod embedded;
mod key;
mod primitive;
mod redis;
mod roll;

use std::sync::Arc;
use std::time::Duration;

use crate::changes::{Basis, Changes};
use crate::config;
use crate::imprint::Imprint;
use crate::limit::{Meter, Metered};
use crate::session::{RecordError, Session};
use crate::token::Token;
use crate::tombstone::Tombstones;
use crate::uptime::Uptime;

use crate::clock::now;

pub use self::embedded::EmbeddedStore;
pub use self::key::{Key, Keys, belongs};
pub use self::primitive::{Ends, Kept, Swapped};
pub use self::redis::{RedisSource, RedisStore, Unfit};
pub use self::roll::{Enrolled, Roll};

/// Why the store could not tell. All of them are answered 503.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer within `store.lookup_deadline`.
    #[error("the session store did not answer within the deadline")]
    Deadline,
    /// `store.max_in_flight` lookups are already under way.
    #[error("too many session look-ups are under way")]
    Busy,
    /// Known to be unreachable: the watchdog gets no answer, so this one was not asked.
    #[error("the session store is unreachable")]
    Unreachable,
    /// It answered with an error, or the connection broke; the text has no token.
    #[error("the session store failed: {0}")]
    Failed(String),
    /// The embedded store's file is open in another process; only opening it can meet this.
    #[error("{0}: it is in use by another process")]
    InUse(String),
    /// What it holds cannot be understood.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What it holds belongs to another token or user: answers have come apart from questions.
    #[error("the session store answered for another token")]
    Mismatch,
    /// The sentinels do not vouch for the server that answered: another one may be the master.
    #[error("the server that answered is not known to be the master")]
    Unproven,
    /// Users have no records: there is no `[sessions]` in the configuration.
    #[error("there is no [sessions] in the configuration")]
    NoUsers,
}

/// A store that is open: one per process, shared by the workers.
#[derive(Debug, Clone)]
pub enum StoreSource {
    /// One file, one process.
    Embedded(EmbeddedStore),
    /// Redis or Valkey; every worker gets a connection of its own.
    Redis(RedisSource),
}

/// A session that was found before, and has not been heard to change.
#[derive(Debug, Clone, Copy)]
pub struct Earlier<'a> {
    /// As it was found.
    pub session: &'a Session,
    /// Of its record.
    pub imprint: Imprint,
}

/// What is found under a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The record that was found earlier.
    Same,
    /// This session, if any, and the imprint of its record, if there is one to know it by.
    Found(Option<Session>, Option<Imprint>),
}

/// One worker's way to the sessions.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per worker, and it is never moved on the path"
)]
pub enum SessionStore {
    /// The embedded store.
    Embedded(EmbeddedStore),
    /// Redis or Valkey.
    Redis(RedisStore),
}

impl StoreSource {
    /// Opens the store that the configuration names. For Redis nothing is dialled yet.
    ///
    /// # Errors
    /// If the embedded store's file cannot be opened.
    pub fn open(store: &config::Store, tokens: &config::Tokens) -> Result<Self, StoreError> {
        match &store.embedded {
            Some(file) => {
                EmbeddedStore::open(file.get_ref(), store, tokens.at_rest).map(Self::Embedded)
            }
            None => Ok(Self::Redis(RedisSource::new(store.clone(), tokens.at_rest))),
        }
    }

    /// Where shared rate limits are counted, if that is another Redis than the store.
    pub fn for_limits(config: &config::Config) -> Option<Self> {
        let limits = &config.limits;
        let redis = limits.redis.clone()?;
        let store = config::Store {
            embedded: None,
            redis: Some(redis),
            username: None,
            password: None,
            tls_ca: limits.redis_ca.clone(),
            lookup_deadline: limits.redis_deadline,
            ..config.store.get_ref().clone()
        };
        Some(Self::Redis(RedisSource::new(store, config.tokens.at_rest)))
    }

    /// Has every change told from now on, so that sessions may be kept in memory. Not needed where nothing is kept.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn listen(&mut self, config: &config::Config) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(source) => source.listen(config),
        }
    }

    /// What has been heard of changes; nothing if nobody listens.
    pub fn changes(&self) -> Option<&Arc<Changes>> {
        match self {
            Self::Embedded(store) => Some(store.changes()),
            Self::Redis(source) => source.changes(),
        }
    }

    /// What is remembered of ends besides the store; nothing for the embedded store, which forgets nothing.
    pub fn tombstones(&self) -> Option<&Arc<Tombstones>> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(source) => Some(source.tombstones()),
        }
    }

    /// The names of roll calls that are heard, for whoever answers them; nothing if nobody listens, and for whoever comes
    /// second.
    pub fn calls(&self) -> Option<tokio::sync::mpsc::Receiver<String>> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(source) => source.calls(),
        }
    }

    /// Why nothing may be kept in memory with these servers, as far as they have said.
    pub fn unfit(&self) -> Option<Arc<Unfit>> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(source) => source.unfit(),
        }
    }

    /// A worker's own store, on the runtime this is called on. Does not wait for Redis: until it is there, look-ups
    /// fail with [`StoreError::Unreachable`].
    ///
    /// # Errors
    /// If the settings cannot be used, such as a `tls_ca` that cannot be read.
    pub async fn connect(&self) -> Result<SessionStore, StoreError> {
        match self {
            Self::Embedded(store) => Ok(SessionStore::Embedded(store.clone())),
            Self::Redis(source) => source.connect().map(SessionStore::Redis),
        }
    }
}

impl SessionStore {
    /// What `read` reads of these keys, and what that rests on.
    ///
    /// # Errors
    /// What `read` says; [`StoreError::Unproven`] if the server is not known to be the master.
    pub async fn observe<T>(
        &self,
        changes: &Changes,
        keys: &[Key],
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<(T, Basis), StoreError> {
        let basis = changes.basis(keys.iter().map(|key| key.as_str().as_bytes()));
        let asked = self.is_master();
        let value = read.await?;
        // Before and after: the connection may have been made anew meanwhile, to whomever.
        if asked && self.is_master() && changes.is_proven(Uptime::now()) {
            return Ok((value, basis));
        }
        Err(StoreError::Unproven)
    }

    /// Whether the server that is asked is the one that is known to be the master.
    fn is_master(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Redis(store) => store.is_master(),
        }
    }

    /// See [`StoreSource::tombstones`].
    pub fn tombstones(&self) -> Option<&Arc<Tombstones>> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(store) => Some(store.tombstones()),
        }
    }

    /// Waits until the store can be asked for the first time, but no longer than this.
    pub async fn settle(&self, patience: Duration) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.settle(patience).await,
        }
    }

    /// Whether it can be asked, as far as is known.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Redis(store) => store.is_reachable(),
        }
    }

    /// Gives up a connection whose answers have come apart from the questions.
    pub fn distrust(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.distrust(),
        }
    }

    /// The live session of this token.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn find(&self, token: &Token) -> Result<Option<Session>, StoreError> {
        match self.look(token, None).await? {
            Look::Found(session, _) => Ok(session),
            Look::Same => Err(StoreError::Mismatch),
        }
    }

    /// The live session of this token. If it was found `earlier` it is not read again as long as its record is the same, and
    /// not asked for its end: should it have been made to end sooner without a word, it is gone at that moment all the same.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn look(
        &self,
        token: &Token,
        earlier: Option<Earlier<'_>>,
    ) -> Result<Look, StoreError> {
        match self {
            Self::Embedded(store) => Ok(Look::Found(store.find(token)?, None)),
            Self::Redis(store) => store.look(token, earlier).await,
        }
    }

    /// Keeps a session under this token until `session.expires_at`. When this returns `Ok`, the session is durable as
    /// far as the backend promises (embedded: on disk; Redis: as configured there).
    ///
    /// # Errors
    /// If it could not be kept, or nobody knows.
    pub async fn create(&self, token: &Token, session: &Session) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.create(token, session).await,
            Self::Redis(store) => store.create(token, session).await,
        }
    }

    /// Ends the session of this token; says whether there was one.
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn remove(&self, token: &Token) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.remove(token).await,
            Self::Redis(store) => store.remove(token).await,
        }
    }

    /// Adds a line to the end of a stream that keeps about so many entries. For the embedded store, which has no streams,
    /// this always fails; the configuration does not allow it there.
    ///
    /// # Errors
    /// If it could not be added, or nobody knows.
    pub async fn append(
        &self,
        stream: &str,
        max_entries: u64,
        line: &str,
    ) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Err(StoreError::Failed("a file has no streams".to_owned())),
            Self::Redis(store) => store.append(stream, max_entries, line).await,
        }
    }

    /// How these buckets stand, in the same order; nothing is taken.
    ///
    /// # Errors
    /// If nobody could tell within the deadline of look-ups.
    pub async fn meters(&self, questions: &[(Key, Meter)]) -> Result<Vec<Metered>, StoreError> {
        if let Self::Embedded(store) = self {
            return Ok(store.meters(questions));
        }
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = questions.iter().map(|(key, _)| key.clone()).collect();
        let found = self.get(&keys, Ends::All).await?;
        let now = now();
        // A bucket's key lasts until it is full.
        let state = |((_, meter), kept): (&(Key, Meter), Option<Kept>)| {
            let end = kept.and_then(|kept| kept.ends_at).unwrap_or(now);
            meter.state(Duration::from_millis(end.saturating_sub(now)))
        };
        Ok(questions.iter().zip(found).map(state).collect())
    }

    /// Fills this bucket; says whether anything had been taken.
    ///
    /// # Errors
    /// If nobody knows.
    pub async fn fill(&self, key: &Key) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => Ok(store.fill(key)),
            Self::Redis(store) => store.discard(key).await,
        }
    }

    /// Takes one request out of each of these buckets, asking for all of them at once, and says in the same order what
    /// came of each. A bucket is created by the first request and gone when it is full again. The embedded store counts in
    /// memory. An answer that does not come within `deadline` is an error; whether something was taken is then unknown.
    pub async fn meter(
        &self,
        questions: &[(Key, Meter)],
        deadline: Duration,
    ) -> Vec<Result<Metered, StoreError>> {
        match self {
            Self::Embedded(store) => store.meter(questions).into_iter().map(Ok).collect(),
            Self::Redis(store) => store.meter(questions, deadline).await,
        }
    }
}
