//! What the gateway does for others beside answering requests, over a connection of its own: no worker that is busy keeps
//! it waiting.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::sessions::{Duty, Queues, Sessions};
use crate::store::StoreSource;
use crate::token::random_name;

/// It, under way.
#[derive(Debug, Default)]
pub(super) struct OnDuty(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

/// Starts it, where there are others.
///
/// # Errors
/// If the store's settings cannot be used, or the system gives no random bytes.
pub(super) async fn start(config: &Config, source: &StoreSource) -> anyhow::Result<OnDuty> {
    let (Some(changes), Some(calls)) = (source.changes(), source.calls()) else {
        return Ok(OnDuty::default());
    };
    let store = source.connect().await;
    let store = Arc::new(store.context("the session store cannot be used")?);
    let sessions = Sessions::new(store, config, Arc::<Queues>::default());
    let name = name().context("no name for this gateway")?;
    let Some(duty) = Duty::new(sessions, name.clone(), changes, calls) else {
        return Ok(OnDuty::default());
    };
    tracing::info!(name, "on the roll of gateways");
    let (end, ended) = oneshot::channel::<()>();
    let task = tokio::spawn(duty.run(async {
        ended.await.ok();
    }));
    Ok(OnDuty(Some((end, task))))
}

/// Host, process, and something that tells it from an earlier process of the same number.
fn name() -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = random_name().map_err(|_| anyhow::anyhow!("no random bytes"))?;
    let random: String = random.chars().take(6).collect();
    Ok(format!("{}-{}-{random}", host.trim(), std::process::id()))
}

impl OnDuty {
    /// Ends it.
    pub(super) async fn finish(self) {
        if let Some((end, task)) = self.0 {
            drop(end);
            task.await.ok();
        }
    }
}
