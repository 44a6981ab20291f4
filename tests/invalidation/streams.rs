//! What stays open: it is cut when its session ends.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::bench::{LONG, Scene, TOKEN, bound, kept};
use crate::support::admin::json;
use crate::support::{Answer, Call, Connection, Gateway, Setup, soon, upstream_that};

/// A WebSocket server that sends everything back.
pub(crate) async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                let (mut sink, mut source) = socket.split();
                while let Some(Ok(message)) = source.next().await {
                    if sink.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn with_sockets(setup: Setup, address: SocketAddr) -> Setup {
    setup
        .toml(&format!(
            "[upstreams.sockets]\nendpoints = [\"http://{address}\"]"
        ))
        .route("prefix = \"/socket\"\nupgrades = [\"websocket\"]\nupstream = \"sockets\"")
        .route(
            "prefix = \"/lasting\"\nupgrades = [\"websocket\"]\nclose_on_revoke = false\nupstream = \"sockets\"",
        )
}

async fn socket(gateway: &Gateway, path: &str) -> WebSocketStream<TcpStream> {
    socket_of(gateway, path, TOKEN).await
}

async fn socket_of(gateway: &Gateway, path: &str, token: &str) -> WebSocketStream<TcpStream> {
    open(gateway.plain(), path, token)
        .await
        .expect("it is let in")
}

/// A tunnel through the gateway at this address; nothing if there is none to be had.
pub(crate) async fn open(
    address: SocketAddr,
    path: &str,
    token: &str,
) -> Option<WebSocketStream<TcpStream>> {
    let url = format!("ws://{address}{path}");
    let mut request = url.into_client_request().unwrap();
    let token = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", token);
    let stream = TcpStream::connect(address).await.ok()?;
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .ok()?;
    Some(socket)
}

async fn echoes(socket: &mut WebSocketStream<TcpStream>) -> bool {
    if socket.send(Message::text("x")).await.is_err() {
        return false;
    }
    let echoed = soon("the echo or the end", socket.next()).await;
    matches!(echoed, Some(Ok(message)) if message == Message::text("x"))
}

async fn is_cut(socket: &mut WebSocketStream<TcpStream>) {
    let end = soon("the end of the tunnel", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn tunnel_is_cut_when_its_session_ends_unless_the_route_lets_it_last() {
    let scene = Scene::new().await;
    let setup = with_sockets(scene.door(LONG), echo_server().await);
    let gateway = scene.warm(setup).await;
    let mut tunnel = socket(&gateway, "/socket").await;
    let mut lasting = socket(&gateway, "/lasting").await;
    assert!(echoes(&mut tunnel).await && echoes(&mut lasting).await);

    scene.end();

    is_cut(&mut tunnel).await;
    assert!(echoes(&mut lasting).await);
}

#[tokio::test]
async fn tunnel_is_cut_when_nobody_can_tell_any_more() {
    let scene = Scene::new().await;
    let setup = with_sockets(scene.door(&bound(2)), echo_server().await);
    let gateway = scene.warm(setup).await;
    let mut tunnel = socket(&gateway, "/socket").await;
    assert!(echoes(&mut tunnel).await);
    // As long as it can be told, it goes on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(echoes(&mut tunnel).await);

    scene.proxy.silence();

    is_cut(&mut tunnel).await;
}

#[tokio::test]
async fn tunnel_of_a_session_that_expires_is_cut() {
    let scene = Scene::new().await;
    let setup = with_sockets(scene.door(LONG), echo_server().await);
    let gateway = scene.warm(setup).await;
    let mut tunnel = socket(&gateway, "/socket").await;
    assert!(echoes(&mut tunnel).await);

    let key = format!("login:token:{TOKEN}");
    scene.redis.cli(&["PEXPIRE", &key, "700"]);

    is_cut(&mut tunnel).await;
}

#[tokio::test]
async fn stream_of_events_is_cut_where_the_route_wants_that() {
    let scene = Scene::new().await;
    let events = upstream_that(|_| Answer::Hold);
    let setup = scene
        .door(LONG)
        .upstream("events", &events)
        .route("prefix = \"/events\"\nclose_on_revoke = true\nupstream = \"events\"");
    let gateway = scene.warm(setup).await;
    let mut connection = Connection::plain(&gateway).await;
    let asking = connection.begin(Call::get("/events").bearer(TOKEN));
    let (answer, mut held) = tokio::join!(asking, async {
        let mut held = events.held().await;
        held.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        held.write("8\r\ndata: 1\n\r\n").await;
        held
    });
    let mut body = answer.unwrap().into_body();
    let first = soon("the first event", body.frame())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.into_data().unwrap(), "data: 1\n");
    kept(&scene.redis, &gateway).await;

    scene.end();

    let end = soon("the end of the stream", body.frame()).await;
    assert!(end.is_none_or(|frame| frame.is_err()), "it is broken off");
    assert!(
        held.read().await.is_empty(),
        "and so is the upstream's side"
    );
}

/// Bans alice from one service, and leaves her sessions alone.
async fn ban_from_chat(gateway: &Gateway) {
    let order = json(
        "PUT",
        "/v1/users/alice/bans/chat",
        &serde_json::json!({"keep_sessions": true}),
    );
    assert_eq!(gateway.administer("root", order).await.status, 200);
}

#[tokio::test]
async fn ban_from_one_service_cuts_its_tunnels_and_no_others() {
    let scene = Scene::new().await;
    let setup = with_sockets(scene.door(LONG), echo_server().await)
        .route(
            "prefix = \"/chat\"\nservice = \"chat\"\nupgrades = [\"websocket\"]\nupstream = \"sockets\"",
        )
        .admin();
    let gateway = scene.warm(setup).await;
    let body = serde_json::json!({"user_id": "alice"});
    let opened = gateway
        .administer("root", json("POST", "/v1/sessions", &body))
        .await;
    let own = opened.json()["access_token"].as_str().unwrap().to_owned();
    for token in [TOKEN, &own] {
        let mut banned = socket_of(&gateway, "/chat", token).await;
        let mut other = socket_of(&gateway, "/socket", token).await;
        assert!(echoes(&mut banned).await && echoes(&mut other).await);

        ban_from_chat(&gateway).await;

        is_cut(&mut banned).await;
        assert!(echoes(&mut other).await);
        let lifted = Call::new("DELETE", "/v1/users/alice/bans/chat");
        assert_eq!(gateway.administer("root", lifted).await.status, 204);
        let start = std::time::Instant::now();
        while gateway.send(Call::get("/chat").bearer(token)).await.status == 403 {
            assert!(start.elapsed() < crate::support::PATIENCE);
        }
    }
}
