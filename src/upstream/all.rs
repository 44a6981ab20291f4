//! The upstreams of one worker, by name, and what of them outlives a change of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Upstream;
use super::service::{Made, Services};
use crate::config;
use crate::config::fault::Fault;
use crate::metrics;

/// All upstreams of one worker.
#[derive(Debug, Default)]
pub struct Upstreams {
    all: Vec<Arc<Upstream>>,
    names: Vec<String>,
}

/// Which upstream: made in [`Upstreams::id`], so it is always one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamId(usize);

impl Upstreams {
    /// Compiles `[upstreams]`; nothing is dialled yet. What all workers know together is in `services`.
    ///
    /// # Errors
    /// One fault for each file that cannot be read and each name that cannot be verified.
    pub fn build(
        config: &BTreeMap<String, Spanned<config::Upstream>>,
        services: &Services,
        cells: &metrics::Worker,
    ) -> Result<Self, Vec<Fault>> {
        Self::default().rebuild(config, services, cells)
    }

    /// Compiles `[upstreams]` anew. Those that have not changed are the same, with their idle connections.
    ///
    /// # Errors
    /// As [`Upstreams::build`].
    pub fn rebuild(
        &self,
        config: &BTreeMap<String, Spanned<config::Upstream>>,
        services: &Services,
        cells: &metrics::Worker,
    ) -> Result<Self, Vec<Fault>> {
        let mut built = Self::default();
        let mut faults = Vec::new();
        for (name, upstream) in config {
            let made = Made::of(upstream.get_ref());
            let known = self.id(name).and_then(|id| self.all.get(id.0));
            if let Some(known) = known.filter(|known| known.service.made == made) {
                built.names.push(name.clone());
                built.all.push(Arc::clone(known));
                continue;
            }
            let service = services.get(name, made);
            let upstream =
                service.and_then(|service| Upstream::build(service, cells.upstream(name)));
            match upstream.map(Arc::new) {
                Ok(upstream) => {
                    built.names.push(name.clone());
                    built.all.push(upstream);
                }
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(built)
        } else {
            Err(faults)
        }
    }

    /// The upstream of this name.
    pub fn id(&self, name: &str) -> Option<UpstreamId> {
        self.names
            .iter()
            .position(|known| known == name)
            .map(UpstreamId)
    }

    /// The name of the upstream with this id.
    pub fn name(&self, id: UpstreamId) -> &str {
        self.names.get(id.0).expect("ids are made by `id`")
    }

    /// The upstream with this id.
    pub fn get(&self, id: UpstreamId) -> &Upstream {
        self.all.get(id.0).expect("ids are made by `id`")
    }
}
