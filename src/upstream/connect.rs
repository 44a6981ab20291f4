//! The way to an endpoint.

use std::io;

use tokio::net::TcpStream;

/// Dials; a name with several addresses is tried address by address.
///
/// # Errors
/// If the name has no address, or no address accepts.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // A request is written in one piece; waiting for more would only delay it.
    stream.set_nodelay(true)?;
    Ok(stream)
}
