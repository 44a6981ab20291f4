//! Bodies, framing, paths and upstreams that fail: what goes through, and what comes back.

mod support;

use bytes::Bytes;
use http_body::Frame;
use support::{
    Answer, Call, Connection, Raw, Setup, Upstream, gateway, soon, upstream, upstream_that,
};

fn door(upstream: &Upstream) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .upstream("app", upstream)
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"\nmax_body = \"1MiB\"\ntimeouts = { response = \"300ms\" }")
        .route("prefix = \"/private\"\nupstream = \"app\"")
}

fn holding() -> Upstream {
    upstream_that(|_| Answer::Hold)
}

fn answering(bytes: &'static str) -> Upstream {
    upstream_that(move |_| Answer::Bytes(bytes.into()))
}

#[tokio::test]
async fn bodies_stream_piece_by_piece_both_ways() {
    let upstream = holding();
    let gateway = door(&upstream).start().await;
    for secure in [false, true] {
        let mut connection = match secure {
            true => Connection::h2(&gateway, "a.test").await,
            false => Connection::plain(&gateway).await,
        };
        let (call, pieces) = Call::new("POST", "/public").stream();
        let answer = tokio::spawn(async move { connection.begin(call).await });
        pieces
            .send(Frame::data(Bytes::from("first")))
            .await
            .unwrap();
        let mut held = upstream.held().await;

        held.read_until("first").await;
        pieces
            .send(Frame::data(Bytes::from("second")))
            .await
            .unwrap();
        held.read_until("second").await;
        drop(pieces);
        held.read_until("0\r\n\r\n").await;
        held.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            .await;
        let response = soon("the head", answer).await.unwrap().unwrap();
        let reading = tokio::spawn(support::Reply::read(response));
        held.write("3\r\ntwo\r\n0\r\nx-checksum: 9\r\n\r\n").await;

        let reply = reading.await.unwrap();
        assert!(reply.whole);
        assert_eq!(&reply.body[..], b"onetwo");
        if secure {
            assert_eq!(reply.trailers["x-checksum"], "9");
        }
    }
}

#[tokio::test]
async fn declared_request_trailers_arrive() {
    let upstream = upstream();
    let gateway = door(&upstream).start().await;
    let mut raw = Raw::connect(gateway.plain()).await;

    raw.write(
        "POST /public HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n\
         2\r\nab\r\n0\r\nx-checksum: 9\r\n\r\n",
    )
    .await;

    assert_eq!(raw.reply().await.unwrap().status, 200);
    let seen = upstream.last();
    assert_eq!(seen.body, b"ab");
    assert_eq!(seen.trailers, [("x-checksum".to_owned(), "9".to_owned())]);
}

#[tokio::test]
async fn fields_of_one_connection_go_no_further_in_either_direction() {
    let upstream = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-internal, keep-alive\r\nx-internal: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-authenticate: Basic\r\nx-kept: 1\r\n\r\nok",
    );
    let gateway = door(&upstream).start().await;
    let call = Call::get("/public")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-authorization", "Basic eA==")
        .header("upgrade", "h2c")
        .header("te", "gzip")
        .header("x-kept", "1");

    let reply = gateway.send(call).await;

    let seen = upstream.last();
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authorization",
        "upgrade",
        "te",
        "connection",
    ] {
        assert_eq!(seen.header(name), None, "{name} reached the upstream");
    }
    for name in ["x-internal", "keep-alive", "proxy-authenticate"] {
        assert_eq!(reply.header(name), None, "{name} reached the client");
    }
    assert_eq!(
        (seen.header("x-kept"), reply.header("x-kept")),
        (Some("1"), Some("1"))
    );
}

#[tokio::test]
async fn a_client_is_told_to_continue_only_after_it_was_let_in() {
    let upstream = upstream();
    let gateway = door(&upstream).start().await;
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
    };

    let mut refused = Raw::connect(gateway.plain()).await;
    refused.write(post("/private")).await;
    assert_eq!(refused.reply().await.unwrap().status, 401);

    let mut allowed = Raw::connect(gateway.plain()).await;
    allowed.write(post("/public")).await;
    assert_eq!(
        allowed.until("\r\n\r\n").await.unwrap(),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    allowed.write("body").await;
    assert_eq!(allowed.reply().await.unwrap().status, 200);
    assert_eq!(
        (
            upstream.last().body.as_slice(),
            upstream.last().header("expect")
        ),
        (&b"body"[..], None)
    );
    assert_eq!(upstream.seen().len(), 1, "the refused one never arrived");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_connections() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/public/204" => Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/public/304" => {
            Answer::Bytes(b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".to_vec())
        }
        _ => Answer::Echo,
    });
    let gateway = door(&upstream).start().await;
    let mut connection = Connection::plain(&gateway).await;

    for _ in 0..3 {
        let head = connection.send(Call::new("HEAD", "/public")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        let length: u64 = head.header("content-length").unwrap().parse().unwrap();
        assert!(length > 100, "the length is that of a GET");
        assert_eq!(connection.send(Call::get("/public/204")).await.status, 204);
        assert_eq!(connection.send(Call::get("/public/304")).await.status, 304);
        assert_eq!(connection.send(Call::get("/public")).await.status, 200);
    }

    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_whether_announced_or_not() {
    let upstream = upstream();
    let mut gateway = door(&upstream).start().await;
    let large = vec![b'x'; (1 << 20) + 1];

    gateway
        .send(Call::new("POST", "/public").body(large.clone()))
        .await
        .refused(413, "body_too_large");
    let fits = gateway
        .send(Call::new("POST", "/public").body(large[1..].to_vec()))
        .await;
    let (call, pieces) = Call::new("POST", "/public").stream();
    let sending = tokio::spawn(async move {
        for piece in large.chunks(64 << 10) {
            if pieces
                .send(Frame::data(Bytes::copy_from_slice(piece)))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    let unannounced = gateway.send(call).await;
    sending.await.unwrap();

    assert_eq!(fits.status, 200);
    unannounced.refused(413, "body_too_large");
    assert_eq!(
        upstream.seen().len(),
        1,
        "the upstream got a whole body only once"
    );
    gateway.still_serves().await;
}

#[tokio::test]
async fn each_way_to_fail_upstream_has_its_own_answer() {
    let silent = holding();
    let closing = upstream_that(|_| Answer::BytesThenClose(Vec::new()));
    let junk = upstream_that(|_| Answer::BytesThenClose(b"SSH-2.0-x\r\n".to_vec()));
    let cut = upstream_that(|_| {
        Answer::BytesThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec())
    });
    let gone = support::redis::free_port();
    let mut setup = gateway().toml(&format!(
        "[upstreams.gone]\nendpoints = [\"http://127.0.0.1:{gone}\"]"
    ));
    for (name, upstream) in [
        ("silent", &silent),
        ("closing", &closing),
        ("junk", &junk),
        ("cut", &cut),
    ] {
        setup = setup.upstream(name, upstream);
    }
    for name in ["silent", "closing", "junk", "cut", "gone"] {
        setup = setup.route(&format!(
            "prefix = \"/{name}\"\nauth = \"public\"\nupstream = \"{name}\"\ntimeouts = {{ response = \"300ms\" }}"
        ));
    }
    let gateway = setup.start().await;

    gateway
        .send(Call::get("/gone"))
        .await
        .refused(502, "upstream_unreachable");
    gateway
        .send(Call::get("/silent"))
        .await
        .refused(504, "upstream_timeout");
    gateway
        .send(Call::get("/closing"))
        .await
        .refused(502, "upstream_broken");
    gateway
        .send(Call::get("/junk"))
        .await
        .refused(502, "upstream_broken");
    let reply = gateway.send(Call::get("/cut")).await;
    assert_eq!(
        (reply.status, reply.whole),
        (200, false),
        "a cut body must not look whole"
    );
}

#[tokio::test]
async fn prefixes_are_rewritten_and_the_query_stays_byte_for_byte() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/strip\"\nauth = \"public\"\nstrip_prefix = true\nupstream = \"app\"")
        .route(
            "prefix = \"/swap\"\nauth = \"public\"\nreplace_prefix = \"/v2\"\nupstream = \"app\"",
        )
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;
    let cases = [
        (
            "/strip/a?x=%2F..%2f&y=/../",
            "/a?x=%2F..%2f&y=/../",
            Some("/strip"),
        ),
        ("/strip", "/", Some("/strip")),
        ("/strip?q", "/?q", Some("/strip")),
        ("/swap/a/b", "/v2/a/b", Some("/swap")),
        ("/stripe/a", "/stripe/a", None),
        ("/plain/%61b%20c?%61", "/plain/ab%20c?%61", None),
    ];

    for (sent, received, prefix) in cases {
        assert_eq!(gateway.send(Call::get(sent)).await.status, 200, "{sent}");
        let seen = upstream.last();
        assert_eq!(
            (seen.target(), seen.header("x-forwarded-prefix")),
            (received, prefix),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn endpoints_take_turns_and_a_dead_one_is_passed_over() {
    let (one, two) = (upstream(), upstream());
    let gone = support::redis::free_port();
    let endpoints = format!(
        "[\"http://{}\", \"http://127.0.0.1:{gone}\", \"http://{}\"]",
        one.address(),
        two.address()
    );
    let gateway = gateway()
        .toml(&format!(
            "[upstreams.app]\nbalance = \"round_robin\"\nhost = \"endpoint\"\nendpoints = {endpoints}"
        ))
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;

    for _ in 0..9 {
        assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    }

    assert_eq!(one.seen().len() + two.seen().len(), 9);
    assert!(one.seen().len() >= 3 && two.seen().len() >= 3);
    assert_eq!(
        one.last().header("host"),
        Some(one.address().to_string().as_str())
    );
}

#[tokio::test]
async fn an_upstream_with_tls_is_believed_only_under_its_own_authority() {
    let setup = gateway();
    let (known, stranger) = (
        setup.authority().sign(&["localhost"]),
        support::Authority::new(),
    );
    let upstream = Upstream::tls(&known);
    let port = upstream.address().port();
    let trusted = setup.authority().file();
    let gateway = setup
        .toml(&format!(
            "[upstreams.right]\nendpoints = [\"https://localhost:{port}\"]\ntls = {{ ca = {trusted:?} }}\n\
             [upstreams.wrong]\nendpoints = [\"https://localhost:{port}\"]\ntls = {{ ca = {:?} }}\n\
             [upstreams.name]\nendpoints = [\"https://localhost:{port}\"]\ntls = {{ ca = {trusted:?}, server_name = \"other.test\" }}",
            stranger.file()
        ))
        .route("prefix = \"/right\"\nauth = \"public\"\nupstream = \"right\"")
        .route("prefix = \"/wrong\"\nauth = \"public\"\nupstream = \"wrong\"")
        .route("prefix = \"/name\"\nauth = \"public\"\nupstream = \"name\"")
        .start()
        .await;

    assert_eq!(gateway.send(Call::get("/right")).await.status, 200);
    gateway
        .send(Call::get("/wrong"))
        .await
        .refused(502, "upstream_unreachable");
    gateway
        .send(Call::get("/name"))
        .await
        .refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_429_and_told_when_to_come_back() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"\nlimits = [{ by = \"client\", rate = \"3/h\" }]")
        .start()
        .await;

    for _ in 0..3 {
        assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    }
    let reply = gateway.send(Call::get("/")).await;

    reply.refused(429, "rate_limited");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1201).contains(&wait), "{wait}");
    assert_eq!(upstream.seen().len(), 3);
}
