//! Sessions that can be ended: who holds a token, and every operation on users, sessions and realms.
//!
//! What decides lies in one record for each user, and is decided in [`crate::user`]. Here the records are fetched and
//! swapped: see [`Sessions::find`] for reading, and `change.rs` for writing.

mod bury;
mod change;
mod duty;
mod end;
mod find;
mod foreign;
mod login;
mod memory;
mod migrate;
mod once;
mod queue;
mod record;
mod refresh;
mod right;
mod roll;
mod shared;
mod stream;
mod view;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::Reader;
use crate::config::{Config, Foreign};
use crate::session::RecordFormat;
use crate::store::{Keys, SessionStore, StoreError};
use crate::token::{Anchor, RefreshToken, Token, anchor_of};
use crate::tombstone::Tombstones;
use crate::user::{Realm, Rules};

pub use self::duty::Duty;
pub use self::find::Standing;
pub use self::login::{Grant, Login, LoginError};
pub use self::memory::{Memory, memory};
pub use self::once::Once;
pub use self::queue::Queues;
pub use self::refresh::RefreshError;
pub use self::roll::{Reached, Target};
pub use self::shared::Shared;
pub use self::view::{SessionView, UserView};
pub use crate::user::{NewBan, Rights, RightsEdit, Whom};

/// One worker's way to sessions and users.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<SessionStore>,
    keys: Keys,
    users: Option<Users>,
    /// Whoever comes with a framework's session gets one of ours.
    migrate: bool,
    /// `None`: the store is asked each time.
    reader: Option<Reader<Standing, StoreError>>,
    /// Nothing that was read is believed for longer than this on any route.
    bound: Duration,
}

/// What is there where users have records.
#[derive(Debug)]
struct Users {
    rules: Rules,
    realm: String,
    /// What access tokens of ours start with.
    prefix: String,
    format: RecordFormat,
    foreign: Foreign,
    /// The largest token record in bytes.
    max_record: usize,
    queues: Arc<Queues>,
    tombstones: Option<Arc<Tombstones>>,
    /// The realm before anything was decided about it.
    empty_realm: Arc<Realm>,
    /// The realm's record that was read last.
    last_realm: Mutex<Option<(Bytes, Arc<Realm>)>>,
}

/// What was ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// The names of the sessions.
    pub sids: Vec<String>,
    /// Whether a failover of the store can no longer undo it. See [`SessionStore::confirm`].
    pub confirmed: bool,
}

impl Sessions {
    /// The sessions in this store, as the configuration wants them. Without `[sessions]` tokens are only looked up, and
    /// whatever needs a user's record fails with [`StoreError::NoUsers`].
    pub fn new(store: Arc<SessionStore>, config: &Config, queues: Arc<Queues>) -> Self {
        let (keys, records) = (Keys::new(config), config.store.get_ref());
        let users = config.sessions.as_ref().map(|sessions| Users {
            rules: Rules::new(sessions),
            prefix: config.tokens.prefix.as_str().to_owned(),
            format: RecordFormat::new(records),
            foreign: sessions.foreign,
            max_record: records.max_record.as_usize(),
            queues,
            tombstones: store.tombstones().cloned(),
            empty_realm: Arc::new(Realm::new(keys.realm_name())),
            last_realm: Mutex::default(),
            realm: keys.realm_name().to_owned(),
        });
        Self {
            store,
            keys,
            migrate: records.migrate && users.is_some(),
            users,
            reader: None,
            bound: longest(config),
        }
    }

    /// The same, keeping in this memory what it has read.
    #[must_use]
    pub fn remembering(mut self, memory: Option<Arc<Memory>>) -> Self {
        self.reader = memory.map(Reader::new);
        self
    }

    /// The store that all of this lies in.
    pub fn store(&self) -> &Arc<SessionStore> {
        &self.store
    }

    fn users(&self) -> Result<&Users, StoreError> {
        self.users.as_ref().ok_or(StoreError::NoUsers)
    }
}

/// The longest bound that any route has on what is kept.
fn longest(config: &Config) -> Duration {
    let routes = config.routes.iter();
    routes
        .filter_map(|route| route.get_ref().max_staleness)
        .chain([config.cache.max_staleness])
        .map(|bound| bound.get())
        .max()
        .unwrap_or_default()
}

impl Users {
    fn anchor(&self, user_id: &str) -> Anchor {
        Anchor::of(&self.realm, user_id)
    }

    /// Where the user's record lies, if the token says so.
    fn anchor_in(&self, token: &Token) -> Option<Anchor> {
        match RefreshToken::read(token.expose()) {
            Some(refresh) => Some(refresh.anchor),
            None => anchor_of(token, &self.prefix),
        }
    }
}
