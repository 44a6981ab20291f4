//! Endpoints that speak HTTP/2: real ones, in the clear and over TLS.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;
use http_body_util::StreamBody;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;

use super::*;

type Sent = Response<Pin<Box<dyn http_body::Body<Data = Bytes, Error = Infallible> + Send>>>;

/// Frames that a test sends one by one.
struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl futures_util::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn answer(body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Sent {
    Response::new(Box::pin(body))
}

/// An endpoint in the clear whose requests `serve` answers.
async fn endpoint<F>(serve: fn(Request<Incoming>) -> F) -> (SocketAddr, Arc<Seen>)
where
    F: Future<Output = Sent> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            told.connections.fetch_add(1, Ordering::SeqCst);
            let told = Arc::clone(&told);
            let service = service_fn(move |request: Request<Incoming>| {
                let line = format!(
                    "{} {} {:?}",
                    request.method(),
                    request.uri(),
                    request.headers()
                );
                told.requests.lock().push(line);
                let answered = serve(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

fn h2(addresses: &[SocketAddr], rest: &str) -> Upstream {
    upstream(addresses, &format!("protocol = 'h2'\n{rest}"))
}

async fn ok(_: Request<Incoming>) -> Sent {
    answer(http_body_util::Full::new(Bytes::from("ok")))
}

#[tokio::test]
async fn requests_share_one_connection_and_keep_their_heads() {
    let (address, seen) = endpoint(ok).await;
    let upstream = Arc::new(h2(&[address], ""));

    let many: Vec<_> = (0..20)
        .map(|_| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { send(&upstream, get()).await.unwrap() })
        })
        .collect();
    for answer in many {
        let (text, _) = read(answer.await.unwrap().into_body()).await.unwrap();
        assert_eq!(text, "ok");
    }

    assert_eq!(seen.connections(), 1);
    let line = &seen.requests()[0];
    assert!(
        line.starts_with("GET http://client.example/path?query "),
        "{line}"
    );
    assert!(!line.contains("host"), "{line}");
    assert_eq!(
        (upstream.cells.opened.get(), upstream.endpoints[0].busy()),
        (1, 0)
    );
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways_at_once() {
    let (address, _) = endpoint(|request| async move {
        let (frames, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                frames.send(frame).await.unwrap();
            }
        });
        answer(StreamBody::new(Frames(receiver)))
    })
    .await;
    let front = front(h2(&[address], ""), 1 << 20, timeouts(5000)).await;

    let head = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = talk(front, head).await;
    assert_eq!(status(&mut client).await, "200");
    for piece in ["1\r\na\r\n", "1\r\nb\r\n"] {
        client.write_all(piece.as_bytes()).await.unwrap();
        let back = tokio::time::timeout(PATIENCE, read_until(&mut client, piece.as_bytes()));
        assert!(back.await.unwrap().is_some());
    }
    client.write_all(b"0\r\nx-sum: 7\r\n\r\n").await.unwrap();
    let end = tokio::time::timeout(PATIENCE, read_until(&mut client, b"\r\n\r\n"));
    assert!(end.await.unwrap().unwrap().starts_with("0\r\n"));
}

#[tokio::test]
async fn trailers_of_an_answer_are_handed_on() {
    let (address, _) = endpoint(|_| async {
        let (frames, receiver) = mpsc::channel(2);
        frames.send(Frame::data(Bytes::from("ok"))).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        frames.send(Frame::trailers(trailers)).await.unwrap();
        answer(StreamBody::new(Frames(receiver)))
    })
    .await;

    let answer = send(&h2(&[address], ""), get()).await.unwrap();
    let (text, trailers) = read(answer.into_body()).await.unwrap();

    assert_eq!(text, "ok");
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_client_at_fault_is_told_so_and_an_endpoint_that_does_not_answer_is_given_up() {
    let (address, _) = endpoint(|request| async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        std::future::pending().await
    })
    .await;
    let late = h2(&[address], "")
        .send(parcel(get(), None, timeouts(100)))
        .await;
    assert!(
        matches!(late, Err(UpstreamError::ResponseTimeout)),
        "{late:?}"
    );

    let front = front(h2(&[address], ""), 8, timeouts(1000)).await;
    for (request, expected) in [
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
            "413",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal",
            "400",
        ),
    ] {
        assert_eq!(status(&mut talk(front, request).await).await, expected);
    }
}

#[tokio::test]
async fn an_endpoint_that_takes_its_leave_gets_a_new_connection_and_loses_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            told.connections.fetch_add(1, Ordering::SeqCst);
            let leaving = Arc::new(tokio::sync::Notify::new());
            let leave = Arc::clone(&leaving);
            let service = service_fn(move |request: Request<Incoming>| {
                leave.notify_one();
                async move { Ok::<_, Infallible>(ok(request).await) }
            });
            let connection = http2::Builder::new(TokioExecutor::new());
            let connection = connection.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = leaving.notified() => connection.as_mut().graceful_shutdown(),
                }
                connection.await.ok();
            });
        }
    });
    let upstream = h2(&[address], "");

    for number in 0..20 {
        let answer = send(&upstream, request(Method::POST, Body::text("x"))).await;
        let (text, _) = read(answer.unwrap().into_body()).await.unwrap();
        assert_eq!(text, "ok", "{number}");
    }

    assert!(seen.connections() > 1);
}

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// RST_STREAM of the first request, with the code that says that it was not looked at (RFC 9113 section 8.7).
const REFUSED_STREAM: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];

/// Says of the first stream that it has not been looked at, once a frame of this type has come.
async fn refuse_after(kind: u8, mut stream: TcpStream) {
    listen_until(kind, &mut stream).await;
    stream.write_all(&REFUSED_STREAM).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.ok();
}

/// Greets, and listens until a frame of this type has come.
async fn listen_until(kind: u8, stream: &mut TcpStream) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.unwrap();
    read_until(stream, b"SM\r\n\r\n").await.unwrap();
    let mut head = [0; 9];
    while {
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        head[3] != kind
    } {}
}

/// What comes of a request whose endpoint fails it, and how many requests another endpoint got then.
async fn with_another_beside(
    failing: SocketAddr,
    request: Request<Body>,
) -> (Result<Response<Body>, UpstreamError>, usize) {
    let (works, seen) = endpoint(ok).await;
    let upstream = h2(&[failing, works], "");
    prefer_the_first(&upstream);
    let answer = send(&upstream, request).await;
    (answer, seen.requests().len())
}

#[tokio::test]
async fn what_is_lost_with_its_connection_is_repeated_only_if_that_makes_no_difference() {
    let slams = reuse::upstream_of(|_, mut stream| async move {
        listen_until(HEADERS, &mut stream).await;
    })
    .await;
    for (method, again) in [(Method::GET, 1), (Method::DELETE, 1), (Method::POST, 0)] {
        let lost = request(method.clone(), Body::Empty);

        let (answer, asked) = with_another_beside(slams, lost).await;

        assert_eq!(asked, again, "{method}: {answer:?}");
        assert_eq!(answer.is_ok(), again == 1, "{method}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_of_which_some_has_left_is_never_sent_again_even_if_nobody_looked_at_it() {
    let refusing = reuse::upstream_of(|_, stream| refuse_after(DATA, stream)).await;
    let (works, seen) = endpoint(ok).await;
    let upstream = h2(&[refusing, works], "");

    sharing::a_body_that_was_begun_is_lost(upstream, &seen).await;
}

#[tokio::test]
async fn what_an_endpoint_has_not_looked_at_is_sent_to_another() {
    let refusing = reuse::upstream_of(|_, stream| refuse_after(HEADERS, stream)).await;
    let posted = request(Method::POST, Body::Empty);

    let (answer, asked) = with_another_beside(refusing, posted).await;

    assert_eq!(read(answer.unwrap().into_body()).await.unwrap().0, "ok");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_request_that_the_client_gives_up_is_reset() {
    let (address, _) = endpoint(|request| async move {
        let (frames, receiver) = mpsc::channel(1);
        frames.send(Frame::data(Bytes::from("x"))).await.unwrap();
        let told = GONE.get().unwrap().clone();
        tokio::spawn(async move {
            drop(request);
            frames.closed().await;
            told.send(()).await.unwrap();
        });
        answer(StreamBody::new(Frames(receiver)))
    })
    .await;
    let (gone, mut heard) = mpsc::channel(1);
    GONE.set(gone).unwrap();

    let answer = send(&h2(&[address], ""), get()).await.unwrap();
    drop(answer);

    assert!(tokio::time::timeout(PATIENCE, heard.recv()).await.is_ok());
}

static GONE: std::sync::OnceLock<mpsc::Sender<()>> = std::sync::OnceLock::new();

#[tokio::test]
async fn over_tls_the_endpoint_chooses() {
    let certified = rcgen::generate_simple_self_signed(["inside.test".to_owned()]).unwrap();
    let (_dir, ca) = authority(&certified);
    // This one knows nothing of ALPN, so it speaks HTTP/1.1.
    let port = tls::tests::serve_one_answer(&certified).await;
    for (protocol, answers) in [("auto", true), ("h1", true), ("h2", false)] {
        let upstream = build(&format!(
            "endpoints = [\"https://127.0.0.1:{port}\"]\nprotocol = {protocol:?}\ntls = {{ ca = {ca:?}, server_name = 'inside.test' }}"
        ))
        .unwrap();

        let answer = send(&upstream, get()).await;

        assert_eq!(answer.is_ok(), answers, "{protocol}: {answer:?}");
    }
}
