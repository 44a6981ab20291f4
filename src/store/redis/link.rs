//! The connection in use, between the look-ups that use it and the watchdog that replaces it.

use fred::clients::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::StoreError;

/// A place for one connection, empty while the server is known to be out of reach.
#[derive(Debug, Default)]
pub(super) struct Link {
    client: Mutex<Option<Client>>,
    distrusted: Notify,
}

impl Link {
    /// The connection to ask.
    pub(super) fn client(&self) -> Result<Client, StoreError> {
        self.client.lock().clone().ok_or(StoreError::Unreachable)
    }

    /// Look-ups use this connection from now on.
    pub(super) fn open(&self, client: Client) {
        *self.client.lock() = Some(client);
    }

    /// Look-ups fail at once from now on.
    pub(super) fn close(&self) {
        *self.client.lock() = None;
    }

    /// Answers have come apart from questions: nobody may use this connection any more.
    pub(super) fn distrust(&self) {
        self.close();
        self.distrusted.notify_one();
    }

    /// Waits until somebody calls [`Self::distrust`].
    pub(super) async fn distrusted(&self) {
        self.distrusted.notified().await;
    }
}
