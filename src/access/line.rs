//! One line of the access log: what is in it, and how it is written.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// `name=value` pairs, values in quotes where they need them.
    Logfmt,
}

/// One line. What is empty or absent is left out.
#[derive(Debug, Clone, Default)]
pub struct Line<'a> {
    /// The request's id.
    pub id: &'a str,
    /// The id of the trace that it is part of.
    pub trace: &'a str,
    /// The client's address, as far as it can be believed.
    pub client: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The protocol it came by, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The request's host; empty if it had no valid one.
    pub host: &'a str,
    /// The path in its one form, without the query: queries hold secrets.
    pub path: &'a str,
    /// The route's name; empty if none was found.
    pub route: &'a str,
    /// The user; empty if anonymous or refused before that was known.
    pub user: &'a str,
    /// The public name of the session.
    pub session: &'a str,
    /// The id of the device.
    pub device: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Why it was refused: a reason code; empty if it was forwarded.
    pub refusal: &'a str,
    /// The upstream that was asked.
    pub upstream: &'a str,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Whether the answer did not come to its end.
    pub cut: bool,
    /// Where the time went.
    pub times: Times,
}

/// Where the time of a request went; what was not done is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// From the head of the request to the end of the answer.
    pub total: Duration,
    /// To the head of the answer.
    pub head: Duration,
    /// Asking limits that are shared through Redis.
    pub limits: Option<Duration>,
    /// Looking up the session.
    pub store: Option<Duration>,
    /// From handing it to the upstream to the head of its answer.
    pub upstream: Option<Duration>,
}

impl Line<'_> {
    /// The line, stamped with the time, with the line feed at its end.
    pub(super) fn text(&self, format: Format) -> Vec<u8> {
        let mut pen = Pen {
            format,
            text: Vec::with_capacity(512),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        pen.number("time", now.unwrap_or_default().as_secs_f64(), 6);
        let texts = [
            ("id", self.id),
            ("trace", self.trace),
            ("client", self.client),
            ("method", self.method),
            ("protocol", self.protocol),
        ];
        texts
            .into_iter()
            .for_each(|(name, text)| pen.text(name, text));
        pen.words("host", self.host);
        pen.words("path", self.path);
        let texts = [
            ("route", self.route),
            ("user", self.user),
            ("session", self.session),
            ("device", self.device),
        ];
        texts
            .into_iter()
            .for_each(|(name, text)| pen.text(name, text));
        pen.count("status", self.status.into());
        pen.text("refusal", self.refusal);
        pen.text("upstream", self.upstream);
        pen.count("received", self.received);
        pen.count("sent", self.sent);
        if self.cut {
            pen.raw("cut", b"true");
        }
        let times = &self.times;
        for (name, time) in [
            ("millis", Some(times.total)),
            ("head_millis", Some(times.head)),
            ("limits_millis", times.limits),
            ("store_millis", times.store),
            ("upstream_millis", times.upstream),
        ] {
            if let Some(time) = time {
                pen.number(name, time.as_secs_f64() * 1000.0, 3);
            }
        }
        pen.end()
    }
}

struct Pen {
    format: Format,
    text: Vec<u8>,
}

impl Pen {
    /// A text, if there is one.
    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.words(name, text);
        }
    }

    fn words(&mut self, name: &str, text: &str) {
        self.name(name);
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
        if self.format == Format::Logfmt && !text.is_empty() && text.bytes().all(plain) {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            // JSON's quoting is understood by readers of logfmt too, and lets no control character through.
            serde_json::to_writer(&mut self.text, text).ok();
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        self.raw(name, itoa::Buffer::new().format(count).as_bytes());
    }

    fn number(&mut self, name: &str, number: f64, digits: usize) {
        self.name(name);
        write!(self.text, "{number:.digits$}").ok();
    }

    fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.text.extend_from_slice(value);
    }

    fn name(&mut self, name: &str) {
        let (open, between, close): (&[u8], &[u8], &[u8]) = match self.format {
            Format::Json => (b"{\"", b",\"", b"\":"),
            Format::Logfmt => (b"", b" ", b"="),
        };
        let before = if self.text.is_empty() { open } else { between };
        for part in [before, name.as_bytes(), close] {
            self.text.extend_from_slice(part);
        }
    }

    fn end(mut self) -> Vec<u8> {
        let end: &[u8] = match self.format {
            Format::Json => b"}\n",
            Format::Logfmt => b"\n",
        };
        self.text.extend_from_slice(end);
        self.text
    }
}
