//! Names of header fields, read quickly.

use http::HeaderName;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL,
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, HOST,
    InvalidHeaderName, LAST_MODIFIED, LOCATION, ORIGIN, REFERER, SERVER, SET_COOKIE,
    TRANSFER_ENCODING, USER_AGENT, VARY,
};

/// The name in these bytes, in any case. The `http` crate compares a name with every standard one of its length; most
/// names are one of a few.
///
/// # Errors
/// If it is no name.
pub fn name(bytes: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    match usual(bytes) {
        Some(name) if bytes.eq_ignore_ascii_case(name.as_str().as_bytes()) => Ok(name),
        Some(_) | None => HeaderName::from_bytes(bytes),
    }
}

/// The name that these bytes are likely to be, by their number and the first of them.
fn usual(bytes: &[u8]) -> Option<HeaderName> {
    let first = bytes.first()?.to_ascii_lowercase();
    Some(match (bytes.len(), first) {
        (4, b'd') => DATE,
        (4, b'e') => ETAG,
        (4, b'h') => HOST,
        (4, b'v') => VARY,
        (6, b'a') => ACCEPT,
        (6, b'c') => COOKIE,
        (6, b'o') => ORIGIN,
        (6, b's') => SERVER,
        (7, b'e') => EXPIRES,
        (7, b'r') => REFERER,
        (8, b'l') => LOCATION,
        (10, b'c') => CONNECTION,
        (10, b's') => SET_COOKIE,
        (10, b'u') => USER_AGENT,
        (12, b'c') => CONTENT_TYPE,
        (13, b'a') if bytes.get(1) == Some(&b'u') || bytes.get(1) == Some(&b'U') => AUTHORIZATION,
        (13, b'a') => ACCEPT_RANGES,
        (13, b'c') => CACHE_CONTROL,
        (13, b'l') => LAST_MODIFIED,
        (14, b'c') => CONTENT_LENGTH,
        (15, b'a') if matches!(bytes.last(), Some(b'e' | b'E')) => ACCEPT_LANGUAGE,
        (15, b'a') => ACCEPT_ENCODING,
        (16, b'c') => CONTENT_ENCODING,
        (17, b't') => TRANSFER_ENCODING,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_library_says_it_is() {
        let names = [
            "Host",
            "host",
            "HOST",
            "hosT",
            "Date",
            "ETag",
            "Accept",
            "accept-ranges",
            "Authorization",
            "authorizatiom",
            "Accept-Language",
            "accept-encoding",
            "Content-Type",
            "content-typo",
            "Content-Length",
            "Content-Encoding",
            "Transfer-Encoding",
            "Cache-Control",
            "Last-Modified",
            "Set-Cookie",
            "User-Agent",
            "Connection",
            "cookie",
            "Server",
            "Origin",
            "Referer",
            "Expires",
            "Location",
            "Vary",
            "x-user-id",
            "te",
            "",
            "bad name",
            "d\u{e4}te",
            "Hos\0",
        ];

        for text in names {
            let (ours, theirs) = (
                name(text.as_bytes()),
                HeaderName::from_bytes(text.as_bytes()),
            );
            assert_eq!(ours.ok(), theirs.ok(), "{text:?}");
        }
    }
}
