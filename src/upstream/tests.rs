//! Real sockets on both sides: upstreams that speak raw bytes, and clients that come through a real HTTP server.

mod anybody;
mod h2;
mod reuse;
mod sharing;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::body::BodyError;
use crate::config::value;
use crate::headers::RequestHead;

/// Long enough for anything that should happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an upstream saw.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// An upstream that answers the n-th request with the n-th answer, which may end with the connection.
async fn scripted(answers: &'static [Answer]) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            told.connections.fetch_add(1, Ordering::SeqCst);
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                while let Some(head) = read_head(&mut stream).await {
                    let number = {
                        let mut requests = told.requests.lock();
                        requests.push(head);
                        requests.len() - 1
                    };
                    match answers[number % answers.len()] {
                        Answer::Keep(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
                        Answer::Close(bytes) => {
                            stream.write_all(bytes.as_bytes()).await.unwrap();
                            return;
                        }
                        Answer::Silence => {}
                    }
                }
            });
        }
    });
    (address, seen)
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Keep(&'static str),
    Close(&'static str),
    Silence,
}

const OK: Answer = Answer::Keep("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    read_until(stream, b"\r\n\r\n").await
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(read).unwrap())
}

fn upstream(addresses: &[SocketAddr], rest: &str) -> Upstream {
    let endpoints: Vec<_> = addresses.iter().map(|a| format!("http://{a}")).collect();
    build(&format!("endpoints = {endpoints:?}\n{rest}")).unwrap()
}

fn build(text: &str) -> Result<Upstream, Vec<Fault>> {
    let made = service::Made::of(&toml::from_str(text).unwrap());
    Upstream::build(Services::default().get("app", made)?, Arc::default())
}

fn request(method: Method, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/path?query")
        .header(HOST, "client.example")
        .body(body)
        .unwrap()
}

fn get() -> Request<Body> {
    request(Method::GET, Body::Empty)
}

fn timeouts(millis: u64) -> Timeouts {
    let wait = value::Duration::from_millis(millis);
    Timeouts {
        connect: wait,
        response: wait,
        idle: wait,
        total: None,
    }
}

/// The request as the gateway would hand it over.
fn parcel(request: Request<Body>, upgrade: Option<ClientUpgrade>, timeouts: Timeouts) -> Parcel {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().as_str();
    let mut head = RequestHead::begin(&parts.method, target, &parts.headers[HOST]);
    let framing = [HOST, CONTENT_LENGTH];
    for (name, value) in &parts.headers {
        if !framing.contains(name) {
            head.field(name, value);
        }
    }
    head.end(&body, parts.headers.contains_key(CONTENT_LENGTH));
    Parcel {
        head,
        body,
        upgrade,
        timeouts,
        sender: None,
    }
}

async fn send(
    upstream: &Upstream,
    request: Request<Body>,
) -> Result<Response<Body>, UpstreamError> {
    let sent = upstream.send(parcel(request, None, timeouts(10_000)));
    tokio::time::timeout(PATIENCE, sent).await.unwrap()
}

async fn read(mut body: Body) -> Result<(String, Option<HeaderMap>), BodyError> {
    let mut text = String::new();
    let mut trailers = None;
    while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
        match frame?.into_data() {
            Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((text, trailers))
}

/// Takes the second of two for unwell, so that the first is asked first.
fn prefer_the_first(upstream: &Upstream) {
    upstream.endpoints[1].place.standing.found(false);
}

/// A client-facing server in front of `upstream`; refusals are told by status.
async fn front(upstream: Upstream, max_body: u64, timeouts: Timeouts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = Arc::new(upstream);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let upstream = Arc::clone(&upstream);
            let service = service_fn(move |request: Request<Incoming>| {
                let upstream = Arc::clone(&upstream);
                async move { Ok::<_, Infallible>(pass(&upstream, request, max_body, timeouts).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address
}

fn on_upgrade(request: &mut Request<Incoming>) -> crate::upgraded::OnUpgrade {
    let (upgrading, offer) = crate::upgraded::switch();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let ours = crate::upgraded::Upgraded::new(TokioIo::new(upgraded), Bytes::new());
            upgrading.switched(ours);
        }
    });
    offer.take().unwrap()
}

async fn pass(
    upstream: &Upstream,
    mut request: Request<Incoming>,
    max_body: u64,
    timeouts: Timeouts,
) -> Response<Body> {
    let asked = request.headers().get("upgrade").cloned();
    let upgrade = asked.map(|name| ClientUpgrade {
        protocol: name.to_str().unwrap().to_ascii_lowercase(),
        client: on_upgrade(&mut request),
        slot: None,
        until: None,
    });
    let (mut parts, incoming) = request.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    let filter: crate::body::TrailerFilter = Arc::new(|trailers| {
        trailers.remove("x-user-id");
    });
    let refuse = |status: u16| {
        let mut refusal = Response::new(Body::Empty);
        *refusal.status_mut() = StatusCode::from_u16(status).unwrap();
        refusal
    };
    let incoming = crate::body::Incoming::Http2(incoming);
    let bounds = crate::body::Bounds {
        max: max_body,
        idle: timeouts.idle.get(),
        pace: crate::pace::Pace::default(),
    };
    let Ok(body) = Body::from_client(incoming, bounds, filter) else {
        return refuse(413);
    };
    let request = Request::from_parts(parts, body);
    match upstream.send(parcel(request, upgrade, timeouts)).await {
        Ok(mut response) => {
            response.headers_mut().remove(TRANSFER_ENCODING);
            response
        }
        Err(UpstreamError::BodyTooLarge) => refuse(413),
        Err(UpstreamError::ClientBody) => refuse(400),
        Err(UpstreamError::ClientSlow) => refuse(408),
        Err(UpstreamError::Busy | UpstreamError::Withdrawn) => refuse(503),
        Err(
            UpstreamError::ResponseTimeout
            | UpstreamError::ConnectTimeout
            | UpstreamError::TotalTimeout,
        ) => refuse(504),
        Err(UpstreamError::Broken(_) | UpstreamError::Connect(_) | UpstreamError::WrongUpgrade) => {
            refuse(502)
        }
    }
}

async fn talk(front: SocketAddr, bytes: &str) -> TcpStream {
    let mut client = TcpStream::connect(front).await.unwrap();
    client.write_all(bytes.as_bytes()).await.unwrap();
    client
}

async fn status(client: &mut TcpStream) -> String {
    let head = tokio::time::timeout(PATIENCE, read_head(client)).await;
    let head = head.unwrap().expect("an answer comes before the end");
    head[9..12].to_owned()
}

#[tokio::test]
async fn answers_of_every_kind_leave_the_connection_fit_for_the_next_request() {
    let (address, seen) = scripted(&[
        OK,
        Answer::Keep("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        Answer::Keep("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"),
        Answer::Keep("HTTP/1.1 204 No Content\r\n\r\n"),
        Answer::Keep("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"),
        Answer::Keep("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        Answer::Keep("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"),
        Answer::Keep("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ])
    .await;
    let upstream = upstream(&[address], "");
    let mut read_bodies = Vec::new();

    for method in [
        Method::GET,
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::GET,
        Method::GET,
        Method::GET,
        Method::POST,
    ] {
        let answer = send(&upstream, request(method, Body::Empty)).await.unwrap();
        read_bodies.push(read(answer.into_body()).await.unwrap().0);
    }

    assert_eq!(read_bodies, ["ok", "ok", "", "", "", "ok", "ok", ""]);
    assert_eq!(seen.connections(), 1);
}

#[tokio::test]
async fn trailers_of_an_answer_are_handed_on() {
    let (address, _) = scripted(&[Answer::Keep(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    )])
    .await;

    let answer = send(&upstream(&[address], ""), get()).await.unwrap();
    let (text, trailers) = read(answer.into_body()).await.unwrap();

    assert_eq!(text, "ok");
    assert_eq!(trailers.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_without_a_trace() {
    let (address, seen) = scripted(&[Answer::Close(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )])
    .await;
    let upstream = upstream(&[address], "");

    for _ in 0..5 {
        let answer = send(&upstream, request(Method::POST, Body::text("x"))).await;
        assert_eq!(read(answer.unwrap().into_body()).await.unwrap().0, "ok");
    }

    assert_eq!(seen.connections(), 5);
    assert_eq!(seen.requests().len(), 5);
}

#[tokio::test]
async fn a_request_that_was_read_but_not_answered_is_never_sent_again() {
    let (address, seen) = scripted(&[OK, Answer::Close("")]).await;
    let upstream = upstream(&[address], "");
    let first = send(&upstream, get()).await.unwrap();
    read(first.into_body()).await.unwrap();

    let second = send(&upstream, request(Method::POST, Body::Empty)).await;

    assert!(matches!(second, Err(UpstreamError::Broken(_))));
    assert_eq!(seen.requests().len(), 2);
}

#[tokio::test]
async fn idle_connections_are_dropped_when_old_or_too_many() {
    for (rest, connections) in [("idle_timeout = \"0s\"", 2), ("max_idle = 0", 2), ("", 1)] {
        let (address, seen) = scripted(&[OK]).await;
        let upstream = upstream(&[address], rest);

        for _ in 0..2 {
            let answer = send(&upstream, get()).await.unwrap();
            read(answer.into_body()).await.unwrap();
        }

        assert_eq!(seen.connections(), connections, "{rest}");
    }
}

#[tokio::test]
async fn an_answer_dropped_half_read_takes_its_connection_with_it() {
    let (address, seen) = scripted(&[
        Answer::Keep("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
        OK,
    ])
    .await;
    let upstream = upstream(&[address], "");

    drop(send(&upstream, get()).await.unwrap());
    let answer = send(&upstream, get()).await.unwrap();

    assert_eq!(read(answer.into_body()).await.unwrap().0, "ok");
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_an_error() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let answers: &'static [Answer] = Box::leak(Box::new([Answer::Close(cut)]));
        let (address, _) = scripted(answers).await;

        let answer = send(&upstream(&[address], ""), get()).await;

        if let Ok(answer) = answer {
            assert!(read(answer.into_body()).await.is_err(), "{cut}");
        }
        let front = front(upstream(&[address], ""), 100, timeouts(5000)).await;
        let mut client = talk(front, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut received = String::new();
        client.read_to_string(&mut received).await.ok();
        assert!(!received.ends_with("0\r\n\r\n"), "{received}");
    }
}

#[tokio::test]
async fn an_upstream_that_stalls_within_its_answer_is_given_up() {
    let (address, _) = scripted(&[Answer::Keep(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    )])
    .await;
    let upstream = upstream(&[address], "");

    let answer = upstream
        .send(parcel(get(), None, timeouts(100)))
        .await
        .unwrap();

    assert!(read(answer.into_body()).await.is_err());
}

#[tokio::test]
async fn no_endpoint_that_accepts_is_a_connect_error() {
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = refusing.local_addr().unwrap();
    drop(refusing);

    let refused = send(&upstream(&[closed, closed], ""), get()).await;

    assert!(matches!(refused, Err(UpstreamError::Connect(_))));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_dir, ca) = authority(&rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap());
    let upstream = build(&format!(
        "endpoints = [\"https://127.0.0.1:{port}\"]\ntls.ca = {ca:?}"
    ))
    .unwrap();

    let late = upstream.send(parcel(get(), None, timeouts(100))).await;

    assert!(matches!(late, Err(UpstreamError::ConnectTimeout)));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_given_up() {
    let (address, _) = scripted(&[Answer::Silence]).await;

    let late = upstream(&[address], "")
        .send(parcel(get(), None, timeouts(100)))
        .await;

    assert!(matches!(late, Err(UpstreamError::ResponseTimeout)));
}

#[tokio::test]
async fn the_upstream_sees_the_host_that_the_configuration_says() {
    let (address, seen) = scripted(&[OK]).await;

    for rest in ["host = \"client\"", "host = \"endpoint\""] {
        send(&upstream(&[address], rest), get()).await.unwrap();
    }

    let requests = seen.requests();
    assert!(requests[0].contains("\r\nhost: client.example\r\n"));
    assert!(requests[1].contains(&format!("\r\nhost: {address}\r\n")));
    assert!(requests[0].starts_with("GET /path?query HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_is_handed_on_and_the_connection_not_reused() {
    let (address, seen) = scripted(&[OK]).await;
    let front = front(upstream(&[address], ""), 1000, timeouts(5000)).await;

    let mut first = talk(
        front,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf",
    )
    .await;
    assert_eq!(status(&mut first).await, "200");
    let mut second = talk(front, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;

    assert_eq!(status(&mut second).await, "200");
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let (address, _) = scripted(&[Answer::Silence]).await;
    let front = front(upstream(&[address], ""), 8, timeouts(5000)).await;

    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
    ] {
        assert_eq!(status(&mut talk(front, request).await).await, "413");
    }
}

#[tokio::test]
async fn a_client_that_stalls_within_its_body_is_refused() {
    let (address, _) = scripted(&[Answer::Silence]).await;
    let front = front(upstream(&[address], ""), 100, timeouts(100)).await;

    let mut client = talk(
        front,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
    )
    .await;

    assert_eq!(status(&mut client).await, "400");
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_response_timeout_while_it_moves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_until(&mut stream, b"0\r\n\r\n").await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let waits = Timeouts {
        response: value::Duration::from_millis(200),
        ..timeouts(5000)
    };
    let front = front(upstream(&[address], ""), 100, waits).await;

    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = talk(front, head).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write_all(b"1\r\nx\r\n").await.unwrap();
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();

    assert_eq!(status(&mut client).await, "200");
}

#[tokio::test]
async fn a_get_keeps_its_body_and_trailers_pass_the_filter() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        let body = read_until(&mut stream, b"\r\n\r\n").await.unwrap();
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        (head, body)
    });
    let front = front(upstream(&[address], ""), 100, timeouts(5000)).await;

    let mut client = talk(
        front,
        "GET / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum, x-user-id\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nx-sum: 7\r\nx-user-id: root\r\n\r\n",
    )
    .await;

    assert_eq!(status(&mut client).await, "204");
    let (head, body) = received.await.unwrap();
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert!(body.contains("hi\r\n"), "{body}");
    assert!(body.contains("x-sum: 7\r\n"), "{body}");
    assert!(!body.contains("root"), "{body}");
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn an_upgrade_passes_bytes_both_ways_and_half_a_close() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\r\nfirst";
        stream.write_all(switched.as_bytes()).await.unwrap();
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).await.unwrap();
        stream.write_all(&sent).await.unwrap();
    });
    let front = front(upstream(&[address], ""), 100, timeouts(5000)).await;

    let mut client = talk(front, UPGRADE).await;
    let head = read_head(&mut client).await.unwrap();
    let payload = vec![7; 1 << 20];
    client.write_all(&payload).await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();

    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: WebSocket\r\n"), "{head}");
    assert_eq!(&received[..5], b"first");
    assert_eq!(&received[5..], payload);
}

#[tokio::test]
async fn an_upgraded_connection_without_traffic_is_closed() {
    let (address, _) = scripted(&[Answer::Keep(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )])
    .await;
    let front = front(upstream(&[address], ""), 100, timeouts(100)).await;

    let mut client = talk(front, UPGRADE).await;
    assert_eq!(status(&mut client).await, "101");

    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_switch_that_was_not_asked_for_is_refused_and_a_declined_one_is_an_answer() {
    let (address, _) = scripted(&[
        Answer::Keep(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
        ),
        Answer::Keep("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        Answer::Keep(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
        OK,
    ])
    .await;
    let front = front(upstream(&[address], ""), 100, timeouts(5000)).await;
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    for (request, expected) in [
        (UPGRADE, "502"),
        (UPGRADE, "502"),
        (plain, "502"),
        (UPGRADE, "200"),
    ] {
        assert_eq!(status(&mut talk(front, request).await).await, expected);
    }
}

fn authority(
    certified: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, certified.cert.pem()).unwrap();
    (dir, path)
}

#[tokio::test]
async fn an_https_endpoint_must_show_a_certificate_for_its_name() {
    let certified = rcgen::generate_simple_self_signed(["inside.test".to_owned()]).unwrap();
    let (_dir, ca) = authority(&certified);
    let port = tls::tests::serve_one_answer(&certified).await;

    for (name, trusted) in [("inside.test", true), ("other.test", false)] {
        let upstream = build(&format!(
            "endpoints = [\"https://127.0.0.1:{port}\"]\ntls.ca = {ca:?}\ntls.server_name = {name:?}"
        ))
        .unwrap();

        let answer = send(&upstream, get()).await;

        assert_eq!(answer.is_ok(), trusted, "{name}: {answer:?}");
    }
}

#[test]
fn authorities_that_cannot_be_read_are_faults() {
    let missing = "endpoints = [\"https://a.test\"]\ntls.ca = \"/nowhere.pem\"";

    let faults = build(missing).unwrap_err();

    assert!(faults[0].message.contains("/nowhere.pem"));
    assert_eq!(
        &missing[faults[0].span.clone().unwrap()],
        "\"/nowhere.pem\""
    );
}
