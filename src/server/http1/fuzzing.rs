//! A door to the reading of heads, for `fuzzing` alone.

use http::Request;

use super::head;
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
    let Some((heading, length)) = head::parse(bytes, limits)? else {
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
