//! HTTP/2 by hand: frames and header blocks that no library would send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ALL_VERSIONS;

use super::client::shake_hands;
use super::gateway::Gateway;
use super::soon;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CALM: u32 = 11;

/// What the gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The head of an answer.
    Status(u32, u16),
    /// So many bytes of a body; whether they were the last.
    Data(u32, usize, bool),
    /// A stream was reset with this code.
    Reset(u32, u32),
    /// The connection ends with this code.
    GoAway(u32),
    /// The connection has ended.
    Closed,
    /// A frame of another kind.
    Other(u8),
}

/// A connection on which every frame is the test's.
pub(crate) struct RawH2 {
    io: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// One setting.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Fields as literals that are never indexed (RFC 7541 section 6.2.3), without Huffman codes.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name.as_ref(), value.as_ref()] {
            length(text.len(), &mut block);
            block.extend(text);
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn length(value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        return out.push(u8::try_from(value).unwrap());
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

impl RawH2 {
    /// TLS and nothing more.
    pub(crate) async fn silent(gateway: &Gateway) -> Self {
        let config = gateway.authority().client(&["h2"], None, ALL_VERSIONS);
        Self {
            io: shake_hands(gateway, "a.test", config).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    /// With the preface, and settings: these, and no dynamic table, so that answers can be read without one.
    pub(crate) async fn connect(gateway: &Gateway, settings: &[u8]) -> Self {
        let mut raw = Self::silent(gateway).await;
        let settings = [setting(1, 0), settings.to_vec()].concat();
        raw.write([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat())
            .await;
        raw
    }

    /// Sends what the other side still takes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let send = async {
            self.io.write_all(bytes.as_ref()).await.ok();
            self.io.flush().await.ok();
        };
        // A gateway that has had enough may not read any more.
        tokio::time::timeout(std::time::Duration::from_secs(5), send)
            .await
            .ok();
    }

    /// The next frame.
    pub(crate) async fn event(&mut self) -> Event {
        while self.buffer.len() < 9 || self.buffer.len() < 9 + self.length() {
            let mut piece = [0; 16_384];
            match soon("a frame", self.io.read(&mut piece)).await {
                Ok(0) | Err(_) => return Event::Closed,
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
            }
        }
        let length = self.length();
        let frame: Vec<u8> = self.buffer.drain(..9 + length).collect();
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let (kind, flags, stream) = (frame[3], frame[4], number(5) & 0x7fff_ffff);
        match kind {
            HEADERS if self.is_status(&frame[9..]) => Event::Status(stream, status(&frame[9..])),
            DATA => Event::Data(stream, length, flags & END_STREAM != 0),
            RST_STREAM => Event::Reset(stream, number(9)),
            GOAWAY => Event::GoAway(number(13)),
            kind => Event::Other(kind),
        }
    }

    fn length(&self) -> usize {
        let [a, b, c] = self.buffer[..3].try_into().unwrap();
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    /// Trailers have no status.
    fn is_status(&self, block: &[u8]) -> bool {
        let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
        matches!(first, Some(0x88..=0x8e | 0x48 | 0x08 | 0x18))
    }

    /// The next event that is about requests or the end of the connection.
    pub(crate) async fn news(&mut self) -> Event {
        loop {
            match self.event().await {
                Event::Other(_) => {}
                event => return event,
            }
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn until_closed(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.news().await {
                Event::Closed => return events,
                event => events.push(event),
            }
        }
    }
}

/// The status at the start of a block: from the static table, or written out.
fn status(block: &[u8]) -> u16 {
    let at = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    if let known @ 0x88..=0x8e = block[at] {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(known - 0x88)];
    }
    let length = usize::from(block[at + 1] & 0x7f);
    let text = &block[at + 2..at + 2 + length];
    if block[at + 1] & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    // Huffman: 0, 1 and 2 have five bits, 3 to 9 have six and begin at 25 (RFC 7541 appendix B).
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let (digit, taken) = match five {
            0..=2 => (five, 5),
            _ => (u16::from_str_radix(&bits[at..at + 6], 2).unwrap() - 22, 6),
        };
        (status, at) = (status * 10 + digit, at + taken);
    }
    status
}
