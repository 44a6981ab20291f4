//! B-01 to B-21, B-24, B-26: lengths, transfer codings, chunks.

use super::*;

fn length(value: &str) -> Vec<u8> {
    post(&format!("Content-Length: {value}\r\n"), "hello")
}

fn coding(value: &str) -> Vec<u8> {
    post(&format!("Transfer-Encoding: {value}\r\n"), HELLO)
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Five bytes in one chunk.
const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn a_length_and_a_coding_are_never_both_believed() {
    let fields = |fields: &str, body: &str| post(fields, body);
    all(&[
        (
            "B-01 length, then coding",
            fields(
                "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            Refused(400),
        ),
        (
            "B-02 coding, then length",
            fields(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                "0\r\n\r\n",
            ),
            Refused(400),
        ),
        (
            "B-02 coding and a length of 0",
            fields("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", HELLO),
            Refused(400),
        ),
        (
            "B-03 two lengths that differ",
            fields("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            Refused(400),
        ),
        (
            "B-03 two equal lengths",
            fields("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            Refused(400),
        ),
        (
            "B-24 coding on HTTP/1.0",
            format!(
                "POST /public HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n{CHUNKED}\r\n0\r\n\r\n"
            )
            .into(),
            Refused(400),
        ),
        (
            "B-24 coding and length on HTTP/1.0",
            format!("POST /public HTTP/1.0\r\n{HOST}Content-Length: 3\r\n{CHUNKED}\r\n0\r\n\r\n")
                .into(),
            Refused(400),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_length_is_digits() {
    let mut cases = vec![
        ("B-06 zero in front", length("05"), Served),
        (
            "B-06 many zeros in front",
            length("000000000000000000005"),
            Served,
        ),
        ("B-05 blanks around", length(" \t5 \t"), Served),
    ];
    for value in [
        "+5",
        "-5",
        "0x5",
        "5_0",
        "5 0",
        "5;",
        "5.0",
        "5e0",
        "",
        "\x0b5",
        "5\x0c",
        "5, 5",
        "5, 6",
        ",5",
        "5\0",
        "18446744073709551616",
        "٥",
        "\"5\"",
    ] {
        cases.push(("B-04, B-05 no number", length(value), Refused(400)));
    }
    all(&cases).await;
}

#[tokio::test]
async fn the_only_coding_is_chunked() {
    let mut cases = vec![
        ("plain", coding("chunked"), Served),
        ("B-12 case", coding("cHuNkeD"), Served),
        ("B-12 tab", coding("\tchunked\t"), Served),
        (
            "B-11 two lines",
            post(
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
                HELLO,
            ),
            Refused(400),
        ),
        (
            "B-11 the same line twice",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                HELLO,
            ),
            Refused(400),
        ),
        (
            "B-11 chunked, then identity",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                HELLO,
            ),
            Refused(400),
        ),
    ];
    for value in [
        "xchunked",
        "chunk",
        "identity",
        "cow chunked",
        "chunked, identity",
        "chunked, xchunked",
        "\"chunked\"",
        "'chunked'",
        "chunked;q=1",
        "=?UTF-8?B?Y2h1bmtlZA==?=",
        "",
        "identity, chunked",
        "gzip, chunked",
        ",chunked",
        "chunked,",
        "chunked, chunked",
        "\x0bchunked",
        "chunked\x0c",
        "\u{a0}chunked",
        "chunked\u{85}",
    ] {
        cases.push(("B-07 to B-12", coding(value), Refused(400)));
    }
    for bytes in [
        &b"\xa0chunked"[..],
        b"chunked\xff",
        b"chunked\0",
        b"\x85chunked",
    ] {
        let head = format!("POST /public HTTP/1.1\r\n{HOST}Transfer-Encoding: ");
        let case = [head.as_bytes(), bytes, b"\r\n\r\n", HELLO.as_bytes()].concat();
        cases.push(("B-12 odd bytes", case, Refused(400)));
    }
    all(&cases).await;
}

#[tokio::test]
async fn a_name_that_is_nearly_a_framing_field_frames_nothing() {
    let mut cases = Vec::new();
    for name in [
        "Transfer-Encoding :",
        "Transfer-Encoding\t:",
        "Transfer Encoding:",
        "Transfer\\Encoding:",
        "Transfer-Encoding x:",
        ":",
        "Transfer-Encoding",
        "Transf\u{82}er-Encoding:",
        "Transfer-Encoding\u{a0}:",
        "Content-Length :",
        "Content-Length\x0b:",
    ] {
        cases.push((
            "B-13 no name",
            post(&format!("{name} chunked\r\n"), HELLO),
            Refused(400),
        ));
    }
    // Legal names without a meaning: the request has no body, and what looks like one is the next request, and none.
    for name in [
        "Transfer_Encoding:",
        "Transfer-%45ncoding:",
        "Transfer-Encoding-:",
        "Transfer.Encoding:",
    ] {
        cases.push((
            "B-13 another name",
            post(&format!("{name} chunked\r\n"), ""),
            Served,
        ));
    }
    cases.push((
        "B-13 two colons",
        post("Transfer-Encoding:: chunked\r\n", HELLO),
        Refused(400),
    ));
    all(&cases).await;
}

#[tokio::test]
async fn chunks_are_read_in_the_strictest_way() {
    let besides = |bytes| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(bytes));
    let mut cases = vec![
        (
            "B-18 extension",
            chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n"),
            Served,
        ),
        (
            "B-18 16 KiB of extension",
            chunked(&besides(16_000)),
            Served,
        ),
        ("B-18 more", chunked(&besides(17_000)), Cut),
        ("B-18 1 MiB", chunked(&besides(1 << 20)), Cut),
        (
            "B-16 zeros in front",
            chunked("0000000000000005\r\nhello\r\n0\r\n\r\n"),
            Served,
        ),
        (
            "B-20 two zeros",
            chunked("5\r\nhello\r\n00\r\n\r\n"),
            Served,
        ),
        (
            "B-21 trailers",
            chunked("5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
            Served,
        ),
    ];
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0_5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.push(("B-16", chunked(body), Cut));
    }
    for body in [
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;\nxxx\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\r\n\n",
        "5\r\nhello\r\n0\r\nX",
        "5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
    ] {
        cases.push(("B-17 to B-20", chunked(body), Cut));
    }
    all(&cases).await;
}

#[tokio::test]
async fn bodies_of_methods_that_have_none_are_framed_like_any_other() {
    let mut cases = Vec::new();
    for method in ["GET", "DELETE", "OPTIONS", "POST", "PUT", "PROPFIND"] {
        let head = |framing: &str| format!("{method} /public HTTP/1.1\r\n{HOST}{framing}\r\n");
        // The body is a request itself; it must stay a body.
        let hidden = format!("GET /public/SMUG HTTP/1.1\r\n{HOST}\r\n");
        let length = head(&format!("Content-Length: {}\r\n", hidden.len())) + &hidden;
        let chunks = head(CHUNKED) + &format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        cases.push(("B-26, B-32 length", length.into_bytes(), Served));
        cases.push(("B-26, B-32 chunks", chunks.into_bytes(), Served));
    }
    all(&cases).await;
}

#[tokio::test]
async fn the_upstream_gets_one_framing_written_anew() {
    let upstream = upstream();
    let gateway = door(&upstream).await;
    let zeros = "000000000000000000005";
    for (bytes, length, coding) in [
        (length("5"), Some("5"), None),
        (length(zeros), Some("5"), None),
        (
            chunked("5;a=b\r\nhello\r\n0\r\nX-User-Id: admin\r\nContent-Length: 9\r\n\r\n"),
            None,
            Some("chunked"),
        ),
        (
            post("Transfer_Encoding: chunked\r\nContent_Length: 7\r\n", ""),
            Some("0"),
            None,
        ),
    ] {
        attack(&gateway, false, &bytes, Served).await;

        let seen = upstream.last();
        assert_eq!(seen.header("content-length"), length, "{}", seen.head);
        assert_eq!(seen.header("transfer-encoding"), coding, "{}", seen.head);
        assert_eq!(seen.trailers, [], "{}", seen.head);
        assert!(!seen.head.contains(zeros), "{}", seen.head);
        let body = if length == Some("0") { "" } else { "hello" };
        assert_eq!(seen.body, body.as_bytes());
    }
}
