//! Rules: which request goes where, and who may send it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::identity::IdentityField;
use super::limit::RateLimit;
use super::value::{
    Duration, HeaderName, HostPattern, Method, PathPattern, PermissionPattern, Size, TokenSource,
    UpgradeName,
};

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
    /// The upstream's answers may log users in: see `[login]`.
    #[serde(default)]
    pub login: bool,
    /// The upstream's answers may log users out: see `[login]`.
    #[serde(default)]
    pub logout: bool,
    /// Name of an entry of `[upstreams]`. May be left out where another proxy asks and forwards (`forward_auth` of a
    /// listener): a request that comes to the gateway itself is 404 then.
    #[schemars(with = "Option<String>")]
    pub upstream: Option<Spanned<String>>,
    /// Take the route's prefix off the path before forwarding.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Put this in place of the route's prefix before forwarding.
    #[schemars(with = "Option<PathPattern>")]
    pub replace_prefix: Option<Spanned<PathPattern>>,
    /// Identity headers of this route, in place of `[identity] headers`.
    pub headers: Option<BTreeMap<HeaderName, IdentityField>>,
    /// Whom the assertions of this route are for (`aud`, see `[assertion]`). Default: the name of the upstream, or of the
    /// route if it has none.
    #[schemars(with = "Option<String>")]
    pub audience: Option<Spanned<String>>,
    /// How long to wait for the upstream.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Largest request body; 413 beyond it.
    #[serde(default = "default_max_body")]
    pub max_body: Size,
    /// Protocols a client may upgrade to, such as `"websocket"`. Others are not passed on.
    #[serde(default)]
    pub upgrades: Vec<UpgradeName>,
    /// Rate limits of this route, in place of `[limits] rates`.
    #[schemars(with = "Option<Vec<RateLimit>>")]
    pub limits: Option<Vec<Spanned<RateLimit>>>,
    /// The name under which users can be banned from this route and others of the same name. Needs `[sessions]`.
    #[schemars(with = "Option<String>")]
    pub service: Option<Spanned<String>>,
    /// The highest risk, 0 to 100, that a user or session may have here; 403 beyond it. Needs `[sessions]`.
    pub max_risk: Option<u8>,
    /// How long ago the user may have proved who they are by a step-up; 401 beyond it (RFC 9470). Needs `[sessions]`.
    pub elevated_within: Option<Duration>,
    /// Whether a request here counts as use of the session where `sessions.idle` is set. Off: for polling.
    #[serde(default = "yes")]
    pub touch: bool,
    /// In place of `cache.max_staleness`: how long after its session was ended a request may still be let in here, whatever
    /// fails. `"0s"` asks the store for each request.
    pub max_staleness: Option<Duration>,
    /// Whether connections that stay open are cut when the session ends that they were opened with: `true` for every
    /// answer that is still being sent too, `false` for none. Absent: those that were upgraded.
    pub close_on_revoke: Option<bool>,
}

fn yes() -> bool {
    true
}

impl Route {
    /// What the route is called in logs: its name, or else its host and path.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.pattern())
    }

    /// What tells it from every other route: its host, path and methods.
    pub fn place(&self) -> String {
        let methods = self.methods.iter().map(|method| method.get().as_str());
        let methods: Vec<_> = methods.collect();
        format!("{} {}", methods.join(","), self.pattern())
    }

    /// Host and path.
    fn pattern(&self) -> String {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
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
    /// From the moment when the request is handed over to the end of the answer; 504 beyond it, or the answer is cut. An
    /// upgraded connection may stay. Absent: as long as it takes.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            total: None,
        }
    }
}
