//! The admin API and the audit log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::listen::ListenerTls;
use super::value::{CertificateName, Duration, KeyDigest, Rate, Size};

/// The admin API: sessions, users and roles over HTTP, on a listener and a thread of its own. Absent: there is none.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// IP address and port. Not loopback: only with keys or client certificates. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// TLS. With `client_auth` and `client_ca` callers may show a certificate in place of a key; see `clients`.
    pub tls: Option<ListenerTls>,
    /// Who may come in with a key (`Authorization: Bearer dba_…`); `drawbridge admin-key NAME` makes one.
    #[schemars(with = "Vec<AdminKey>")]
    pub keys: Vec<Spanned<AdminKey>>,
    /// Who may come in with a client certificate that `tls.client_ca` has signed.
    #[schemars(with = "Vec<AdminClient>")]
    pub clients: Vec<Spanned<AdminClient>>,
    /// Let everybody on this machine do everything, without a key. Only on a loopback address, and only without `keys`
    /// and `clients`.
    pub unauthenticated_loopback: bool,
    /// The largest request body; 413 beyond it.
    pub max_body: Size,
    /// From the first byte, or the end of the last answer, to the end of the request head; a body may take as long again.
    pub header_timeout: Duration,
    /// Connections at a time; one more waits in the system's queue.
    pub max_connections: u32,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            tls: None,
            keys: Vec::new(),
            clients: Vec::new(),
            unauthenticated_loopback: false,
            max_body: Size::kib(64),
            header_timeout: Duration::from_secs(10),
            max_connections: 256,
        }
    }
}

/// One key. Of the key itself only the digest is kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminKey {
    /// The name it has in the audit log.
    pub name: String,
    /// SHA-256 of the key, 64 hex digits; `"file:/run/secrets/admin-key.sha256"` works as everywhere.
    pub sha256: KeyDigest,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// One client certificate, by a name that stands in it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminClient {
    /// The name it has in the audit log.
    pub name: String,
    /// The name in the certificate: `"cn:NAME"` (the subject's common name), `"dns:NAME"` or `"uri:URI"` (alternative
    /// names, such as a SPIFFE id).
    pub certificate: CertificateName,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// What a caller of the admin API may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Scope {
    /// See sessions, users and roles; introspect tokens.
    #[serde(rename = "sessions:read")]
    SessionsRead,
    /// Open and end sessions, issue and redeem one-time tokens, step up, act as. Whoever opens a session chooses its
    /// rights, so this is as good as `rights:write` for new sessions.
    #[serde(rename = "sessions:write")]
    SessionsWrite,
    /// Change rights, roles, risk and bans.
    #[serde(rename = "rights:write")]
    RightsWrite,
    /// Look at rate limits and lift them.
    #[serde(rename = "limits")]
    Limits,
}

/// Where the audit log goes: exactly one of `file` and `stream`. One JSON line for every change, and one for every
/// refusal. A change whose line cannot be written is not made: 503.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A file that lines are added to; made readable by its owner only if it is missing, and opened anew when it was
    /// renamed or removed (log rotation).
    #[schemars(with = "Option<PathBuf>")]
    pub file: Option<Spanned<PathBuf>>,
    /// A stream in the store's Redis, such as `"login:audit"`. Each entry has one field, `line`.
    #[schemars(with = "Option<String>")]
    pub stream: Option<Spanned<String>>,
    /// Entries that the stream keeps, about; older ones are dropped.
    pub max_entries: u64,
    /// Lines about refusals of callers that nobody knows, for each address. What comes beyond is counted, and told with
    /// one line when the time is over.
    pub strangers: Rate,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            file: None,
            stream: None,
            max_entries: 100_000,
            strangers: Rate::per_minute(10),
        }
    }
}
