//! A new connection to an endpoint, up to the point where it can be asked.

use std::io;

use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Body;
use crate::socket::Socket;

/// Largest head of an answer, and how much of an answer is read at a time at most.
const MAX_BUFFER: usize = 64 << 10;

/// Dials; a name with several addresses is tried address by address.
///
/// # Errors
/// If the name has no address, or no address accepts.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<Socket> {
    Socket::new(TcpStream::connect((host, port)).await?)
}

/// Starts HTTP/1.1 on it. The task that drives the connection ends when the sender is dropped or the upstream closes.
///
/// # Errors
/// None in practice: HTTP/1.1 has no handshake on the wire.
pub(super) async fn speak<T>(io: T) -> Result<SendRequest<Body>, hyper::Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    TokioIo<T>: Read + Write,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        // A head is small: gathering it in one buffer is cheaper than keeping a list of pieces.
        .writev(false)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
    Ok(sender)
}
