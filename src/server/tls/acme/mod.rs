//! Certificates by ACME (RFC 8555): one for each name, ordered, kept and renewed by a task of its own.
//!
//! That a name leads to us is proven on the listener itself (TLS-ALPN-01, RFC 8737). What there is to show for it lies in
//! the folder of the certificates, not in memory: an authority may reach any worker, the program that takes over from this
//! one, or another gateway that shares the folder.

mod account;
mod call;
mod files;
mod keep;
mod order;
mod ordered;
mod renewal;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustls::server::ClientHello;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::files::Folder;
pub(in crate::server) use self::ordered::Ordered;
use crate::config::Acme;
use crate::config::value::AcmeDomain;
use crate::metrics::CertificateOrders;

/// What an authority offers that looks whether a name leads to us (RFC 8737 section 6.2).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether this is an authority that looks whether a name leads to us: it offers that protocol and no other (RFC 8737
/// section 3).
pub(super) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello
        .alpn()
        .is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none())
}

/// A certificate that is to be ordered, and how.
pub(in crate::server) type Wanted = (Arc<Ordered>, Arc<Acme>);

/// Everything that is ordered in this process. Dropped, it orders nothing any more.
#[derive(Debug, Default)]
pub(in crate::server) struct Orders {
    /// By the file that each is kept in: two listeners with the same name show the same certificate.
    known: Mutex<BTreeMap<PathBuf, Weak<Ordered>>>,
    kept: Mutex<BTreeMap<PathBuf, Keeper>>,
    counts: Arc<CertificateOrders>,
}

/// The task that orders and renews one certificate. Dropped, it ends.
#[derive(Debug)]
struct Keeper {
    settings: watch::Sender<Arc<Acme>>,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Orders {
    /// None yet; counts there what comes of those to come.
    pub(in crate::server) fn new(counts: Arc<CertificateOrders>) -> Self {
        Self {
            counts,
            ..Self::default()
        }
    }

    /// The certificate for this name: as it is known already, or else as it lies in its folder, if it does.
    pub(super) fn of(&self, acme: &Acme, domain: &AcmeDomain) -> Arc<Ordered> {
        let folder = Folder::of(acme);
        let file = folder.certificate(domain.as_str());
        let mut known = self.known.lock();
        if let Some(ordered) = known.get(&file).and_then(Weak::upgrade) {
            return ordered;
        }
        known.retain(|_, ordered| ordered.strong_count() > 0);
        let ordered = Arc::new(Ordered::load(folder, domain.as_str()));
        known.insert(file, Arc::downgrade(&ordered));
        ordered
    }

    /// Orders and renews these from now on, and no others. What was known before goes on as it was, under the new settings.
    /// To be called inside a runtime.
    pub(in crate::server) fn settle<'a>(&self, wanted: impl IntoIterator<Item = &'a Wanted>) {
        let mut kept = self.kept.lock();
        let mut before = std::mem::take(&mut *kept);
        for (ordered, acme) in wanted {
            let file = ordered.file();
            if kept.contains_key(&file) {
                continue;
            }
            let keeper = match before.remove(&file) {
                Some(keeper) => keeper,
                None => self.start(ordered, acme),
            };
            keeper.settings.send_if_modified(|settings| {
                let differs = **settings != **acme;
                settings.clone_from(acme);
                differs
            });
            kept.insert(file, keeper);
        }
    }

    fn start(&self, ordered: &Arc<Ordered>, acme: &Arc<Acme>) -> Keeper {
        let (settings, told) = watch::channel(Arc::clone(acme));
        let keeping = keep::keep(Arc::clone(ordered), told, Arc::clone(&self.counts));
        Keeper {
            settings,
            task: tokio::spawn(keeping),
        }
    }
}
