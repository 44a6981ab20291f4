//! TLS towards clients: which certificate answers which name, and who may come in.

mod bundle;
mod client;
mod expiry;
mod memory;
mod suite;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio_rustls::LazyConfigAcceptor;
use toml::Spanned;

use self::bundle::Bundle;
pub(super) use self::bundle::Encrypted;
pub(super) use self::expiry::Expiry;
use self::memory::Memory;
use self::suite::Configs;
use crate::config::fault::Fault;
use crate::config::{Alpn, Certificate, ClientAuth, ListenerTls, TlsVersion};
use crate::peer::{HostScope, TlsPeer};
use crate::socket::Socket;

/// Makes aws-lc-rs the process's one provider of cryptography, for libraries that ask for "the" provider.
pub(super) fn install() {
    // Already installed means the same one: no other is compiled in.
    aws_lc_rs::default_provider().install_default().ok();
}

/// TLS of one listener.
#[derive(Clone)]
pub(super) struct Tls {
    configs: Configs,
    certificates: Arc<Certificates>,
    admission: Admission,
    memory: Memory,
    hsts: Option<HeaderValue>,
}

/// Who is let in. Where it changes, nobody may come in on the strength of an earlier session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Admission {
    min_version: TlsVersion,
    client_auth: ClientAuth,
    /// The authorities that may sign client certificates.
    authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.certificates).finish()
    }
}

/// A finished handshake.
pub(super) struct Accepted {
    pub(super) stream: Encrypted,
    pub(super) peer: TlsPeer,
    /// Whether HTTP/2 was agreed on; HTTP/1.1 otherwise.
    pub(super) h2: bool,
    /// Whether it took up an earlier session.
    pub(super) resumed: bool,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One fault for each file that cannot be read or does not hold what it should, and each key that does not fit.
    pub(super) fn load(config: &ListenerTls) -> Result<Self, Vec<Fault>> {
        Self::load_after(config, None)
    }

    /// Reads the files; earlier sessions can be taken up if the same clients are let in as `before`.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub(super) fn load_after(
        config: &ListenerTls,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Fault>> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(suite::is_heavy);
        let provider = Arc::new(provider);
        let certificates = Certificates::load(&config.certificates, &provider);
        let verifier = client_verifier(config, &provider);
        let (certificates, (verifier, authorities)) = match (certificates, verifier) {
            (Ok(certificates), Ok(verifier)) => (Arc::new(certificates), verifier),
            (Err(mut faults), Err(fault)) => {
                faults.push(fault);
                return Err(faults);
            }
            (Err(faults), Ok(_)) => return Err(faults),
            (Ok(_), Err(fault)) => return Err(vec![fault]),
        };
        let admission = Admission {
            min_version: config.min_version,
            client_auth: config.client_auth,
            authorities,
        };
        let memory = match before.filter(|before| before.admission == admission) {
            Some(before) => before.memory.clone(),
            None => Memory::new().map_err(|fault| vec![fault])?,
        };
        let versions: &[_] = match config.min_version {
            TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("aws-lc-rs speaks TLS 1.2 and 1.3");
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        server.alpn_protocols = config.alpn.iter().map(protocol_name).collect();
        server.session_storage = Arc::clone(&memory.sessions);
        server.ticketer = Arc::clone(&memory.tickets);
        // Each is a key derived, encrypted and sent for a connection that may never come; Go's servers send one, too.
        server.send_tls13_tickets = 1;
        // Early data can be replayed by anyone who saw it, and a request is not safe to repeat.
        server.max_early_data_size = 0;
        Ok(Self {
            configs: Configs::of(server),
            certificates,
            admission,
            memory,
            hsts: config.hsts.map(|age| hsts(age.get(), config)),
        })
    }

    /// Whether it lets in the same clients as `other`.
    pub(super) fn admits_as(&self, other: &Self) -> bool {
        self.admission == other.admission
    }

    /// When its certificates end.
    pub(super) fn expiries(&self) -> &[Expiry] {
        &self.certificates.expiries
    }

    /// Warnings of those that end soon.
    pub(super) fn warnings(&self) -> Vec<Fault> {
        let now = SystemTime::now();
        let ends = self.expiries().iter();
        ends.filter_map(|expiry| expiry.warning(now)).collect()
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// If the client breaks off, speaks something else, or does not show the certificate it must show.
    pub(super) async fn accept(&self, stream: Socket) -> io::Result<Accepted> {
        let connection = Bundle::new(stream);
        let begun = LazyConfigAcceptor::new(Acceptor::default(), connection).await?;
        let config = self.configs.suited(&begun.client_hello());
        let stream = bundle::shake(begun, config).await?;
        let (_, session) = stream.get_ref();
        let server_name = session
            .server_name()
            .map(|name| Arc::from(name.to_ascii_lowercase()));
        let h2 = session.alpn_protocol() == Some(b"h2");
        let scope = Arc::clone(&self.certificates) as Arc<dyn HostScope>;
        // Verified by now: the handshake fails over a certificate that is not.
        let client = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| Arc::new(client::read(certificate)));
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Accepted {
            stream,
            peer: TlsPeer {
                server_name,
                scope,
                client,
                hsts: self.hsts.clone(),
            },
            h2,
            resumed,
        })
    }
}

/// `Strict-Transport-Security` (RFC 6797 section 6.1).
fn hsts(age: Duration, config: &ListenerTls) -> HeaderValue {
    let subdomains = if config.hsts_subdomains {
        "; includeSubDomains"
    } else {
        ""
    };
    let preload = if config.hsts_preload { "; preload" } else { "" };
    let text = format!("max-age={}{subdomains}{preload}", age.as_secs());
    HeaderValue::try_from(text).expect("digits and words are plain ASCII")
}

fn protocol_name(alpn: &Alpn) -> Vec<u8> {
    match alpn {
        Alpn::H2 => b"h2".to_vec(),
        Alpn::Http11 => b"http/1.1".to_vec(),
    }
}

/// A listener's certificates, by the names they are for.
#[derive(Debug)]
struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
    exact: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, usize>,
}

impl Certificates {
    fn load(
        config: &[Spanned<Certificate>],
        provider: &CryptoProvider,
    ) -> Result<Self, Vec<Fault>> {
        let mut loaded = Self {
            all: Vec::with_capacity(config.len()),
            expiries: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
        };
        let mut faults = Vec::new();
        for certificate in config {
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
        if faults.is_empty() {
            Ok(loaded)
        } else {
            Err(faults)
        }
    }

    /// The first certificate for a name keeps it.
    fn add(&mut self, key: CertifiedKey, names: Vec<String>) {
        let index = self.all.len();
        self.all.push(Arc::new(key));
        for name in names {
            match name.strip_prefix("*.") {
                Some(rest) => self.below.entry(rest.into()).or_insert(index),
                None => self.exact.entry(name.into()).or_insert(index),
            };
        }
    }

    /// Which certificate stands for `name` (lower case); the first one for those that none is for.
    fn index(&self, name: Option<&str>) -> usize {
        name.and_then(|name| {
            let below = || {
                let (_, rest) = name.split_once('.')?;
                self.below.get(rest)
            };
            self.exact.get(name).or_else(below)
        })
        .copied()
        .unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.all.get(self.index(name.as_deref())).map(Arc::clone)
    }
}

impl HostScope for Certificates {
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool {
        server_name == Some(host) || self.index(server_name) == self.index(Some(host))
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

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
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
fn dns_names(chain: &[CertificateDer<'static>]) -> Result<Vec<String>, webpki::Error> {
    let Some(first) = chain.first() else {
        return Ok(Vec::new());
    };
    let parsed = webpki::EndEntityCert::try_from(first)?;
    Ok(parsed
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}

/// What judges client certificates, if anything does, and the authorities it believes.
type Judge = (
    Option<Arc<dyn ClientCertVerifier>>,
    Vec<CertificateDer<'static>>,
);

fn client_verifier(config: &ListenerTls, provider: &Arc<CryptoProvider>) -> Result<Judge, Fault> {
    let optional = match config.client_auth {
        ClientAuth::None => return Ok((None, Vec::new())),
        ClientAuth::Optional => true,
        ClientAuth::Required => false,
    };
    let Some(path) = &config.client_ca else {
        let span = config.certificates.first().map(Spanned::span);
        return Err(Fault::error(span, "`client_auth` needs `client_ca`")
            .help("a PEM file with the authorities that may sign client certificates"));
    };
    let fault = |text: String| Fault::error(path.span(), text);
    let mut roots = RootCertStore::empty();
    let authorities = read_certificates(path.get_ref()).map_err(fault)?;
    for certificate in &authorities {
        roots.add(certificate.clone()).map_err(|error| {
            let path = path.get_ref().display();
            fault(format!(
                "`{path}` holds a certificate that is no authority: {error}"
            ))
        })?;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder
        .build()
        .map_err(|error| fault(format!("`client_ca` cannot be used: {error}")))?;
    Ok((Some(verifier), authorities))
}

#[cfg(test)]
mod tests;
