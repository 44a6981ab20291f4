//! B-13 to B-15, B-22, B-23, B-25, B-27, B-29, B-46, B-102: lines, hosts, targets, methods, sizes.

use super::*;

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\n{HOST}\r\n").into_bytes()
}

#[tokio::test]
async fn lines_end_with_crlf_and_are_not_folded() {
    all(&[
        (
            "B-14 folded line",
            post("X: a\r\n Transfer-Encoding: chunked\r\n", ""),
            Refused(400),
        ),
        (
            "B-14 folded after the colon",
            post("X:\r\n a\r\n", ""),
            Refused(400),
        ),
        (
            "B-14 folded with a tab",
            post("X: a\r\n\tb\r\n", ""),
            Refused(400),
        ),
        (
            "B-14 first line folded",
            format!("GET /public HTTP/1.1\r\n X: a\r\n{HOST}\r\n").into(),
            Refused(400),
        ),
        (
            "B-15 bare CR",
            post("X: y\rTransfer-Encoding: chunked\r\n", ""),
            Refused(400),
        ),
        (
            "B-15 bare LF",
            post("X: y\nTransfer-Encoding: chunked\r\n", ""),
            Refused(400),
        ),
        (
            "B-15 LF at the end of a field",
            format!("GET /public HTTP/1.1\r\nX: y\n{HOST}\r\n").into(),
            Refused(400),
        ),
        (
            "B-15 LF at the end of the head",
            format!("GET /public HTTP/1.1\r\n{HOST}\n").into(),
            Refused(400),
        ),
        (
            "B-15 LF only",
            b"GET /public HTTP/1.1\nHost: a.test\n\n".to_vec(),
            Refused(400),
        ),
        (
            "B-15 CR before the end",
            post("X: y\r\r\n", ""),
            Refused(400),
        ),
        ("B-15 CR CR LF", post("\r\r\n", ""), Refused(400)),
        ("B-15 NUL in a value", post("X: a\0b\r\n", ""), Refused(400)),
        ("B-15 NUL in a name", post("X\0: a\r\n", ""), Refused(400)),
        (
            "B-15 control character",
            post("X: a\x01b\r\n", ""),
            Refused(400),
        ),
        ("B-15 DEL", post("X: a\x7fb\r\n", ""), Refused(400)),
        ("B-13 no colon", post("X\r\n", ""), Refused(400)),
        ("B-13 no name", post(": a\r\n", ""), Refused(400)),
    ])
    .await;
}

#[tokio::test]
async fn a_request_line_has_three_parts() {
    all(&[
        (
            "B-22 one empty line before",
            [b"\r\n".to_vec(), get("/public")].concat(),
            Served,
        ),
        (
            "B-22 two empty lines before",
            [b"\r\n\r\n".to_vec(), get("/public")].concat(),
            Refused(400),
        ),
        (
            "B-22 bare LF before",
            [b"\n".to_vec(), get("/public")].concat(),
            Refused(400),
        ),
        (
            "B-22 two blanks",
            line("GET  /public HTTP/1.1"),
            Refused(400),
        ),
        ("B-22 tab", line("GET\t/public HTTP/1.1"), Refused(400)),
        (
            "B-22 blank in front",
            line(" GET /public HTTP/1.1"),
            Refused(400),
        ),
        (
            "B-22 blank behind",
            line("GET /public HTTP/1.1 "),
            Refused(400),
        ),
        (
            "B-22 LF at its end",
            format!("GET /public HTTP/1.1\n{HOST}\r\n").into(),
            Refused(400),
        ),
        (
            "B-22 control character in the method",
            line("G\x01T /public HTTP/1.1"),
            Refused(400),
        ),
        (
            "B-22 colon in the method",
            line("GET: /public HTTP/1.1"),
            Refused(400),
        ),
        (
            "B-22 quote in the method",
            line("\"GET\" /public HTTP/1.1"),
            Refused(400),
        ),
        ("B-23 no version", line("GET /public"), Refused(400)),
        ("B-23 1.2", line("GET /public HTTP/1.2"), Refused(505)),
        ("B-23 2.0", line("GET /public HTTP/2.0"), Refused(505)),
        ("B-23 01.1", line("GET /public HTTP/01.1"), Refused(505)),
        ("B-23 1.10", line("GET /public HTTP/1.10"), Refused(400)),
        (
            "B-23 lower case",
            line("GET /public http/1.1"),
            Refused(505),
        ),
        (
            "B-23 CR within",
            line("GET /public HTTP/\r\r1.1"),
            Refused(505),
        ),
        (
            "B-23 huge",
            line("GET /public HTTP/4294967295.255"),
            Refused(505),
        ),
        (
            "B-52 HTTP/2 in the clear",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Dropped,
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let host = |fields: &str| format!("GET /public HTTP/1.1\r\n{fields}\r\n").into_bytes();
    let mut cases = vec![
        ("B-25 none", host(""), Refused(400)),
        (
            "B-25 none on 1.0",
            b"GET /public HTTP/1.0\r\n\r\n".to_vec(),
            Refused(400),
        ),
        (
            "B-25 twice the same",
            host("Host: a.test\r\nHost: a.test\r\n"),
            Refused(400),
        ),
        (
            "B-25 two",
            host("Host: a.test\r\nHost: b.test\r\n"),
            Refused(400),
        ),
        ("B-71 dot behind, case", host("Host: A.test.\r\n"), Served),
        ("B-71 port", host("Host: a.test:443\r\n"), Served),
    ];
    for value in [
        "",
        "a/b",
        "u@a.test",
        "a.test:99999",
        "a.test:8o",
        "a.test, b",
        "a b",
        "a.test%00",
        "a%2etest",
        "[::1",
        "[::1]x",
        "a..test",
        "a.test:80:80",
        "http://a.test",
        "a.test?x",
        "a.test#x",
        "a.test\\x",
    ] {
        cases.push((
            "B-25, B-71",
            host(&format!("Host: {value}\r\n")),
            Refused(400),
        ));
    }
    all(&cases).await;
}

#[tokio::test]
async fn a_target_is_a_path() {
    all(&[
        (
            "B-27 absolute and agreeing",
            get("http://a.test/public"),
            Served,
        ),
        (
            "B-27 absolute, other case",
            get("http://A.TEST/public"),
            Served,
        ),
        (
            "B-27 absolute against host",
            get("http://evil/public"),
            Refused(400),
        ),
        (
            "B-27 absolute, other port",
            get("http://a.test:81/public"),
            Refused(400),
        ),
        (
            "B-27 absolute with a user",
            get("http://u@a.test/public"),
            Refused(400),
        ),
        (
            "B-27 other scheme",
            get("ftp://a.test/public"),
            Refused(400),
        ),
        (
            "B-27 absolute without host",
            b"GET http://a.test/public HTTP/1.1\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("B-27 authority", get("a.test:80"), Refused(400)),
        ("B-27 asterisk", get("*"), Refused(400)),
        (
            "B-27 asterisk, OPTIONS",
            line("OPTIONS * HTTP/1.1"),
            Refused(400),
        ),
        ("B-27 no slash", get("public"), Refused(400)),
        (
            "B-27 connect",
            line("CONNECT a.test:443 HTTP/1.1"),
            Refused(405),
        ),
        (
            "B-27 connect to a path",
            line("CONNECT /public HTTP/1.1"),
            Refused(405),
        ),
        ("B-27 trace", line("TRACE /public HTTP/1.1"), Refused(405)),
        (
            "B-72 lower-case method",
            line("get /private HTTP/1.1"),
            Denied(401),
        ),
        (
            "B-72 method override",
            post(
                "X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n",
                "",
            ),
            Served,
        ),
    ])
    .await;
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let expects = |value: &str| post(&format!("Expect: {value}\r\nContent-Length: 0\r\n"), "");
    all(&[
        (
            "B-29 continue, nothing to send",
            expects("100-continue"),
            Served,
        ),
        ("B-29 continue, other case", expects("100-Continue"), Served),
        ("B-29 another", expects("tea"), Refused(417)),
        (
            "B-29 more than one word",
            expects("y 100-continue"),
            Refused(417),
        ),
        ("B-29 list", expects("100-continue, tea"), Refused(417)),
        (
            "B-29 two lines",
            expects("tea\r\nExpect: 100-continue"),
            Refused(417),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_too_large_has_its_own_status() {
    let with = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\n{HOST}{fields}\r\n").into_bytes()
    };
    let long = |bytes| format!("X: {}\r\n", "a".repeat(bytes));
    let token = format!("Authorization: Bearer {}\r\n", "a".repeat(7 << 10));
    let lines = "X-Many: 1\r\n".repeat(99);
    all(&[
        (
            "head of 64 KiB",
            with("/public", &long(64 << 10)),
            Refused(431),
        ),
        (
            "head of 40 KiB",
            with("/public", &long(5 << 10).repeat(8)),
            Refused(431),
        ),
        (
            "header of 8 KiB",
            with("/public", &long((8 << 10) - 1)),
            Served,
        ),
        (
            "header of more",
            with("/public", &long(8 << 10)),
            Refused(431),
        ),
        ("100 headers", with("/public", &lines), Served),
        (
            "101 headers",
            with("/public", &(lines.clone() + "X: 1\r\n")),
            Refused(431),
        ),
        (
            "target of 8 KiB",
            get(&format!("/public?{}", "a".repeat((8 << 10) - 8))),
            Served,
        ),
        (
            "target of more",
            get(&format!("/public?{}", "a".repeat((8 << 10) - 7))),
            Refused(414),
        ),
        ("B-74 token of 7 KiB", with("/private", &token), Denied(401)),
    ])
    .await;
}
