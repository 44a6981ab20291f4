//! The services behind the gateway: pick an endpoint, check out a connection, send, hand the answer back.

use std::collections::BTreeMap;

use http::Response;
use toml::Spanned;

use crate::body::Body;
use crate::config;
use crate::config::fault::Fault;
use crate::headers::Outbound;

/// All upstreams of one worker.
#[derive(Debug, Default)]
pub struct Upstreams {
    all: Vec<Upstream>,
    names: Vec<String>,
}

/// Which upstream: made in [`Upstreams::id`], so it is always one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamId(usize);

/// One named service.
#[derive(Debug)]
pub struct Upstream {}

/// Why there is no answer from upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No endpoint accepted a connection. 502.
    #[error("cannot connect to the upstream")]
    Connect(#[source] std::io::Error),
    /// No connection within `timeouts.connect`. 504.
    #[error("no connection to the upstream within the connect timeout")]
    ConnectTimeout,
    /// No head of an answer within `timeouts.response`. 504.
    #[error("no answer from the upstream within the response timeout")]
    ResponseTimeout,
    /// It closed the connection or did not speak HTTP/1.1. 502.
    #[error("the upstream broke off or broke the protocol")]
    Broken(#[source] hyper::Error),
    /// It switched to a protocol that was not asked for. 502.
    #[error("the upstream switched to a protocol that was not asked for")]
    WrongUpgrade,
    /// The client's body was larger than the route allows. 413.
    #[error("the request body is larger than the route allows")]
    BodyTooLarge,
    /// The client's body broke off or stalled. 400.
    #[error("the client broke off its request body")]
    ClientBody,
}

impl Upstreams {
    /// Compiles `[upstreams]`; nothing is dialled yet.
    ///
    /// # Errors
    /// One fault for each file that cannot be read and each name that cannot be verified.
    pub fn build(config: &BTreeMap<String, Spanned<config::Upstream>>) -> Result<Self, Vec<Fault>> {
        let _ = config;
        Ok(Self::default())
    }

    /// The upstream of this name.
    pub fn id(&self, name: &str) -> Option<UpstreamId> {
        self.names
            .iter()
            .position(|known| known == name)
            .map(UpstreamId)
    }

    /// The upstream with this id.
    pub fn get(&self, id: UpstreamId) -> &Upstream {
        self.all.get(id.0).expect("ids are made by `id`")
    }
}

impl Upstream {
    /// Sends the request and hands back the head of the answer with its body still streaming.
    ///
    /// # Errors
    /// If there is no answer; see [`UpstreamError`] for whose fault it is.
    pub async fn forward(&self, outbound: Outbound) -> Result<Response<Body>, UpstreamError> {
        let _ = outbound;
        Err(UpstreamError::ConnectTimeout)
    }
}
