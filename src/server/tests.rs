//! Real sockets and real connections; those that need TLS are in `tls/tests.rs`.

use std::future::pending;
use std::net::TcpListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::config::load;

/// Long enough for anything that should happen, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers with its worker's number; `/slow` after a while, `/never` never.
#[derive(Debug)]
pub(super) struct Numbered(pub(super) usize);

impl Handler for Numbered {
    async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        match request.uri().path() {
            "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            "/never" => pending().await,
            _ => {}
        }
        let host = request
            .headers()
            .get("host")
            .map(|host| host.to_str().unwrap());
        let covered = peer.tls.as_ref().map(|tls| {
            let host = host.or(request.uri().host()).unwrap_or_default();
            tls.scope.covers(tls.server_name.as_deref(), host)
        });
        let status = if covered == Some(false) { 421 } else { 200 };
        let mut response = Response::new(Body::text(self.0.to_string()));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        response
    }
}

pub(super) fn config(listeners: &str, rest: &str) -> Config {
    let text = format!(
        "listeners = [{listeners}]\nroutes = []\nupstreams = {{}}\nstore = {{ embedded = \"x\" }}\n{rest}"
    );
    load::parse(&text, std::path::Path::new("")).unwrap()
}

pub(super) struct Running {
    pub(super) addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub(super) fn start(config: &Config) -> Self {
        let server = Server::bind(config).unwrap();
        let addresses = server.addresses();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap() };
        let make = |index| async move { Ok::<_, ServeError>(Numbered(index)) };
        let ended = tokio::spawn(server.run(make, shutdown));
        Self {
            addresses,
            stop,
            ended,
        }
    }

    async fn stop(self) -> Result<(), ServeError> {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.ended).await;
        ended.expect("it stops in time").unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }
}

const PLAIN: &str = "{ address = \"127.0.0.1:0\" }";

/// All that comes until the server closes, or `None` if it does not.
async fn until_closed(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    closed.ok()?.ok();
    Some(String::from_utf8(text).unwrap())
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn first_byte(stream: &mut TcpStream) -> io::Result<u8> {
    tokio::time::timeout(PATIENCE, stream.read_u8())
        .await
        .unwrap()
}

#[tokio::test]
async fn every_worker_serves_on_the_one_port_that_was_found() {
    let server = Running::start(&config(PLAIN, "server.workers = 2"));

    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let mut client = server.connect().await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let answer = until_closed(&mut client).await.unwrap();
        workers.insert(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }

    assert_eq!(workers.into_iter().collect::<Vec<_>>(), ["0", "1"]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_the_word_to_stop_and_new_ones_are_refused() {
    let server = Running::start(&config(PLAIN, "server.workers = 1"));
    let address = server.addresses[0];
    let mut idle = server.connect().await;
    ask(&mut idle, "/").await;
    first_byte(&mut idle).await.unwrap();
    let mut busy = server.connect().await;
    ask(&mut busy, "/slow").await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    server.stop().await.unwrap();

    let answer = until_closed(&mut busy).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert!(until_closed(&mut idle).await.is_some());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut() {
    let rest = "server = { workers = 1, drain_timeout = \"100ms\" }";
    let server = Running::start(&config(PLAIN, rest));
    let mut client = server.connect().await;
    ask(&mut client, "/never").await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    server.stop().await.unwrap();

    assert_eq!(until_closed(&mut client).await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_client_that_is_silent_or_slow_is_closed_at_its_deadline() {
    for (limit, sent, answer) in [
        ("first_byte_timeout", "", ""),
        ("header_timeout", "GET / HT", "HTTP/1.1 408"),
        (
            "header_timeout",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT",
            "HTTP/1.1 200",
        ),
        (
            "idle_timeout",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "HTTP/1.1 200",
        ),
    ] {
        let rest = format!("limits.{limit} = \"200ms\"");
        let server = Running::start(&config(PLAIN, &rest));
        let mut client = server.connect().await;
        client.write_all(sent.as_bytes()).await.unwrap();

        let told = until_closed(&mut client).await;

        assert!(
            told.as_ref().is_some_and(|told| told.starts_with(answer)),
            "{limit}: {told:?}"
        );
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_deadlines_start_anew_with_every_request() {
    let rest = "limits = { first_byte_timeout = \"400ms\", header_timeout = \"400ms\", idle_timeout = \"400ms\" }";
    let server = Running::start(&config(PLAIN, rest));
    let mut client = server.connect().await;

    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ask(&mut client, "/").await;
        let mut answer = [0; 64];
        assert_ne!(client.read(&mut answer).await.unwrap(), 0);
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = Running::start(&config(PLAIN, "limits.max_head = \"8KiB\""));
    let mut client = server.connect().await;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(9000)
    );
    client.write_all(request.as_bytes()).await.unwrap();

    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();

    assert_eq!(&status, b"HTTP/1.1 431");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_closes() {
    let rest = "server.workers = 1\nlimits.max_connections = 1";
    let server = Running::start(&config(PLAIN, rest));
    let mut first = server.connect().await;
    ask(&mut first, "/").await;
    first_byte(&mut first).await.unwrap();
    let mut second = server.connect().await;
    ask(&mut second, "/").await;

    let early = tokio::time::timeout(Duration::from_millis(200), second.read_u8()).await;
    drop(first);

    assert!(early.is_err());
    assert_eq!(first_byte(&mut second).await.unwrap(), b'H');
    server.stop().await.unwrap();
}

#[tokio::test]
async fn one_worker_that_cannot_start_stops_them_all() {
    let server = Server::bind(&config(PLAIN, "server.workers = 2")).unwrap();
    let make = |index| async move {
        match index {
            0 => Ok(Numbered(0)),
            _ => Err(ServeError::Worker(io::Error::other("no store"))),
        }
    };

    let ended = tokio::time::timeout(PATIENCE, server.run(make, pending())).await;

    assert!(matches!(ended.unwrap(), Err(ServeError::Worker(_))));
}

#[tokio::test]
async fn a_worker_that_panics_ends_the_run() {
    let server = Server::bind(&config(PLAIN, "server.workers = 1")).unwrap();
    let make = |index: usize| async move {
        assert_ne!(index, 0, "on purpose");
        Ok::<_, ServeError>(Numbered(index))
    };

    let ended = tokio::time::timeout(PATIENCE, server.run(make, pending())).await;

    assert!(matches!(ended.unwrap(), Err(ServeError::Died)));
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();

    let refused = Server::bind(&config(&format!("{{ address = \"{address}\" }}"), ""));

    assert!(matches!(refused, Err(ServeError::Bind { address: told, .. }) if told == address));
}
