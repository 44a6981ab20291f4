//! Bounds on what clients may take: connections, requests, time. Each with proof that the gateway still serves.

mod support;

use std::time::Duration;

use support::h2_raw::{END_HEADERS, END_STREAM, Event, HEADERS, RawH2, block, frame};
use support::{
    Answer, Call, Connection, Gateway, Raw, Setup, Upstream, gateway, upstream, upstream_that,
};

const GET: &str = "GET /public/x HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn setup(upstream: &Upstream, limits: &str) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .toml(&format!(
            "[metrics]\nlisten = \"127.0.0.1:0\"\n[limits]\n{limits}"
        ))
}

async fn connected(gateway: &Gateway) -> Raw {
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(GET).await;
    assert_eq!(raw.reply().await.expect("an answer").status, 200);
    raw
}

fn request(stream: u32) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/public/x"),
    ];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

#[tokio::test]
async fn all_workers_together_have_no_more_connections_than_one_number_says() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "max_connections = 3")
        .admin()
        .workers(3)
        .start()
        .await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(connected(&gateway).await);
    }
    // The system has them; the gateway does not look at them yet.
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut raw = Raw::connect(gateway.plain()).await;
        raw.write(GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))
            .await;
        waiting.push(raw);
    }
    assert!(gateway.metric("client_connections_open").await <= 3.0);
    let early = tokio::time::timeout(Duration::from_millis(300), waiting[0].reply()).await;
    assert!(early.is_err(), "a fourth one was let in");
    assert_eq!(gateway.metric("client_connections_open").await as u32, 3);
    assert_eq!(gateway.monitor("/ready").await.status, 200);
    let roles = gateway.administer("root", Call::get("/v1/roles")).await;
    assert_eq!(roles.status, 200, "an operator is still let in");

    drop(inside);

    // Three at a time, whichever sockets they wait at.
    for mut raw in waiting {
        assert_eq!(raw.reply().await.expect("its turn comes").status, 200);
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may_and_others_still_come_in() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "max_connections_per_client = 2")
        .workers(2)
        .start()
        .await;
    let first = connected(&gateway).await;
    let second = connected(&gateway).await;

    let mut third = Raw::connect(gateway.plain()).await;
    third.write(GET).await;
    assert!(third.read().await.is_empty(), "it was served");
    // Before any handshake is paid for.
    let mut encrypted = Raw::connect(gateway.secure()).await;
    assert!(encrypted.read().await.is_empty());
    let shed = "shed_total{reason=\"connections_per_client\"}";
    assert!(gateway.metric(shed).await >= 2.0);
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Raw::over(other.connect(gateway.plain()).await.unwrap());
    other.write(GET).await;
    assert_eq!(other.reply().await.unwrap().status, 200);

    drop(first);
    loop {
        let mut again = Raw::connect(gateway.plain()).await;
        again.write(GET).await;
        if let Some(reply) = again.reply().await {
            assert_eq!(reply.status, 200);
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop((second, other));
    while gateway.metric("client_connections_open").await > 0.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_trusted_proxy_may_have_any_number_of_connections() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "max_connections_per_client = 2")
        .toml("[forwarded]\ntrusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(connected(&gateway).await);
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_connection_ends_with_the_answer_to_its_last_request() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "max_requests_per_connection = 3")
        .start()
        .await;
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(GET.repeat(4)).await;

    let replies = raw.replies_until_close().await;

    let closes: Vec<_> = replies
        .iter()
        .map(|reply| reply.header("connection"))
        .collect();
    assert_eq!(closes, [None, None, Some("close")]);
    let mut h2 = RawH2::connect(&gateway, &[]).await;
    for (stream, told) in [(1, 0), (3, 0), (5, 1)] {
        h2.write(request(stream)).await;
        let (mut answered, mut goaways) = (false, 0);
        while !answered || goaways < told {
            match h2.news().await {
                Event::Data(_, _, true) => answered = true,
                Event::GoAway(code) => {
                    assert_eq!(code, 0);
                    goaways += 1;
                }
                _ => {}
            }
        }
        assert_eq!(goaways, told);
    }
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_connection_that_is_old_ends_with_its_next_answer() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/public/held" => Answer::Hold,
        _ => Answer::Echo,
    });
    let mut gateway = setup(&upstream, "max_connection_age = \"400ms\"")
        .start()
        .await;
    let mut h1 = Raw::connect(gateway.plain()).await;
    h1.write(GET).await;
    assert_eq!(h1.reply().await.unwrap().header("connection"), None);
    let mut h2 = Connection::h2(&gateway, "a.test").await;
    let open = tokio::spawn(async move { h2.send(Call::get("/public/held")).await });
    let mut held = upstream.held().await;
    let mut idle = RawH2::connect(&gateway, &[]).await;
    idle.write(request(1)).await;
    let mut fresh = 0;
    loop {
        h1.write(GET).await;
        let reply = h1.reply().await.expect("it is never cut");
        if reply.header("connection") == Some("close") {
            break;
        }
        fresh += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(fresh > 0);
    assert!(h1.read().await.is_empty());

    // Over HTTP/2 it is told at once, and what is under way comes to its end.
    while idle.news().await != Event::GoAway(0) {}
    held.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(open.await.unwrap().status, 200);
    gateway.still_serves().await;
}

#[tokio::test]
async fn one_request_too_many_is_503_at_once_and_the_gateway_still_says_that_it_is_well() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/public/held" => Answer::Hold,
        _ => Answer::Echo,
    });
    let mut gateway = setup(&upstream, "max_in_flight = 2")
        .admin()
        .workers(2)
        .start()
        .await;
    let mut first = Connection::plain(&gateway).await;
    let first = tokio::spawn(async move { first.send(Call::get("/public/held")).await });
    let mut one = upstream.held().await;
    let mut second = Connection::h2(&gateway, "a.test").await;
    let second = tokio::spawn(async move { second.send(Call::get("/public/held")).await });
    let mut other = upstream.held().await;

    for reply in [
        gateway.send(Call::get("/public/x")).await,
        gateway.send_h2(Call::get("/public/x")).await,
        gateway.send(Call::get("/private")).await,
    ] {
        reply.refused(503, "overloaded");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(gateway.monitor(path).await.status, 200, "{path}");
    }
    let roles = gateway.administer("root", Call::get("/v1/roles")).await;
    assert_eq!(roles.status, 200, "an operator is still let in");
    assert_eq!(
        gateway.metric("shed_total{reason=\"overloaded\"}").await as u32,
        3
    );
    assert_eq!(upstream.seen().len(), 2, "none of them went further");

    // It is the end of the answer that counts, not its head.
    one.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nx")
        .await;
    other
        .write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nx")
        .await;
    gateway
        .send(Call::get("/public/x"))
        .await
        .refused(503, "overloaded");
    one.write("y").await;
    other.write("y").await;
    assert_eq!(first.await.unwrap().body, "xy");
    assert_eq!(second.await.unwrap().body, "xy");
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_tunnel_is_no_request_under_way() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = upstream_that(|seen| match seen.header("upgrade") {
        Some(_) => Answer::Hold,
        None => Answer::Echo,
    });
    let mut gateway = setup(&upstream, "max_in_flight = 1")
        .route(
            "prefix = \"/live\"\nauth = \"public\"\nupgrades = [\"websocket\"]\nupstream = \"app\"",
        )
        .start()
        .await;
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(
        "GET /live HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let mut tunnel = upstream.held().await;
    tunnel.write(switch).await;
    assert!(raw.until("\r\n\r\n").await.unwrap().contains(" 101 "));
    tunnel.write("through").await;
    assert_eq!(raw.read().await, b"through");

    gateway.still_serves().await;
    assert_eq!(gateway.send(Call::get("/public/x")).await.status, 200);
}

#[tokio::test]
async fn a_body_slower_than_the_rate_is_408_and_one_that_keeps_to_it_is_not() {
    let upstream = upstream();
    let limits = "min_body_rate = \"100B/s\"\nmin_body_grace = \"300ms\"";
    let mut gateway = setup(&upstream, limits).start().await;
    let head = |length: usize| {
        format!("POST /public/x HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut slow = Raw::connect(gateway.plain()).await;
    let (mut steady, mut late) = (
        Raw::connect(gateway.plain()).await,
        Raw::connect(gateway.plain()).await,
    );
    slow.write(head(1000)).await;
    late.write(head(5000)).await;
    // What was sent at once does not buy hours for the rest.
    late.write(vec![b'x'; 4999]).await;
    steady.write(head(2000)).await;
    for _ in 0..20 {
        steady.write([b'x'; 100]).await;
        slow.write(b"x").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for raw in [&mut slow, &mut late] {
        let replies = raw.replies_until_close().await;
        assert_eq!(replies[0].status, 408);
        assert_eq!(replies[0].header("connection"), Some("close"));
        let text = String::from_utf8_lossy(&replies[0].body).into_owned();
        assert!(text.contains("request_timeout"), "{text}");
    }
    assert_eq!(steady.reply().await.unwrap().status, 200);
    gateway.still_serves().await;
}

#[tokio::test]
async fn an_upstream_that_reads_slowly_costs_its_client_nothing() {
    let upstream = upstream_that(|seen| match seen.method() {
        "POST" => Answer::Hold,
        _ => Answer::Echo,
    });
    let limits = "min_body_rate = \"1MiB/s\"\nmin_body_grace = \"200ms\"";
    let mut gateway = setup(&upstream, limits)
        .route(
            "prefix = \"/public/up\"\nauth = \"public\"\nmax_body = \"64MiB\"\nupstream = \"app\"",
        )
        .start()
        .await;
    let mut connection = Connection::plain(&gateway).await;
    let body = vec![b'x'; 32 << 20];
    let call = Call::new("POST", "/public/up").body(body);
    let sent = tokio::spawn(async move { connection.send(call).await });
    let mut held = upstream.held().await;
    // Everything in between is full by now, and stays so for several times the grace.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut read = 0;
    while read < 32 << 20 {
        let piece = held.read().await;
        assert!(!piece.is_empty(), "it was cut off after {read} bytes");
        read += piece.len();
    }
    held.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;

    assert_eq!(sent.await.unwrap().status, 200);
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off_and_a_slow_one_is_not() {
    const LARGE: usize = 48 << 20;
    let upstream = upstream_that(|seen| match seen.target() {
        "/public/large" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
            Answer::Bytes([head.into_bytes(), vec![b'x'; LARGE]].concat())
        }
        _ => Answer::Echo,
    });
    let mut gateway = setup(&upstream, "write_timeout = \"2s\"").start().await;
    let get = GET.replace("/public/x", "/public/large");
    let mut stuck = Raw::connect(gateway.plain()).await;
    stuck.write(&get).await;
    let mut slow = Raw::connect(gateway.plain()).await;
    slow.write(&get).await;
    let mut read = 0;
    // Twice as long as the other may take for nothing at all.
    for part in 1..=40 {
        while read < part * (LARGE / 40) {
            let piece = slow.read().await;
            assert!(!piece.is_empty(), "it was cut off after {read} bytes");
            read += piece.len();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    gateway.tells("\"cut\":true", 1).await;
    while gateway.metric("client_connections_open").await > 1.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gateway.told("\"cut\":true"), 1);
    drop((stuck, slow));
    gateway.still_serves().await;
}

#[tokio::test]
async fn a_body_has_an_end_however_fast_it_comes() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "body_timeout = \"300ms\"").start().await;
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write("POST /public/x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..100 {
        raw.write("5\r\nhello\r\n").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(raw.replies_until_close().await[0].status, 408);
    gateway.still_serves().await;
}
