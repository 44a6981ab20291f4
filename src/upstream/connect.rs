//! A new connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::UpstreamError;
use super::names::Names;
use super::tls::{Stream, Tls};
use crate::socket::Socket;

/// Dials; a name with several addresses is tried address by address.
///
/// # Errors
/// If the name has no address, or no address accepts.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<Socket> {
    Socket::new(TcpStream::connect((host, port)).await?)
}

/// How an endpoint is reached; the same for all workers.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) names: Names,
    /// `None` for an endpoint in the clear.
    pub(super) tls: Option<Tls>,
}

/// A fresh connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) io: LinkIo,
    pub(super) address: SocketAddr,
}

/// The connection below.
#[derive(Debug)]
pub(super) enum LinkIo {
    Plain(Socket),
    Tls(Box<Stream>),
}

/// Which protocol a fresh connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1 and nothing else.
    H1,
    /// HTTP/2 and nothing else.
    H2,
    /// Whichever the endpoint prefers.
    Either,
}

impl Dialer {
    /// Dials one address after the other until one accepts, and does the handshake of TLS; all within `patience`, of
    /// which each address gets a fair share, so that one that swallows everything does not hide the others.
    ///
    /// # Errors
    /// [`UpstreamError::Connect`] or [`UpstreamError::ConnectTimeout`], of the last address.
    pub(super) async fn dial(
        &self,
        offer: Offer,
        patience: Duration,
    ) -> Result<Link, UpstreamError> {
        let start = Instant::now();
        let addresses = timeout(patience, self.names.addresses())
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        let mut last = UpstreamError::Connect(io::ErrorKind::AddrNotAvailable.into());
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            let share = patience.saturating_sub(start.elapsed()) / left.max(1);
            left = left.saturating_sub(1);
            match timeout(share, self.open(address, offer)).await {
                Ok(Ok(io)) => return Ok(Link { io, address }),
                Ok(Err(error)) => last = UpstreamError::Connect(error),
                Err(_) => last = UpstreamError::ConnectTimeout,
            }
        }
        Err(last)
    }

    async fn open(&self, address: SocketAddr, offer: Offer) -> io::Result<LinkIo> {
        let socket = Socket::new(TcpStream::connect(address).await?)?;
        match &self.tls {
            None => Ok(LinkIo::Plain(socket)),
            Some(tls) => Ok(LinkIo::Tls(Box::new(tls.offer(socket, offer).await?))),
        }
    }
}

impl LinkIo {
    /// Whether the endpoint has chosen HTTP/2 in the handshake.
    pub(super) fn chose_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}
