//! From bytes to a request: the one reading of an HTTP/1.1 head (RFC 9112), or none.
//!
//! # Threat model
//! What two programs could read in two ways is refused here, before anything is decided about it: a line that ends with
//! a bare LF, a folded line, several lengths, a length next to a transfer coding, any coding but `chunked`.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use httparse::{Header, Status};
use memchr::memchr_iter;

use crate::chunked::Chunks;
use crate::field;
use crate::head::{HeadError, HeadLimits};

/// Header lines that are parsed without asking for memory.
const USUAL_HEADERS: usize = 100;

/// What is known of a request besides its parts.
#[derive(Debug)]
pub(super) struct Heading {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// Whether the client would send another request on this connection.
    pub(super) keep_alive: bool,
    /// Whether the client waits for a 100 before it sends its body.
    pub(super) expects: bool,
    /// What is wrong with it: it is answered, but never forwarded, and nothing behind it is read.
    pub(super) fault: Option<HeadError>,
}

/// How a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// There is none, or it has been read.
    None,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked(Box<Chunks>),
    /// Nobody knows: it must not be read.
    Unknown,
}

/// The head at the start of `bytes` and its length; `None` if it is not there as a whole.
///
/// # Errors
/// If no request can be made of it.
pub(super) fn parse(
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(Heading, usize)>, HeadError> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut many = Vec::new();
    let lines: &mut [MaybeUninit<Header<'_>>] = if limits.count > USUAL_HEADERS {
        many.resize_with(limits.count, MaybeUninit::uninit);
        &mut many
    } else {
        usual.get_mut(..limits.count).unwrap_or_default()
    };
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(bytes, lines) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(fault_of(error)),
    };
    let head = bytes.get(..length).unwrap_or_default();
    check_lines(head)?;
    let text = Bytes::copy_from_slice(head);
    let place = |part: &[u8]| {
        let start = part.as_ptr().addr().saturating_sub(head.as_ptr().addr());
        text.slice(start..start + part.len())
    };
    let mut request = Request::new(());
    let target = parsed.path.unwrap_or_default();
    *request.method_mut() = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| HeadError::Line)?;
    *request.version_mut() = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let mut fault = None;
    if target.len() > limits.uri {
        fault = Some(HeadError::TargetTooLong);
    } else if target.contains('#') {
        // The HTTP library would cut it off, and the next program may not.
        fault = Some(HeadError::Target);
    } else {
        *request.uri_mut() =
            Uri::from_maybe_shared(place(target.as_bytes())).map_err(|_| HeadError::Target)?;
    }
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    for line in parsed.headers.iter() {
        if line.name.len() + line.value.len() > limits.line {
            fault = fault.or(Some(HeadError::TooLarge));
        }
        let name = field::name(line.name.as_bytes()).map_err(|_| HeadError::Line)?;
        let value =
            HeaderValue::from_maybe_shared(place(line.value)).map_err(|_| HeadError::Line)?;
        headers.append(name, value);
    }
    Ok(Some((heading(request, fault), length)))
}

fn heading(request: Request<()>, fault: Option<HeadError>) -> Heading {
    let headers = request.headers();
    let modern = request.version() == Version::HTTP_11;
    let (framing, broken) = match framing(headers, modern) {
        Ok(framing) => (framing, None),
        Err(error) => (Framing::Unknown, Some(error)),
    };
    let fault = fault.or(broken);
    Heading {
        keep_alive: fault.is_none() && keeps_alive(headers, modern),
        expects: modern
            && headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        framing,
        fault,
        request,
    }
}

/// Every line ends with CR LF, and at most one empty line stands before the first (RFC 9112 section 2.2).
fn check_lines(head: &[u8]) -> Result<(), HeadError> {
    let bare = |end: usize| end.checked_sub(1).and_then(|at| head.get(at)) != Some(&b'\r');
    if memchr_iter(b'\n', head).any(bare) || head.starts_with(b"\r\n\r\n") {
        return Err(HeadError::Line);
    }
    Ok(())
}

fn fault_of(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Token | httparse::Error::Status => HeadError::Target,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            HeadError::Line
        }
    }
}

/// How the body ends (RFC 9112 section 6.3), with everything refused that could be read in two ways.
fn framing(headers: &HeaderMap, modern: bool) -> Result<Framing, HeadError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err(HeadError::Length);
            }
            match digits(length.as_bytes()).ok_or(HeadError::Length)? {
                0 => Ok(Framing::None),
                length => Ok(Framing::Length(length)),
            }
        }
        (None, Some(coding)) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !modern || !chunked || codings.next().is_some() {
                return Err(HeadError::TransferCoding);
            }
            Ok(Framing::Chunked(Box::default()))
        }
        (Some(_), Some(_)) => Err(HeadError::TransferCoding),
    }
}

/// Digits and nothing else (RFC 9112 section 6.2), in 64 bits.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn keeps_alive(headers: &HeaderMap, modern: bool) -> bool {
    let says = |wanted: &[u8]| {
        headers.get_all(CONNECTION).iter().any(|value| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
        })
    };
    match modern {
        true => !headers.contains_key(CONNECTION) || !says(b"close"),
        false => says(b"keep-alive") && !says(b"close"),
    }
}

/// Whether the head asks to switch protocols.
pub(super) fn asks_to_switch<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE)
}
