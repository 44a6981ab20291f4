//! What upstreams are told of a request: who sends it, and from where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{HeaderName, Network, Size};

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
            ("x-actor-id", IdentityField::ActorId),
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
    /// The id of whoever acts as the user; empty if it is the user.
    ActorId,
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
