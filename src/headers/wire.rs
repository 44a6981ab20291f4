//! The head of a request as it goes over the wire, written once and in one piece.
//!
//! Names and values come in types that cannot hold a line end, or are encoded by [`value`](super::value), so no part of
//! a request can add a line of its own. How the body is framed is written last and only here, from the body itself.

use std::borrow::Cow;
use std::ops::Range;

use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;

use crate::body::Body;

/// Room for a head as most are.
const USUAL: usize = 1024;

/// The head of an HTTP/1.1 request.
#[derive(Debug)]
pub struct RequestHead {
    bytes: Vec<u8>,
    /// Where the value of `Host` is.
    host: Range<usize>,
    method: Method,
    framing: Framing,
}

/// How the end of a request's body is told (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
}

impl RequestHead {
    /// The request line and `Host`. `target` is in origin form (RFC 9112 section 3.2.1).
    pub(crate) fn begin(method: &Method, target: &str, host: &HeaderValue) -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(target.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        let start = bytes.len();
        bytes.extend_from_slice(host.as_bytes());
        let host = start..bytes.len();
        bytes.extend_from_slice(b"\r\n");
        Self {
            bytes,
            host,
            method: method.clone(),
            framing: Framing::None,
        }
    }

    /// One more field.
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.named(name, |bytes| bytes.extend_from_slice(value.as_bytes()));
    }

    /// One more field, whose value `write` puts there. It must not write a line end.
    pub(super) fn named<T>(
        &mut self,
        name: &HeaderName,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        self.bytes.extend_from_slice(name.as_str().as_bytes());
        self.bytes.extend_from_slice(b": ");
        let written = write(&mut self.bytes);
        self.bytes.extend_from_slice(b"\r\n");
        written
    }

    /// Tells how `body` is framed, and ends the head. `announced`: the client has told a length itself.
    pub(crate) fn end(&mut self, body: &Body, announced: bool) {
        let length = if body.is_end_stream() {
            Some(0)
        } else {
            body.size_hint().exact()
        };
        // RFC 9110 section 8.6: without a length some servers wait for a body, or answer 411, where one is usual.
        let usual = self.method == Method::POST || self.method == Method::PUT;
        self.framing = match length {
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        match length {
            Some(0) if !announced && !usual => self.bytes.extend_from_slice(b"\r\n"),
            Some(length) => {
                let line = format!("content-length: {length}\r\n\r\n");
                self.bytes.extend_from_slice(line.as_bytes());
            }
            None => self
                .bytes
                .extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
        }
    }

    /// Where among the bytes the value of `Host` is.
    pub fn host(&self) -> Range<usize> {
        self.host.clone()
    }

    /// How the body has to be sent.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What goes over the wire, with the empty line at its end.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// As it is sent, for people.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}
