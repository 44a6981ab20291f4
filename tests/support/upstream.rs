//! An HTTP/1.1 server of our own that writes down byte for byte what it is sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::certs::{Authority, Leaf};

/// Bytes both ways, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Number of the connection it came over, from 0.
    pub(crate) connection: usize,
    /// The head as it stood on the wire.
    pub(crate) head: String,
    /// The body, taken out of its framing.
    pub(crate) body: Vec<u8>,
    /// Trailers in order.
    pub(crate) trailers: Vec<(String, String)>,
    /// The certificate that was shown with it (DER).
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.line().split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every header in order, names as they were written.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        self.head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect()
    }

    /// Every value of this header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers()
            .into_iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The one value of this header; panics if there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times", all.len());
        all.first().copied()
    }
}

/// What to do with a request whose head has arrived.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Read the body, then 200 with a JSON document of all that was seen.
    Echo,
    /// Read the body, then these bytes.
    Bytes(Vec<u8>),
    /// Read the body, then these bytes, of which there are too many to have them once for each request.
    Shared(Arc<Vec<u8>>),
    /// Read the body, then these bytes, then close.
    BytesThenClose(Vec<u8>),
    /// Nothing more: the test goes on itself, see [`Upstream::held`].
    Hold,
}

/// A connection whose request is in the test's hands.
pub(crate) struct Held {
    /// The head.
    pub(crate) seen: Seen,
    io: Box<dyn Io>,
    buffer: Vec<u8>,
}

impl Held {
    /// The next bytes, as they stand on the wire; empty at the end.
    pub(crate) async fn read(&mut self) -> Vec<u8> {
        if !self.buffer.is_empty() {
            return std::mem::take(&mut self.buffer);
        }
        let mut piece = vec![0; 65_536];
        let length = super::soon("bytes at the upstream", self.io.read(&mut piece)).await;
        piece.truncate(length.unwrap_or(0));
        piece
    }

    /// Reads until the wire has shown this text.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let piece = self.read().await;
            assert!(
                !piece.is_empty(),
                "the stream ended before {text:?}: {all:?}"
            );
            all.push_str(&String::from_utf8_lossy(&piece));
        }
        all
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// No more bytes from here; reading goes on.
    pub(crate) async fn shutdown(&mut self) {
        self.io.shutdown().await.unwrap();
    }
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

struct State {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    held: mpsc::Sender<Held>,
    tls: Option<TlsAcceptor>,
}

/// A running server. It has its own thread, so a test may block.
pub(crate) struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    held: tokio::sync::Mutex<mpsc::Receiver<Held>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// One that echoes everything.
pub(crate) fn upstream() -> Upstream {
    upstream_that(|_| Answer::Echo)
}

/// One that answers as it is told.
pub(crate) fn upstream_that(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Upstream {
    Upstream::start(Box::new(script), None)
}

impl Upstream {
    /// One that echoes everything over TLS.
    pub(crate) fn tls(leaf: &Leaf) -> Self {
        let acceptor = TlsAcceptor::from(Authority::server(leaf));
        Self::start(Box::new(|_| Answer::Echo), Some(acceptor))
    }

    /// One that echoes everything over TLS, for clients that show a certificate of this authority.
    pub(crate) fn asking_tls(authority: &Authority, leaf: &Leaf) -> Self {
        let acceptor = TlsAcceptor::from(authority.asking_server(leaf));
        Self::start(Box::new(|_| Answer::Echo), Some(acceptor))
    }

    fn start(script: Box<Script>, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (holding, held) = mpsc::channel(64);
        let state = Arc::new(State {
            script,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            held: holding,
            tls,
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let accepting = accept(TcpListener::from_std(listener).unwrap(), served);
                tokio::select! { () = accepting => {}, _ = stopped => {} }
            });
        });
        Self {
            address,
            state,
            held: tokio::sync::Mutex::new(held),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far whose body has arrived (or that are held), in the order of their heads' arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// Forgets what it has seen.
    pub(crate) fn forget(&self) {
        self.state.seen.lock().clear();
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream has seen a request")
    }

    /// How many connections were ever opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The next request that was answered with [`Answer::Hold`].
    pub(crate) async fn held(&self) -> Held {
        let mut held = self.held.lock().await;
        super::soon("a request at the upstream", held.recv())
            .await
            .expect("the upstream runs")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(stream, number, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, number: usize, state: Arc<State>) {
    stream.set_nodelay(true).ok();
    let mut certificate = None;
    let io: Box<dyn Io> = match &state.tls {
        None => Box::new(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates();
                certificate = shown.map(|chain| chain[0].to_vec());
                Box::new(stream)
            }
            Err(_) => return,
        },
    };
    let mut wire = Wire {
        io,
        buffer: Vec::new(),
    };
    while let Some(head) = wire.until(b"\r\n\r\n").await {
        let mut seen = Seen {
            connection: number,
            head: String::from_utf8_lossy(&head).trim_end().to_owned(),
            certificate: certificate.clone(),
            ..Seen::default()
        };
        let answer = (state.script)(&seen);
        if let Answer::Hold = answer {
            state.seen.lock().push(seen.clone());
            let held = Held {
                seen,
                io: wire.io,
                buffer: wire.buffer,
            };
            state.held.send(held).await.ok();
            return;
        }
        if wire.body(&mut seen).await.is_none() {
            return;
        }
        state.seen.lock().push(seen.clone());
        let (bytes, close) = match answer {
            Answer::Echo => (Arc::new(echo(&seen)), false),
            Answer::Bytes(bytes) => (Arc::new(bytes), false),
            Answer::Shared(bytes) => (bytes, false),
            Answer::BytesThenClose(bytes) => (Arc::new(bytes), true),
            Answer::Hold => unreachable!("handed over above"),
        };
        if wire.io.write_all(&bytes).await.is_err() || wire.io.flush().await.is_err() {
            return;
        }
        if close {
            wire.io.shutdown().await.ok();
            return;
        }
    }
}

fn echo(seen: &Seen) -> Vec<u8> {
    let body = json!({
        "method": seen.method(),
        "target": seen.target(),
        "headers": seen.headers(),
        "length": seen.body.len(),
        "user": seen.header("x-user-id"),
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    if seen.method() == "HEAD" {
        head.into_bytes()
    } else {
        (head + &body).into_bytes()
    }
}

struct Wire {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
}

impl Wire {
    async fn more(&mut self) -> Option<()> {
        let mut piece = [0; 65_536];
        let length = self.io.read(&mut piece).await.ok()?;
        self.buffer.extend_from_slice(&piece[..length]);
        (length > 0).then_some(())
    }

    /// Everything up to and with this mark.
    async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self
                .buffer
                .windows(mark.len())
                .position(|part| part == mark);
            if let Some(place) = found {
                return Some(self.buffer.drain(..place + mark.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads the body strictly by the framing of the head.
    async fn body(&mut self, seen: &mut Seen) -> Option<()> {
        let chunked = seen.all("transfer-encoding");
        let length = seen.header("content-length").map(str::to_owned);
        if chunked.is_empty() {
            let length = length.map_or(0, |length| length.parse().unwrap());
            seen.body = self.exactly(length).await?;
            return Some(());
        }
        assert_eq!(chunked, ["chunked"], "the gateway frames in one way only");
        assert_eq!(length, None, "two framings at once");
        loop {
            let line = self.until(b"\r\n").await?;
            let size = std::str::from_utf8(&line).unwrap().trim_end().to_owned();
            let size = usize::from_str_radix(&size, 16).expect("a chunk size without extension");
            if size == 0 {
                break;
            }
            seen.body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
        loop {
            let line = self.until(b"\r\n").await?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let Some((name, value)) = line.split_once(':') else {
                return Some(());
            };
            seen.trailers
                .push((name.to_owned(), value.trim().to_owned()));
        }
    }
}
