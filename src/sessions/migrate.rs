//! From a framework's session to one of ours, without a login.
//!
//! The old session stays as it is; from then on it stands and falls with ours. Who has moved is noted under the old
//! token's digest, so that of any number of requests that come with one old token one makes a session, whichever gateway
//! it comes to, and the others go on with the old one.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Grant, Login, LoginError, Sessions};
use crate::clock::now;
use crate::session::{Record, Why};
use crate::store::{Ends, Kept, Key, StoreError, Swapped};
use crate::token::{Token, random_name};
use crate::user::{Entry, Glance, Whom};

/// How long a move may take in milliseconds; after that somebody else may try.
const PATIENCE: u64 = 60_000;

/// What is noted under an old token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Moved {
    /// Who is at it; tells two that try from each other.
    by: String,
    /// Whose session it is; empty while somebody is at it.
    #[serde(default)]
    user_id: String,
    /// The session of ours.
    #[serde(default)]
    sid: String,
    /// When that runs out, in Unix milliseconds.
    #[serde(default)]
    ends_at: u64,
}

impl Moved {
    fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self)
            .map_err(|_| StoreError::Failed("a move cannot be written down".to_owned()))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|_| StoreError::Failed("a note of a move cannot be read".to_owned()))
    }

    /// Whether the session that was made then has been ended. One that has run out leaves the old one as good as it was,
    /// also in the moment before this note is gone, too.
    pub(super) fn is_over(&self, user: Option<&Glance>) -> bool {
        let listed = |user: &Glance| user.sessions.iter().any(|one| one.sid == self.sid);
        !self.sid.is_empty() && now() < self.ends_at && !user.is_some_and(listed)
    }
}

impl Sessions {
    /// Whether the holder of this token is to get one of ours.
    pub fn migrates(&self, token: &Token) -> bool {
        self.migrate && self.keys.foreign(token).is_some()
    }

    /// Whether the next answer to a browser with this token opens one of ours: nobody has made one yet, or is at it.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn is_to_move(&self, token: &Token) -> Result<bool, StoreError> {
        Ok(self.migrates(token) && self.note(&self.keys.moved(token)).await?.is_none())
    }

    /// What is noted there of a move.
    async fn note(&self, key: &Key) -> Result<Option<Kept>, StoreError> {
        let found = self.store.get(std::slice::from_ref(key), Ends::None);
        Ok(found.await?.into_iter().flatten().next())
    }

    /// A session of ours for whoever holds this token of a framework; `None` if somebody has made one already or is at it,
    /// or if there is none to move. Its rights are those that the old session has at this moment.
    ///
    /// # Errors
    /// [`LoginError`]: the old session goes on then.
    pub async fn migrate(
        &self,
        token: &Token,
        refresh: bool,
        ip: IpAddr,
    ) -> Result<Option<Grant>, LoginError> {
        let key = self.keys.moved(token);
        if self.note(&key).await?.is_some() {
            return Ok(None);
        }
        let Some(record) = self.whole_foreign_of(token).await? else {
            return Ok(None);
        };
        let by = random_name().map_err(super::login::no_randomness)?;
        let begun = Moved {
            by,
            user_id: String::new(),
            sid: String::new(),
            ends_at: 0,
        };
        let end = Some(now().saturating_add(PATIENCE));
        if !self.store.put_new(&key, &begun.bytes()?, end).await? {
            return Ok(None);
        }
        let user_id = record.session.user_id.to_string();
        match self.login(login(*record, refresh, ip)).await {
            Ok(grant) => self.moved(token, (&key, begun, user_id), grant).await,
            Err(error) => {
                if let Err(error) = self.store.discard(&key).await {
                    tracing::debug!(%error, "the note of a move that failed ends by itself");
                }
                Err(error)
            }
        }
    }

    /// Notes the new session, if nothing has happened meanwhile that makes it one too many.
    async fn moved(
        &self,
        token: &Token,
        (key, begun, user_id): (&Key, Moved, String),
        grant: Grant,
    ) -> Result<Option<Grant>, LoginError> {
        let sid = grant.session.sid.clone();
        let done = self
            .note_move(token, (key, begun), (&user_id, &grant))
            .await;
        // Whoever logged the old one out meanwhile did not know of the new one.
        let still = match done {
            Ok(true) => self.whole_foreign_of(token).await.map(|old| old.is_some()),
            other => other,
        };
        if let Ok(true) = still {
            return Ok(Some(grant));
        }
        self.kick(&user_id, Whom::Session(sid), Why::LoggedOut)
            .await?;
        still.map(|_| None).map_err(LoginError::Store)
    }

    async fn note_move(
        &self,
        token: &Token,
        (key, begun): (&Key, Moved),
        (user_id, grant): (&str, &Grant),
    ) -> Result<bool, StoreError> {
        let (sid, end) = (&grant.session.sid, Some(grant.session.ends_at));
        let origin = self.keys.origin(sid);
        self.store
            .put(&origin, token.expose().as_bytes(), end)
            .await?;
        let before = begun.bytes()?;
        let noted = Moved {
            user_id: user_id.to_owned(),
            sid: sid.clone(),
            ends_at: grant.session.ends_at,
            ..begun
        };
        let swapped = self
            .store
            .swap(key, Some(&before), Some(&noted.bytes()?), end)
            .await?;
        Ok(swapped == Swapped::Done)
    }

    /// The live session of a framework's token that has not been ended here.
    async fn whole_foreign_of(&self, token: &Token) -> Result<Option<Box<Record>>, StoreError> {
        let Some(layout) = self.keys.foreign(token) else {
            return Ok(None);
        };
        if self.is_buried(token).await? {
            return Ok(None);
        }
        Ok(self.whole_foreign(layout, token).await?.ok())
    }

    /// Ends the sessions that these came from. What cannot be ended is refused here all the same, because of the note.
    pub(super) async fn end_origins(&self, ended: &[Entry]) {
        if !self.migrate {
            return;
        }
        for entry in ended {
            if let Err(error) = self.end_origin(&entry.sid).await {
                tracing::warn!(%error, "the framework's session that a session came from could not be ended");
            }
        }
    }

    async fn end_origin(&self, sid: &str) -> Result<(), StoreError> {
        let Some(name) = self.store.take(&self.keys.origin(sid)).await? else {
            return Ok(());
        };
        let Some(token) = self.keys.foreign_token(&name) else {
            return Ok(());
        };
        self.end_foreign(&token).await.map(|_| ())
    }

    /// Ends the session of ours that came out of this token's, if there is one.
    pub(super) async fn end_moved(&self, token: &Token) -> Result<(), StoreError> {
        if !self.migrate {
            return Ok(());
        }
        // The note stays: whatever becomes of the old one, it is worth nothing without ours.
        let noted = self.note(&self.keys.moved(token)).await?;
        let noted = noted.map(|kept| Moved::read(&kept.bytes)).transpose()?;
        let Some(noted) = noted.filter(|noted| !noted.sid.is_empty()) else {
            return Ok(());
        };
        let whom = Whom::Session(noted.sid);
        Box::pin(self.kick(&noted.user_id, whom, Why::LoggedOut))
            .await
            .map(|_| ())
    }
}

fn login(record: Record, refresh: bool, ip: IpAddr) -> Login {
    let session = record.session;
    Login {
        user_id: session.user_id.to_string(),
        device: session.device,
        permissions: session.permissions.to_vec(),
        roles: session.roles.to_vec(),
        refresh,
        ip: Some(ip),
        ..Login::default()
    }
}
