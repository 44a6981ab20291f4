//! Fields that belong to one connection and never travel further (RFC 9110 section 7.6.1).

use http::header::{CONNECTION, HeaderName, TE, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Whether a field is bound to one connection. `Trailer` is not: it announces fields that do travel.
fn is_hop_by_hop(name: &str) -> bool {
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

/// Takes out of the headers what is bound to the connection they came over, what `Connection` names, and what `also`
/// covers. Runs before anything of ours is written, so a client cannot nominate our headers for removal.
pub(super) fn strip(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let nominated = nominated(headers);
    let doomed = |name: &HeaderName| is_hop_by_hop(name.as_str()) || also(name.as_str());
    // Mostly there is one such field or none, and nothing has to be gathered.
    let first = headers.keys().find(|name| doomed(name)).cloned();
    let Some(first) = first else { return };
    headers.remove(first);
    let rest: Vec<HeaderName> = headers
        .keys()
        .filter(|name| doomed(name))
        .cloned()
        .collect();
    for name in rest.into_iter().chain(nominated) {
        headers.remove(name);
    }
}

/// What `Connection` names besides the options that are no fields.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let value = value.as_bytes();
        if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
            continue;
        }
        let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let fields = options.filter_map(|name| HeaderName::from_bytes(name).ok());
        // The host is not a field of the connection, whatever a client says of it.
        names.extend(fields.filter(|name| name != http::header::HOST));
    }
    names
}

/// Whether the client takes trailers: the one value of `TE` that may be passed on.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|value| {
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

/// Asks the next hop to switch to this protocol.
pub(super) fn ask_upgrade(headers: &mut HeaderMap, protocol: &str) {
    if let Ok(protocol) = HeaderValue::from_str(protocol) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}
