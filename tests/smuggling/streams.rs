//! B-28 to B-33: what comes behind a request on its connection.

use super::*;
use crate::support::{Answer, upstream_that, user};

fn hidden() -> String {
    PROBE.replace("/SMUG", "/public/SMUG")
}

#[tokio::test]
async fn a_refused_request_with_an_unread_body_hides_no_second_request() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let hidden = hidden();
    let head = format!(
        "POST /private HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n",
        hidden.len()
    );
    for tls in [false, true] {
        // In one segment, in a later one, and never.
        for pieces in [
            vec![head.clone() + &hidden],
            vec![head.clone(), hidden.clone()],
            vec![head.clone()],
        ] {
            let mut raw = match tls {
                false => Raw::connect(gateway.plain()).await,
                true => Raw::tls(&gateway, "a.test").await,
            };
            for (number, piece) in pieces.iter().enumerate() {
                if number > 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                raw.write(piece).await;
            }
            assert_eq!(raw.reply().await.unwrap().status, 401);
            raw.write(PROBE).await;
            raw.shutdown().await;
            let rest = raw.replies_until_close().await;

            assert!(rest.iter().all(|reply| reply.status == 401), "{rest:?}");
            assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
        }
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let head = format!("POST /private HTTP/1.1\r\n{HOST}Content-Length: 1073741824\r\n\r\n");
    for _ in 0..20 {
        let mut raw = Raw::connect(gateway.plain()).await;
        raw.write(&head).await;
        raw.write(vec![b'x'; 48 << 10]).await;

        let reply = raw
            .reply()
            .await
            .expect("the answer is not lost in a reset");

        assert_eq!(reply.status, 401);
        assert!(raw.reply().await.is_none(), "and then it is over");
    }
    assert!(upstream.seen().is_empty());
    gateway.still_serves().await;
}

#[tokio::test]
async fn nobody_is_told_to_continue_before_he_is_let_in() {
    let upstream = upstream();
    let gateway = door(&upstream).await;
    let post = format!(
        "POST /private HTTP/1.1\r\n{HOST}Content-Length: 40\r\nExpect: 100-continue\r\n\r\n"
    );

    let replies = attack(&gateway, false, post.as_bytes(), Refused(401)).await;

    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [401]);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn what_follows_a_switch_that_did_not_happen_is_a_request() {
    let upstream = upstream();
    let gateway = gateway()
        .plain()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupgrades = [\"websocket\"]\nupstream = \"app\"");
    let mut gateway = gateway.start().await;
    for upgrade in ["foo", "websocket", "h2c", "websocket, foo"] {
        let ask = post(
            &format!("Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"),
            "",
        );

        let replies = attack(&gateway, false, &ask, Served).await;

        let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, [200, 401], "{upgrade}");
        assert!(!upstream.last().head.contains("SMUG"));
    }
    // Behind it, lines are looked at as anywhere else.
    let ask = [
        post("Connection: Upgrade\r\nUpgrade: foo\r\n", ""),
        b"GET /public HTTP/1.1\nHost: a.test\n\n".to_vec(),
    ];
    let replies = attack(&gateway, false, &ask.concat(), Refused(400)).await;
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 400]);
    gateway.still_serves().await;
}

#[tokio::test]
async fn what_follows_a_switch_that_happened_is_never_looked_at() {
    let upstream = upstream_that(|_| Answer::Hold);
    let gateway = gateway()
        .plain()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .start()
        .await;
    let mut raw = Raw::connect(gateway.plain()).await;
    let ask = format!("GET /x HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    // An impatient client sends its first bytes along. They look like a broken request, and are none.
    raw.write(ask + "GET / HTTP/1.1\n\nand\0more").await;
    let mut held = upstream.held().await;
    held.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;

    assert!(raw.until("\r\n\r\n").await.unwrap().contains(" 101 "));
    raw.write("\nlast\n").await;

    held.read_until("GET / HTTP/1.1\n\nand\0more\nlast\n").await;
    held.write("\n\n\0back").await;
    assert_eq!(raw.until("back").await.unwrap(), "\n\n\0back");
}

#[tokio::test]
async fn a_switch_with_a_body_is_refused() {
    let upstream = upstream();
    let gateway = gateway()
        .plain()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .start()
        .await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for bytes in [
        post(&format!("{upgrade}Content-Length: 5\r\n"), "hello"),
        post(
            &format!("{upgrade}Transfer-Encoding: chunked\r\n"),
            "0\r\n\r\n",
        ),
    ] {
        let replies = attack(&gateway, false, &bytes, Refused(400)).await;

        assert_eq!(replies.first().unwrap().status, 400);
        assert_eq!(replies.len(), 1);
        assert!(upstream.seen().is_empty());
    }
}

#[tokio::test]
async fn requests_in_one_segment_are_answered_in_turn_each_with_its_own_user() {
    let upstream = upstream();
    let tokens = [
        "token-of-alice-0001",
        "token-of-bobby-0002",
        "token-of-carol-0003",
    ];
    let mut setup = gateway()
        .plain()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"");
    for (token, name) in tokens.iter().zip(["alice", "bobby", "carol"]) {
        setup = setup.session(token, user(name, &[]));
    }
    let mut gateway = setup.start().await;
    let ask = |token: &str, end: &str| {
        format!("GET /me HTTP/1.1\r\n{HOST}Authorization: Bearer {token}\r\n\r{end}")
    };
    let asks = [
        ask(tokens[0], "\n"),
        ask("token-of-nobody-0004", "\n"),
        ask(tokens[1], "\n"),
        ask(tokens[2], "\n"),
        "GET /me HTTP/1.1\n\n".to_owned(),
        ask(tokens[0], "\n"),
    ];

    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(asks.concat()).await;
    let replies = raw.replies_until_close().await;

    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(
        statuses,
        [200, 401, 200, 200, 400],
        "behind a 400 there is nothing"
    );
    let users: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.header("x-user-id").unwrap().to_owned())
        .collect();
    assert_eq!(users, ["alice", "bobby", "carol"]);
    gateway.still_serves().await;
}
