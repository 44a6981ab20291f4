//! Bodies larger than memory should be: they stream through, and the gateway does not grow.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::PUBLIC;
use crate::support::{Call, Connection, Gateway, gateway, soon};

const PIECE: usize = 256 << 10;
/// How much passes between two looks at the memory.
const LOOK: usize = 16 << 20;
/// How much the gateway may grow while a body passes.
const MOST: usize = 64 << 20;

/// Resident memory of a process in bytes.
fn resident(process: u32) -> usize {
    let output = std::process::Command::new("ps")
        .args(["-o", "rss=", "-p", &process.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse::<usize>().unwrap() << 10
}

/// An upstream that takes a body of this length, or sends one.
async fn large(length: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let mut left = length;
                let mut piece = vec![b'x'; PIECE];
                if head.starts_with(b"POST") {
                    while left > 0 {
                        let read = stream.read(&mut piece).await.unwrap();
                        assert!(read > 0, "{left} bytes are missing");
                        left -= read;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsunk";
                    stream.write_all(answer).await.unwrap();
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                while left > 0 {
                    let now = left.min(PIECE);
                    stream.write_all(&piece[..now]).await.unwrap();
                    left -= now;
                }
            });
        }
    });
    address
}

async fn connection(gateway: &Gateway, secure: bool) -> Connection {
    match secure {
        true => Connection::h2(gateway, "a.test").await,
        false => Connection::plain(gateway).await,
    }
}

/// How much memory the gateway has while a body passes.
struct Scale {
    process: u32,
    start: usize,
    highest: usize,
    passed: usize,
}

impl Scale {
    fn new(process: u32) -> Self {
        let start = resident(process);
        Self {
            process,
            start,
            highest: start,
            passed: 0,
        }
    }

    /// So much more has passed; from time to time it is looked at.
    fn pass(&mut self, length: usize) {
        let before = self.passed / LOOK;
        self.passed += length;
        if self.passed / LOOK > before {
            self.highest = self.highest.max(resident(self.process));
        }
    }
}

async fn upload(mut connection: Connection, length: usize, scale: &mut Scale) {
    let call = Call::new("POST", "/").header("content-length", &length.to_string());
    let (call, pieces) = call.stream();
    let answer = tokio::spawn(async move { connection.begin(call).await.unwrap() });
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut left = length;
    while left > 0 {
        let now = left.min(PIECE);
        let frame = Frame::data(piece.slice(..now));
        let sent = soon("a piece to be taken", pieces.send(frame)).await;
        sent.unwrap();
        scale.pass(now);
        left -= now;
    }
    drop(pieces);
    let answer = soon("the answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn download(mut connection: Connection, length: usize, scale: &mut Scale) {
    let answer = soon("the answer", connection.begin(Call::get("/"))).await;
    let mut body = answer.unwrap().into_body();
    let mut left = length;
    while let Some(frame) = soon("a piece", body.frame()).await {
        let now = frame.unwrap().into_data().unwrap().len();
        scale.pass(now);
        left -= now;
    }
    assert_eq!(left, 0);
}

async fn pass(length: usize, secure: bool) {
    let address = large(length).await;
    let gateway = gateway()
        .quiet()
        .toml(&format!(
            "[upstreams.app]\nendpoints = [\"http://{address}\"]"
        ))
        .route(&format!("{PUBLIC}\nmax_body = \"20GiB\""))
        .tls(&["a.test"])
        .plain()
        .start()
        .await;
    let mut scale = Scale::new(gateway.id());

    upload(connection(&gateway, secure).await, length, &mut scale).await;
    download(connection(&gateway, secure).await, length, &mut scale).await;

    let grown = scale.highest - scale.start;
    println!("{length} bytes each way: the gateway grew by {grown} bytes");
    assert_eq!(scale.passed, 2 * length);
    assert!(grown < MOST, "it grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_gigabyte_passes_each_way_in_flat_memory() {
    pass(512 << 20, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_passes_each_way_over_tls_and_http2_in_flat_memory() {
    pass(128 << 20, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run.sh --long"]
async fn ten_gigabytes_pass_each_way_in_flat_memory() {
    pass(10_000_000_000, false).await;
}
