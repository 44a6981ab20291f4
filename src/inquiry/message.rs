//! Envoy's question over gRPC (`envoy.service.auth.v3.CheckRequest`).

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

use super::{FOR, InquiryError, Told, is_the_question_s, method, request, restore_upgrade};

/// The request that is asked about by this message. As [`from_headers`](super::from_headers), but that the client's
/// address is the one that Envoy itself believes.
///
/// # Errors
/// [`InquiryError`]: the message does not tell of a request, or not in a way that can be understood.
pub fn from_message(attributes: &AttributeContext) -> Result<Parts, InquiryError> {
    let asked = attributes.request.as_ref();
    let http = asked
        .and_then(|asked| asked.http.as_ref())
        .ok_or(InquiryError::Missing("a request"))?;
    let authority = HeaderValue::try_from(http.host.as_str());
    let scheme = http.scheme.as_str();
    let told = Told {
        method: method(&http.method, "the method")?,
        scheme: (!scheme.is_empty()).then_some(scheme),
        authority: authority.map_err(|_| InquiryError::Unusable("the host"))?,
        target: &http.path,
    };
    let mut request = request(&told)?;
    let mut sent = http::HeaderMap::new();
    for (name, value) in fields(http) {
        // `:path` and its like are told beside.
        if name.starts_with(':') {
            continue;
        }
        let name = HeaderName::try_from(name).map_err(|_| InquiryError::Unusable("a header"))?;
        let value = HeaderValue::from_bytes(value);
        sent.append(name, value.map_err(|_| InquiryError::Unusable("a header"))?);
    }
    restore_upgrade(&sent, &mut request.headers);
    for (name, value) in &sent {
        if !is_the_question_s(name) {
            request.headers.append(name, value.clone());
        }
    }
    if let Some(client) = attributes.source.as_ref().and_then(address) {
        request.headers.insert(FOR, client);
    }
    Ok(request)
}

/// The client's headers: one by one where Envoy sends them raw, else with repeated ones joined.
fn fields(http: &HttpRequest) -> impl Iterator<Item = (&str, &[u8])> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.map(|field| {
        let value = match field.raw_value.is_empty() {
            true => field.value.as_bytes(),
            false => &field.raw_value,
        };
        (field.key.as_str(), value)
    });
    let joined = http.headers.iter();
    raw.chain(joined.map(|(name, value)| (name.as_str(), value.as_bytes())))
}

fn address(peer: &Peer) -> Option<HeaderValue> {
    match peer.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => {
            let address: std::net::IpAddr = socket.address.parse().ok()?;
            HeaderValue::try_from(address.to_string()).ok()
        }
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}
