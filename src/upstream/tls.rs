//! TLS towards upstreams: whom to trust, and the handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::Offer;
use crate::config::UpstreamTls;
use crate::config::fault::Fault;
use crate::socket::Socket;

/// A connection with TLS.
pub(super) type Stream = TlsStream<Socket>;

/// What an upstream's certificates are checked against; shared by its endpoints.
#[derive(Clone)]
pub(super) struct Trust {
    client: Arc<ClientConfig>,
}

/// TLS to one endpoint.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// What is offered to an endpoint that only speaks HTTP/1.1, only HTTP/2, or either (RFC 7301 section 6).
const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.name).finish()
    }
}

impl Trust {
    /// Reads the authorities, the configured ones or the system's, and the certificate to show, if there is one.
    pub(super) fn load(config: &UpstreamTls) -> Result<Self, Fault> {
        let roots = match &config.ca {
            Some(path) => configured_roots(path.get_ref())
                .map_err(|message| Fault::error(path.span(), message))?,
            None => system_roots()?,
        };
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
            return Ok(Self::new(builder(roots).with_no_client_auth()));
        };
        Self::showing(builder(roots), cert.get_ref(), key.get_ref())
            .map_err(|message| Fault::error(cert.span(), message))
    }

    /// Trusts the authorities in `ca`, or the system's, and shows a certificate (file, file of its key) if asked for one.
    ///
    /// # Errors
    /// If a file cannot be used; the text says which and why.
    pub(super) fn with_identity(
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, String> {
        let roots = match ca {
            Some(path) => configured_roots(path)?,
            None => system_roots().map_err(|fault| fault.message)?,
        };
        let builder = builder(roots);
        let Some((certificate, key)) = identity else {
            return Ok(Self::new(builder.with_no_client_auth()));
        };
        Self::showing(builder, certificate, key)
    }

    fn showing(
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, String> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| {
            format!("`{}` cannot be used: {error}", path.display())
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unusable(certificate, &error))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        let client = builder.with_client_auth_cert(chain, secret);
        client
            .map(Self::new)
            .map_err(|error| unusable(certificate, &error))
    }

    fn new(mut client: ClientConfig) -> Self {
        client.alpn_protocols = vec![H1.to_vec()];
        Self {
            client: Arc::new(client),
        }
    }

    /// For an endpoint whose certificate must be for `name`; `None` if that is neither a DNS name nor an IP address.
    pub(super) fn towards(&self, name: &str) -> Option<Tls> {
        Some(Tls {
            connector: TlsConnector::from(Arc::clone(&self.client)),
            name: ServerName::try_from(name.to_owned()).ok()?,
        })
    }
}

impl Tls {
    /// Does the handshake with an offer of protocols.
    ///
    /// # Errors
    /// As [`Tls::connect`], and if the endpoint does not speak the one protocol that is offered.
    pub(super) async fn offer(&self, stream: Socket, offer: Offer) -> io::Result<Stream> {
        let protocols: &[&[u8]] = match offer {
            Offer::H1 => return self.connect(stream).await,
            Offer::H2 => &[H2],
            Offer::Either => &[H2, H1],
        };
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let connecting = self.connector.with_alpn(protocols);
        let stream = connecting.connect(self.name.clone(), stream).await?;
        // A server that knows nothing of ALPN speaks HTTP/1.1.
        if offer == Offer::H2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
            let error = "the endpoint does not speak HTTP/2";
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        }
        Ok(stream)
    }

    /// Does the handshake, offering HTTP/1.1.
    ///
    /// # Errors
    /// If it breaks off, or if the certificate is not one to trust.
    pub(super) async fn connect(&self, stream: Socket) -> io::Result<Stream> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn builder(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
}

fn configured_roots(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("`{shown}` is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| {
            format!("`{shown}` holds a certificate that is no authority: {error}")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("`{shown}` holds no certificate"));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Fault::error(
            None,
            "the system has no certificate authorities to check `https` upstreams against",
        )
        .help(
            "name a PEM file in the upstream's `tls.ca`, or install the system's CA certificates",
        ));
    }
    Ok(roots)
}

#[cfg(test)]
pub(super) mod tests {
    use rustls::ServerConfig;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A TLS server that answers each connection's first request without reading it; its port.
    pub(in crate::upstream) async fn serve_one_answer(
        certified: &rcgen::CertifiedKey<rcgen::KeyPair>,
    ) -> u16 {
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap();
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        port
    }
}
