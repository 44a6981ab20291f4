//! One session under several tokens: for browsers that must not send one cookie to two domains.

use serde::{Deserialize, Serialize};

use super::login::no_randomness;
use super::{Grant, SessionView, Sessions, Standing};
use crate::clock::now;
use crate::session::OwnRecord;
use crate::store::StoreError;
use crate::token::{MintedToken, Token, TokenSecret};

/// A session as it is carried to another domain. Holds no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shared {
    record: OwnRecord,
}

impl Sessions {
    /// What another token of this token's session is made of; `None` if it is no live session of ours.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn share(&self, token: &Token) -> Result<Option<Shared>, StoreError> {
        self.users()?;
        let Standing::Live(session) = self.find(token).await? else {
            return Ok(None);
        };
        if session.sid.is_empty() {
            return Ok(None);
        }
        let Some(kept) = self.token_record(token).await? else {
            return Ok(None);
        };
        let record = OwnRecord::decode(&kept.bytes)?;
        Ok((record.sid == session.sid).then_some(Shared { record }))
    }

    /// Another token of that session: with the rights that its login gave, and those of its user as they are now. It
    /// ends with the session, and is worth nothing from the start if the session has ended since: `None` then.
    ///
    /// # Errors
    /// If it could not be kept, or nobody knows.
    pub async fn adopt(&self, shared: &Shared) -> Result<Option<Grant>, StoreError> {
        let users = self.users()?;
        let user_id = &shared.record.user_id;
        let secret = TokenSecret::random().map_err(no_randomness)?;
        let access = MintedToken::access(&users.prefix, users.anchor(user_id), &secret);
        let record = OwnRecord {
            token_sha256: access.token().sha256_hex(),
            ..shared.record.clone()
        };
        if record.expires_at <= now() {
            return Ok(None);
        }
        let name = self.keys.name(access.token());
        let noted = self
            .change(user_id, false, |user, moment| {
                user.carry(&record.sid, &name, moment)
            })
            .await?;
        let Some(entry) = noted.and_then(|changed| changed.outcome) else {
            return Ok(None);
        };
        let key = self.keys.token(access.token());
        let bytes = record.encode(users.max_record)?;
        self.store
            .put(&key, &bytes, Some(users.key_end(&record)))
            .await?;
        Ok(Some(Grant {
            access,
            refresh: None,
            session: SessionView::new(&entry, None),
            access_ends_at: record.expires_at,
            refresh_ends_at: None,
            ended: Vec::new(),
        }))
    }
}
