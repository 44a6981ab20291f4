//! Telling systemd how it goes: one datagram for each word (`sd_notify(3)`), nothing where there is no systemd.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where systemd listens; an address that starts with `@` is an abstract one.
const SOCKET: &str = "NOTIFY_SOCKET";

/// It serves, with the configuration that there is.
pub(super) const READY: &str = "READY=1";
/// It reads its configuration anew; [`READY`] follows.
pub(super) const RELOADING: &str = "RELOADING=1";
/// It comes to an end.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells this word.
pub(super) fn notify(word: &str) {
    let Some(address) = std::env::var_os(SOCKET) else {
        return;
    };
    if let Err(error) = send(&address, word) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

fn send(address: &OsStr, word: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match address.as_bytes().strip_prefix(b"@") {
        None => socket.send_to(word.as_bytes(), address)?,
        Some(name) => socket.send_to_addr(word.as_bytes(), &abstract_address(name)?)?,
    };
    Ok(())
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
