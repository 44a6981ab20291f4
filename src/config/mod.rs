//! What `gateway.toml` says: plain types with units, defaults and their reasons. No behavior.
//!
//! The doc comment of a field is its manual: it goes into the JSON schema that `drawbridge schema` prints.
//! Every table refuses unknown keys. A field wrapped in [`Spanned`] is one that a later check may complain
//! about, so it remembers where in the file it stands.

pub mod check;
mod document;
mod expand;
pub mod fault;
pub mod load;
mod places;
pub mod render;
pub mod value;
mod wording;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

pub use self::expand::Surroundings;
pub use self::places::Places;
use self::value::{
    Duration, FieldPath, HeaderName, HostPattern, KeyTemplate, Method, Network, Origin,
    PathPattern, PermissionPattern, Rate, RedisUrl, Secret, Size, TokenPrefix, TokenSource,
    UpgradeName,
};

/// The whole of `gateway.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The process: how many workers, how long to drain.
    #[serde(default)]
    pub server: Server,
    /// Where clients connect. At least one.
    #[schemars(with = "Vec<Listener>")]
    pub listeners: Vec<Spanned<Listener>>,
    /// Where sessions live.
    #[schemars(with = "Store")]
    pub store: Spanned<Store>,
    /// Where in a request the token is looked for, and what a token may look like.
    #[serde(default)]
    pub tokens: Tokens,
    /// Which headers tell the upstream who the user is.
    #[serde(default)]
    pub identity: Identity,
    /// Which proxies in front of the gateway may speak for a client.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Bounds on what one client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// The services behind the gateway, by name.
    #[schemars(with = "BTreeMap<String, Upstream>")]
    pub upstreams: BTreeMap<String, Spanned<Upstream>>,
    /// Which request goes where, and who may send it.
    #[schemars(with = "Vec<Route>")]
    pub routes: Vec<Spanned<Route>>,
    /// Where in the file everything stands.
    #[serde(skip)]
    pub places: Places,
}

/// The process as a whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads, each with its own listener, connection pool and store connection. 0 = one per core.
    pub workers: u16,
    /// How long open requests may run on after SIGTERM before they are cut.
    pub drain_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        // 25 s leaves 5 s of Kubernetes' default grace period of 30 s for everything else.
        Self {
            workers: 0,
            drain_timeout: Duration::from_secs(25),
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
}

/// TLS of one listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates, chosen by the name the client asks for (SNI). The first one answers clients that send no name.
    #[schemars(with = "Vec<Certificate>")]
    pub certificates: Vec<Spanned<Certificate>>,
    /// The oldest TLS version accepted.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Protocols offered in ALPN, best first.
    #[serde(default = "default_alpn")]
    pub alpn: Vec<Alpn>,
    /// Whether clients must show a certificate (mutual TLS).
    #[serde(default)]
    pub client_auth: ClientAuth,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
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

/// Where sessions live: exactly one of `embedded` and `redis`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// File of the embedded store. One process at a time; it is created if missing.
    #[schemars(with = "Option<PathBuf>")]
    pub embedded: Option<Spanned<PathBuf>>,
    /// Redis or Valkey: `redis://`, `rediss://` (TLS), `redis-sentinel://…?sentinelServiceName=NAME`, `redis-cluster://`.
    #[schemars(with = "Option<RedisUrl>")]
    pub redis: Option<Spanned<RedisUrl>>,
    /// ACL user; overrides the one in the URL.
    pub username: Option<String>,
    /// Password; overrides the one in the URL. Use `"${NAME}"` or `"file:/run/secrets/redis"`.
    pub password: Option<Secret>,
    /// PEM file with the authorities that may sign the server's certificate; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub tls_ca: Option<Spanned<PathBuf>>,
    /// The key of a session; `{token}` stands for the token, or for its digest where `tokens.at_rest = "sha256"`.
    #[serde(default)]
    pub key: KeyTemplate,
    /// After this long without an answer a lookup gives up: 503, never 401.
    #[serde(default = "default_lookup_deadline")]
    pub lookup_deadline: Duration,
    /// Lookups under way per worker; one more is answered 503 at once.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: u32,
    /// Largest session record that is read.
    #[serde(default = "default_max_record")]
    pub max_record: Size,
    /// Deepest nesting of arrays and objects in a record that is read.
    #[serde(default = "default_max_depth")]
    pub max_depth: u8,
    /// Where in the record each part of a session is found.
    #[serde(default)]
    pub fields: Fields,
}

fn default_lookup_deadline() -> Duration {
    Duration::from_millis(250)
}

fn default_max_in_flight() -> u32 {
    // A frozen Redis at 20,000 lookups a second fills this within one deadline; more would only be memory.
    4096
}

fn default_max_record() -> Size {
    Size::kib(64)
}

fn default_max_depth() -> u8 {
    16
}

/// Paths into the session record, parts joined with dots: `"device.id"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The user's id: a string or an integer. A record without it is not a session.
    pub user_id: FieldPath,
    /// List of strings, or one string with blanks or commas between.
    pub permissions: FieldPath,
    /// List of strings, or one string with blanks or commas between.
    pub roles: FieldPath,
    /// When the session ends: Unix time in seconds, or in milliseconds if above 100,000,000,000.
    pub expires_at: FieldPath,
    /// The device's id.
    pub device_id: FieldPath,
    /// The device's type, such as `phone`.
    pub device_type: FieldPath,
    /// The device's name, such as `Pixel 12`.
    pub device_name: FieldPath,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            user_id: FieldPath::known("user_id"),
            permissions: FieldPath::known("permissions"),
            roles: FieldPath::known("roles"),
            expires_at: FieldPath::known("expires_at"),
            device_id: FieldPath::known("device.id"),
            device_type: FieldPath::known("device.type"),
            device_name: FieldPath::known("device.name"),
        }
    }
}

/// Tokens: where they are carried and what they look like.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Where to look, in order: `"bearer"`, `"header:NAME"`, `"cookie:NAME"`. Two different tokens in one request are refused.
    pub sources: Vec<TokenSource>,
    /// Longest token that is looked up; a longer one is 401 without asking the store.
    pub max_length: Size,
    /// Which characters a token may have.
    pub charset: Charset,
    /// What the store's key holds: the token itself, or its SHA-256 in hex so that a dump of the store opens no door.
    pub at_rest: AtRest,
    /// Put in front of every token we mint, so that secret scanners can find a leaked one.
    pub prefix: TokenPrefix,
    /// How long a session lives that we mint.
    pub lifetime: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            sources: vec![TokenSource::Bearer],
            max_length: Size::bytes(512),
            charset: Charset::Token68,
            at_rest: AtRest::Plain,
            prefix: TokenPrefix::default(),
            lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// `A-Z a-z 0-9 - . _ ~ + / =` (RFC 9110 token68): base64, base64url, hex, UUID, JWT.
    #[default]
    Token68,
    /// `A-Z a-z 0-9 - _`.
    Base64url,
    /// `0-9 a-f A-F -`: hex and UUID.
    Hex,
}

/// What the store's key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtRest {
    /// The token.
    #[default]
    Plain,
    /// The token's SHA-256, in lower-case hex.
    Sha256,
}

/// The identity that upstreams see.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Header name to what it carries. Every spelling of every name here is removed from every request first.
    pub headers: BTreeMap<HeaderName, IdentityField>,
    /// What to do with a value that has bytes a header cannot carry.
    pub encoding: Encoding,
    /// Longest header value; a session that needs a longer one is refused with 500.
    pub max_value: Size,
}

impl Default for Identity {
    fn default() -> Self {
        let headers = [
            ("x-user-id", IdentityField::UserId),
            ("x-user-permissions", IdentityField::Permissions),
            ("x-user-roles", IdentityField::Roles),
            ("x-device-id", IdentityField::DeviceId),
            ("x-device-type", IdentityField::DeviceType),
            ("x-request-id", IdentityField::RequestId),
        ];
        Self {
            headers: headers
                .into_iter()
                .map(|(name, field)| (HeaderName::known(name), field))
                .collect(),
            encoding: Encoding::Percent,
            // Upstreams commonly stop at 8 KiB for one header line (nginx, Apache httpd).
            max_value: Size::kib(4),
        }
    }
}

/// One part of a session that a header can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentityField {
    /// The user's id.
    UserId,
    /// Permissions, joined with commas.
    Permissions,
    /// Roles, joined with commas.
    Roles,
    /// The device's id.
    DeviceId,
    /// The device's type.
    DeviceType,
    /// The device's name.
    DeviceName,
    /// End of the session, Unix time in seconds.
    ExpiresAt,
    /// The id of this request.
    RequestId,
    /// The name of the route that let the request in.
    Route,
}

/// What to do with identity values that are not plain visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Percent-encode every byte outside visible ASCII, and `%` itself; in lists also the comma.
    #[default]
    Percent,
    /// Refuse the request with 500.
    Refuse,
}

/// Trust in proxies in front of the gateway.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarded {
    /// Networks whose `X-Forwarded-*` is believed. Empty means nobody: everything a client sends is dropped and rebuilt.
    pub trusted_proxies: Vec<Network>,
    /// Also write the `Forwarded` header of RFC 7239.
    pub rfc7239: bool,
}

/// Bounds on clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// TLS handshake, from accept to finished.
    pub handshake_timeout: Duration,
    /// From the first byte (or from the end of the last answer) to the end of the request head; closes idle connections too.
    pub header_timeout: Duration,
    /// The whole request head; 431 beyond it. At least 8 KiB.
    pub max_head: Size,
    /// The request target; 414 beyond it.
    pub max_uri: Size,
    /// Client connections per worker; one more waits in the system's accept queue.
    pub max_connections: u32,
    /// Requests under way on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(60),
            max_head: Size::kib(32),
            max_uri: Size::kib(8),
            max_connections: 16_384,
            max_streams: 100,
        }
    }
}

/// Logging, to standard error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `"info,drawbridge::store=debug"`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
    /// One line per request, at its end, on standard output.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
            access: false,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A service behind the gateway.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `"http://host:port"` or `"https://host:port"`, without a path. Several share the load in turn.
    #[schemars(with = "Vec<Origin>")]
    pub endpoints: Vec<Spanned<Origin>>,
    /// TLS towards `https` endpoints.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// The `Host` the upstream sees.
    #[serde(default)]
    pub host: HostHeader,
    /// Idle connections kept per endpoint and worker.
    #[serde(default = "default_max_idle")]
    pub max_idle: u32,
    /// Idle connections older than this are closed. Keep it below the upstream's own keep-alive.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Duration,
}

fn default_max_idle() -> u32 {
    128
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostHeader {
    /// The one the client sent.
    #[default]
    Client,
    /// The endpoint's own.
    Endpoint,
}

/// TLS towards an upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities that may sign the upstream's certificate; the system's if absent.
    #[schemars(with = "Option<PathBuf>")]
    pub ca: Option<Spanned<PathBuf>>,
    /// The name to verify, if it is not the endpoint's host.
    #[schemars(with = "Option<String>")]
    pub server_name: Option<Spanned<String>>,
}

/// One rule: which requests, who may send them, and where they go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in logs, errors and `explain`. Default: host and path.
    pub name: Option<String>,
    /// `"api.example.com"`, or `"*.example.com"` for one label below it. Absent: every host.
    #[schemars(with = "Option<HostPattern>")]
    pub host: Option<Spanned<HostPattern>>,
    /// Path prefix, on segment borders: `/api` covers `/api` and `/api/x`, not `/apix`.
    #[schemars(with = "Option<PathPattern>")]
    pub prefix: Option<Spanned<PathPattern>>,
    /// The one path. Exactly one of `prefix` and `exact`.
    #[schemars(with = "Option<PathPattern>")]
    pub exact: Option<Spanned<PathPattern>>,
    /// Methods; all if absent. A path whose routes know other methods only is 405.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// Whether a session is needed.
    #[serde(default)]
    pub auth: Auth,
    /// What the session must have.
    #[serde(default)]
    pub require: Require,
    /// Token sources of this route, in place of `[tokens] sources`.
    pub tokens: Option<Vec<TokenSource>>,
    /// Let the token go on to the upstream. Off: the upstream never sees it.
    #[serde(default)]
    pub forward_token: bool,
    /// Name of an entry of `[upstreams]`.
    #[schemars(with = "String")]
    pub upstream: Spanned<String>,
    /// Take the route's prefix off the path before forwarding.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Put this in place of the route's prefix before forwarding.
    #[schemars(with = "Option<PathPattern>")]
    pub replace_prefix: Option<Spanned<PathPattern>>,
    /// Identity headers of this route, in place of `[identity] headers`.
    pub headers: Option<BTreeMap<HeaderName, IdentityField>>,
    /// How long to wait for the upstream.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Largest request body; 413 beyond it.
    #[serde(default = "default_max_body")]
    pub max_body: Size,
    /// Protocols a client may upgrade to, such as `"websocket"`. Others are not passed on.
    #[serde(default)]
    pub upgrades: Vec<UpgradeName>,
    /// Requests a second, counted in this process.
    #[serde(default)]
    pub limit: RouteLimit,
}

impl Route {
    /// What the route is called in logs: its name, or else its host and path.
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let host = self
            .host
            .as_ref()
            .map_or("*".to_owned(), |host| host.get_ref().to_string());
        match (&self.exact, &self.prefix) {
            (Some(path), _) => format!("{host}{}", path.get_ref().as_str()),
            (None, Some(prefix)) => format!("{host}{}*", prefix.get_ref().as_str()),
            (None, None) => host,
        }
    }
}

fn default_max_body() -> Size {
    Size::mib(8)
}

/// Whether a session is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// No session: 401.
    #[default]
    Required,
    /// No session, or a dead one: the request passes without identity. Store unreachable: 503.
    Optional,
    /// The store is not asked; every request passes without identity.
    Public,
}

/// Conditions on a session; all of them must hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// Every one of these permissions. `orders:*` is met by any permission below `orders`.
    pub all: Vec<PermissionPattern>,
    /// At least one of these permissions.
    pub any: Vec<PermissionPattern>,
    /// Not one of these permissions.
    pub none: Vec<PermissionPattern>,
    /// At least one of these roles.
    pub roles: Vec<String>,
    /// The device is of one of these types.
    pub device_types: Vec<String>,
}

/// Deadlines towards an upstream.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP connect plus TLS handshake; 504 beyond it.
    pub connect: Duration,
    /// From the sent request to the head of the answer; 504 beyond it.
    pub response: Duration,
    /// Between two pieces of a body, either way, and on an upgraded connection.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// Rates of one route; 429 beyond them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimit {
    /// For one client address: `"100/s"`, `"600/m"`.
    pub per_client: Option<Rate>,
    /// For one user.
    pub per_user: Option<Rate>,
}
