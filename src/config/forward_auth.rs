//! Proxies that forward requests themselves, and ask the gateway before they do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Network, PathPattern, SigninUrl};

/// A listener with this table forwards nothing: another proxy asks there whether a request may pass, and forwards it
/// itself. Routes, rules and limits are the same as for requests that pass through the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// Which proxy asks. Only its own way of telling about the request is understood here: a client may have written the
    /// headers of another proxy's way, and this one would have passed them on.
    pub proxy: AskingProxy,
    /// Networks that it asks from. Whoever asks from elsewhere gets 403.
    pub trusted: Vec<Network>,
    /// Where browsers without a session are sent, in place of `login.signin`.
    pub signin: Option<SigninUrl>,
    /// What Envoy puts in front of every path (`path_prefix` of its HTTP service); it is taken off. Only for `envoy` and
    /// `gateway-api`.
    pub path_prefix: Option<PathPattern>,
}

/// A proxy that asks before it forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AskingProxy {
    /// nginx, with `auth_request`: tells in `X-Original-URL` and `X-Original-Method`.
    Nginx,
    /// ingress-nginx, with the annotation `auth-url`: as nginx.
    IngressNginx,
    /// Traefik, with `forwardAuth`: tells in `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    Traefik,
    /// Caddy, with `forward_auth`: as Traefik.
    Caddy,
    /// HAProxy, with the script that is shipped: as Traefik.
    Haproxy,
    /// Envoy, with `ext_authz` over HTTP: the question has the method, the host and the path of the request.
    Envoy,
    /// Envoy, with `ext_authz` over gRPC (`envoy.service.auth.v3.Authorization`). In the clear such a listener speaks
    /// HTTP/2 and nothing else.
    EnvoyGrpc,
    /// A Gateway API implementation with the filter `ExternalAuth` over HTTP: as Envoy. Over GRPC it is `envoy-grpc`.
    GatewayApi,
}

/// How a proxy tells about the request that it asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// `X-Original-URL` and `X-Original-Method`.
    Original,
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    Forwarded,
    /// The question's own method, host and path.
    Itself,
    /// A gRPC message.
    Message,
}

impl AskingProxy {
    /// How it tells about a request.
    pub fn telling(self) -> Telling {
        match self {
            Self::Nginx | Self::IngressNginx => Telling::Original,
            Self::Traefik | Self::Caddy | Self::Haproxy => Telling::Forwarded,
            Self::Envoy | Self::GatewayApi => Telling::Itself,
            Self::EnvoyGrpc => Telling::Message,
        }
    }

    /// Whether it hands a redirect on to the client. Others turn every answer but 2xx, 401 and 403 into 500.
    pub fn relays_redirects(self) -> bool {
        self.telling() != Telling::Original
    }
}

impl ForwardAuth {
    /// Whether it may ask from this address.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }
}
