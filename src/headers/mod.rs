//! Strip, then dress: what goes upstream, and what comes back. (placeholder, being written)

use http::Request;
use hyper::upgrade::OnUpgrade;

use crate::body::Body;
use crate::config::{HostHeader, Timeouts};

/// A request that has been judged, stripped and dressed. Only this module makes one, from a `Permit`.
#[derive(Debug)]
pub struct Outbound {
    request: Request<Body>,
    upgrade: Option<ClientUpgrade>,
    timeouts: Timeouts,
}

/// A protocol switch that the client asked for and the route allows.
#[derive(Debug)]
pub struct ClientUpgrade {
    /// The protocol, in lower case, such as `websocket`.
    pub protocol: String,
    /// The client's side of the connection, once our 101 has been sent.
    pub client: OnUpgrade,
}

impl Outbound {
    /// For `upstream`: the request (origin-form URI, exactly one `Host`, no hop-by-hop fields except the
    /// `Connection: upgrade` and `Upgrade` of an allowed upgrade, and `TE: trailers`), the upgrade, the deadlines.
    pub fn into_parts(self) -> (Request<Body>, Option<ClientUpgrade>, Timeouts) {
        (self.request, self.upgrade, self.timeouts)
    }

    /// For an upstream with `host = "endpoint"`.
    pub const HOST: HostHeader = HostHeader::Client;
}
