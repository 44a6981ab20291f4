//! The Redis of one process: what its workers' connections have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::changes::Changes;
use crate::config::{self, AtRest, Config};
use crate::store::StoreError;
use crate::store::key::Keys;

use super::RedisStore;
use super::setup::Setup;
use super::tracking::{Tracking, Unfit, Wanted};

/// How to reach it, and what is heard of its changes; clones share that.
#[derive(Debug, Clone)]
pub struct RedisSource {
    config: Arc<config::Store>,
    at_rest: AtRest,
    tracking: Option<Arc<Tracking>>,
}

impl RedisSource {
    pub(in crate::store) fn new(config: config::Store, at_rest: AtRest) -> Self {
        Self {
            config: Arc::new(config),
            at_rest,
            tracking: None,
        }
    }

    /// See [`crate::store::StoreSource::listen`].
    pub(in crate::store) fn listen(&mut self, config: &Config) -> Result<(), StoreError> {
        let setup = Setup::new(&self.config).map_err(StoreError::Failed)?;
        let cache = &config.cache;
        let wanted = Wanted {
            topology: setup.topology(),
            door: setup.door(),
            prefixes: Keys::new(config).prefixes(),
            max_age: longest(config).saturating_sub(self.config.lookup_deadline.get()),
            node_timeout: cache.cluster_node_timeout.map(config::value::Duration::get),
        };
        let tracking = Tracking::start(wanted)
            .map_err(|error| StoreError::Failed(format!("no thread to listen: {error}")))?;
        self.tracking = Some(Arc::new(tracking));
        Ok(())
    }

    pub(in crate::store) fn connect(&self) -> Result<RedisStore, StoreError> {
        RedisStore::connect(&self.config, self.at_rest, self.tracking.clone())
    }

    pub(in crate::store) fn changes(&self) -> Option<&Arc<Changes>> {
        self.tracking.as_ref().map(|tracking| tracking.changes())
    }

    pub(in crate::store) fn unfit(&self) -> Option<Arc<Unfit>> {
        self.tracking.as_ref()?.unfit()
    }
}

/// The longest bound that any route has on what is kept.
fn longest(config: &Config) -> Duration {
    let routes = config.routes.iter();
    routes
        .filter_map(|route| route.get_ref().max_staleness)
        .chain([config.cache.max_staleness])
        .map(config::value::Duration::get)
        .max()
        .unwrap_or_default()
}
