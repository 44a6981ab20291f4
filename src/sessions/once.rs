//! Tokens that can be redeemed once: a link in a mail, a ticket to another host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Sessions;
use super::login::no_randomness;
use crate::clock::{millis, now};
use crate::session::{RecordError, encode};
use crate::store::StoreError;
use crate::token::{MintedToken, TokenSecret, once_digest};

/// A one-time token to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Once {
    /// What it is for, such as `sso`.
    pub purpose: String,
    /// Who may redeem it, such as a host name.
    pub audience: String,
    /// What whoever redeems it gets; 16 KiB at most.
    pub payload: serde_json::Value,
    /// How long it is good; an hour at most.
    pub lifetime: Duration,
}

/// What lies in the store.
#[derive(Serialize, Deserialize)]
struct OnceRecord {
    purpose: String,
    audience: String,
    payload: serde_json::Value,
    expires_at: u64,
}

/// The longest that a one-time token is good in milliseconds.
const LONGEST: u64 = 3_600_000;
/// The largest record in bytes.
const MAX_RECORD: usize = 16 << 10;

impl Sessions {
    /// A token that can be redeemed once.
    ///
    /// # Errors
    /// If it could not be kept, or nobody knows.
    pub async fn issue_once(&self, once: Once) -> Result<MintedToken, StoreError> {
        let token = MintedToken::once(&TokenSecret::random().map_err(no_randomness)?);
        let digest = once_digest(token.expose()).ok_or(StoreError::Mismatch)?;
        let record = OnceRecord {
            expires_at: now().saturating_add(millis(once.lifetime).min(LONGEST)),
            purpose: once.purpose,
            audience: once.audience,
            payload: once.payload,
        };
        let bytes = encode(&record, MAX_RECORD)?;
        let key = self.keys.once(&digest);
        let end = Some(record.expires_at);
        match self.store.put_new(&key, &bytes, end).await? {
            true => Ok(token),
            false => Err(StoreError::Mismatch),
        }
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
        let Some(digest) = once_digest(token) else {
            return Ok(None);
        };
        let Some(bytes) = self.store.take(&self.keys.once(&digest)).await? else {
            return Ok(None);
        };
        let record: OnceRecord =
            serde_json::from_slice(&bytes).map_err(|_| RecordError::NotJson)?;
        let fits =
            record.purpose == purpose && record.audience == audience && now() < record.expires_at;
        Ok(fits.then_some(record.payload))
    }
}
