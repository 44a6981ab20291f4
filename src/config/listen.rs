//! The process and its listeners: addresses, TLS, bounds on clients, logging.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::acme::Acme;
use super::forward_auth::ForwardAuth;
use super::value::Duration;

/// The process as a whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads, each with its own listener, connection pool and store connection. 0 = one per core.
    pub workers: u16,
    /// How long everything is served as before after SIGTERM, while `/ready` says that it is not ready: as long as a load
    /// balancer takes to notice.
    pub drain_delay: Duration,
    /// How long open requests may run on after that before they are cut.
    pub drain_timeout: Duration,
    /// Read this file anew when it changes, or a file that it names: certificates, keys, authorities, `"file:PATH"` values.
    /// SIGHUP does that in any case.
    pub watch: bool,
}

impl Default for Server {
    fn default() -> Self {
        // Both together leave 5 s of Kubernetes' default grace period of 30 s for everything else.
        Self {
            workers: 0,
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
            watch: true,
        }
    }
}

/// One address that clients connect to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, such as `"0.0.0.0:8443"` or `"[::]:8443"`. Port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS. Without it the listener speaks plain HTTP/1.1.
    pub tls: Option<ListenerTls>,
    /// Whether a proxy in front says first, by the PROXY protocol (version 1 or 2), whose connection it passes on. Only those
    /// in `forwarded.trusted_proxies` may.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Another proxy asks here whether requests may pass. Absent: clients connect here.
    pub forward_auth: Option<ForwardAuth>,
}

impl Listener {
    /// One that clients connect to themselves.
    pub fn direct(address: SocketAddr, tls: Option<ListenerTls>) -> Self {
        Self {
            address,
            tls,
            proxy_protocol: ProxyProtocol::Off,
            forward_auth: None,
        }
    }
}

/// Whether connections begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Never.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do; others are closed.
    Required,
}

/// TLS of one listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates, chosen by the name the client asks for (SNI). The first one answers clients that send no name. At least
    /// one, or `acme`.
    #[serde(default)]
    #[schemars(with = "Vec<Certificate>")]
    pub certificates: Vec<Spanned<Certificate>>,
    /// Certificates that the listener orders itself. Absent: none. The admin API orders none.
    pub acme: Option<Acme>,
    /// The oldest TLS version accepted.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Protocols offered in ALPN, best first.
    #[serde(default = "default_alpn")]
    pub alpn: Vec<Alpn>,
    /// Whether clients must show a certificate (mutual TLS).
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// How long browsers shall use TLS only for the hosts they find here (`Strict-Transport-Security`, RFC 6797). Absent:
    /// nothing is said. An upstream that says something itself is left its word.
    pub hsts: Option<Duration>,
    /// And for every host below them.
    #[serde(default)]
    pub hsts_subdomains: bool,
    /// And consent to be put into the lists that browsers come with.
    #[serde(default)]
    pub hsts_preload: bool,
    /// PEM file with the authorities that may sign client certificates.
    #[schemars(with = "Option<PathBuf>")]
    pub client_ca: Option<Spanned<PathBuf>>,
}

fn default_alpn() -> Vec<Alpn> {
    vec![Alpn::H2, Alpn::Http11]
}

/// One certificate with its key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate, followed by its intermediates.
    #[schemars(with = "PathBuf")]
    pub cert: Spanned<PathBuf>,
    /// PEM file with the private key (PKCS#8, PKCS#1 or SEC1).
    #[schemars(with = "PathBuf")]
    pub key: Spanned<PathBuf>,
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// An application protocol, by its ALPN name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Never asked for.
    #[default]
    None,
    /// Asked for and verified if shown.
    Optional,
    /// The handshake fails without one.
    Required,
}

/// Logging, to standard error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `"info,drawbridge::store=debug"`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
