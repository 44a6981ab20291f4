//! The record of a token that we minted for a session that can be ended. It never changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Device, RecordError};

/// What lies under the key of an access token: the same names that other services read by default, and what ties it to
/// its user's record. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRecord {
    /// Who.
    pub user_id: String,
    /// What this session may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Roles of this session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Where.
    #[serde(default)]
    pub device: Device,
    /// When the token ends, used or not.
    pub expires_at: u64,
    /// When the token was minted.
    pub issued_at: u64,
    /// SHA-256 of the token, in lower-case hex.
    pub token_sha256: String,
    /// The session's name.
    pub sid: String,
    /// The user's epoch when the token was minted.
    pub epoch: u64,
    /// The realm's epoch when the session began.
    #[serde(default)]
    pub realm_epoch: u64,
    /// How long the token may lie unused, in seconds; 0 for ever.
    #[serde(default)]
    pub idle: u64,
    /// The family of its refresh tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_family: Option<String>,
    /// Who acts as the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// The session's risk when it began.
    #[serde(default)]
    pub risk: u8,
}

/// Somebody who acts as somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Act {
    /// Who.
    pub user_id: String,
    /// In which session of theirs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl OwnRecord {
    /// The record in these bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson)?;
        if record.user_id.is_empty() {
            return Err(RecordError::Field("user_id"));
        }
        Ok(record)
    }

    /// As it lies in the store.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if it has more than `max` bytes.
    pub fn encode(&self, max: usize) -> Result<Vec<u8>, RecordError> {
        encode(self, max)
    }
}

/// One of our own records as JSON.
///
/// # Errors
/// [`RecordError::TooLarge`] if it has more than `max` bytes.
pub fn encode(record: &impl Serialize, max: usize) -> Result<Vec<u8>, RecordError> {
    let bytes = serde_json::to_vec(record).map_err(|_| RecordError::NotJson)?;
    if bytes.len() > max {
        return Err(RecordError::TooLarge);
    }
    Ok(bytes)
}
