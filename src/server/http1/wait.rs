//! Waiting for the head of a request, within its deadlines.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::head::{self, Heading};
use super::{Line, Rules};
use crate::deadline::{self, LazyTimer};
use crate::head::HeadError;
use crate::server::drain::{Stage, Watch};
use crate::server::transport::Transport;

/// What came of waiting for a request.
pub(super) enum Found {
    Request(Box<Heading>),
    /// Bytes that no request can be made of.
    Fault(HeadError),
    /// The client is done, or its time is over, or ours.
    End,
}

/// The wait for one request.
pub(super) struct NextHead<'a> {
    rules: &'a Rules,
    /// Until the first byte.
    until: Instant,
    begun: bool,
    /// Bytes of it in which no end of a line is left that has not been looked at.
    seen: usize,
}

impl<'a> NextHead<'a> {
    pub(super) fn new(rules: &'a Rules, until: Instant) -> Self {
        Self {
            rules,
            until,
            begun: false,
            seen: 0,
        }
    }

    pub(super) fn poll<T: Transport>(
        &mut self,
        line: &Mutex<Line<T>>,
        timer: &mut LazyTimer,
        watch: &mut Watch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Found>> {
        let mut line = line.lock();
        let line = &mut *line;
        loop {
            if let Some(found) = self.look(line) {
                return Poll::Ready(Ok(found));
            }
            if line.ahead.is_empty() && watch.poll(cx) == Stage::Closed {
                return Poll::Ready(Ok(Found::End));
            }
            match line.poll_read(cx, |ahead, bytes| self.take(ahead, bytes)) {
                Poll::Ready(Ok(Some(found))) => return Poll::Ready(Ok(found)),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if !self.begun && !line.ahead.is_empty() {
            self.begun = true;
            self.until = deadline::after(self.rules.head);
        }
        ready!(timer.poll(cx, self.until));
        Poll::Ready(Ok(match self.begun {
            true => Found::Fault(HeadError::Late),
            false => Found::End,
        }))
    }

    /// A request in what was just read. What is left is kept; mostly nothing is.
    fn take(&mut self, ahead: &mut BytesMut, bytes: &[u8]) -> Option<Found> {
        if bytes.is_empty() {
            return Some(Found::End);
        }
        if !ahead.is_empty() {
            ahead.extend_from_slice(bytes);
            return None;
        }
        let (found, used) = self.parse(bytes);
        ahead.extend_from_slice(bytes.get(used..).unwrap_or_default());
        self.seen = ahead.len();
        found
    }

    /// A request in what was read before.
    fn look<T>(&mut self, line: &mut Line<T>) -> Option<Found> {
        let fresh = line.ahead.get(self.seen..).unwrap_or_default();
        // A head is over at the end of a line, and has few lines: whoever sends it byte by byte costs little.
        if !fresh.contains(&b'\n') {
            let full = line.ahead.len() >= self.rules.max_head;
            self.seen = line.ahead.len();
            return full.then_some(Found::Fault(HeadError::TooLarge));
        }
        let (found, used) = self.parse(&line.ahead);
        if line.ahead.len() == used {
            line.ahead = BytesMut::new();
        } else {
            bytes::Buf::advance(&mut line.ahead, used);
        }
        self.seen = line.ahead.len();
        found
    }

    fn parse(&self, bytes: &[u8]) -> (Option<Found>, usize) {
        match head::parse(bytes, &self.rules.limits) {
            Ok(Some((heading, length))) if length <= self.rules.max_head => {
                (Some(Found::Request(Box::new(heading))), length)
            }
            Ok(None) if bytes.len() < self.rules.max_head => (None, 0),
            Ok(_) => (Some(Found::Fault(HeadError::TooLarge)), 0),
            Err(error) => (Some(Found::Fault(error)), 0),
        }
    }
}
