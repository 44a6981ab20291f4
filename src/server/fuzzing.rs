//! Doors to what reads bytes here, for `fuzzing` alone.

use std::net::{Ipv4Addr, SocketAddr};

pub use super::http1::fuzzing::{Reading, read_head};
use super::introduction;

/// Length of the PROXY header at the start of these bytes, if a whole one is there.
pub fn length_of_introduction(bytes: &[u8]) -> Option<usize> {
    introduction::length(bytes)
}

/// Client and local address that this PROXY header names; `None` if it is malformed or names nobody.
pub fn introduced(header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let direct = introduction::Ends {
        client: nobody,
        local: nobody,
    };
    let ends = introduction::parse(header, direct)?;
    (ends != direct).then_some((ends.client, ends.local))
}
