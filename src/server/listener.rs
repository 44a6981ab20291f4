//! Taking an address: one socket for each worker.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Takes `address` `workers` times.
///
/// On Linux each worker has a socket of its own and the kernel spreads connections over them. Elsewhere it would not
/// spread them, so the workers accept from one socket. Port 0 becomes the same free port for all.
///
/// # Errors
/// If the address is taken, not ours, or not allowed.
pub(super) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let spread = workers > 1 && cfg!(target_os = "linux");
    let first = open(address, spread)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        let next = match sockets.first() {
            Some(first) if !spread => first.try_clone()?,
            Some(_) | None => open(address, spread)?,
        };
        sockets.push(next);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, spread: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for old connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    if spread {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = spread;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
