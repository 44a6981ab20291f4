//! The Redis of one process: what its workers' connections have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::changes::Changes;
use crate::config::{self, AtRest, Config};
use crate::store::StoreError;
use crate::store::key::Keys;
use crate::tombstone::Tombstones;

use parking_lot::Mutex;

use super::news::{Calls, News};
use super::setup::Setup;
use super::tracking::{Tracking, Unfit, Wanted};
use super::{RedisStore, Shared};

/// How to reach it, and what is heard of its changes; clones share that.
#[derive(Debug, Clone)]
pub struct RedisSource {
    config: Arc<config::Store>,
    at_rest: AtRest,
    tracking: Option<Arc<Tracking>>,
    tombstones: Arc<Tombstones>,
    /// Roll calls that are heard; whoever answers them takes this.
    calls: Arc<Mutex<Option<Calls>>>,
}

impl RedisSource {
    pub(in crate::store) fn new(config: config::Store, at_rest: AtRest) -> Self {
        Self {
            config: Arc::new(config),
            at_rest,
            tracking: None,
            tombstones: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// See [`crate::store::StoreSource::listen`].
    pub(in crate::store) fn listen(&mut self, config: &Config) -> Result<(), StoreError> {
        let setup = Setup::new(&self.config).map_err(StoreError::Failed)?;
        let cache = &config.cache;
        let keys = Keys::new(config);
        let (news, calls) = News::new(&keys, Arc::clone(&self.tombstones));
        let wanted = Wanted {
            topology: setup.topology(),
            door: setup.door(),
            prefixes: keys.prefixes(),
            news,
            max_age: longest(config).saturating_sub(self.config.lookup_deadline.get()),
            node_timeout: cache.cluster_node_timeout.map(config::value::Duration::get),
        };
        let tracking = Tracking::start(wanted)
            .map_err(|error| StoreError::Failed(format!("no thread to listen: {error}")))?;
        self.tracking = Some(Arc::new(tracking));
        self.calls = Arc::new(Mutex::new(Some(calls)));
        Ok(())
    }

    pub(in crate::store) fn connect(&self) -> Result<RedisStore, StoreError> {
        let shared = Shared {
            tracking: self.tracking.clone(),
            tombstones: Arc::clone(&self.tombstones),
        };
        RedisStore::connect(&self.config, self.at_rest, shared)
    }

    pub(in crate::store) fn changes(&self) -> Option<&Arc<Changes>> {
        self.tracking.as_ref().map(|tracking| tracking.changes())
    }

    pub(in crate::store) fn tombstones(&self) -> &Arc<Tombstones> {
        &self.tombstones
    }

    /// See [`crate::store::StoreSource::calls`].
    pub(in crate::store) fn calls(&self) -> Option<Calls> {
        self.calls.lock().take()
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
