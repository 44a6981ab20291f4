//! A new connection to an endpoint.

use std::io;

use tokio::net::TcpStream;

use crate::socket::Socket;

/// Dials; a name with several addresses is tried address by address.
///
/// # Errors
/// If the name has no address, or no address accepts.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<Socket> {
    Socket::new(TcpStream::connect((host, port)).await?)
}
