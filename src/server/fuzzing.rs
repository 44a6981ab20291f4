//! Doors to what reads bytes here, for `fuzzing` alone.

use std::net::{Ipv4Addr, SocketAddr};

use http::Request;

use super::{http1, introduction};
use crate::head::{HeadError, HeadLimits};

/// What is read of a head.
#[derive(Debug)]
pub struct Reading {
    /// Its parts.
    pub request: Request<()>,
    /// How its body ends, and whether another request may follow, in words.
    pub rest: String,
    /// Why it is not let in.
    pub fault: Option<HeadError>,
    /// Its length in bytes.
    pub length: usize,
}

/// The head of a request at the start of these bytes; `None` if it is not there as a whole.
///
/// # Errors
/// If no request can be made of it.
pub fn read_head(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Reading>, HeadError> {
    let Some((heading, length)) = http1::read_head(bytes, limits)? else {
        return Ok(None);
    };
    let rest = format!(
        "{:?}, keeps {}, expects {}",
        heading.framing, heading.keep_alive, heading.expects
    );
    Ok(Some(Reading {
        request: heading.request,
        rest,
        fault: heading.fault,
        length,
    }))
}

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
