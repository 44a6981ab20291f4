//! Which server the sentinels call the master.
//!
//! An orderly failover leaves the old master up and answering for about ten seconds. Sessions ended on the new one are
//! still alive on the old, so the sentinels are asked, and not only when a connection breaks.

use std::time::Duration;

use fred::clients::SentinelClient;
use fred::interfaces::{ClientLike, SentinelInterface};
use fred::types::ConnectHandle;
use fred::types::config::SentinelConfig;

use super::setup::{self, Setup};

/// Asks one sentinel after the other, and stays with the one that answers.
pub(super) struct Master {
    name: String,
    sentinels: Vec<SentinelConfig>,
    next: usize,
    asked: Option<(SentinelClient, ConnectHandle)>,
    patience: Duration,
}

impl Master {
    /// Nothing without sentinels.
    pub(super) fn new(setup: &Setup) -> Option<Self> {
        let (name, sentinels) = setup.sentinels()?;
        Some(Self {
            name: name.to_owned(),
            sentinels,
            next: 0,
            asked: None,
            patience: setup.patience(),
        })
    }

    /// Host and port of the master; nothing if this sentinel does not say. The next call asks another one.
    pub(super) async fn ask(&mut self) -> Option<(String, u16)> {
        if self.asked.is_none() {
            let config = self
                .sentinels
                .get(self.next % self.sentinels.len().max(1))?;
            let client = SentinelClient::new(
                config.clone(),
                None,
                Some(setup::connection()),
                Some(setup::policy()),
            );
            let task = client.connect();
            self.asked = Some((client, task));
        }
        let (client, _) = self.asked.as_ref()?;
        let question = client.get_master_addr_by_name::<(String, u16), _>(self.name.as_str());
        if let Ok(Ok(address)) = tokio::time::timeout(self.patience, question).await {
            return Some(address);
        }
        self.next += 1;
        self.leave();
        None
    }

    fn leave(&mut self) {
        if let Some((_, task)) = self.asked.take() {
            task.abort();
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.leave();
    }
}
