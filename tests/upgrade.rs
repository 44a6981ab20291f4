//! WebSocket and other switches of protocols: only those the route lists, and only for who may pass.

mod support;

use futures_util::{SinkExt as _, StreamExt as _};
use support::upstream as upstream_io;
use support::{
    Answer, Call, Gateway, Raw, Setup, Upstream, gateway, soon, upstream, upstream_that, user,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

const TOKEN: &str = "dbt_socket-0123456789abcdef";

fn door(address: std::net::SocketAddr) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .session(TOKEN, user("alice", &[]))
        .toml(&format!(
            "[upstreams.app]\nendpoints = [\"http://{address}\"]"
        ))
        .route("prefix = \"/socket\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

/// A real WebSocket server that sends everything back.
async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let (mut sink, mut source) = socket.split();
                while let Some(Ok(message)) = source.next().await {
                    if message.is_close() || sink.send(message).await.is_err() {
                        break;
                    }
                }
                sink.close().await.ok();
            });
        }
    });
    address
}

async fn converse(gateway: &Gateway, stream: impl upstream_io::Io + 'static) {
    let mut request = format!("ws://{}/socket", gateway.plain())
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    let messages = [
        Message::text("hello"),
        Message::binary(vec![0, 255, 10]),
        Message::binary(vec![7; 1 << 20]),
    ];
    for message in messages {
        socket.send(message.clone()).await.unwrap();
        let echoed = soon("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed, message);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the end", socket.next()).await {}
}

#[tokio::test]
async fn a_websocket_goes_through_in_the_clear_and_over_tls() {
    let gateway = door(echo_server().await).start().await;

    converse(&gateway, TcpStream::connect(gateway.plain()).await.unwrap()).await;
    let config = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    let stream = support::client::shake_hands(&gateway, "a.test", config)
        .await
        .unwrap();
    converse(&gateway, stream).await;
}

fn ask(path: &str, token: Option<&str>, more: &str) -> String {
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}{more}\r\n"
    )
}

async fn answer(gateway: &Gateway, bytes: String) -> support::raw::RawReply {
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(bytes).await;
    raw.reply().await.expect("an answer")
}

#[tokio::test]
async fn without_a_token_there_is_no_socket_and_without_the_routes_word_no_upgrade() {
    let upstream: Upstream = upstream();
    let mut gateway = door(upstream.address()).start().await;

    assert_eq!(answer(&gateway, ask("/socket", None, "")).await.status, 401);
    assert!(upstream.seen().is_empty());
    assert_eq!(answer(&gateway, ask("/public", None, "")).await.status, 200);
    assert_eq!(
        (
            upstream.last().header("upgrade"),
            upstream.last().header("connection")
        ),
        (None, None)
    );
    let h2c = ask("/socket", Some(TOKEN), "").replace("websocket", "h2c");
    assert_eq!(answer(&gateway, h2c).await.status, 200);
    assert_eq!(upstream.last().header("upgrade"), None);
    gateway.still_serves().await;
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_refused() {
    let upstream = upstream();
    let gateway = door(upstream.address()).start().await;

    for body in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(
            answer(&gateway, ask("/socket", Some(TOKEN), body))
                .await
                .status,
            400,
            "{body}"
        );
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_502() {
    let unasked =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
    let upstream = upstream_that(move |_| Answer::Bytes(unasked.into()));
    let gateway = door(upstream.address()).start().await;

    assert_eq!(
        answer(&gateway, ask("/socket", Some(TOKEN), ""))
            .await
            .status,
        502
    );
    gateway
        .send(Call::get("/public"))
        .await
        .refused(502, "upstream_broken");
}

#[tokio::test]
async fn bytes_go_both_ways_and_a_half_close_is_passed_on() {
    let upstream = upstream_that(|_| Answer::Hold);
    let gateway = door(upstream.address()).start().await;
    let mut client = Raw::connect(gateway.plain()).await;
    client.write(ask("/socket", Some(TOKEN), "")).await;
    let mut held = upstream.held().await;
    assert_eq!(held.seen.header("upgrade"), Some("websocket"));
    assert_eq!(held.seen.header("authorization"), None);

    held.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello").await;
    let head = client.until("\r\n\r\n").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(client.until("hello").await.unwrap(), "hello");
    client.write("ping").await;
    held.read_until("ping").await;
    client.shutdown().await;
    assert!(held.read().await.is_empty(), "the half-close is passed on");
    held.write("after").await;
    assert_eq!(client.until("after").await.unwrap(), "after");
}
