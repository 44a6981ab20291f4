//! The store of a configuration, for a command that asks it once.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::store::{SessionStore, StoreError, StoreSource};

/// How long Redis may take to answer for the first time.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// The store, which has answered or had its time to.
///
/// # Errors
/// If it cannot be opened.
pub(super) async fn opened(config: &Config) -> Result<Arc<SessionStore>, StoreError> {
    let source = StoreSource::open(config.store.get_ref(), &config.tokens)?;
    let store = Arc::new(source.connect().await?);
    store.settle(CONNECT_PATIENCE).await;
    Ok(store)
}
