//! The head of an answer: where it ends, what it says, and what of it is for the client.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::body::Decoder;
use super::{MAX_HEAD, WireError};
use crate::field;
use crate::headers;

/// Most fields of a head.
const MAX_FIELDS: usize = 100;
/// What every answer begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// The head of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct Answer {
    pub(in crate::upstream) status: StatusCode,
    /// What is for the client: no field that is bound to the connection, but for those of a switch of protocols.
    pub(in crate::upstream) headers: HeaderMap,
    pub(in crate::upstream) body: Decoder,
    /// Whether the connection stays open after it.
    pub(in crate::upstream) keeps: bool,
}

/// Takes a whole head off `input`; `None` if its end has not come. `scanned` is how far an earlier call has looked.
///
/// # Errors
/// If what came so far cannot become a head.
pub(super) fn cut(input: &mut BytesMut, scanned: &mut usize) -> Result<Option<Bytes>, WireError> {
    let begun = input.len().min(BEGINNING.len());
    if input.get(..begun) != BEGINNING.get(..begun) {
        return Err(WireError::Head("it does not begin with `HTTP/1.`"));
    }
    match end_of_head(input, *scanned)? {
        Some(end) => {
            *scanned = 0;
            Ok(Some(input.split_to(end).freeze()))
        }
        None => {
            *scanned = input.len();
            Ok(None)
        }
    }
}

/// The place behind the first empty line. Every line before must end with CR LF: a bare LF is an end to some and not to
/// others (RFC 9112 section 2.2).
///
/// # Errors
/// A bare LF, or more than [`MAX_HEAD`] without an end.
fn end_of_head(input: &[u8], from: usize) -> Result<Option<usize>, WireError> {
    let fresh = input.get(from..).unwrap_or_default();
    for place in memchr::memchr_iter(b'\n', fresh) {
        let (line, _) = input.split_at(from + place);
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(WireError::Head("a line ends without CR"));
        };
        if line.is_empty() || line.ends_with(b"\n") {
            return Ok(Some(from + place + 1));
        }
    }
    if input.len() > MAX_HEAD {
        return Err(WireError::TooLarge);
    }
    Ok(None)
}

impl Answer {
    /// Reads a whole head.
    ///
    /// # Errors
    /// If it is no head of HTTP/1.0 or 1.1, or does not tell in exactly one way where the body ends.
    pub(super) fn parse(head: &Bytes, to_head: bool) -> Result<Self, WireError> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let read = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, head, &mut fields)
            .map_err(refused)?;
        let whole = matches!(read, httparse::Status::Complete(length) if length == head.len());
        let (true, Some(code), Some(version)) = (whole, parsed.code, parsed.version) else {
            return Err(WireError::Head("it does not end where it should"));
        };
        let status = StatusCode::from_u16(code).ok().filter(|_| code < 600);
        let status = status.ok_or(WireError::Head("no such status"))?;
        let mut read = Fields::with_capacity(parsed.headers.len());
        for field in parsed.headers.iter() {
            read.take(head, field)?;
        }
        read.into_answer(status, version == 1, to_head)
    }

    /// Whether another answer follows: 1xx but for 101.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// The fields of a head, those of the connection apart from the others.
struct Fields {
    kept: HeaderMap,
    /// All of `Connection`.
    connection: Vec<HeaderValue>,
    upgrade: Option<HeaderValue>,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn with_capacity(fields: usize) -> Self {
        Self {
            kept: HeaderMap::with_capacity(fields),
            connection: Vec::new(),
            upgrade: None,
            length: None,
            chunked: false,
        }
    }

    fn take(&mut self, head: &Bytes, field: &httparse::Header<'_>) -> Result<(), WireError> {
        let (name, value) = field_of(head, field)?;
        if name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(WireError::Framing("two lengths"));
            }
            self.length = Some(length(value.as_bytes())?);
        } else if name == TRANSFER_ENCODING {
            // Another coding would have to be undone before the body is handed on.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(WireError::Framing("a transfer coding other than `chunked`"));
            }
            self.chunked = true;
            return Ok(());
        } else if name == CONNECTION {
            // That it stays open is what HTTP/1.1 says anyway, and most answers say again.
            if !value.as_bytes().eq_ignore_ascii_case(b"keep-alive") {
                self.connection.push(value);
            }
            return Ok(());
        } else if name == UPGRADE {
            if self.upgrade.is_some() {
                return Err(WireError::Head("two `Upgrade`"));
            }
            self.upgrade = Some(value);
            return Ok(());
        } else if headers::is_hop_by_hop(name.as_str()) {
            return Ok(());
        }
        self.kept.append(name, value);
        Ok(())
    }

    fn into_answer(
        mut self,
        status: StatusCode,
        is_1_1: bool,
        to_head: bool,
    ) -> Result<Answer, WireError> {
        if self.chunked && (self.length.is_some() || !is_1_1) {
            return Err(WireError::Framing(
                "a transfer coding together with a length, or in HTTP/1.0",
            ));
        }
        // RFC 9112 section 6.3.
        let bodiless = to_head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let body = match self.length {
            _ if bodiless => Decoder::length(0),
            Some(length) => Decoder::length(length),
            None if self.chunked => Decoder::chunked(),
            None => Decoder::until_close(),
        };
        let keeps = is_1_1 && !self.closes() && !body.takes_all();
        self.apply_connection(status);
        Ok(Answer {
            status,
            headers: self.kept,
            body,
            keeps,
        })
    }

    fn closes(&self) -> bool {
        self.connection.iter().any(|value| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        })
    }

    /// Carries out what `Connection` says of other fields.
    fn apply_connection(&mut self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            for value in self.connection.drain(..) {
                self.kept.append(CONNECTION, value);
            }
            if let Some(upgrade) = self.upgrade.take() {
                self.kept.insert(UPGRADE, upgrade);
            }
            return;
        }
        for name in headers::nominated(self.connection.iter().map(HeaderValue::as_bytes)) {
            self.kept.remove(name);
        }
    }
}

/// A field as it is handed on: the value is a slice of the head.
fn field_of(
    head: &Bytes,
    field: &httparse::Header<'_>,
) -> Result<(HeaderName, HeaderValue), WireError> {
    let name = field::name(field.name.as_bytes())
        .map_err(|_| WireError::Head("a field has no valid name"))?;
    let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
        .map_err(|_| WireError::Head("a field has no valid value"))?;
    Ok((name, value))
}

fn refused(error: httparse::Error) -> WireError {
    match error {
        httparse::Error::HeaderName => WireError::Head("a field has no valid name"),
        httparse::Error::HeaderValue => WireError::Head("a field has no valid value"),
        httparse::Error::TooManyHeaders => WireError::TooLarge,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => WireError::Head("the status line is none"),
    }
}

/// Digits and nothing else (RFC 9110 section 8.6); a list of lengths is refused even if they agree.
fn length(value: &[u8]) -> Result<u64, WireError> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok())
        .ok_or(WireError::Framing("the length is no number"))
}
