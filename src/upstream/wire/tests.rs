//! Heads and bodies as bytes; how they travel over connections is tested one floor up.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::*;

fn parse(text: &[u8], to_head: bool) -> Result<Option<Answer>, WireError> {
    let mut input = BytesMut::from(text);
    let head = answer::cut(&mut input, &mut 0)?;
    head.map(|head| Answer::parse(&head, to_head)).transpose()
}

/// The whole body, and what is left behind it; `None` if the body has no end in these bytes.
fn body(text: &[u8]) -> Result<Option<(String, usize)>, WireError> {
    let mut input = BytesMut::from(text);
    let head = answer::cut(&mut input, &mut 0)?.unwrap();
    let mut decoder = Answer::parse(&head, false)?.body;
    let mut read = String::new();
    loop {
        match decoder.decode(&mut input)? {
            Some(Decoded::Data(data)) => read.push_str(std::str::from_utf8(&data).unwrap()),
            Some(Decoded::Trailers(_) | Decoded::End) => return Ok(Some((read, input.len()))),
            None => return Ok(None),
        }
    }
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_refused() {
    let cases = [
        "200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n",
        "200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        "200 OK\r\ncontent-length: 2, 2\r\n\r\n",
        "200 OK\r\ncontent-length: +2\r\n\r\n",
        "200 OK\r\ncontent-length: 0x2\r\n\r\n",
        "200 OK\r\ncontent-length: -2\r\n\r\n",
        "200 OK\r\ncontent-length: 2 2\r\n\r\n",
        "200 OK\r\ncontent-length: \r\n\r\n",
        "200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        "200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n",
        "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
        "200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "200 OK\r\ntransfer-encoding: identity\r\n\r\n",
        "200 OK\r\ntransfer-encoding: xchunked\r\n\r\n",
        "200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n",
        "200 OK\ncontent-length: 2\r\n\r\n",
        "200 OK\r\ncontent-length: 2\n\r\n",
        "200 OK\r\ncontent-length: 2\r\n\n",
        "200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\n",
        "200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n",
        "200 OK\r\ncontent-length:\r\n 2\r\n\r\n",
        "200 OK\r\n content-length: 2\r\n\r\n",
        "200 OK\r\ncontent-length : 2\r\n\r\n",
        "200 OK\r\ncontent length: 2\r\n\r\n",
        "200 OK\r\n: 2\r\n\r\n",
        "200 OK\r\nno colon\r\n\r\n",
        "200 OK\r\nx: \0\r\n\r\n",
        "200 OK\r\nupgrade: a\r\nupgrade: b\r\n\r\n",
        "099 No\r\n\r\n",
        "600 No\r\n\r\n",
        "20 No\r\n\r\n",
        "2000 No\r\n\r\n",
        "+20 No\r\n\r\n",
    ];

    for case in cases {
        let text = format!("HTTP/1.1 {case}");
        let read = parse(text.as_bytes(), false);
        assert!(read.is_err(), "{case:?}: {read:?}");
    }
    for text in [
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "hello\r\n\r\n",
        "SSH-2.0-x\r\n",
        "\n",
    ] {
        let read = parse(text.as_bytes(), false);
        assert!(read.is_err(), "{text:?}: {read:?}");
    }
}

#[test]
fn a_head_is_read_once_it_is_whole_in_whatever_pieces_it_comes() {
    let text = b"HTTP/1.1 200 Fine\r\ncontent-length: 007\r\nX-A: b\r\n\r\nrest";
    let whole = text.len() - 4;
    let (mut input, mut scanned) = (BytesMut::new(), 0);

    for byte in &text[..whole - 1] {
        input.extend_from_slice(&[*byte]);
        assert!(answer::cut(&mut input, &mut scanned).unwrap().is_none());
    }
    input.extend_from_slice(&text[whole - 1..]);
    let head = answer::cut(&mut input, &mut scanned).unwrap().unwrap();
    let read = Answer::parse(&head, false).unwrap();

    assert_eq!((read.status, read.body.left()), (StatusCode::OK, Some(7)));
    assert_eq!(read.headers["x-a"], "b");
    assert!(read.keeps);
    assert_eq!(&input[..], b"rest");
}

#[test]
fn a_head_without_an_end_is_given_up() {
    let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; MAX_HEAD]].concat();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));

    for text in [long.as_slice(), many.as_bytes()] {
        assert!(matches!(parse(text, false), Err(WireError::TooLarge)));
    }
}

#[test]
fn answers_without_a_body_have_none_whatever_they_say() {
    for (status, to_head) in [
        ("204 No", false),
        ("304 No", false),
        ("200 OK", true),
        ("101 Up", false),
        ("103 Hints", false),
    ] {
        for framing in ["content-length: 5", "transfer-encoding: chunked", "x: y"] {
            let text = format!("HTTP/1.1 {status}\r\n{framing}\r\n\r\n");
            let read = parse(text.as_bytes(), to_head).unwrap().unwrap();
            assert_eq!(read.body.left(), Some(0), "{text}");
            assert!(read.keeps);
        }
    }
}

#[test]
fn a_connection_is_kept_only_if_the_answer_says_so_and_ends_before_it() {
    for (text, keeps) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n", false),
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n",
            false,
        ),
    ] {
        let read = parse(text.as_bytes(), false).unwrap().unwrap();
        assert_eq!(read.keeps, keeps, "{text}");
    }
}

#[test]
fn fields_of_the_connection_are_dropped_but_for_those_of_a_switch() {
    let text = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nconnection: upgrade, x-inner\r\nupgrade: websocket\r\nx-inner: 1\r\nkeep-alive: 5\r\n\
             set-cookie: a\r\nset-cookie: b\r\nproxy-authenticate: x\r\ncontent-length: 0\r\n\r\n"
        )
    };
    let names = |status: &str| {
        let read = parse(text(status).as_bytes(), false).unwrap().unwrap();
        let mut names: Vec<_> = read
            .headers
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        names.sort_unstable();
        names
    };

    assert_eq!(
        names("200 OK"),
        ["content-length", "set-cookie", "set-cookie"]
    );
    assert!(names("101 Up").contains(&"upgrade".to_owned()));
    assert!(names("101 Up").contains(&"connection".to_owned()));
}

#[test]
fn a_body_ends_where_its_framing_says_and_leaves_what_follows() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (rest, read) in [
        ("content-length: 2\r\n\r\nokHTTP", Some(("ok", 4))),
        ("content-length: 3\r\n\r\nok", None),
        (
            "transfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\nHT",
            Some(("ok", 2)),
        ),
        (
            "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
            Some(("ok", 0)),
        ),
        ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", None),
        ("x: y\r\n\r\nok", None),
    ] {
        let read = read.map(|(text, left): (&str, usize)| (text.to_owned(), left));
        assert_eq!(
            body(format!("{head}{rest}").as_bytes()).unwrap(),
            read,
            "{rest}"
        );
    }
}

#[test]
fn trailers_of_an_answer_lose_what_frames_a_message() {
    let mut decoder = Decoder::chunked();
    let mut input =
        BytesMut::from("0\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nx-sum: 7\r\n\r\n");

    let Some(Decoded::Trailers(trailers)) = decoder.decode(&mut input).unwrap() else {
        panic!("no trailers");
    };

    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "7");
}

#[test]
fn values_are_cut_out_of_the_head_and_not_copied() {
    let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nx-a: some value\r\n\r\n");
    let place = head.as_ptr().addr()..head.as_ptr().addr() + head.len();

    let read = Answer::parse(&head, false).unwrap();

    assert!(place.contains(&read.headers["x-a"].as_bytes().as_ptr().addr()));
}
