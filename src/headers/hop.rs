//! Fields that belong to one connection and never travel further (RFC 9110 section 7.6.1).

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, TE, UPGRADE};

/// Whether a field (lower case) is bound to one connection. `Trailer` is not: it announces fields that do travel.
pub fn is_hop_by_hop(name: &str) -> bool {
    // Most fields are told apart by their first letter, without comparing texts.
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => matches!(
            name,
            "proxy-connection" | "proxy-authenticate" | "proxy-authorization"
        ),
        Some(b't') => matches!(name, "te" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        Some(b'h') => name == "http2-settings",
        _ => false,
    }
}

/// What the values of `Connection` name besides the options that are no fields.
pub fn nominated<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for value in values {
        if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
            continue;
        }
        let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.extend(options.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }
    names
}

/// Whether the client takes trailers: the one value of `TE` that may be passed on.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut lines = headers.iter().filter(|(name, _)| *name == TE);
    lines.any(|(_, value)| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// The protocol that a request asks to switch to, in lower case: `Connection` must name `upgrade` too.
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<String> {
    let asks = headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let mut protocols = headers.get_all(UPGRADE).iter();
    match (asks, protocols.next(), protocols.next()) {
        (true, Some(protocol), None) => protocol.to_str().ok().map(str::to_ascii_lowercase),
        _ => None,
    }
}
