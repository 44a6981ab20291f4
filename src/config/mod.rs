//! What `gateway.toml` says: plain types with units, defaults and their reasons. No behavior.
//!
//! The doc comment of a field is its manual: it goes into the JSON schema that `drawbridge schema` prints.
//! Every table refuses unknown keys. A field wrapped in [`Spanned`] is one that a later check may complain
//! about, so it remembers where in the file it stands.

mod acme;
mod admin;
mod assertion;
mod bounds;
mod cache;
pub mod check;
mod document;
mod expand;
pub mod fault;
mod files;
mod fixed;
mod forward_auth;
mod identity;
mod layout;
mod limit;
mod listen;
pub mod load;
mod login;
mod metrics;
mod places;
pub mod render;
mod route;
mod sessions;
mod store;
mod surface;
mod telemetry;
mod upstream;
pub mod value;
mod wording;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

pub use self::acme::{Acme, ExternalAccount};
pub use self::admin::{Admin, AdminClient, AdminKey, Audit, Scope};
pub use self::assertion::Assertion;
pub use self::bounds::Limits;
pub use self::cache::Cache;
pub use self::expand::Surroundings;
pub use self::files::{Content, Files};
pub use self::fixed::Fixed;
pub use self::forward_auth::{AskingProxy, ForwardAuth, Telling};
pub use self::identity::{Encoding, Forwarded, Identity, IdentityField, Preset};
pub use self::layout::{Foreign as ForeignStore, Layout};
pub use self::limit::{Guard, LimitBy, LimitScope, OnError, RateLimit};
pub use self::listen::{
    Alpn, Certificate, ClientAuth, Listener, ListenerTls, Log, LogFormat, ProxyProtocol, Server,
    TlsVersion,
};
pub use self::login::{Csrf, Login, LoginAnswer, LoginCookie, LoginHeaders, LogoutSign, SameSite};
pub use self::metrics::Metrics;
pub use self::places::Places;
pub use self::route::{Auth, Require, Route, Timeouts};
pub use self::sessions::{Foreign, OnLimit, Sessions, WithoutIat};
pub use self::store::{AtRest, Charset, Fields, Store, Tokens};
pub use self::surface::{JwsAlgorithm, Oidc, SelfService, Sso, UnknownSid};
pub use self::telemetry::{AccessFormat, AccessLog, ParentFrom, Tracing};
pub use self::upstream::{
    Balance, Ejection, Health, HostHeader, Protocol, RetryBudget, Upstream, UpstreamTls,
};
pub use self::value::Network;

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
    /// Sessions that can be ended. Absent: tokens are looked up and nothing else.
    pub sessions: Option<Sessions>,
    /// How long what the store said is believed, and how much of it is kept in memory.
    #[serde(default)]
    pub cache: Cache,
    /// Which headers tell the upstream who the user is.
    #[serde(default)]
    pub identity: Identity,
    /// Identity that upstreams can verify; absent: there is none.
    pub assertion: Option<Assertion>,
    /// What happens when an upstream says that a user has logged in.
    #[serde(default)]
    pub login: Login,
    /// Guard against requests that another site makes a browser send.
    #[serde(default)]
    pub csrf: Csrf,
    /// Endpoints for a user's own sessions; absent: there are none.
    pub self_service: Option<SelfService>,
    /// One login for hosts of several domains; absent: each host has its own.
    pub sso: Option<Sso>,
    /// OpenID providers whose logout tokens end sessions here.
    #[serde(default)]
    pub oidc: Vec<Oidc>,
    /// Which proxies in front of the gateway may speak for a client.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Bounds on what one client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// Clients that try one unknown token after the other.
    #[serde(default)]
    pub guard: Guard,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// What the gateway tells about itself: numbers, alive, ready.
    #[serde(default)]
    pub metrics: Metrics,
    /// The admin API. Absent: there is none.
    pub admin: Option<Admin>,
    /// Where changes made through the admin API and the command line are noted. Absent: in the log.
    pub audit: Option<Audit>,
    /// One line per request.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Traces for an OpenTelemetry collector.
    #[serde(default)]
    pub tracing: Tracing,
    /// The services behind the gateway, by name. None are needed where another proxy asks and forwards.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Upstream>")]
    pub upstreams: BTreeMap<String, Spanned<Upstream>>,
    /// Which request goes where, and who may send it.
    #[schemars(with = "Vec<Route>")]
    pub routes: Vec<Spanned<Route>>,
    /// Where in the file everything stands.
    #[serde(skip)]
    pub places: Places,
    /// What a running process cannot change.
    #[serde(skip)]
    pub fixed: Fixed,
    /// Which files it was made of.
    #[serde(skip)]
    pub files: Files,
}
