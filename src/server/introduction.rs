//! The PROXY protocol, versions 1 and 2: a proxy that only passes bytes on says first whose bytes they are
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! # Threat model
//! Whoever may say it chooses the address that limits, logs and upstreams see, so only trusted proxies may. Of a
//! connection no byte behind the header is taken: what follows belongs to TLS or to HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What a header of version 1 begins with, and how long it is at most.
const TEXT: &[u8] = b"PROXY ";
const MAX_TEXT: usize = 107;
/// How long the fixed part of version 2 is, and the whole: addresses of any kind, and a few KiB of what a proxy may add.
const FIXED: usize = 16;
const MAX_BINARY: usize = 4096;

/// Between two looks at a start that may become a header, or not.
const GLANCE: Duration = Duration::from_millis(10);

/// Who is at the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    /// What the client connected to.
    pub(super) local: SocketAddr,
}

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unintroduced {
    /// There is none where there must be one.
    #[error("there is no PROXY header")]
    Missing,
    /// It cannot be read.
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What some bytes are the start of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Something else.
    Other,
    /// A header, or something else.
    Unknown,
    /// A header that is not there as a whole.
    Part,
    /// A header of this length.
    Whole(usize),
    /// Something that begins as a header and is none.
    Broken,
}

/// Reads the header that a trusted proxy begins with; `ends` if it speaks for itself, or, unless it `must`, says nothing.
///
/// # Errors
/// If there is none although there must be, or it is malformed.
pub(super) async fn read(
    stream: &mut TcpStream,
    must: bool,
    ends: Ends,
) -> Result<Ends, Unintroduced> {
    let mut header = Vec::new();
    loop {
        let mut ahead = [0; 512];
        let there = stream.peek(&mut ahead).await?;
        let before = header.len();
        header.extend_from_slice(ahead.get(..there).unwrap_or_default());
        let begun = match (start(&header), there) {
            (Start::Unknown, 0) => Start::Other,
            (Start::Part, 0) => Start::Broken,
            (begun, _) => begun,
        };
        let used = match begun {
            Start::Broken => return Err(Unintroduced::Malformed),
            Start::Other if must => return Err(Unintroduced::Missing),
            Start::Other => return Ok(ends),
            Start::Whole(length) => length - before,
            Start::Part => there,
            Start::Unknown => {
                // What may belong to somebody else is left where it is, and looks the same until more comes.
                header.truncate(before);
                tokio::time::sleep(GLANCE).await;
                continue;
            }
        };
        let mut taken = vec![0; used];
        stream.read_exact(&mut taken).await?;
        header.truncate(before + used);
        if let Start::Whole(_) = start(&header) {
            return parse(&header, ends).ok_or(Unintroduced::Malformed);
        }
    }
}

/// Length of the header at the start of these bytes, if a whole one is there.
#[cfg(any(test, fuzzing))]
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    match start(bytes) {
        Start::Whole(length) => Some(length),
        Start::Other | Start::Unknown | Start::Part | Start::Broken => None,
    }
}

fn start(bytes: &[u8]) -> Start {
    let begins = |mark: &[u8]| bytes.iter().zip(mark).all(|(one, other)| one == other);
    if begins(v2::PROTOCOL_PREFIX) {
        if bytes.len() < v2::PROTOCOL_PREFIX.len() {
            return Start::Unknown;
        }
        let Some((_, length)) = bytes
            .get(..FIXED)
            .and_then(|fixed| fixed.split_last_chunk::<2>())
        else {
            return Start::Part;
        };
        return match FIXED + usize::from(u16::from_be_bytes(*length)) {
            whole if whole > MAX_BINARY => Start::Broken,
            whole if whole > bytes.len() => Start::Part,
            whole => Start::Whole(whole),
        };
    }
    if !begins(TEXT) {
        return Start::Other;
    }
    if bytes.len() < TEXT.len() {
        return Start::Unknown;
    }
    let line = bytes.get(..MAX_TEXT.min(bytes.len())).unwrap_or_default();
    match memchr::memmem::find(line, b"\r\n") {
        Some(end) => Start::Whole(end + 2),
        None if bytes.len() >= MAX_TEXT => Start::Broken,
        None => Start::Part,
    }
}

/// Who is meant by a whole header; `direct` if its sender speaks for itself, or for somebody without an address.
pub(super) fn parse(header: &[u8], direct: Ends) -> Option<Ends> {
    let ends = |client: (std::net::IpAddr, u16), local: (std::net::IpAddr, u16)| Ends {
        client: client.into(),
        local: local.into(),
    };
    if header.starts_with(TEXT) {
        let header = v1::Header::try_from(header).ok()?;
        return Some(match header.addresses {
            v1::Addresses::Tcp4(ip) => ends(
                (ip.source_address.into(), ip.source_port),
                (ip.destination_address.into(), ip.destination_port),
            ),
            v1::Addresses::Tcp6(ip) => ends(
                (ip.source_address.into(), ip.source_port),
                (ip.destination_address.into(), ip.destination_port),
            ),
            v1::Addresses::Unknown => direct,
        });
    }
    let header = v2::Header::try_from(header).ok()?;
    if header.command == v2::Command::Local {
        return Some(direct);
    }
    Some(match header.addresses {
        v2::Addresses::IPv4(ip) => ends(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        ),
        v2::Addresses::IPv6(ip) => ends(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        ),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => direct,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        header.extend(addresses);
        header
    }

    fn direct() -> Ends {
        Ends {
            client: "10.0.0.1:1".parse().unwrap(),
            local: "10.0.0.2:2".parse().unwrap(),
        }
    }

    #[test]
    fn a_header_ends_where_it_says_and_every_part_of_it_is_known_for_one() {
        let whole = binary(
            1,
            0x11,
            &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb],
        );
        for header in [LINE, &whole] {
            for cut in 0..header.len() {
                let found = start(&header[..cut]);
                assert!(matches!(found, Start::Unknown | Start::Part), "{cut}");
            }
            let more = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(start(&more), Start::Whole(header.len()));
            let ends = parse(header, direct()).unwrap();
            assert_eq!(ends.client, "203.0.113.7:4711".parse().unwrap());
            assert_eq!(ends.local, "192.0.2.1:443".parse().unwrap());
        }
        for other in ["G", "PU", "PROXX", "\r\nG", "\x16\x03\x01", "proxy "] {
            assert_eq!(start(other.as_bytes()), Start::Other, "{other:?}");
        }
        assert_eq!(start(&binary(1, 0x11, &[0; 5000])), Start::Broken);
        assert_eq!(
            start(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()),
            Start::Broken
        );
    }

    #[test]
    fn who_speaks_for_itself_is_the_client() {
        let unix = [b'x'; 216];
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            binary(0, 0x11, &[9; 12]),
            binary(0, 0, &[]),
            binary(1, 0x31, &unix),
            binary(1, 0, &[]),
        ] {
            assert_eq!(parse(&header, direct()), Some(direct()), "{header:?}");
        }
    }

    #[test]
    fn what_is_not_said_as_it_should_be_is_not_believed() {
        for header in [
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            binary(1, 0x11, &[1; 4]),
            binary(1, 0x41, &[1; 12]),
            binary(2, 0x11, &[1; 12]),
        ] {
            assert_eq!(parse(&header, direct()), None, "{header:?}");
        }
    }
}
