//! Sessions in Redis or Valkey, through fred. Only the files of this folder name it.
//!
//! Every worker has a connection of its own, and a watchdog that asks it for a sign of life. fred keeps the order of
//! answers and reconnects; what it does not do is done here: a bound on look-ups under way, not asking a server that is
//! known to be gone, noticing one that is frozen, and refusing an answer that does not fit its question.

mod aside;
mod failure;
mod link;
mod master;
mod merge;
mod meter;
mod news;
mod parts;
mod primitive;
mod roll;
mod script;
mod setup;
mod source;
mod stream;
mod tls;
mod together;
mod tracking;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::Options;
use fred::types::{Expiration, Key, Value};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config;
use crate::imprint::Imprint;
use crate::session::{RecordFormat, Session};
use crate::token::Token;
use crate::tombstone::Tombstones;
use crate::uptime::Uptime;

use self::aside::Aside;
use self::failure::failed;
use self::link::Link;
use self::merge::Merge;
use self::setup::Setup;
pub use self::source::RedisSource;
use self::tracking::Tracking;
pub use self::tracking::Unfit;
use super::key::{KeyFormat, belongs};
use super::{Earlier, Look, StoreError, now};

/// Between two looks at a connection that is being made for the first time.
const SETTLE_STEP: Duration = Duration::from_millis(5);

/// One worker's connection.
#[derive(Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    merge: Merge,
    watchdog: JoinHandle<()>,
    aside: Aside,
    format: RecordFormat,
    keys: KeyFormat,
    deadline: Duration,
    in_flight: AtomicU32,
    max_in_flight: u32,
    /// Nobody can take over from this server.
    alone: bool,
    tracking: Option<Arc<Tracking>>,
    tombstones: Arc<Tombstones>,
}

/// What the connections of one process have in common.
struct Shared {
    tracking: Option<Arc<Tracking>>,
    tombstones: Arc<Tombstones>,
}

impl RedisStore {
    /// Starts to connect, on the runtime this is called on, and does not wait for it.
    ///
    /// # Errors
    /// If the URL or `tls_ca` cannot be used.
    fn connect(
        config: &config::Store,
        at_rest: config::AtRest,
        shared: Shared,
    ) -> Result<Self, StoreError> {
        let setup = Arc::new(Setup::new(config).map_err(StoreError::Failed)?);
        let link = Arc::new(Link::default());
        let deadline = config.lookup_deadline.get();
        let alone = !setup.is_cluster() && setup.sentinels().is_none();
        Ok(Self {
            alone,
            merge: Merge::new(Arc::clone(&link), !setup.is_cluster(), deadline),
            aside: Aside::new(Arc::clone(&setup)),
            watchdog: tokio::spawn(watchdog::run(setup, Arc::clone(&link))),
            link,
            format: RecordFormat::new(config),
            keys: KeyFormat::new(config.own_key(), at_rest),
            deadline,
            in_flight: AtomicU32::new(0),
            max_in_flight: config.max_in_flight,
            tracking: shared.tracking,
            tombstones: shared.tombstones,
        })
    }

    /// See [`super::SessionStore::settle`].
    pub async fn settle(&self, patience: Duration) {
        let reachable = async {
            while self.link.client().is_err() || !self.listens() {
                sleep(SETTLE_STEP).await;
            }
        };
        // Not there in time: look-ups say so, and the watchdog goes on trying.
        timeout(patience, reachable).await.ok();
    }

    /// Whether there is nothing to wait for any more before sessions can be kept in memory.
    fn listens(&self) -> bool {
        let tracking = self.tracking.as_ref();
        tracking.is_none_or(|tracking| {
            let changes = tracking.changes();
            let ready = changes.hears_all() && changes.is_proven(Uptime::now());
            ready || tracking.unfit().is_some()
        })
    }

    /// Whether the server that is asked is the one that the sentinels call the master.
    pub(super) fn is_master(&self) -> bool {
        let master = self.tracking.as_ref().and_then(|all| all.master());
        let (Some(master), Ok(client)) = (master, self.link.client()) else {
            return true;
        };
        let asked = client.active_connections();
        // A user who may not run CLIENT ID leaves fred without knowing; then the watchdog takes care.
        asked.is_empty()
            || asked
                .iter()
                .any(|server| *server.host == *master.host && server.port == master.port)
    }

    /// See [`super::StoreSource::tombstones`].
    pub(super) fn tombstones(&self) -> &Arc<Tombstones> {
        &self.tombstones
    }

    /// See [`super::SessionStore::is_reachable`].
    pub fn is_reachable(&self) -> bool {
        self.link.client().is_ok()
    }

    /// See [`super::SessionStore::distrust`].
    pub fn distrust(&self) {
        self.link.distrust();
    }

    /// See [`super::SessionStore::look`].
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn look(
        &self,
        token: &Token,
        earlier: Option<Earlier<'_>>,
    ) -> Result<Look, StoreError> {
        let _place = self.enter()?;
        let key = Key::from(self.keys.of(token));
        let found = self.merge.get(key, earlier.is_none()).await?;
        let imprint = found.value.as_bytes().map(Imprint::of);
        let end = match earlier {
            Some(Earlier {
                session,
                imprint: before,
            }) if imprint == Some(before) && session.is_live(now()) => return Ok(Look::Same),
            Some(earlier) => earlier.session.expires_at,
            // One that ended between the two commands has ended by now.
            None => self
                .trusted(primitive::end(&found.left))?
                .unwrap_or_else(|| Some(now())),
        };
        let session = self.trusted(self.read(&found.value, end, token))?;
        Ok(Look::Found(session, imprint))
    }

    /// The session in the answer to GET, whose key ends then.
    fn read(
        &self,
        value: &Value,
        end: Option<u64>,
        token: &Token,
    ) -> Result<Option<Session>, StoreError> {
        if value.is_null() {
            return Ok(None);
        }
        let record = value.as_bytes().ok_or(StoreError::Mismatch)?;
        let record = self.format.decode(record)?;
        if !belongs(record.digest.as_deref(), token) {
            return Err(StoreError::Mismatch);
        }
        let mut session = record.session;
        session.expires_at = [session.expires_at, end].into_iter().flatten().min();
        Ok(session.is_live(now()).then_some(session))
    }

    /// See [`super::SessionStore::create`].
    ///
    /// # Errors
    /// If it could not be kept, or nobody knows.
    pub async fn create(&self, token: &Token, session: &Session) -> Result<(), StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let record = self.format.encode(session, &token.sha256_hex())?;
        let end = session
            .expires_at
            .map(|end| Expiration::PXAT(i64::try_from(end).unwrap_or(i64::MAX)));
        client
            .with_options(&self.once())
            .set(self.keys.of(token), record.as_slice(), end, None, false)
            .await
            .map_err(failed)
    }

    /// See [`super::SessionStore::remove`].
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn remove(&self, token: &Token) -> Result<bool, StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        let answer = client
            .with_options(&self.once())
            .del::<Value, _>(self.keys.of(token))
            .await
            .map_err(failed)?;
        if let Value::Integer(count @ (0 | 1)) = answer {
            return Ok(count == 1);
        }
        self.link.distrust();
        Err(StoreError::Mismatch)
    }

    /// A write is sent once: sent again on a new connection, a SET could bring back a session that was ended in between.
    fn once(&self) -> Options {
        Options {
            max_attempts: Some(1),
            timeout: Some(self.deadline),
            ..Options::default()
        }
    }

    fn enter(&self) -> Result<Place<'_>, StoreError> {
        let place = Place(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            return Err(StoreError::Busy);
        }
        Ok(place)
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.watchdog.abort();
        self.link.close();
    }
}

/// One of the look-ups under way; given back when it is over, also when its caller went away.
struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
