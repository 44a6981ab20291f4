//! Which certificate answers which name.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use toml::Spanned;

use super::acme::{Ordered, Orders, Wanted};
use super::expiry::{self, Expiry};
use crate::config::fault::Fault;
use crate::config::value::AcmeDomain;
use crate::config::{Certificate, ListenerTls};
use crate::peer::HostScope;

/// A listener's certificates, by the names they are for: first those from files, then those that are ordered.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Shown>,
    pub(super) expiries: Vec<Expiry>,
    /// What is ordered, and how.
    pub(super) wanted: Vec<Wanted>,
    /// Names that are not ordered because a file is there for them.
    pub(super) needless: Vec<Fault>,
    exact: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, usize>,
}

/// What clients are shown.
#[derive(Debug)]
enum Shown {
    File(Arc<CertifiedKey>),
    Ordered(Arc<Ordered>),
}

impl Certificates {
    /// Reads the files, and takes from `orders` what is ordered.
    ///
    /// # Errors
    /// One fault for each file that cannot be read or does not hold what it should, and each key that does not fit.
    pub(super) fn load(
        config: &ListenerTls,
        orders: &Orders,
        provider: &CryptoProvider,
    ) -> Result<Self, Vec<Fault>> {
        let mut loaded = Self {
            all: Vec::with_capacity(config.certificates.len()),
            expiries: Vec::new(),
            wanted: Vec::new(),
            needless: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
        };
        let mut faults = Vec::new();
        for certificate in &config.certificates {
            match load_one(certificate.get_ref(), provider) {
                Ok((key, names)) => {
                    let cert = &certificate.get_ref().cert;
                    loaded
                        .expiries
                        .extend(expiry::of(&key.cert).map(|at| Expiry {
                            file: cert.get_ref().clone(),
                            span: cert.span(),
                            at,
                        }));
                    loaded.add(key, names);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if let Some(acme) = &config.acme {
            let settings = Arc::new(acme.clone());
            for domain in &acme.domains {
                if loaded.lacks(domain) {
                    let ordered = orders.of(acme, domain.get_ref());
                    loaded
                        .wanted
                        .push((Arc::clone(&ordered), Arc::clone(&settings)));
                    loaded.expect(domain.get_ref(), ordered);
                }
            }
        }
        Ok(loaded)
    }

    /// The first certificate for a name keeps it.
    fn add(&mut self, key: CertifiedKey, names: Vec<String>) {
        let index = self.all.len();
        self.all.push(Shown::File(Arc::new(key)));
        for name in names {
            match name.strip_prefix("*.") {
                Some(rest) => self.below.entry(rest.into()).or_insert(index),
                None => self.exact.entry(name.into()).or_insert(index),
            };
        }
    }

    fn expect(&mut self, domain: &AcmeDomain, ordered: Arc<Ordered>) {
        self.exact.insert(domain.as_str().into(), self.all.len());
        self.all.push(Shown::Ordered(ordered));
    }

    /// Whether no file is for this name; notes it if one is.
    fn lacks(&mut self, domain: &Spanned<AcmeDomain>) -> bool {
        let name = domain.get_ref().as_str();
        if self.find(name).is_none() {
            return true;
        }
        let text = format!("`{name}` is not ordered: a certificate from a file is for it");
        self.needless.push(
            Fault::warning(domain.span(), text)
                .help("remove it here, or the file from `certificates`"),
        );
        false
    }

    /// The certificate for `name` (lower case).
    fn find(&self, name: &str) -> Option<usize> {
        let below = || {
            let (_, rest) = name.split_once('.')?;
            self.below.get(rest)
        };
        self.exact.get(name).or_else(below).copied()
    }

    /// Which certificate stands for `name` (lower case); the first one for those that none is for.
    fn index(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.find(name)).unwrap_or(0)
    }

    fn shown(&self, hello: &ClientHello<'_>) -> Option<&Shown> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.all.get(self.index(name.as_deref()))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.shown(&hello)? {
            Shown::File(key) => Some(Arc::clone(key)),
            Shown::Ordered(ordered) => ordered.key(),
        }
    }
}

impl HostScope for Certificates {
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool {
        server_name == Some(host) || self.index(server_name) == self.index(Some(host))
    }
}

/// What an authority is shown that looks whether a name leads to us.
#[derive(Debug)]
pub(super) struct Answers(pub(super) Arc<Certificates>);

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.0.shown(&hello)? {
            Shown::Ordered(ordered) => ordered.answer(),
            Shown::File(_) => None,
        }
    }
}

fn load_one(
    certificate: &Certificate,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), Fault> {
    let (cert, key) = (&certificate.cert, &certificate.key);
    let chain =
        read_certificates(cert.get_ref()).map_err(|text| Fault::error(cert.span(), text))?;
    let names = dns_names(&chain).map_err(|error| {
        let path = cert.get_ref().display();
        Fault::error(
            cert.span(),
            format!("`{path}` holds a broken certificate: {error}"),
        )
    })?;
    let path = key.get_ref().display();
    let secret = PrivateKeyDer::from_pem_file(key.get_ref()).map_err(|error| {
        Fault::error(
            key.span(),
            format!("`{path}` cannot be read as a private key: {error}"),
        )
        .help("a PEM file with a PKCS#8, PKCS#1 or SEC1 key")
    })?;
    let certified = CertifiedKey::from_der(chain, secret, provider).map_err(|error| {
        let text = if matches!(error, rustls::Error::InconsistentKeys(_)) {
            let cert = cert.get_ref().display();
            format!("the private key `{path}` does not belong to the certificate `{cert}`")
        } else {
            format!("the private key `{path}` cannot be used: {error}")
        };
        Fault::error(key.span(), text)
    })?;
    Ok((certified, names))
}

pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let read = |error| format!("cannot read `{shown}`: {error}");
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    if chain.is_empty() {
        return Err(format!("`{shown}` holds no certificate"));
    }
    Ok(chain)
}

/// The DNS names of the first certificate, in lower case. An address is never asked for in SNI.
pub(super) fn dns_names(chain: &[CertificateDer<'static>]) -> Result<Vec<String>, webpki::Error> {
    let Some(first) = chain.first() else {
        return Ok(Vec::new());
    };
    let parsed = webpki::EndEntityCert::try_from(first)?;
    Ok(parsed
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}
