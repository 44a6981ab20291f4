//! A certificate that is ordered for one name.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use instant_acme::CertificateIdentifier;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::certificates::dns_names;
use super::super::expiry;
use super::files::{self, Folder};
use crate::metrics::Level;

/// It, from before there is one: shared by the listeners, the workers and the task that renews it.
#[derive(Debug)]
pub(in crate::server) struct Ordered {
    domain: String,
    folder: Folder,
    held: ArcSwapOption<Held>,
    /// When it ends, in Unix seconds; 0 while there is none.
    expires: Arc<Level>,
}

/// One that has been obtained. Times are Unix seconds.
#[derive(Debug)]
pub(super) struct Held {
    key: Arc<CertifiedKey>,
    renew_at: i64,
    /// When it is renewed although the authority would have that done later.
    renew_by: i64,
    /// Drawn at random: where in a time that is to be chosen from, of 65,535 parts.
    share: u16,
    ends: i64,
}

/// What the authority sees; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Answer(PathBuf);

impl Drop for Answer {
    fn drop(&mut self) {
        // If it stays, it proves nothing any more: the next question is another one.
        std::fs::remove_file(&self.0).ok();
    }
}

impl Ordered {
    /// The one that lies in the folder, if there is one.
    pub(super) fn load(folder: Folder, domain: &str) -> Self {
        let ordered = Self {
            domain: domain.to_owned(),
            folder,
            held: ArcSwapOption::empty(),
            expires: Arc::default(),
        };
        ordered.look();
        ordered
    }

    /// Its name.
    pub(in crate::server) fn domain(&self) -> &str {
        &self.domain
    }

    /// Where it is kept.
    pub(in crate::server) fn file(&self) -> PathBuf {
        self.folder.certificate(&self.domain)
    }

    /// When it ends, in Unix seconds, from now on; 0 while there is none.
    pub(in crate::server) fn expires(&self) -> &Arc<Level> {
        &self.expires
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What clients are shown, if there is something.
    pub(in crate::server::tls) fn key(&self) -> Option<Arc<CertifiedKey>> {
        let held = self.held.load();
        held.as_ref().map(|held| Arc::clone(&held.key))
    }

    /// What an authority is shown, if somebody who shares the folder has asked it to look.
    pub(in crate::server::tls) fn answer(&self) -> Option<Arc<CertifiedKey>> {
        let file = self.folder.answer(&self.domain);
        let found = files::read(&file).map_err(|error| error.to_string());
        match found.and_then(|text| text.as_deref().map(files::unchecked_pair).transpose()) {
            Ok(answer) => answer.map(Arc::new),
            Err(why) => {
                let file = file.display();
                tracing::warn!(%file, why, "an authority cannot be answered with what is there");
                None
            }
        }
    }

    /// Has every authority that looks see this from now on: a key and a certificate.
    pub(super) fn show(&self, pair: &str) -> io::Result<Answer> {
        let path = self.folder.answer(&self.domain);
        files::write(&path, pair.as_bytes())?;
        Ok(Answer(path))
    }

    /// Takes what lies in the folder, if it is good for longer than what there is; whether it was.
    pub(super) fn look(&self) -> bool {
        match self.found() {
            Ok(Some(held)) => {
                let now = self.held.load();
                let better = now.as_ref().is_none_or(|now| now.ends < held.ends);
                if better {
                    self.take(held);
                }
                better
            }
            Ok(None) => false,
            Err(why) => {
                let file = self.file();
                let file = file.display();
                tracing::warn!(%file, why, "what is kept there is no certificate to show");
                false
            }
        }
    }

    fn found(&self) -> Result<Option<Held>, String> {
        let Some(text) = files::read(&self.file()).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        Held::of(files::pair(&text)?, &self.domain).map(Some)
    }

    /// Shows this one from now on.
    pub(super) fn take(&self, held: Held) {
        self.expires.set(held.ends);
        self.held.store(Some(Arc::new(held)));
    }

    /// How long it is good for at this time; nothing if it is over or there is none.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        self.wait(|held| until(held.ends, now))
    }

    /// What the authority calls it (RFC 9773 section 4.1); `None` if there is none, or it does not say who signed it.
    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let held = self.held.load();
        let leaf = held.as_ref()?.key.cert.first()?;
        let identifier = CertificateIdentifier::try_from(leaf).ok()?;
        Some(identifier.into_owned())
    }

    /// How long until it should be renewed if the authority would have that done within this time (Unix seconds), and it is
    /// to `rest` first; nothing if there is none.
    pub(super) fn until_due_within(
        &self,
        window: (i64, i64),
        rest: Duration,
        now: SystemTime,
    ) -> Duration {
        self.wait(|held| {
            let due = until(held.within(window), now).max(rest);
            due.min(until(held.renew_by, now))
        })
    }

    /// How long until it should be renewed by our own rule; nothing if there is none.
    pub(super) fn until_due(&self, now: SystemTime) -> Duration {
        self.wait(|held| until(held.renew_at, now))
    }

    /// As long as that of the certificate that there is; nothing if there is none.
    fn wait(&self, of: impl FnOnce(&Held) -> Duration) -> Duration {
        let held = self.held.load();
        held.as_deref().map_or(Duration::ZERO, of)
    }
}

fn until(time: i64, now: SystemTime) -> Duration {
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0));
    time.duration_since(now).unwrap_or_default()
}

fn part(time: i64, share: u16) -> i64 {
    time.saturating_mul(i64::from(share)) / i64::from(u16::MAX)
}

impl Held {
    /// Of a certificate that must be for this name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(key: CertifiedKey, domain: &str) -> Result<Self, String> {
        let names = dns_names(&key.cert).map_err(|error| error.to_string())?;
        if !names.iter().any(|name| name == domain) {
            return Err(format!("it is not for `{domain}`"));
        }
        let begins = key.cert.first().and_then(|leaf| {
            let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
            Some(parsed.validity().not_before.timestamp())
        });
        let (Some(begins), Some(ends)) = (begins, expiry::of(&key.cert)) else {
            return Err("it does not say when it ends".to_owned());
        };
        // As Let's Encrypt advises: when a third is left (https://letsencrypt.org/docs/integration-guide/). Gateways that
        // share a folder should not all come at once, so it is up to a thirtieth earlier.
        let lifetime = ends.saturating_sub(begins).max(0);
        let share = RandomState::new().hash_one(0) as u16;
        Ok(Self {
            key: Arc::new(key),
            renew_at: ends - lifetime / 3 - part(lifetime / 30, share),
            // Else a window that a mistake has put too late would let it end.
            renew_by: ends - lifetime / 10,
            share,
            ends,
        })
    }

    /// A moment between these two: the same one each time, and another one in each gateway.
    fn within(&self, (from, until): (i64, i64)) -> i64 {
        from.saturating_add(part(until.saturating_sub(from), self.share))
    }

    /// Whether it should be renewed already.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        until(self.renew_at, now).is_zero()
    }

    /// When it ends, in Unix seconds.
    pub(super) fn ends(&self) -> i64 {
        self.ends
    }
}
