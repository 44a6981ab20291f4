//! The admin API beside the gateway: an address, a thread and a way to the store of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{Admin, Counters};
use crate::audit::Audit;
use crate::config::Config;
use crate::limit::Limits;
use crate::server::Server;
use crate::sessions::{Queues, Sessions};
use crate::store::StoreSource;
use anyhow::Context as _;

/// How long its calls may run on after the gateway has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// What will answer calls.
type Making = Pin<Box<dyn Future<Output = anyhow::Result<Admin>>>>;

/// Takes its address, if the configuration has one.
///
/// # Errors
/// If the address is taken or a certificate cannot be used.
pub(super) fn bind(config: &Config) -> anyhow::Result<Option<Server>> {
    let Some(settings) = &config.admin else {
        return Ok(None);
    };
    let server = Admin::bind(settings, DRAIN).context("the admin API cannot be served")?;
    for address in server.addresses() {
        tracing::info!(%address, tls = settings.tls.is_some(), "administered");
    }
    Ok(Some(server))
}

/// Makes what answers its calls, on the thread that they come in on.
///
/// # Errors
/// If the audit log cannot be opened.
pub(super) fn maker(
    config: &Config,
    source: StoreSource,
    (queues, limits): (Arc<Queues>, Arc<Limits>),
) -> anyhow::Result<impl Fn(usize) -> Making + Send + Sync + 'static> {
    // Found out now, and not by the first change. It is opened again where it is used.
    Audit::check(config.audit.as_ref()).context("the audit log cannot be opened")?;
    let config = config.clone();
    Ok(move |_| {
        let (config, source) = (config.clone(), source.clone());
        let (queues, limits) = (Arc::clone(&queues), Arc::clone(&limits));
        let making: Making = Box::pin(async move {
            let store = source.connect().await;
            let store = Arc::new(store.context("the session store cannot be used")?);
            store.settle(super::STORE_PATIENCE).await;
            let audit = Audit::open(config.audit.as_ref(), &store);
            let audit = audit.context("the audit log cannot be opened")?;
            let sessions = Arc::new(Sessions::new(store, &config, queues));
            let meters = super::connect_meters(&config).await?.map(Arc::new);
            Ok(Admin::new(
                &config,
                sessions,
                audit,
                Counters { limits, meters },
            ))
        });
        making
    })
}
