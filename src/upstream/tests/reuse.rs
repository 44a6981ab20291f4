//! When a connection carries a second request, and when a request is sent a second time.

use super::*;

/// An upstream whose n-th connection is handled by `serve`, which gets its number.
pub(super) async fn upstream_of<F>(serve: fn(usize, TcpStream) -> F) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, stream));
        }
    });
    address
}

async fn answer(stream: &mut TcpStream, bytes: &str) {
    stream.write_all(bytes.as_bytes()).await.unwrap();
}

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn only_an_answer_that_has_ended_for_certain_leaves_a_connection_for_the_next_request() {
    for last in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
    ] {
        let answers: &'static [Answer] = Box::leak(Box::new([Answer::Keep(last), OK]));
        let (address, seen) = scripted(answers).await;
        let upstream = upstream(&[address], "");

        let first = send(&upstream, get()).await.unwrap();
        assert_ne!(read(first.into_body()).await.unwrap().0, "evil");
        let second = send(&upstream, get()).await.unwrap();

        assert_eq!(read(second.into_body()).await.unwrap().0, "ok", "{last}");
        assert_eq!(seen.connections(), 2, "{last}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_unasked_is_not_taken_for_an_answer() {
    let address = upstream_of(|number, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        answer(&mut stream, SHORT).await;
        if number == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer(
                &mut stream,
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            )
            .await;
        }
        stream.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let upstream = upstream(&[address], "");
    send(&upstream, get()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let second = send(&upstream, get()).await.unwrap();

    assert_eq!(read(second.into_body()).await.unwrap().0, "ok");
}

#[tokio::test]
async fn a_repeatable_request_is_sent_again_when_an_idle_connection_is_closed_under_it() {
    for (method, body, again) in [
        (Method::GET, Body::Empty, true),
        (Method::HEAD, Body::Empty, true),
        (Method::GET, Body::text("x"), false),
        (Method::POST, Body::Empty, false),
        (Method::DELETE, Body::Empty, true),
        (Method::PUT, Body::text("x"), false),
    ] {
        let address = upstream_of(|number, mut stream| async move {
            read_head(&mut stream).await.unwrap();
            answer(&mut stream, SHORT).await;
            // The first connection is closed at the very moment when it is used again.
            if number == 0 {
                read_head(&mut stream).await.unwrap();
            } else {
                stream.read_to_end(&mut Vec::new()).await.ok();
            }
        })
        .await;
        let upstream = upstream(&[address], "");
        send(&upstream, get()).await.unwrap();

        let second = send(&upstream, request(method.clone(), body)).await;

        match again {
            true => assert!(second.is_ok(), "{method}: {second:?}"),
            false => assert!(
                matches!(second, Err(UpstreamError::Broken(_))),
                "{method}: {second:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_request_is_not_sent_again_once_a_byte_of_an_answer_came() {
    let half = upstream_of(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        answer(&mut stream, SHORT).await;
        read_head(&mut stream).await.unwrap();
        answer(&mut stream, "HTTP/1.1 2").await;
    })
    .await;
    let half = upstream(&[half], "");
    send(&half, get()).await.unwrap();

    let cut = send(&half, get()).await;
    assert!(matches!(cut, Err(UpstreamError::Broken(_))), "{cut:?}");
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closes_is_closed_here_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&[listener.local_addr().unwrap()], "");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        answer(&mut stream, SHORT).await;
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap()
    });

    send(&upstream, get()).await.unwrap();

    let closed = tokio::time::timeout(PATIENCE, served).await;
    assert_eq!(
        closed
            .expect("it is closed without another request")
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn an_idle_connection_that_is_too_old_is_closed_without_another_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(
        &[listener.local_addr().unwrap()],
        "idle_timeout = \"100ms\"",
    );
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        answer(&mut stream, SHORT).await;
        stream.read_to_end(&mut Vec::new()).await.unwrap()
    });

    send(&upstream, get()).await.unwrap();

    assert!(tokio::time::timeout(PATIENCE, served).await.is_ok());
}

#[tokio::test]
async fn an_upload_goes_on_while_the_answer_is_read() {
    let address = upstream_of(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        answer(
            &mut stream,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        )
        .await;
        read_until(&mut stream, b"0\r\n\r\n").await.unwrap();
        answer(&mut stream, "4\r\nmore\r\n0\r\n\r\n").await;
    })
    .await;
    let front = front(upstream(&[address], ""), 100, timeouts(5000)).await;

    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
    let mut client = talk(front, head).await;
    assert_eq!(status(&mut client).await, "200");
    read_until(&mut client, b"ok\r\n").await.unwrap();
    client.write_all(b"1\r\ny\r\n0\r\n\r\n").await.unwrap();
    let rest = tokio::time::timeout(PATIENCE, read_until(&mut client, b"0\r\n\r\n")).await;

    assert!(rest.unwrap().unwrap().contains("more"));
}

#[tokio::test]
async fn an_upstream_that_refuses_without_reading_the_upload_is_heard() {
    let address = upstream_of(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        answer(
            &mut stream,
            "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno",
        )
        .await;
        std::future::pending::<()>().await;
    })
    .await;

    let large = Body::text(vec![b'x'; 32 << 20]);
    let refused = send(&upstream(&[address], ""), request(Method::POST, large)).await;

    assert_eq!(refused.unwrap().status(), 413);
}
