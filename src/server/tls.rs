//! TLS towards clients: which certificate answers which name, and who may come in.

mod acme;
mod bundle;
mod certificates;
mod client;
mod expiry;
mod memory;
mod suite;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;
use toml::Spanned;

pub(super) use self::acme::{Orders, Wanted};
use self::bundle::Bundle;
pub(super) use self::bundle::Encrypted;
use self::certificates::{Answers, Certificates, read_certificates};
pub(super) use self::expiry::Expiry;
use self::memory::Memory;
use self::suite::Configs;
use crate::config::fault::Fault;
use crate::config::{Alpn, ClientAuth, ListenerTls, TlsVersion};
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
    /// For an authority that looks whether a name leads to us; `None` where nothing is ordered.
    answers: Option<Arc<ServerConfig>>,
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
        Self::load_after(config, &Orders::default(), None)
    }

    /// Reads the files, and takes from `orders` what is ordered; earlier sessions can be taken up if the same clients are
    /// let in as `before`.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub(super) fn load_after(
        config: &ListenerTls,
        orders: &Orders,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Fault>> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(suite::is_heavy);
        let provider = Arc::new(provider);
        let certificates = Certificates::load(config, orders, &provider);
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
        let is_ordered = !certificates.wanted.is_empty();
        let answers = is_ordered.then(|| answering(&certificates, Arc::clone(&provider)));
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
            answers,
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

    /// When its certificates from files end.
    pub(super) fn expiries(&self) -> &[Expiry] {
        &self.certificates.expiries
    }

    /// What is ordered for it, and how.
    pub(super) fn wanted(&self) -> &[Wanted] {
        &self.certificates.wanted
    }

    /// Warnings of those that end soon, and of names that are not ordered because a file is there for them.
    pub(super) fn warnings(&self) -> Vec<Fault> {
        let now = SystemTime::now();
        let ends = self.expiries().iter();
        let needless = self.certificates.needless.iter().cloned();
        ends.filter_map(|expiry| expiry.warning(now))
            .chain(needless)
            .collect()
    }

    /// Does the handshake. `None`: it was an authority that looked whether a name leads to us; it has nothing else to say.
    ///
    /// # Errors
    /// If the client breaks off, speaks something else, or does not show the certificate it must show.
    pub(super) async fn accept(&self, stream: Socket) -> io::Result<Option<Accepted>> {
        let connection = Bundle::new(stream);
        let begun = LazyConfigAcceptor::new(Acceptor::default(), connection).await?;
        let asks = acme::is_challenge(&begun.client_hello());
        if let Some(answers) = self.answers.as_ref().filter(|_| asks) {
            let mut stream = begun.into_stream(Arc::clone(answers)).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
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
        Ok(Some(Accepted {
            stream,
            peer: TlsPeer {
                server_name,
                scope,
                client,
                hsts: self.hsts.clone(),
            },
            h2,
            resumed,
        }))
    }
}

/// Speaks the protocol of challenges and nothing else, to whoever asks: an authority has no certificate of ours to show.
fn answering(certificates: &Arc<Certificates>, provider: Arc<CryptoProvider>) -> Arc<ServerConfig> {
    let answers = Answers(Arc::clone(certificates));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs speaks TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(answers));
    server.alpn_protocols = vec![acme::PROTOCOL.to_vec()];
    server.send_tls13_tickets = 0;
    Arc::new(server)
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
