//! Where the client really is, and how upstreams are told.
//!
//! # Threat model
//! Every one of these headers is free for a client to send. They are believed only from addresses that the operator has
//! listed; the list is empty by default, and an empty list trusts no one.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Forwarded;
use crate::config::value::Network;
use crate::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Longest chain of proxies that is passed on; what is beyond is cut off at the client's end, where lies are.
const MAX_CHAIN: usize = 512;

/// Whom to believe, and what to write.
#[derive(Debug, Clone, Default)]
pub struct ForwardedPlan {
    trusted: Vec<Network>,
    rfc7239: bool,
}

/// Where a request comes from, as far as it can be believed.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address: the nearest one that is not a trusted proxy.
    pub client: IpAddr,
    /// Addresses before the peer, as a trusted peer gave them; empty otherwise.
    chain: String,
    /// Scheme, host and port of the client's own request, as a trusted peer gave them; ours otherwise.
    proto: HeaderValue,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
}

impl ForwardedPlan {
    /// The plan that the configuration describes.
    pub fn new(config: &Forwarded) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            rfc7239: config.rfc7239,
        }
    }

    /// Where this request comes from. Reads the client's headers, so it runs before they are stripped.
    pub fn origin(&self, peer: &Peer, headers: &HeaderMap) -> Origin {
        let address = peer.ip;
        let proto = HeaderValue::from_static(if peer.tls.is_some() { "https" } else { "http" });
        let mut origin = Origin {
            client: address,
            chain: String::new(),
            proto,
            host: None,
            port: None,
            trusted: false,
        };
        if !self.trusts(address) {
            return origin;
        }
        origin.trusted = true;
        let chain = chain(headers);
        origin.client = chain
            .iter()
            .rev()
            .copied()
            .find(|hop| !self.trusts(*hop))
            .or(chain.first().copied())
            .unwrap_or(address);
        origin.chain = chain
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let one = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            values
                .next()
                .filter(|value| {
                    values.next().is_none()
                        && !value.is_empty()
                        && !value.as_bytes().contains(&b',')
                })
                .cloned()
        };
        if let Some(proto) = one(&PROTO).and_then(|value| scheme(&value)) {
            origin.proto = proto;
        }
        origin.host = one(&HOST);
        origin.port = one(&PORT);
        origin
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Writes the headers that tell an upstream where the request comes from.
    pub(super) fn write(
        &self,
        headers: &mut HeaderMap,
        peer: &Peer,
        origin: &Origin,
        authority: &HeaderValue,
    ) {
        let (client, chain) = if origin.trusted {
            let client = HeaderValue::try_from(origin.client.to_string());
            let chain = match origin.chain.is_empty() {
                true => Ok(peer.ip_value.clone()),
                false => HeaderValue::try_from(format!("{}, {}", origin.chain, peer.ip)),
            };
            let plain = "addresses and commas are plain ASCII";
            (client.expect(plain), chain.expect(plain))
        } else {
            (peer.ip_value.clone(), peer.ip_value.clone())
        };
        headers.insert(REAL_IP, client);
        headers.insert(FOR, chain);
        headers.insert(PROTO, origin.proto.clone());
        headers.insert(HOST, origin.host.as_ref().unwrap_or(authority).clone());
        headers.insert(
            PORT,
            origin
                .port
                .clone()
                .unwrap_or_else(|| peer.port_value.clone()),
        );
        if self.rfc7239 {
            write_rfc7239(headers, origin, peer.ip, authority);
        }
    }
}

/// `Forwarded` (RFC 7239): one element for each hop, the last with the scheme and host of the request.
fn write_rfc7239(
    headers: &mut HeaderMap,
    origin: &Origin,
    address: IpAddr,
    authority: &HeaderValue,
) {
    let mut text = String::new();
    let node = |ip: IpAddr| {
        if ip.is_ipv6() {
            format!("for=\"[{ip}]\"")
        } else {
            format!("for={ip}")
        }
    };
    for hop in origin.chain.split(", ").filter_map(|hop| hop.parse().ok()) {
        text.push_str(&node(hop));
        text.push_str(", ");
    }
    text.push_str(&node(address));
    let host = origin
        .host
        .as_ref()
        .unwrap_or(authority)
        .to_str()
        .unwrap_or_default();
    let proto = origin.proto.to_str().unwrap_or_default();
    if host
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    {
        text.push_str(";host=\"");
        text.push_str(host);
        text.push('"');
    }
    text.push_str(";proto=");
    text.push_str(proto);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(FORWARDED, value);
    }
}

/// The addresses of `X-Forwarded-For`, client first. Reading stops at the first one, from our end, that is no address.
fn chain(headers: &HeaderMap) -> Vec<IpAddr> {
    let mut hops = Vec::new();
    let mut length = 0;
    'lines: for line in headers
        .get_all(FOR)
        .iter()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        for hop in line.to_str().unwrap_or_default().rsplit(',') {
            length += hop.len() + 2;
            match hop.trim().parse::<IpAddr>() {
                Ok(address) if length <= MAX_CHAIN => hops.push(address.to_canonical()),
                Ok(_) | Err(_) => break 'lines,
            }
        }
    }
    hops.reverse();
    hops
}

/// Proxies write `ws` and `wss` for WebSocket handshakes; upstreams know `http` and `https`.
fn scheme(value: &HeaderValue) -> Option<HeaderValue> {
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"http" | b"ws" => Some(HeaderValue::from_static("http")),
        b"https" | b"wss" => Some(HeaderValue::from_static("https")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::new(
            format!("{address}:5000").parse().unwrap(),
            "192.0.2.9:8443".parse().unwrap(),
            None,
        )
    }

    fn plan(trusted: &[&str]) -> ForwardedPlan {
        let trusted = trusted
            .iter()
            .map(|text| Network::try_from((*text).to_owned()).unwrap())
            .collect();
        ForwardedPlan {
            trusted,
            rfc7239: true,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    fn written(plan: &ForwardedPlan, peer: &Peer, sent: &HeaderMap) -> HeaderMap {
        let origin = plan.origin(peer, sent);
        let mut out = HeaderMap::new();
        plan.write(
            &mut out,
            peer,
            &origin,
            &HeaderValue::from_static("shop.example"),
        );
        out
    }

    #[test]
    fn nobody_is_believed_by_default() {
        let sent = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ]);

        let out = written(&plan(&[]), &peer("10.0.0.1"), &sent);

        assert_eq!(out[FOR], "10.0.0.1");
        assert_eq!(out[REAL_IP], "10.0.0.1");
        assert_eq!(out[PROTO], "http");
        assert_eq!(out[HOST], "shop.example");
        assert_eq!(out[PORT], "8443");
        assert_eq!(
            out[FORWARDED],
            "for=10.0.0.1;host=\"shop.example\";proto=http"
        );
    }

    #[test]
    fn of_a_trusted_chain_the_nearest_stranger_is_the_client() {
        let sent = headers(&[
            ("x-forwarded-for", "6.6.6.6, 203.0.113.7"),
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-proto", "wss"),
            ("x-forwarded-host", "www.example"),
        ]);

        let out = written(&plan(&["10.0.0.0/8"]), &peer("10.0.0.1"), &sent);

        assert_eq!(out[REAL_IP], "203.0.113.7");
        assert_eq!(out[FOR], "6.6.6.6, 203.0.113.7, 10.1.1.1, 10.0.0.1");
        assert_eq!(out[PROTO], "https");
        assert_eq!(out[HOST], "www.example");
    }

    #[test]
    fn what_is_no_address_ends_the_chain_and_doubled_values_are_not_believed() {
        let sent = headers(&[
            ("x-forwarded-for", "evil\", 203.0.113.7"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-host", "b"),
        ]);

        let out = written(&plan(&["10.0.0.1"]), &peer("10.0.0.1"), &sent);

        assert_eq!(out[FOR], "203.0.113.7, 10.0.0.1");
        assert_eq!(out[PROTO], "http");
        assert_eq!(out[HOST], "shop.example");
    }
}
