//! A capped stream: what comes in last pushes out what came in first.

use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value};

use super::RedisStore;
use super::failure::failed;
use crate::store::StoreError;

impl RedisStore {
    /// See [`crate::store::SessionStore::append`].
    ///
    /// # Errors
    /// If it could not be added, or nobody knows.
    pub async fn append(
        &self,
        stream: &str,
        max_entries: u64,
        line: &str,
    ) -> Result<(), StoreError> {
        let client = self.link.client()?;
        let _place = self.enter()?;
        // A custom command: fred's streams are behind a feature of their own, and this is all that is needed of them.
        let command = CustomCommand::new_static("XADD", ClusterHash::FirstKey, false);
        let max_entries = max_entries.to_string();
        let arguments = [stream, "MAXLEN", "~", &max_entries, "*", "line", line];
        let answer = client
            .with_options(&self.once())
            .custom::<Value, &str>(command, arguments.to_vec())
            .await
            .map_err(failed)?;
        if answer.is_string() || answer.is_bytes() {
            return Ok(());
        }
        self.link.distrust();
        Err(StoreError::Mismatch)
    }
}
