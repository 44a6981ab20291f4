//! A second connection of a worker, for what would keep everything waiting that stands behind it on the first one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fred::clients::Client;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::setup::Setup;
use super::{SETTLE_STEP, watchdog};
use crate::store::StoreError;

/// How long it may take to be made: it is new to whoever asks first.
const PATIENCE: Duration = Duration::from_secs(1);

/// Made when it is first needed, and kept from then on as the first one is.
#[derive(Debug)]
pub(super) struct Aside {
    setup: Arc<Setup>,
    lane: OnceLock<Lane>,
}

#[derive(Debug)]
struct Lane {
    link: Arc<Link>,
    watchdog: JoinHandle<()>,
}

impl Aside {
    pub(super) fn new(setup: Arc<Setup>) -> Self {
        Self {
            setup,
            lane: OnceLock::new(),
        }
    }

    /// The connection; is waited for, but not for long.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        let lane = self
            .lane
            .get_or_init(|| Lane::open(Arc::clone(&self.setup)));
        let open = async {
            loop {
                if let Ok(client) = lane.link.client() {
                    return client;
                }
                sleep(SETTLE_STEP).await;
            }
        };
        timeout(PATIENCE, open)
            .await
            .map_err(|_| StoreError::Unreachable)
    }
}

impl Lane {
    fn open(setup: Arc<Setup>) -> Self {
        let link = Arc::new(Link::default());
        let watchdog = tokio::spawn(watchdog::run(setup, Arc::clone(&link)));
        Self { link, watchdog }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.watchdog.abort();
        self.link.close();
    }
}
