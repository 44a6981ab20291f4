//! From an answer to bytes (RFC 9112): its head and the first of its body in one write, the rest as it comes.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;

use super::line::Line;
use crate::body::Body;
use crate::server::transport::Transport;

/// Pieces up to this size are copied to stand in one write with what is around them; larger ones are written by themselves.
const SMALL: usize = 16 << 10;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_LENGTH: usize = 29;

thread_local! {
    static PEN: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
    static NOW: RefCell<(u64, [u8; DATE_LENGTH])> = const { RefCell::new((0, [0; DATE_LENGTH])) };
}

/// What the request says about how its answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// It was HEAD: the fields of an answer, and no body.
    pub(super) head: bool,
    /// HTTP/1.1; otherwise 1.0.
    pub(super) modern: bool,
    /// The connection stays open behind it.
    pub(super) keep_alive: bool,
}

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// There is none.
    None,
    /// It was told the length.
    Length(u64),
    Chunked,
    /// The connection closes.
    Close,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Reply {
    head: Option<Parts>,
    body: Body,
    manner: Manner,
    ending: Ending,
    /// A large piece, being written.
    piece: Bytes,
    finished: bool,
    /// The connection ends behind it.
    last: bool,
}

impl Reply {
    pub(super) fn new(response: Response<Body>, manner: Manner) -> Self {
        let (head, body) = response.into_parts();
        let ending = ending(&head, &body, manner);
        let closes = ending == Ending::Close || !manner.keep_alive;
        Self {
            last: closes && head.status != StatusCode::SWITCHING_PROTOCOLS,
            ending,
            head: Some(head),
            body,
            manner,
            piece: Bytes::new(),
            finished: false,
        }
    }

    /// Whether only the end of the connection ends this answer.
    pub(super) fn closes(&self) -> bool {
        self.ending == Ending::Close
    }

    /// Whether it waits for the client, and not for the upstream.
    pub(super) fn writes(&self) -> bool {
        self.finished || !self.piece.is_empty()
    }

    /// Writes on. Ready when the last byte has been handed to the system.
    pub(super) fn poll_send<T: Transport>(
        &mut self,
        line: &mut Line<T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(head) = self.head.take() {
            self.begin(&head, line, cx)?;
        }
        loop {
            if line.unsent.len() >= SMALL || !self.piece.is_empty() {
                ready!(self.poll_written(line, cx))?;
            }
            if self.finished {
                return match self.last {
                    true => line.poll_end(cx),
                    false => line.poll_flush(cx),
                };
            }
            match self.poll_piece(cx) {
                Poll::Ready(Some(Ok(frame))) => self.put(frame, line)?,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => self.finish(line)?,
                Poll::Pending => {
                    // What is there must not wait for what is not.
                    ready!(line.poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// The head, with as much of the body as is there, in one write.
    fn begin<T: Transport>(
        &mut self,
        head: &Parts,
        line: &mut Line<T>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        PEN.with_borrow_mut(|pen| {
            pen.clear();
            encode(head, self.ending, self.manner, pen);
            if self.ending == Ending::None {
                self.finished = true;
            }
            while !self.finished && pen.len() < SMALL {
                match self.poll_piece(cx) {
                    Poll::Ready(Some(frame)) => match frame?.into_data() {
                        Ok(data) if data.len() <= SMALL => self.frame(&data, pen)?,
                        Ok(data) => {
                            self.open(&data, pen)?;
                            self.piece = data;
                            break;
                        }
                        Err(frame) => {
                            if let Ok(fields) = frame.into_trailers() {
                                self.end(Some(&fields), pen)?;
                            }
                        }
                    },
                    Poll::Ready(None) => self.end(None, pen)?,
                    Poll::Pending => break,
                }
            }
            if self.finished && self.last {
                line.io.write_last();
            }
            let mut written = 0;
            if line.unsent.is_empty()
                && let Poll::Ready(count) = Pin::new(&mut line.io).poll_write(cx, pen)
            {
                written = count?;
            }
            line.unsent
                .extend_from_slice(pen.get(written..).unwrap_or_default());
            Ok(())
        })
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        Pin::new(&mut self.body)
            .poll_frame(cx)
            .map_err(io::Error::other)
    }

    fn put<T>(&mut self, frame: http_body::Frame<Bytes>, line: &mut Line<T>) -> io::Result<()> {
        let mut framed = Vec::new();
        match frame.into_data() {
            Ok(data) if data.len() <= SMALL => self.frame(&data, &mut framed)?,
            Ok(data) => {
                self.open(&data, &mut framed)?;
                self.piece = data;
            }
            Err(frame) => {
                if let Ok(fields) = frame.into_trailers() {
                    self.end(Some(&fields), &mut framed)?;
                }
            }
        }
        line.unsent.extend_from_slice(&framed);
        Ok(())
    }

    fn finish<T>(&mut self, line: &mut Line<T>) -> io::Result<()> {
        let mut framed = Vec::new();
        self.end(None, &mut framed)?;
        line.unsent.extend_from_slice(&framed);
        Ok(())
    }

    /// Waits until everything so far is written, the large piece too.
    fn poll_written<T: Transport>(
        &mut self,
        line: &mut Line<T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(line.poll_unsent(cx))?;
        while !self.piece.is_empty() {
            let written = ready!(Pin::new(&mut line.io).poll_write(cx, &self.piece))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            line.written(written);
            self.piece.advance(written);
            if self.piece.is_empty() && self.ending == Ending::Chunked {
                line.unsent.extend_from_slice(b"\r\n");
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A small piece with what stands around it.
    fn frame(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.open(data, out)?;
        out.extend_from_slice(data);
        if self.ending == Ending::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// What stands before a piece.
    fn open(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.ending {
            Ending::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
            }
            Ending::Chunked => write!(out, "{:x}\r\n", data.len())?,
            Ending::Close | Ending::None => {}
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Vec<u8>) -> io::Result<()> {
        self.finished = true;
        match self.ending {
            // Cut off: the client must not take what it has for all of it.
            Ending::Length(1..) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ending::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(fields) = trailers {
                    fields_of(fields, out, |_| true);
                }
                out.extend_from_slice(b"\r\n");
            }
            Ending::Length(0) | Ending::Close | Ending::None => {}
        }
        Ok(())
    }
}

fn ending(head: &Parts, body: &Body, manner: Manner) -> Ending {
    let status = head.status;
    let none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if none || manner.head {
        return Ending::None;
    }
    match body.size_hint().exact() {
        Some(length) => Ending::Length(length),
        None if manner.modern => Ending::Chunked,
        None => Ending::Close,
    }
}

fn encode(head: &Parts, ending: Ending, manner: Manner, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(
        head.status
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    );
    out.extend_from_slice(b"\r\n");
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    // Without a body the length still says how long the one of a GET would be (RFC 9110 section 8.6).
    let describes = ending == Ending::None && head.status != StatusCode::NO_CONTENT && !switches;
    fields_of(&head.headers, out, |name| {
        let framed = *name == TRANSFER_ENCODING || (*name == CONTENT_LENGTH && !describes);
        !framed && (*name != CONNECTION || switches)
    });
    match ending {
        Ending::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Ending::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Ending::Close | Ending::None => {}
    }
    if !switches {
        if !manner.keep_alive || ending == Ending::Close {
            out.extend_from_slice(b"connection: close\r\n");
        } else if !manner.modern {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
    }
    if !head.headers.contains_key(DATE) {
        out.extend_from_slice(b"date: ");
        date(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn fields_of(headers: &HeaderMap, out: &mut Vec<u8>, keep: impl Fn(&http::HeaderName) -> bool) {
    for (name, value) in headers {
        if keep(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The date, put into words once a second.
fn date(out: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    NOW.with_borrow_mut(|(known, text)| {
        if *known != second {
            let words = httpdate::fmt_http_date(now);
            if let Ok(words) = words.as_bytes().try_into() {
                (*known, *text) = (second, words);
            }
        }
        out.extend_from_slice(text);
    });
}
