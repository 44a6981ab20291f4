//! Sessions that can be ended: who holds a token, and every operation on users, sessions and realms.
//!
//! What decides lies in one record for each user, and is decided in [`crate::user`]. Here the records are fetched and
//! swapped: see [`Sessions::find`] for reading.

mod memory;
mod view;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Reader;
use crate::config::Config;
use crate::session::{Ban, Device, EndedSession, Session, Why};
use crate::store::{Keys, SessionStore, StoreError};
use crate::token::{MintedToken, Token};

pub use self::memory::{Memory, memory};
pub use self::view::{SessionView, UserView};
pub use crate::user::{NewBan, Rights, RightsEdit, Whom};

/// Operations of this process on one user follow one another instead of racing; shared by all workers.
#[derive(Debug, Default)]
pub struct Queues {}

/// One worker's way to sessions and users.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<SessionStore>,
    keys: Keys,
    /// `None`: the store is asked each time.
    reader: Option<Reader<Standing, StoreError>>,
}

/// What the look-up of a token came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no such session.
    Unknown,
    /// The token is good.
    Live(Arc<Session>),
    /// The token was good.
    Ended(EndedSession),
}

/// A login that somebody else has found to be right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// Who; 1 to 256 bytes.
    pub user_id: String,
    /// Where. A session that is live on a device of the same id is replaced; an empty id is no device.
    pub device: Device,
    /// What this session may do, besides what its user may.
    pub permissions: Vec<String>,
    /// Roles of this session, besides those of its user.
    pub roles: Vec<String>,
    /// How long the session lasts; at most, and if absent, what `[sessions]` says.
    pub lifetime: Option<Duration>,
    /// Whether it gets a refresh token.
    pub refresh: bool,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
    /// What its user calls it.
    pub label: String,
    /// 0 to 100.
    pub risk: u8,
}

/// What a login or a refresh gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access: MintedToken,
    /// The refresh token, if one was asked for.
    pub refresh: Option<MintedToken>,
    /// The session.
    pub session: SessionView,
    /// When the access token ends, in Unix milliseconds.
    pub access_ends_at: u64,
    /// When the refresh token ends if it is not used, in Unix milliseconds.
    pub refresh_ends_at: Option<u64>,
    /// The sessions that this login ended.
    pub ended: Vec<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The user is banned.
    #[error("the user is banned")]
    Disabled(Ban),
    /// The user has as many sessions as they may have.
    #[error("the user has as many sessions as they may have")]
    TooMany,
    /// Something in it cannot be used; the text says what.
    #[error("{0}")]
    Unusable(&'static str),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there are no new tokens. All but the last are `invalid_grant` in the words of RFC 6749 section 5.2.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is no refresh token of ours, or one of a session that ended long ago.
    #[error("there is no such refresh token")]
    Unknown,
    /// Its session is over.
    #[error("the session of this refresh token has ended")]
    Ended(Why),
    /// It was used before, so somebody has stolen it; its session ended just now.
    #[error("this refresh token was used before")]
    Reused,
    /// The user is banned.
    #[error("the user is banned")]
    Disabled(Ban),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// The names of the sessions.
    pub sids: Vec<String>,
    /// Whether a failover of the store can no longer undo it. See [`SessionStore::confirm`].
    pub confirmed: bool,
}

/// A one-time token to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Once {
    /// What it is for, such as `sso`.
    pub purpose: String,
    /// Who may redeem it, such as a host name.
    pub audience: String,
    /// What whoever redeems it gets.
    pub payload: serde_json::Value,
    /// How long it is good; an hour at most.
    pub lifetime: Duration,
}

fn not_built<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed("not built yet".to_owned()))
}

impl Sessions {
    /// The sessions in this store, as the configuration wants them. Without `[sessions]` tokens are only looked up, and
    /// whatever needs a user's record fails with [`StoreError::NoUsers`].
    pub fn new(store: Arc<SessionStore>, config: &Config, queues: Arc<Queues>) -> Self {
        drop(queues);
        Self {
            store,
            keys: Keys::new(config),
            reader: None,
        }
    }

    /// The same, keeping in this memory what it has read.
    #[must_use]
    pub fn remembering(mut self, memory: Option<Arc<Memory>>) -> Self {
        self.reader = memory.map(Reader::new);
        self
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn find(&self, token: &Token) -> Result<Standing, StoreError> {
        let found = self.store.find(token).await?;
        Ok(found.map_or(Standing::Unknown, |session| {
            Standing::Live(Arc::new(session))
        }))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(&self, login: Login) -> Result<Grant, LoginError> {
        let _ = login;
        Ok(not_built()?)
    }

    /// Ends the session of this token, whoever made it. Ends nothing if there is none.
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn logout(&self, token: &Token) -> Result<Ended, StoreError> {
        let _ = token;
        not_built()
    }

    /// Ends sessions of this user.
    ///
    /// # Errors
    /// If nobody knows whether they were ended.
    pub async fn kick(&self, user: &str, whom: Whom, why: Why) -> Result<Ended, StoreError> {
        let _ = (user, whom, why);
        not_built()
    }

    /// Ends every session of the realm, with one write. Names none of them.
    ///
    /// # Errors
    /// If nobody knows whether they were ended.
    pub async fn kick_realm(&self, why: Why) -> Result<Ended, StoreError> {
        let _ = why;
        not_built()
    }

    /// New tokens for a refresh token. Asked again with the same one shortly after, it gives the very same answer.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, refresh: &str) -> Result<Grant, RefreshError> {
        let _ = refresh;
        Ok(not_built()?)
    }

    /// Bans this user, from everything or from one service.
    ///
    /// # Errors
    /// If nobody knows whether the ban was laid.
    pub async fn ban(&self, user: &str, ban: NewBan) -> Result<Ended, StoreError> {
        let _ = (user, ban);
        not_built()
    }

    /// Lifts a ban, of everything if `service` is `None`; says whether there was one.
    ///
    /// # Errors
    /// If nobody knows whether it was lifted.
    pub async fn unban(&self, user: &str, service: Option<&str>) -> Result<bool, StoreError> {
        let _ = (user, service);
        not_built()
    }

    /// Changes what this user may do, from the next request on; says what it is now.
    ///
    /// # Errors
    /// If nobody knows whether it was changed.
    pub async fn edit_rights(&self, user: &str, edit: RightsEdit) -> Result<Rights, StoreError> {
        let _ = (user, edit);
        not_built()
    }

    /// Sets the risk of this user, or of one session; 100 at most. Says whether there is such a session.
    ///
    /// # Errors
    /// If nobody knows whether it was set.
    pub async fn set_risk(
        &self,
        user: &str,
        sid: Option<&str>,
        level: u8,
    ) -> Result<bool, StoreError> {
        let _ = (user, sid, level);
        not_built()
    }

    /// What is known of this user.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn user(&self, user: &str) -> Result<Option<UserView>, StoreError> {
        let _ = user;
        not_built()
    }

    /// The live sessions of this user, in the order in which they began.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn list(&self, user: &str) -> Result<Vec<SessionView>, StoreError> {
        let _ = user;
        not_built()
    }

    /// Says what whoever has this role may do, from the next request on; `None` deletes the role.
    ///
    /// # Errors
    /// If nobody knows whether it was set.
    pub async fn set_role(
        &self,
        role: &str,
        permissions: Option<Vec<String>>,
    ) -> Result<(), StoreError> {
        let _ = (role, permissions);
        not_built()
    }

    /// What each role may do.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn roles(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        not_built()
    }

    /// Notes that the user of this session has just proved again who they are; counts for `lasts` at most. Says whether
    /// there is such a session.
    ///
    /// # Errors
    /// If nobody knows whether it was noted.
    pub async fn elevate(
        &self,
        user: &str,
        sid: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let _ = (user, sid, lasts);
        not_built()
    }

    /// A session in which `actor` acts as `subject`: no refresh token, an hour at most, and not by somebody who acts
    /// as somebody else already.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn act_as(
        &self,
        actor: &Session,
        subject: &str,
        lifetime: Duration,
    ) -> Result<Grant, LoginError> {
        let _ = (actor, subject, lifetime);
        Ok(not_built()?)
    }

    /// A token that can be redeemed once.
    ///
    /// # Errors
    /// If it could not be kept, or nobody knows.
    pub async fn issue_once(&self, once: Once) -> Result<MintedToken, StoreError> {
        let _ = once;
        not_built()
    }

    /// What was given to a one-time token, if it is for this purpose and this audience. It is used up either way.
    ///
    /// # Errors
    /// If nobody knows; it may be used up.
    pub async fn redeem_once(
        &self,
        token: &str,
        purpose: &str,
        audience: &str,
    ) -> Result<Option<serde_json::Value>, StoreError> {
        let _ = (token, purpose, audience);
        not_built()
    }

    /// Notes that this session was used, if it is time for that. Never fails the request and never waits for the store.
    pub fn touch(self: &Arc<Self>, token: &Token, session: &Session) {
        let _ = (token, session);
    }

    /// The session of this token, if it is live and its user is not banned from everything.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn introspect(&self, token: &Token) -> Result<Option<Session>, StoreError> {
        let _ = token;
        not_built()
    }

    /// The store that all of this lies in.
    pub fn store(&self) -> &Arc<SessionStore> {
        &self.store
    }
}
