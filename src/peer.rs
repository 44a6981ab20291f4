//! Who is on the line: what one connection knows about its client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderValue};

use crate::config::ForwardAuth;
use crate::slot::Slot;

/// The other end of a client connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connects from: the next hop, not necessarily the user's machine. IPv4 in IPv6 is shown as IPv4.
    pub ip: IpAddr,
    /// `ip` as the value of a header. It is the same for each request of a connection, so it is made once.
    pub ip_value: HeaderValue,
    /// The port of ours that it reached, as the value of a header.
    pub port_value: HeaderValue,
    /// What its TLS handshake settled; `None` on a plain listener.
    pub tls: Option<TlsPeer>,
    /// Counts it among the open connections; `None` if it is only thought of.
    pub slot: Option<Slot>,
    /// How it asks about requests that it forwards itself; `None` if it sends requests.
    pub asks: Option<Arc<ForwardAuth>>,
}

impl Peer {
    /// The client at `address` that reached our `local` address.
    pub fn new(address: SocketAddr, local: SocketAddr, tls: Option<TlsPeer>) -> Self {
        let ip = address.ip().to_canonical();
        let ip_value = HeaderValue::try_from(ip.to_string()).expect("an address is plain ASCII");
        Self {
            ip,
            ip_value,
            port_value: local.port().into(),
            tls,
            slot: None,
            asks: None,
        }
    }

    /// The same, on a listener where a proxy asks.
    #[must_use]
    pub fn asking(mut self, asks: Option<Arc<ForwardAuth>>) -> Self {
        self.asks = asks;
        self
    }

    /// The certificate that the client has shown; `None` if it has shown none. That of a proxy that asks is not its client's.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        match self.asks {
            None => self.tls.as_ref()?.client.as_deref(),
            Some(_) => None,
        }
    }

    /// Adds to the head of an answer what its listener says of TLS to come, unless that says something itself.
    pub fn promise(&self, headers: &mut HeaderMap) {
        if let Some(hsts) = self.tls.as_ref().and_then(|tls| tls.hsts.as_ref()) {
            headers
                .entry(STRICT_TRANSPORT_SECURITY)
                .or_insert_with(|| hsts.clone());
        }
    }

    /// The same, counted by this slot.
    #[must_use]
    pub fn holding(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }
}

/// Who a client is by its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its names, each with its kind: `cn:`, `dns:` or `uri:`.
    pub names: Vec<String>,
    /// The subject, such as `CN=billing, O=Example`.
    pub subject: String,
    /// Alternative names, each with its kind: `dns:`, `uri:`, `email:` or `ip:`.
    pub alternative_names: Vec<String>,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
}

/// What a TLS handshake settled.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// The name it asked for (SNI), in lower case.
    pub server_name: Option<Arc<str>>,
    /// The certificate that the client has shown and that was verified; `None` if it has shown none.
    pub client: Option<Arc<ClientCertificate>>,
    /// What answers say of TLS to come (`Strict-Transport-Security`).
    pub hsts: Option<HeaderValue>,
    /// Which hosts this connection may be used for: see [`HostScope`].
    pub scope: Arc<dyn HostScope>,
}

/// Which hosts one TLS connection stands for.
///
/// A client may send requests for several hosts on one connection (RFC 9113 section 9.1.1), but only for hosts that the
/// same certificate and the same client-certificate rules cover. For others it is told so with 421.
pub trait HostScope: std::fmt::Debug + Send + Sync {
    /// Whether a request for `host` (lower case, no port) may come over a connection opened for `server_name`.
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool;
}
