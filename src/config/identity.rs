//! What upstreams are told of a request: who sends it, and from where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{HeaderName, Network, Size};

/// The identity that upstreams see.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Which headers there are: those of drawbridge, or those of another gateway that upstreams know already.
    pub preset: Preset,
    /// Header name to what it carries, in place of the preset. Every spelling of every name here is removed from every
    /// request first.
    pub headers: Option<BTreeMap<HeaderName, IdentityField>>,
    /// What to do with a value that has bytes a header cannot carry.
    pub encoding: Encoding,
    /// Longest header value; a session that needs a longer one is refused with 500.
    pub max_value: Size,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            preset: Preset::Drawbridge,
            headers: None,
            encoding: Encoding::Percent,
            // Upstreams commonly stop at 8 KiB for one header line (nginx, Apache httpd).
            max_value: Size::kib(4),
        }
    }
}

impl Identity {
    /// The headers of every route that has none of its own.
    pub fn plan(&self) -> BTreeMap<HeaderName, IdentityField> {
        self.headers
            .clone()
            .unwrap_or_else(|| self.preset.headers())
    }
}

/// Names of identity headers. What sessions here do not have, such as an address of e-mail, is always written empty:
/// an upstream that knows the name must not believe a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// `X-User-Id`, `X-User-Permissions`, `X-User-Roles`, `X-Device-Id`, `X-Device-Type`, `X-Actor-Id`, `X-Request-Id`.
    #[default]
    Drawbridge,
    /// `X-Auth-Request-User`, `-Groups` (roles), `-Preferred-Username` (the user's id), `-Email` (empty),
    /// `-Access-Token` (empty).
    #[serde(rename = "oauth2-proxy")]
    Oauth2Proxy,
    /// `Remote-User`, `Remote-Groups` (roles), `Remote-Name` (the user's id), `Remote-Email` (empty).
    Authelia,
    /// `X-authentik-username`, `-uid` and `-name` (the user's id), `-groups` (roles) and `-entitlements` (permissions)
    /// joined with `|`, `-email` and `-jwt` (empty).
    Authentik,
    /// `X-Consumer-ID`, `X-Consumer-Username` and `X-Consumer-Custom-ID` (the user's id), `X-Consumer-Groups` (roles),
    /// `X-Anonymous-Consumer` (`true` without a session), `X-Credential-Identifier` (empty).
    Kong,
}

impl Preset {
    /// What each of its headers carries.
    pub fn headers(self) -> BTreeMap<HeaderName, IdentityField> {
        use IdentityField as Field;
        let headers: &[(&'static str, Field)] = match self {
            Self::Drawbridge => &[
                ("x-user-id", Field::UserId),
                ("x-user-permissions", Field::Permissions),
                ("x-user-roles", Field::Roles),
                ("x-device-id", Field::DeviceId),
                ("x-device-type", Field::DeviceType),
                ("x-actor-id", Field::ActorId),
                ("x-request-id", Field::RequestId),
            ],
            Self::Oauth2Proxy => &[
                ("x-auth-request-user", Field::UserId),
                ("x-auth-request-preferred-username", Field::UserId),
                ("x-auth-request-groups", Field::Roles),
                ("x-auth-request-email", Field::Nothing),
                ("x-auth-request-access-token", Field::Nothing),
            ],
            Self::Authelia => &[
                ("remote-user", Field::UserId),
                ("remote-name", Field::UserId),
                ("remote-groups", Field::Roles),
                ("remote-email", Field::Nothing),
            ],
            Self::Authentik => &[
                ("x-authentik-username", Field::UserId),
                ("x-authentik-uid", Field::UserId),
                ("x-authentik-name", Field::UserId),
                ("x-authentik-groups", Field::RolesPiped),
                ("x-authentik-entitlements", Field::PermissionsPiped),
                ("x-authentik-email", Field::Nothing),
                ("x-authentik-jwt", Field::Nothing),
            ],
            Self::Kong => &[
                ("x-consumer-id", Field::UserId),
                ("x-consumer-username", Field::UserId),
                ("x-consumer-custom-id", Field::UserId),
                ("x-consumer-groups", Field::Roles),
                ("x-anonymous-consumer", Field::Anonymous),
                ("x-credential-identifier", Field::Nothing),
            ],
        };
        let known = headers.iter();
        known
            .map(|(name, field)| (HeaderName::known(name), *field))
            .collect()
    }
}

/// What a header can carry: a part of the session, or something about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
    /// The id of whoever acts as the user; empty if it is the user.
    ActorId,
    /// The id of this request.
    RequestId,
    /// The subject of the certificate that the client has shown and that was verified; empty without one.
    CertSubject,
    /// Its alternative names, joined with commas, each with its kind: `dns:`, `uri:`, `email:` or `ip:`.
    CertSan,
    /// The SHA-256 of it, in hex.
    CertFingerprint,
    /// The name of the route that let the request in.
    Route,
    /// Permissions, joined with `|`.
    PermissionsPiped,
    /// Roles, joined with `|`.
    RolesPiped,
    /// `true` if there is no session, else empty.
    Anonymous,
    /// Nothing, ever: clients cannot send the header either.
    Nothing,
}

/// What to do with identity values that are not plain visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
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
