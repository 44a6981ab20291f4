//! Raw bytes: an impolite client.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::shake_hands;
use super::gateway::Gateway;
use super::soon;
use super::upstream::Io;
use tokio_rustls::rustls::ALL_VERSIONS;

/// A connection on which every byte is the test's.
pub(crate) struct Raw {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
}

/// An answer, read by its framing.
#[derive(Debug, Clone)]
pub(crate) struct RawReply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl RawReply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Over TLS, as HTTP/1.1.
    pub(crate) async fn tls(gateway: &Gateway, name: &str) -> Self {
        let config = gateway
            .authority()
            .client(&["http/1.1"], None, ALL_VERSIONS);
        Self::over(shake_hands(gateway, name, config).await.unwrap())
    }

    pub(crate) fn over(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            buffer: Vec::new(),
        }
    }

    /// Sends what the other side still takes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.ok();
        self.io.flush().await.ok();
    }

    /// No more bytes from us.
    pub(crate) async fn shutdown(&mut self) {
        self.io.shutdown().await.ok();
    }

    /// Whether another byte came.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 16_384];
        let read = soon("bytes from the gateway", self.io.read(&mut piece)).await;
        let length = read.unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..length]);
        length > 0
    }

    /// The next bytes; empty at the end.
    pub(crate) async fn read(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Everything up to and with this mark; `None` if the connection ends before.
    pub(crate) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self
                .buffer
                .windows(mark.len())
                .position(|part| part == mark.as_bytes());
            if let Some(place) = found {
                let all: Vec<u8> = self.buffer.drain(..place + mark.len()).collect();
                return Some(String::from_utf8_lossy(&all).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next answer (to a request that is not HEAD); `None` if the connection ends before.
    pub(crate) async fn reply(&mut self) -> Option<RawReply> {
        let head = self.until("\r\n\r\n").await?;
        let status = head.get(9..12)?.parse().ok()?;
        let mut reply = RawReply {
            status,
            head,
            body: Vec::new(),
        };
        if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            reply.body = self.buffer.drain(..length).collect();
        } else if reply.header("transfer-encoding").is_some() {
            let body = self.until("0\r\n\r\n").await?;
            reply.body = body.into_bytes();
        }
        Some(reply)
    }

    /// Every answer until the gateway closes; fails if it does not.
    pub(crate) async fn replies_until_close(&mut self) -> Vec<RawReply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await {
            replies.push(reply);
        }
        replies
    }
}
