//! Words of the network: endpoints and networks.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{string_schema, written};

/// An endpoint's address: scheme, host and port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// Port; 80 or 443 if none was written.
    pub port: u16,
}

impl Origin {
    /// What goes into `Host`: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            _ => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.authority()
        )
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not an endpoint; write \"http://host:port\" or \"https://host:port\", without a path"
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        if rest.contains('@') {
            // What stands before it is a password, so none of it is shown.
            return Err("an endpoint has no user and no password; write \"http://host:port\" or \"https://host:port\", without a path".to_owned());
        }
        let authority = http::uri::Authority::from_str(rest.strip_suffix('/').unwrap_or(rest))
            .map_err(|_| wrong())?;
        let port = match (authority.port_u16(), authority.port()) {
            (Some(0), _) | (None, Some(_)) => return Err(wrong()),
            (Some(port), _) => port,
            (None, None) if tls => 443,
            (None, None) => 80,
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { tls, host, port })
    }
}

string_schema!(
    Origin,
    r"^https?://[^/@]+/?$",
    "http://host:port or https://host:port"
);

/// A network, or one address: `"10.0.0.0/8"`, `"::1"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Whether every address of its family is in it.
    pub fn is_everyone(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether this address is in it. An IPv4 address that came in over IPv6 counts as IPv4.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let one = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
        one.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("`{text}` is not a network; write an address with its length, such as \"10.0.0.0/8\", or one address")
        })
    }
}

string_schema!(
    Network,
    r"^[0-9A-Fa-f.:]+(/\d+)?$",
    "Network 10.0.0.0/8, or one address"
);

written!(Network, network => network.0);
