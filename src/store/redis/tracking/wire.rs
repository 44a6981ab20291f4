//! One connection of the listener's own: bytes out, events in.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{Decoder, Event, Frame, Garbled};
use crate::config::value::Secret;
use crate::store::redis::tls::Tls;

/// TCP and TLS handshake, and each question that has to be answered before anything else can happen.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// Name or IP address.
    pub(crate) host: Arc<str>,
    /// Port.
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How to be let in.
#[derive(Debug, Clone, Default)]
pub(in crate::store::redis) struct Door {
    pub(in crate::store::redis) username: Option<String>,
    pub(in crate::store::redis) password: Option<Secret>,
    pub(in crate::store::redis) tls: Option<Tls>,
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Garbled(#[from] Garbled),
    #[error("no answer")]
    Silent,
    #[error("the server answered {0}")]
    Refused(String),
    #[error("it is not a master")]
    NoMaster,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to one server.
pub(super) struct Wire {
    io: Box<dyn Stream>,
    decoder: Decoder,
}

impl Wire {
    /// Connects; nothing is said yet.
    pub(super) async fn dial(address: &Address, door: &Door) -> Result<Self, Broken> {
        let dialling = async {
            let stream = TcpStream::connect((&*address.host, address.port)).await?;
            stream.set_nodelay(true)?;
            let io: Box<dyn Stream> = match &door.tls {
                None => Box::new(stream),
                Some(tls) => Box::new(tls.connect(&address.host, stream).await?),
            };
            Ok::<_, io::Error>(io)
        };
        let io = timeout(PATIENCE, dialling)
            .await
            .map_err(|_| Broken::Silent)??;
        Ok(Self {
            io,
            decoder: Decoder::default(),
        })
    }

    /// Sends commands, all in one write. Their answers come in the same order.
    pub(super) async fn send(&mut self, commands: &[Vec<&str>]) -> Result<(), Broken> {
        let mut bytes = Vec::with_capacity(256);
        for command in commands {
            bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for part in command {
                bytes.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
            }
        }
        timeout(PATIENCE, self.io.write_all(&bytes))
            .await
            .map_err(|_| Broken::Silent)??;
        Ok(())
    }

    /// The next event. May be given up and called again; nothing is lost.
    pub(super) async fn event(&mut self) -> Result<Event, Broken> {
        loop {
            if let Some(event) = self.decoder.next()? {
                return Ok(event);
            }
            if self.io.read_buf(self.decoder.buffer()).await? == 0 {
                return Err(Broken::Closed);
            }
        }
    }

    /// Sends commands and waits for all their answers. For connections that no pushes come over.
    pub(super) async fn ask(&mut self, commands: &[Vec<&str>]) -> Result<Vec<Frame>, Broken> {
        self.send(commands).await?;
        let answering = async {
            let mut answers = Vec::with_capacity(commands.len());
            while answers.len() < commands.len() {
                if let Event::Answer(frame) = self.event().await? {
                    answers.push(frame);
                }
            }
            Ok(answers)
        };
        timeout(PATIENCE, answering)
            .await
            .map_err(|_| Broken::Silent)?
    }

    /// Says who we are, in the protocol that has no pushes.
    pub(super) async fn sign_in(&mut self, door: &Door) -> Result<(), Broken> {
        let Some(password) = &door.password else {
            return Ok(());
        };
        let mut command = vec!["AUTH"];
        command.extend(door.username.as_deref());
        command.push(password.expose());
        let answers = self.ask(&[command]).await?;
        accepted(&answers)
    }
}

/// # Errors
/// [`Broken::Refused`] with the first refusal among these answers.
pub(super) fn accepted(answers: &[Frame]) -> Result<(), Broken> {
    match answers.iter().find_map(Frame::refusal) {
        Some(code) => Err(Broken::Refused(code.to_owned())),
        None => Ok(()),
    }
}

impl Door {
    /// `HELLO 3`, and who we are.
    pub(super) fn hello(&self) -> Vec<&str> {
        let mut hello = vec!["HELLO", "3"];
        if let Some(password) = &self.password {
            let username = self.username.as_deref().unwrap_or("default");
            hello.extend(["AUTH", username, password.expose()]);
        }
        hello
    }
}
