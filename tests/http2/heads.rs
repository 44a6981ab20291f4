//! B-35 to B-41, B-46: heads and their framing.

use super::*;

#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// This status, and nothing upstream.
    Told(u16),
    /// 200, and exactly one request upstream.
    Served,
    /// The stream or the connection is broken off, or the answer is 400; the upstream sees no whole request.
    Broken,
}
use Verdict::{Broken, Served, Told};

fn fits(verdict: Verdict, event: Event, requests: usize) -> bool {
    match verdict {
        Told(status) => event == Event::Status(1, status) && requests == 0,
        Served => event == Event::Status(1, 200) && requests == 1,
        Broken => {
            let broken = match event {
                Event::Status(_, status) => status == 400,
                Event::Reset(1, code) | Event::GoAway(code) => code != 0,
                Event::Reset(..) | Event::Data(..) | Event::Other(_) => false,
                Event::Closed => true,
            };
            broken && requests == 0
        }
    }
}

async fn all(cases: Vec<(&str, Vec<u8>, Verdict)>) {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let mut wrong = Vec::new();
    for (name, bytes, verdict) in cases {
        let before = upstream.seen().len();
        let mut raw = RawH2::connect(&gateway, &[]).await;
        raw.write(bytes).await;
        let event = raw.news().await;

        let requests = upstream.seen().len() - before;
        if !fits(verdict, event, requests) {
            wrong.push(format!(
                "{name}: {event:?}, {requests} upstream, not {verdict:?}"
            ));
        }
        gateway.still_serves().await;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn get(changes: &[(&str, &str)]) -> Vec<u8> {
    request(1, &fields(changes))
}

fn without(name: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = fields(changes);
    fields.retain(|(known, _)| known != name.as_bytes());
    request(1, &fields)
}

/// POST with these fields and this body.
fn post(changes: &[(&str, &str)], body: &str) -> Vec<u8> {
    let changes = [&[(":method", "POST")], changes].concat();
    let data = frame(DATA, END_STREAM, 1, body.as_bytes());
    [begin(1, &fields(&changes)), data].concat()
}

#[tokio::test]
async fn a_request_names_one_host() {
    all(vec![
        ("plain", get(&[]), Served),
        ("B-35 host that agrees", get(&[("host", "a.test")]), Served),
        (
            "B-35 host in another case",
            get(&[("host", "A.TEST")]),
            Served,
        ),
        (
            "B-35 host that differs",
            get(&[("host", "evil")]),
            Told(400),
        ),
        (
            "B-35 host with another port",
            get(&[("host", "a.test:1")]),
            Told(400),
        ),
        (
            "B-35 two hosts",
            get(&[("host", "a.test"), ("host", "a.test")]),
            Told(400),
        ),
        (
            "B-35 no authority, a host",
            without(":authority", &[("host", "a.test")]),
            Served,
        ),
        (
            "B-35 no authority, two hosts",
            without(":authority", &[("host", "a.test"), ("host", "b")]),
            Told(400),
        ),
        ("B-35 neither", without(":authority", &[]), Told(400)),
        (
            "B-36 user in the authority",
            get(&[(":authority", "u@a.test")]),
            Told(400),
        ),
        (
            "B-36 path in the authority",
            get(&[(":authority", "a.test/x")]),
            Broken,
        ),
        ("B-36 empty authority", get(&[(":authority", "")]), Broken),
        (
            "B-56 another host",
            get(&[(":authority", "b.test")]),
            Served,
        ),
    ])
    .await;
}

#[tokio::test]
async fn pseudo_fields_are_four_come_first_and_once() {
    all(vec![
        ("B-36 empty path", get(&[(":path", "")]), Broken),
        ("B-36 no slash", get(&[(":path", "x")]), Broken),
        (
            "B-36 absolute path",
            get(&[(":path", "http://evil/x")]),
            Broken,
        ),
        (
            "B-36 version in the path",
            get(&[(":path", "/public HTTP/1.1")]),
            Broken,
        ),
        ("B-36 asterisk", get(&[(":path", "*")]), Broken),
        ("B-36 only a query", get(&[(":path", "?a=/x")]), Broken),
        (
            "B-36 dots",
            get(&[(":path", "/public/../private")]),
            Told(400),
        ),
        ("B-36 scheme", get(&[(":scheme", "http://e/x?")]), Broken),
        ("B-36 other scheme", get(&[(":scheme", "ftp")]), Told(400)),
        ("B-36 method", get(&[(":method", "GET /a")]), Broken),
        ("B-36 empty method", get(&[(":method", "")]), Broken),
        ("B-36 no method", without(":method", &[]), Broken),
        ("B-36 no scheme", without(":scheme", &[]), Broken),
        ("B-36 no path", without(":path", &[]), Broken),
        (
            "B-36 repeated path",
            request(1, &{
                let mut f = fields(&[]);
                f.push((b":path".to_vec(), b"/private".to_vec()));
                f
            }),
            Broken,
        ),
        ("B-36 unknown", get(&[(":user", "admin")]), Broken),
        ("B-36 of an answer", get(&[(":status", "200")]), Broken),
        (
            "B-36 behind a field",
            request(1, &{
                let mut f = fields(&[("x", "1")]);
                f.swap(3, 4);
                f
            }),
            Broken,
        ),
        (
            "B-41 connect",
            request(
                1,
                &vec![
                    (b":method".to_vec(), b"CONNECT".to_vec()),
                    (b":authority".to_vec(), b"a.test:443".to_vec()),
                ],
            ),
            Told(405),
        ),
        (
            "B-41 connect without authority",
            request(1, &vec![(b":method".to_vec(), b"CONNECT".to_vec())]),
            Told(405),
        ),
        (
            "B-89 extended connect",
            get(&[(":method", "CONNECT"), (":protocol", "websocket")]),
            Broken,
        ),
        ("B-27 trace", get(&[(":method", "TRACE")]), Told(405)),
    ])
    .await;
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says() {
    let ended = request(1, &fields(&[(":method", "POST"), ("content-length", "5")]));
    all(vec![
        ("fits", post(&[("content-length", "5")], "hello"), Served),
        ("no length", post(&[], "hello"), Served),
        (
            "B-37 too short",
            post(&[("content-length", "9")], "hello"),
            Broken,
        ),
        (
            "B-37 too long",
            post(&[("content-length", "1")], "hello"),
            Broken,
        ),
        (
            "B-37 zero",
            post(&[("content-length", "0")], "hello"),
            Broken,
        ),
        (
            "B-37 plus",
            post(&[("content-length", "+5")], "hello"),
            Broken,
        ),
        (
            "B-37 two that differ",
            post(&[("content-length", "5"), ("content-length", "6")], "hello"),
            Broken,
        ),
        (
            "B-37 list",
            post(&[("content-length", "5, 5")], "hello"),
            Broken,
        ),
        ("B-37 no body", ended, Broken),
    ])
    .await;
}

#[tokio::test]
async fn nothing_of_http1_framing_comes_in() {
    all(vec![
        (
            "B-38 transfer-encoding",
            post(&[("transfer-encoding", "chunked")], "0\r\n\r\n"),
            Broken,
        ),
        (
            "B-38 connection",
            get(&[("connection", "x-user-id")]),
            Broken,
        ),
        (
            "B-38 keep-alive",
            get(&[("keep-alive", "timeout=5")]),
            Broken,
        ),
        ("B-38 upgrade", get(&[("upgrade", "websocket")]), Broken),
        (
            "B-38 proxy-connection",
            get(&[("proxy-connection", "close")]),
            Broken,
        ),
        ("B-38 te", get(&[("te", "gzip")]), Broken),
        ("B-38 te: trailers", get(&[("te", "trailers")]), Served),
        (
            "B-39 CR LF in a value",
            get(&[("x", "a\r\ncontent-length: 0")]),
            Broken,
        ),
        ("B-39 LF in a value", get(&[("x", "a\nb")]), Broken),
        ("B-39 CR in a value", get(&[("x", "a\rb")]), Broken),
        ("B-39 NUL in a value", get(&[("x", "a\0b")]), Broken),
        ("B-39 CR LF in a name", get(&[("x\r\ny", "a")]), Broken),
        ("B-39 colon in a name", get(&[("x: y", "a")]), Broken),
        (
            "B-39 CR LF in the path",
            get(&[(":path", "/public\r\nx: y")]),
            Broken,
        ),
        (
            "B-39 CR LF in the authority",
            get(&[(":authority", "a.test\r\nx: y")]),
            Broken,
        ),
        (
            "B-39 CR LF in the method",
            get(&[(":method", "GET\r\n")]),
            Broken,
        ),
        ("B-40 upper case", get(&[("X-Name", "a")]), Broken),
        ("B-40 empty name", get(&[("", "a")]), Broken),
        ("B-40 blank in a name", get(&[("x ", "a")]), Broken),
        ("B-40 blank before a value", get(&[("x", " a")]), Told(400)),
        ("B-40 tab behind a value", get(&[("x", "a\t")]), Told(400)),
    ])
    .await;
}

#[tokio::test]
async fn what_is_too_large_has_its_own_status() {
    let long = "y".repeat(9 << 10);
    let path = format!("/public?{}", "y".repeat(8 << 10));
    let many: Vec<(&str, &str)> = vec![("x", "1"); 101];
    all(vec![
        ("B-46 header of 9 KiB", get(&[("x", &long)]), Told(431)),
        ("B-46 101 headers", get(&many), Told(431)),
        (
            "path of more than 8 KiB",
            get(&[(":path", &path)]),
            Told(414),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_list_over_the_limit_is_431() {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    let many: Vec<(String, String)> = (0..90)
        .map(|n| (format!("x{n}"), "y".repeat(500)))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let block = block(&fields(&many));
    let pieces: Vec<_> = block.chunks(16_000).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let last = if number + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        let end = if number == 0 { END_STREAM } else { 0 };
        raw.write(frame(kind, last | end, 1, piece)).await;
    }

    let event = raw.news().await;

    assert!(
        matches!(event, Event::Status(1, 431) | Event::GoAway(1..)),
        "{event:?}"
    );
    assert!(upstream.seen().is_empty());
    gateway.still_serves().await;
}

#[tokio::test]
async fn crumbs_of_cookies_are_one_line_upstream_and_trailers_carry_no_identity() {
    let upstream = upstream();
    let gateway = door(&upstream).await;
    let mut raw = RawH2::connect(&gateway, &[]).await;
    let crumbs = fields(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    raw.write(request(1, &crumbs)).await;
    assert_eq!(raw.news().await, Event::Status(1, 200));
    assert_eq!(upstream.last().header("cookie"), Some("a=1; b=2; c=3"));

    let head = fields(&[
        (":method", "POST"),
        ("te", "trailers"),
        ("trailer", "x-user-id, x-sum"),
    ]);
    let trailers = block(&[
        (":path", "/private"),
        ("x-user-id", "admin"),
        ("x-sum", "1"),
        ("content-length", "9"),
    ]);
    let mut raw = RawH2::connect(&gateway, &[]).await;
    raw.write(begin(1, &head)).await;
    raw.write(frame(DATA, 0, 1, b"hello")).await;
    raw.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers))
        .await;
    assert_eq!(raw.news().await, Event::Status(1, 200));
    let seen = upstream.last();
    assert_eq!((seen.target(), &seen.body[..]), ("/public", &b"hello"[..]));
    let names = seen.trailers.iter().map(|(name, _)| name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["x-sum"]);
}
