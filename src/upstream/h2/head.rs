//! The head that was written for HTTP/1.1, in the form of HTTP/2: what may be told, and what not, was decided once, when
//! it was written.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Request, Uri, Version};

/// Reads a head of our own; `None` if it has no form in HTTP/2, such as one that asks to switch protocols.
pub(super) fn parse(bytes: &[u8], tls: bool) -> Option<Parts> {
    let lines = memchr::memchr_iter(b'\n', bytes).count();
    let mut fields = vec![httparse::EMPTY_HEADER; lines];
    let mut read = httparse::Request::new(&mut fields);
    let whole = matches!(read.parse(bytes), Ok(httparse::Status::Complete(length)) if length == bytes.len());
    if !whole {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = read.method?.parse().ok()?;
    parts.version = Version::HTTP_2;
    let mut host = None;
    for field in read.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name == HOST {
            host = Some(field.value);
        } else if name == UPGRADE {
            return None;
        } else if name != CONNECTION && name != TRANSFER_ENCODING {
            // RFC 9113 section 8.2.2. `TE: trailers` stays.
            let value = HeaderValue::from_bytes(field.value).ok()?;
            parts.headers.append(name, value);
        }
    }
    let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
    parts.uri = Uri::builder()
        .scheme(scheme)
        .authority(host?)
        .path_and_query(read.path?)
        .build()
        .ok()?;
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_its_fields_but_for_those_of_a_connection() {
        let text = b"POST /p%20q?x=1 HTTP/1.1\r\nhost: a.test:81\r\nte: trailers\r\nx-a: 1\r\nx-a: \xe9\r\ntransfer-encoding: chunked\r\n\r\n";

        let parts = parse(text, true).unwrap();

        assert_eq!(parts.uri, "https://a.test:81/p%20q?x=1");
        assert_eq!(
            (parts.method.as_str(), parts.version),
            ("POST", Version::HTTP_2)
        );
        let names: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["te", "x-a", "x-a"]);
        assert_eq!(
            parts.headers.get_all("x-a").iter().nth(1).unwrap(),
            &b"\xe9"[..]
        );
        assert_eq!(parse(text, false).unwrap().uri.scheme_str(), Some("http"));
    }

    #[test]
    fn what_has_no_form_in_http2_is_none() {
        for text in [
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n5\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(text.as_bytes(), false).is_none(), "{text:?}");
        }
    }
}
