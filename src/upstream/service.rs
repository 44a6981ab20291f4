//! What all workers know together of one upstream: where its endpoints are, and how each of them stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;
use toml::Spanned;

use super::connect::Dialer;
use super::names::Names;
use super::standing::Standing;
use super::tls::{Tls, Trust};
use super::watch;
use crate::config;
use crate::config::fault::Fault;
use crate::config::value::Origin;

/// The upstreams of a process. Those of a [`Default`] one are neither looked up nor asked how they are.
#[derive(Debug, Default)]
pub struct Services {
    /// Where they are watched.
    runtime: Option<Handle>,
    known: Mutex<BTreeMap<String, Weak<Service>>>,
}

/// One upstream, for all workers.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) places: Vec<Arc<Place>>,
    /// What it was made of; the same makes the same.
    pub(super) made: Made,
    /// Held while it is decided whether one more may be left out.
    ejecting: Mutex<()>,
}

/// One endpoint, for all workers.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) origin: Origin,
    pub(super) dialer: Dialer,
    pub(super) standing: Standing,
}

/// What an upstream is made of: its settings, and what is in the files that they name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) config: config::Upstream,
    files: [Option<Vec<u8>>; 3],
}

impl Made {
    pub(super) fn of(config: &config::Upstream) -> Self {
        let read = |path: &Option<Spanned<PathBuf>>| {
            let path = path.as_ref()?;
            std::fs::read(path.get_ref()).ok()
        };
        let config::UpstreamTls { ca, cert, key, .. } = &config.tls;
        Self {
            files: [ca, cert, key].map(read),
            config: config.clone(),
        }
    }
}

impl Services {
    /// Their names are looked up and their health is checked in this runtime.
    pub fn watched_in(runtime: Handle) -> Self {
        Self {
            runtime: Some(runtime),
            known: Mutex::default(),
        }
    }

    /// The one that all workers share: made of this, under this name.
    ///
    /// # Errors
    /// One fault for each file that cannot be used and each name that cannot be verified.
    pub(super) fn get(&self, name: &str, made: Made) -> Result<Arc<Service>, Vec<Fault>> {
        let mut known = self.known.lock();
        let there = known.get(name).and_then(Weak::upgrade);
        if let Some(service) = there.filter(|service| service.made == made) {
            return Ok(service);
        }
        let service = Arc::new(Service::build(name, made)?);
        known.insert(name.to_owned(), Arc::downgrade(&service));
        if let Some(runtime) = &self.runtime {
            watch::start(&service, runtime);
        }
        Ok(service)
    }
}

impl Service {
    fn build(name: &str, made: Made) -> Result<Self, Vec<Fault>> {
        let config = &made.config;
        let encrypted = config.endpoints.iter().any(|origin| origin.get_ref().tls);
        let trust = match encrypted.then(|| Trust::load(&config.tls)).transpose() {
            Ok(trust) => trust,
            Err(fault) => return Err(vec![fault]),
        };
        let mut places = Vec::with_capacity(config.endpoints.len());
        let mut faults = Vec::new();
        for origin in &config.endpoints {
            match Place::build(origin, config, trust.as_ref()) {
                Ok(place) => places.push(Arc::new(place)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            name: name.to_owned(),
            places,
            made,
            ejecting: Mutex::default(),
        })
    }

    /// A request to this endpoint has failed; whether it is left out from now on.
    pub(super) fn failed(&self, place: &Place, now: Instant) -> bool {
        let config = &self.made.config.ejection;
        let failures = place.standing.failed();
        if config.after == 0 || failures < config.after || place.standing.is_out(now) {
            return false;
        }
        let _deciding = self.ejecting.lock();
        let out = self.places.iter();
        let out = out.filter(|place| place.standing.is_out(now)).count();
        if out + 1 > self.places.len() / 2 || place.standing.is_out(now) {
            return false;
        }
        let (time, longest) = (config.time.get(), config.max_time.get());
        place.standing.leave_out(now, config.after, |stint| {
            time.saturating_mul(1 << stint.min(16)).min(longest)
        });
        tracing::warn!(
            upstream = self.name,
            endpoint = %place.origin,
            failures,
            "an endpoint fails and is left out for a while"
        );
        true
    }
}

impl Place {
    fn build(
        origin: &Spanned<Origin>,
        config: &config::Upstream,
        trust: Option<&Trust>,
    ) -> Result<Self, Fault> {
        let span = origin.span();
        let origin = origin.get_ref();
        Ok(Self {
            dialer: Dialer {
                names: Names::new(&origin.host, origin.port),
                tls: match trust.filter(|_| origin.tls) {
                    None => None,
                    Some(trust) => Some(tls(trust, origin, config, span)?),
                },
            },
            standing: Standing::new(),
            origin: origin.clone(),
        })
    }
}

fn tls(
    trust: &Trust,
    origin: &Origin,
    config: &config::Upstream,
    span: std::ops::Range<usize>,
) -> Result<Tls, Fault> {
    let named = config.tls.server_name.as_ref();
    let name = named.map_or(origin.host.as_str(), |name| name.get_ref());
    let span = named.map_or(span, Spanned::span);
    trust.towards(name).ok_or_else(|| {
        Fault::error(
            span,
            format!("`{name}` is not a name that a certificate can be checked for"),
        )
    })
}
