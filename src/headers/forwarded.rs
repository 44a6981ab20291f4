//! Where the client really is, and how upstreams are told.
//!
//! # Threat model
//! Every one of these headers is free for a client to send. They are believed only from addresses that the operator has
//! listed; the list is empty by default, and an empty list trusts no one.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::RequestHead;
use crate::config::Forwarded;
use crate::config::value::{Network, WebOrigin};
use crate::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// All that can be left out.
const WRITTEN: [HeaderName; 7] = [REAL_IP, FOR, PROTO, HOST, PORT, FORWARDED, PREFIX];

/// Longest chain of proxies that is passed on; what is beyond is cut off at the client's end, where lies are.
const MAX_CHAIN: usize = 512;

/// Whom to believe, and what to write.
#[derive(Debug, Clone, Default)]
pub struct ForwardedPlan {
    trusted: Vec<Network>,
    rfc7239: bool,
    /// Headers that carry identity on some route, which goes before.
    left_out: Vec<HeaderName>,
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

impl Origin {
    /// The origin of the page that a request with this `Host` was sent to, as its browser sees it. `None` if there can be
    /// no such page.
    pub fn seen(&self, authority: &HeaderValue) -> Option<WebOrigin> {
        let authority = self.host.as_ref().unwrap_or(authority).to_str().ok()?;
        WebOrigin::of(self.proto.as_bytes() == b"https", authority)
    }
}

impl ForwardedPlan {
    /// The plan that the configuration describes.
    pub fn new(config: &Forwarded) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            rfc7239: config.rfc7239,
            left_out: Vec::new(),
        }
    }

    /// Where this request comes from. Reads the client's headers, so it runs before they are stripped. A proxy that asks
    /// about a request speaks for its client, whoever else may.
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
        if !self.trusts(address) && peer.asks.is_none() {
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

    /// The same plan, but that it leaves these headers to somebody else.
    #[must_use]
    pub fn without<'a>(&self, names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let mut plan = self.clone();
        let mine = |name: &&HeaderName| WRITTEN.contains(name);
        plan.left_out
            .extend(names.into_iter().filter(mine).cloned());
        plan
    }

    /// Whether this header is left to somebody else.
    pub(super) fn leaves_out(&self, name: &HeaderName) -> bool {
        self.left_out.contains(name)
    }

    /// Writes the headers that tell an upstream where the request comes from.
    pub(super) fn write(
        &self,
        head: &mut RequestHead,
        peer: &Peer,
        origin: &Origin,
        authority: &HeaderValue,
    ) {
        let mut write = |name: HeaderName, value: &HeaderValue| {
            if !self.leaves_out(&name) {
                head.field(&name, value);
            }
        };
        if origin.trusted {
            let client = HeaderValue::try_from(origin.client.to_string());
            let chain = match origin.chain.is_empty() {
                true => Ok(peer.ip_value.clone()),
                false => HeaderValue::try_from(format!("{}, {}", origin.chain, peer.ip)),
            };
            let plain = "addresses and commas are plain ASCII";
            write(REAL_IP, &client.expect(plain));
            write(FOR, &chain.expect(plain));
        } else {
            write(REAL_IP, &peer.ip_value);
            write(FOR, &peer.ip_value);
        }
        write(PROTO, &origin.proto);
        write(HOST, origin.host.as_ref().unwrap_or(authority));
        write(PORT, origin.port.as_ref().unwrap_or(&peer.port_value));
        if self.rfc7239
            && let Some(value) = rfc7239(origin, peer.ip, authority)
        {
            write(FORWARDED, &value);
        }
    }
}

/// `Forwarded` (RFC 7239): one element for each hop, the last with the scheme and host of the request.
fn rfc7239(origin: &Origin, address: IpAddr, authority: &HeaderValue) -> Option<HeaderValue> {
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
    HeaderValue::try_from(text).ok()
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
    use http::Method;

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
            left_out: Vec::new(),
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
        let authority = HeaderValue::from_static("shop.example");
        let mut head = RequestHead::begin(&Method::GET, "/", &authority);
        plan.write(&mut head, peer, &origin, &authority);
        let text = head.text();
        let lines = text.lines().skip(2);
        let fields = lines.map(|line| line.split_once(": ").unwrap());
        fields
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
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
    fn the_origin_that_a_browser_sees_is_that_of_the_proxy_in_front_if_it_is_trusted() {
        let sent = headers(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Www.example:8443"),
        ]);
        let authority = HeaderValue::from_static("Shop.example:80");
        let seen = |plan: &ForwardedPlan| {
            let origin = plan.origin(&peer("10.0.0.1"), &sent);
            origin.seen(&authority).map(|origin| origin.to_string())
        };

        assert_eq!(seen(&plan(&[])).as_deref(), Some("http://shop.example"));
        assert_eq!(
            seen(&plan(&["10.0.0.1"])).as_deref(),
            Some("https://www.example:8443")
        );
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
