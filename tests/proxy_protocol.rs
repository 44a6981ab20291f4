//! The PROXY protocol: whose connection it is, in raw bytes and from a real HAProxy.

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Call, Connection, Gateway, Raw, Setup, Upstream, gateway, upstream};
use tokio::net::TcpSocket;
use tokio_rustls::rustls::ALL_VERSIONS;

const GET: &str = "GET /public/x HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";
const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 8443\r\n";

fn setup(upstream: &Upstream, proxy_protocol: &str) -> Setup {
    let line = format!("proxy_protocol = \"{proxy_protocol}\"\n");
    gateway()
        .listening(&line)
        .toml("[forwarded]\ntrusted_proxies = [\"127.0.0.1\"]\n[metrics]\nlisten = \"127.0.0.1:0\"")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

/// Version 2: the command, the addresses of a connection over TCP, and what a proxy may add.
fn binary(command: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let family = if addresses.len() > 12 { 0x21 } else { 0x11 };
    let length = u16::try_from(addresses.len() + more.len()).unwrap();
    header.extend([0x20 | command, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header.extend(more);
    header
}

/// One from an address that nobody trusts.
async fn stranger(to: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    Raw::over(socket.connect(to).await.unwrap())
}

fn seen(upstream: &Upstream) -> (String, String, String) {
    let seen = upstream.last();
    let header = |name| seen.header(name).unwrap_or_default().to_owned();
    (
        header("x-forwarded-for"),
        header("x-real-ip"),
        header("x-forwarded-port"),
    )
}

fn introduced(client: &str, port: &str) -> (String, String, String) {
    (client.to_owned(), client.to_owned(), port.to_owned())
}

#[tokio::test]
async fn the_client_of_a_header_is_the_client_everywhere() {
    let upstream = upstream();
    let gateway = setup(&upstream, "required").start().await;
    let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x20, 0xfb];
    let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8];
    v6.resize(32, 1);
    v6.extend([0, 1, 0x20, 0xfb]);
    let padding = [4_u8, 0x07, 0xd0].into_iter().chain([0; 2000]);
    let padding: Vec<u8> = padding.collect();
    let ipv6 = "2001:db8:101:101:101:101:101:101";
    for (header, client) in [
        (LINE.as_bytes().to_vec(), "203.0.113.7"),
        (
            LINE.replace(
                "TCP4 203.0.113.7 192.0.2.1",
                "TCP6 2001:db8:101:101:101:101:101:101 ::1",
            )
            .into(),
            ipv6,
        ),
        (binary(1, &v4, &[]), "203.0.113.7"),
        (binary(1, &v4, &padding), "203.0.113.7"),
        (binary(1, &v6, &[]), ipv6),
    ] {
        let mut raw = Raw::connect(gateway.plain()).await;
        raw.write([&header, GET.as_bytes()].concat()).await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
        // What a client says by itself is not believed: it is no proxy.
        assert_eq!(seen(&upstream), introduced(client, "8443"));
    }
    gateway.tells("\"client\":\"203.0.113.7\"", 3).await;

    // In the smallest pieces, and with the request right behind it.
    for header in [LINE.as_bytes().to_vec(), binary(1, &v4, &[])] {
        let mut raw = Raw::connect(gateway.plain()).await;
        let (pieces, last) = header.split_at(header.len() - 1);
        for byte in pieces {
            raw.write([*byte]).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        raw.write([last, GET.as_bytes()].concat()).await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
        assert_eq!(seen(&upstream), introduced("203.0.113.7", "8443"));
    }
}

#[tokio::test]
async fn limits_count_the_client_and_not_the_proxy() {
    let upstream = upstream();
    let gateway = setup(&upstream, "required")
        .toml("[limits]\nmax_connections_per_client = 1\n[[limits.rates]]\nby = \"client\"\nrate = \"1/h\"")
        .start()
        .await;
    let ask = async |client: &str| {
        let mut raw = Raw::connect(gateway.plain()).await;
        let addresses = match client.contains(':') {
            true => format!("TCP6 {client} ::1"),
            false => format!("TCP4 {client} 192.0.2.1"),
        };
        raw.write(LINE.replace("TCP4 203.0.113.7 192.0.2.1", &addresses) + GET)
            .await;
        let status = raw.reply().await.map(|reply| reply.status);
        (raw, status)
    };
    let (first, status) = ask("203.0.113.7").await;
    assert_eq!(status, Some(200));
    assert_eq!(ask("203.0.113.7").await.1, None, "a second connection");
    assert_eq!(ask("203.0.113.8").await.1, Some(200));
    drop(first);
    loop {
        match ask("203.0.113.7").await.1 {
            None => tokio::time::sleep(Duration::from_millis(10)).await,
            status => break assert_eq!(status, Some(429)),
        }
    }
    // Of IPv6 a client has all addresses of its network.
    let (_kept, status) = ask("2001:db8::1").await;
    assert_eq!(status, Some(200));
    assert_eq!(ask("2001:db8::ffff:1").await.1, None);
    assert_eq!(ask("2001:db8:0:1::1").await.1, Some(200));
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    let upstream = upstream();
    let gateway = setup(&upstream, "optional").start().await;
    let port = gateway.plain().port().to_string();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0, &[9; 12], &[]),
        Vec::new(),
    ] {
        let mut raw = Raw::connect(gateway.plain()).await;
        raw.write([&header, GET.as_bytes()].concat()).await;
        assert_eq!(raw.reply().await.unwrap().status, 200);
        // It is a trusted proxy, so what it says of clients is believed.
        let expected = (
            "6.6.6.6, 127.0.0.1".to_owned(),
            "6.6.6.6".to_owned(),
            port.clone(),
        );
        assert_eq!(seen(&upstream), expected);
    }
    // A method that begins as a header does, letter by letter.
    let mut raw = Raw::connect(gateway.plain()).await;
    for byte in b"PROPFIND" {
        raw.write([*byte]).await;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    raw.write(" /public/x HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    assert_eq!(upstream.last().method(), "PROPFIND");
}

#[tokio::test]
async fn nobody_else_may_send_a_header_and_none_is_half_believed() {
    let upstream = upstream();
    let optional = setup(&upstream, "optional").start().await;
    let required = setup(&upstream, "required")
        .toml("[limits]\nhandshake_timeout = \"300ms\"")
        .start()
        .await;
    let off = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .toml("[forwarded]\ntrusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    for header in [LINE.as_bytes().to_vec(), binary(1, &[9; 12], &[])] {
        let whole = [&header, GET.as_bytes()].concat();
        let mut raw = stranger(optional.plain()).await;
        raw.write(&whole).await;
        assert!(matches!(
            raw.replies_until_close().await[0].status,
            400 | 505
        ));
        let mut raw = Raw::connect(off.plain()).await;
        raw.write(&whole).await;
        assert!(matches!(
            raw.replies_until_close().await[0].status,
            400 | 505
        ));
        let mut raw = stranger(required.plain()).await;
        raw.write(&whole).await;
        assert!(raw.read().await.is_empty());
    }
    let malformed = [
        GET.as_bytes().to_vec(),
        LINE.replace("4711", "04711").into(),
        LINE.replace("203.0.113.7", "203.0.113.777").into(),
        format!("PROXY {}", "x".repeat(200)).into(),
        binary(2, &[9; 12], &[]),
        binary(1, &[9; 5], &[]),
        binary(1, &[9; 12], &[0; 5000]),
        // Not to the end in time.
        b"PROXY TCP4".to_vec(),
        b"\r\n\r\n\0".to_vec(),
        Vec::new(),
    ];
    for bytes in malformed {
        let mut raw = Raw::connect(required.plain()).await;
        raw.write(&bytes).await;
        assert!(raw.read().await.is_empty(), "{bytes:?}");
    }
    assert!(upstream.seen().is_empty());
    let failed = async |reason: &str| {
        let series = format!("handshakes_failed_total{{reason=\"{reason}\"}}");
        required.metric(&series).await as u32
    };
    assert_eq!(failed("proxy_untrusted").await, 2);
    assert_eq!(failed("proxy_missing").await, 1);
    assert_eq!(failed("proxy_malformed").await, 6);
    assert_eq!(failed("proxy_timeout").await, 3);
    let mut raw = stranger(optional.plain()).await;
    raw.write(GET).await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
}

/// A real one before the gateway, until it is dropped.
struct Haproxy {
    process: Child,
    plain: SocketAddr,
    secure: SocketAddr,
    _config: tempfile::NamedTempFile,
}

impl Haproxy {
    async fn before(gateway: &Gateway, how: &str) -> Self {
        let free = || {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let (plain, secure) = (free(), free());
        let mut config = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            config,
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             listen plain\n bind {plain}\n server gateway {} {how}\n\
             listen secure\n bind {secure}\n server gateway {} {how}",
            gateway.plain(),
            gateway.secure(),
        )
        .unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed (tests/run.sh does that)");
        for address in [plain, secure] {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Self {
            process,
            plain,
            secure,
            _config: config,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn haproxy_introduces_its_clients_over_plain_connections_and_tls() {
    let upstream = upstream();
    let setup = setup(&upstream, "required");
    let leaf = setup.authority().sign(&["a.test"]);
    let gateway = setup
        .tls_with(&[leaf], "")
        .listening("proxy_protocol = \"required\"\n")
        .start()
        .await;
    for how in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let proxy = Haproxy::before(&gateway, how).await;
        let mut raw = stranger(proxy.plain).await;
        raw.write(GET).await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{how}");
        let port = proxy.plain.port().to_string();
        assert_eq!(seen(&upstream), introduced("127.0.0.2", &port), "{how}");

        let config = gateway.authority().client(&["h2"], None, ALL_VERSIONS);
        let stream = support::client::shake_hands_at(proxy.secure, "a.test", config).await;
        let mut connection = Connection::h2_over(stream.unwrap()).await;
        let reply = connection.send(Call::get("/public/x")).await;
        assert_eq!(reply.status, 200, "{how}");
        // HAProxy's own address is trusted, but it is this client that connected.
        assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
    }
}
