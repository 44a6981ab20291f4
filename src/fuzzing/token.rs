//! Tokens and cookies.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::config::value::TokenSource;
use crate::config::{Charset, Tokens};
use crate::cookie;
use crate::token::{RefreshToken, TokenShape, TokenSources, anchor_of};

/// What is taken for a token is taken as it is, and is what its alphabet and its length allow.
pub fn token(bytes: &[u8]) {
    for charset in [Charset::Token68, Charset::Base64url, Charset::Hex] {
        let tokens = Tokens {
            charset,
            ..Tokens::default()
        };
        let Ok(token) = TokenShape::new(&tokens).check(bytes) else {
            continue;
        };
        assert_eq!(token.expose().as_bytes(), bytes);
        assert!(!bytes.is_empty() && bytes.len() <= tokens.max_length.as_usize());
        assert!(
            bytes
                .iter()
                .all(|byte| byte.is_ascii_graphic() && !b"\";,\\".contains(byte))
        );
        assert_eq!(format!("{token:?}"), "Token(..)");
        anchor_of(&token, tokens.prefix.as_str());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        RefreshToken::read(text);
    }
}

const OURS: &str = "session";

/// Lines of `Cookie`, one below the other. Our cookie goes, whoever reads them; the others stay as they are.
pub fn cookie(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, line);
        }
    }
    let sources = [TokenSource::Cookie(OURS.to_owned())];
    let sources = TokenSources::new(&sources, TokenShape::new(&Tokens::default()));
    let before = others(&headers);
    if let Ok(Some((token, _))) = sources.find(&headers)
        && let Some(read) = cookie::read(&headers, OURS)
    {
        assert_eq!(token.expose(), read, "two readings of one cookie");
    }
    sources.remove(&mut headers);

    assert!(matches!(sources.find(&headers), Ok(None)));
    assert_eq!(cookie::read(&headers, OURS), None);
    assert_eq!(others(&headers), before);
}

/// Every cookie but ours, in order.
fn others(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let pairs = pairs
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty());
    let is_ours = |pair: &&[u8]| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = parts.next().map(<[u8]>::trim_ascii);
        name == Some(OURS.as_bytes()) && parts.next().is_some()
    };
    pairs
        .filter(|pair| !is_ours(pair))
        .map(<[u8]>::to_vec)
        .collect()
}
