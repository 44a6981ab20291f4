use http::Request;

use super::*;

fn check(request: http::request::Builder) -> Result<Head, HeadError> {
    let limits = HeadLimits {
        uri: 8192,
        line: 64,
        count: 4,
    };
    Head::check(&request.body(()).unwrap().into_parts().0, &limits)
}

#[test]
fn a_path_has_one_form() {
    let cases = [
        ("/", Ok("/")),
        ("/a/b", Ok("/a/b")),
        ("/a/b/", Ok("/a/b/")),
        ("/%61dmin", Ok("/admin")),
        ("/%7euser", Ok("/~user")),
        ("/a%20b", Ok("/a%20b")),
        ("/a%c3%a9", Ok("/a%C3%A9")),
        ("/100%25", Ok("/100%25")),
        ("/%252e%252e/x", Ok("/%252e%252e/x")),
        ("/a%3bb", Ok("/a%3Bb")),
        ("/a:b@c,d=e", Ok("/a:b@c,d=e")),
        ("", Err(HeadError::Target)),
        ("*", Err(HeadError::Target)),
        ("a/b", Err(HeadError::Target)),
        ("//a", Err(HeadError::Path)),
        ("/a//b", Err(HeadError::Path)),
        ("/a/./b", Err(HeadError::Path)),
        ("/a/../b", Err(HeadError::Path)),
        ("/a/..", Err(HeadError::Path)),
        ("/.", Err(HeadError::Path)),
        ("/a/%2e%2e/b", Err(HeadError::Path)),
        ("/a/.%2E/b", Err(HeadError::Path)),
        ("/a/..;/b", Err(HeadError::Path)),
        ("/a;x=1", Err(HeadError::Path)),
        ("/a/..%3b/b", Err(HeadError::Path)),
        ("/a/%2e%3Bx=1", Err(HeadError::Path)),
        ("/a/..%3fb", Ok("/a/..%3Fb")),
        ("/a%2fb", Err(HeadError::Path)),
        ("/a%5cb", Err(HeadError::Path)),
        ("/a\\b", Err(HeadError::Path)),
        ("/a%00", Err(HeadError::Path)),
        ("/a%0d%0ab", Err(HeadError::Path)),
        ("/a%7f", Err(HeadError::Path)),
        ("/a%", Err(HeadError::Path)),
        ("/a%4", Err(HeadError::Path)),
        ("/a%zz", Err(HeadError::Path)),
        ("/a%u002e", Err(HeadError::Path)),
        ("/a%c0%af", Err(HeadError::Path)),
        ("/a%c0%ae%c0%ae/b", Err(HeadError::Path)),
        ("/a b", Err(HeadError::Path)),
        ("/a#b", Err(HeadError::Path)),
        ("/a?b", Err(HeadError::Path)),
        ("/é", Err(HeadError::Path)),
    ];

    for (path, expected) in cases {
        assert_eq!(
            canonical_path(path).as_deref(),
            expected.as_ref().map(|path| *path),
            "{path:?}"
        );
    }
}

#[test]
fn a_host_has_one_form() {
    let cases = [
        ("example.com", Some("example.com")),
        ("EXAMPLE.com.", Some("example.com")),
        ("example.com:8443", Some("example.com")),
        ("example.com:", Some("example.com")),
        ("127.0.0.1:80", Some("127.0.0.1")),
        ("[::1]:443", Some("[::1]")),
        ("[2001:DB8::0:1]", Some("[2001:db8::1]")),
        ("", None),
        (".", None),
        ("a..b", None),
        ("a/b", None),
        ("u@a", None),
        ("a:99999", None),
        ("a:8o", None),
        ("a:+80", None),
        ("a, b", None),
        ("a b", None),
        ("a%00", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[v1.x]", None),
    ];

    for (authority, expected) in cases {
        assert_eq!(
            canonical_host(authority).as_deref(),
            expected,
            "{authority:?}"
        );
    }
}

#[test]
fn a_request_names_exactly_one_host() {
    let get = || Request::get("/x");
    let cases = [
        (get().header(HOST, "a"), true),
        (get(), false),
        (get().header(HOST, "a").header(HOST, "a"), false),
        (get().header(HOST, ""), false),
        (Request::get("http://a/x").header(HOST, "A"), true),
        (Request::get("http://a/x").header(HOST, "b"), false),
        (Request::get("http://a/x"), false),
        (Request::get("ftp://a/x").header(HOST, "a"), false),
        (Request::get("http://u@a/x").header(HOST, "u@a"), false),
        (Request::get("https://a/x").version(Version::HTTP_2), true),
        (
            Request::get("https://a/x")
                .version(Version::HTTP_2)
                .header(HOST, "b"),
            false,
        ),
    ];

    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(check(request).is_ok(), expected, "case {number}");
    }
}

#[test]
fn odd_methods_framings_and_expectations_are_refused() {
    let post = || Request::post("/x").header(HOST, "a");
    let cases = [
        (
            Request::builder()
                .method("CONNECT")
                .uri("a:443")
                .header(HOST, "a:443"),
            Some(HeadError::Method),
        ),
        (
            Request::builder()
                .method("TRACE")
                .uri("/")
                .header(HOST, "a"),
            Some(HeadError::Method),
        ),
        (post().header(TRANSFER_ENCODING, "chunked"), None),
        (post().header(TRANSFER_ENCODING, "cHuNkeD"), None),
        (
            post().header(TRANSFER_ENCODING, "gzip, chunked"),
            Some(HeadError::TransferCoding),
        ),
        (
            post()
                .header(TRANSFER_ENCODING, "chunked")
                .header(TRANSFER_ENCODING, "chunked"),
            Some(HeadError::TransferCoding),
        ),
        (
            post()
                .header(TRANSFER_ENCODING, "chunked")
                .header(CONTENT_LENGTH, "5"),
            Some(HeadError::TransferCoding),
        ),
        (post().header(EXPECT, "100-Continue"), None),
        (post().header(EXPECT, "tea"), Some(HeadError::Expectation)),
        (
            post().header(EXPECT, "100-continue").header(EXPECT, "tea"),
            Some(HeadError::Expectation),
        ),
        (
            Request::get(format!("/{}", "a".repeat(8192))).header(HOST, "a"),
            Some(HeadError::TargetTooLong),
        ),
        (
            Request::builder()
                .method("OPTIONS")
                .uri("*")
                .header(HOST, "a"),
            Some(HeadError::Target),
        ),
    ];

    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(check(request).err(), expected, "case {number}");
    }
}

#[test]
fn over_http2_lines_are_bounded_and_have_no_blanks_around_values() {
    let get = || Request::get("https://a/x").version(Version::HTTP_2);
    let cookies = (0..50).fold(get(), |request, _| request.header(COOKIE, "a=b"));
    let many = (0..5).fold(get(), |request, _| request.header("x", "1"));
    let cases = [
        (get().header("x", "a b"), None),
        (get().header("x", ""), None),
        (get().header("x", " a"), Some(HeadError::Blank)),
        (get().header("x", "a\t"), Some(HeadError::Blank)),
        (get().header("x", "y".repeat(63)), None),
        (get().header("x", "y".repeat(64)), Some(HeadError::TooLarge)),
        (cookies, None),
        (many, Some(HeadError::TooLarge)),
    ];

    for (number, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(check(request).err(), expected, "case {number}");
    }
}

proptest::proptest! {
    #[test]
    fn the_one_form_of_a_path_is_its_own_one_form(path in "/[a-zA-Z0-9/%.;~\\\\ -]{0,40}") {
        if let Ok(canonical) = canonical_path(&path) {
            assert_eq!(canonical_path(&canonical).as_deref(), Ok(canonical.as_ref()));
        }
    }

    #[test]
    fn what_an_upstream_decodes_from_the_one_form_never_climbs(path in "/([ab./;\\\\]|%2[eEfF]|%5[cC]|%25|%00|%c0%ae){0,12}") {
        if let Ok(canonical) = canonical_path(&path) {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(&canonical).collect();
            assert!(decoded.split(|byte| *byte == b'/').all(|segment| segment != b".." && segment != b"."), "{path}");
            assert!(!decoded.windows(2).any(|pair| pair == b"//"), "{path}");
            assert!(!decoded.iter().any(|byte| *byte == b'\\' || *byte == b';' || *byte == 0), "{path}");
        }
    }

    #[test]
    fn no_host_makes_the_check_panic(authority in "\\PC{0,30}") {
        if let Some(host) = canonical_host(&authority) {
            assert_eq!(canonical_host(&host).as_deref(), Some(host.as_ref()));
        }
    }
}
