//! Headers of the PROXY protocol.

use std::net::SocketAddr;

use crate::server::fuzzing::{introduced, length_of_introduction};

/// A header ends at one place, however it is cut, and says the same whatever follows it.
pub fn introduction(bytes: &[u8]) {
    let Some(length) = length_of_introduction(bytes) else {
        return;
    };
    let (header, _) = bytes.split_at(length);
    for cut in 0..length {
        let (begun, _) = header.split_at(cut);
        assert_eq!(length_of_introduction(begun), None, "{cut}");
    }
    assert_eq!(length_of_introduction(header), Some(length));
    let Some((client, local)) = introduced(header) else {
        return;
    };
    // Who is named can be named again.
    if let Some(again) = written(client, local) {
        assert_eq!(length_of_introduction(&again), Some(again.len()));
        assert_eq!(introduced(&again), Some((client, local)));
    }
}

/// In version 1; `None` if the two are not of one family.
fn written(client: SocketAddr, local: SocketAddr) -> Option<Vec<u8>> {
    let family = match (client, local) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return None,
    };
    let (from, to) = (client.ip(), local.ip());
    let line = format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        local.port()
    );
    Some(line.into_bytes())
}
