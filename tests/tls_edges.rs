//! TLS at its edges: what upstreams learn of certificates, what browsers are told, hellos in pieces (B-54 to B-56), tickets
//! whose key is gone, and certificates that end.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use support::client::shake_hands;
use support::gateway::PROGRAM;
use support::{
    Answer, Authority, Call, Connection, Gateway, Setup, Upstream, gateway, upstream, upstream_that,
};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, Stream};

fn setup(upstream: &Upstream, tls: &str) -> Setup {
    let setup = gateway()
        .plain()
        .upstream("app", upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"");
    let leaf = setup.authority().sign(&["a.test"]);
    let ca = setup.authority().file();
    setup.tls_with(&[leaf], &tls.replace("CA", &format!("{ca:?}")))
}

async fn with(gateway: &Gateway, config: Arc<ClientConfig>) -> Connection {
    let stream = shake_hands(gateway, "a.test", config).await.unwrap();
    Connection::h1_over(stream).await
}

#[tokio::test]
async fn what_a_certificate_says_goes_upstream_and_nobody_else_can_say_it() {
    let upstream = upstream();
    let gateway = setup(&upstream, "client_auth = \"optional\"\nclient_ca = CA")
        .toml("[identity.headers]\nx-cert-subject = \"cert_subject\"\nx-cert-san = \"cert_san\"\nx-cert-fingerprint = \"cert_fingerprint\"")
        .start()
        .await;
    let leaf = gateway.authority().sign(&["billing.test", "192.0.2.7"]);
    let show = gateway
        .authority()
        .client(&["http/1.1"], Some(&leaf), ALL_VERSIONS);
    let silent = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    let call = || {
        Call::get("/")
            .header("x-cert-subject", "CN=root")
            .header("X_Cert_San", "dns:root")
            .header("x.cert.fingerprint", "00")
    };

    assert_eq!(with(&gateway, show).await.send(call()).await.status, 200);
    let seen = upstream.last();
    let header = |name: &str| seen.header(name).unwrap().to_owned();
    assert_eq!(header("x-cert-san"), "dns:billing.test,ip:192.0.2.7");
    assert!(
        header("x-cert-subject").starts_with("CN="),
        "{}",
        header("x-cert-subject")
    );
    let openssl = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&leaf.cert)
        .output()
        .unwrap();
    let told = String::from_utf8(openssl.stdout)
        .unwrap()
        .replace(':', "")
        .to_lowercase();
    assert!(
        told.trim()
            .ends_with(&format!("={}", header("x-cert-fingerprint"))),
        "{told}"
    );
    assert!(
        !seen.head.contains("root") && !seen.head.contains(": 00"),
        "{}",
        seen.head
    );

    for mut connection in [
        with(&gateway, silent).await,
        Connection::plain(&gateway).await,
    ] {
        connection.send(call()).await;
        let seen = upstream.last();
        for name in ["x-cert-subject", "x-cert-san", "x-cert-fingerprint"] {
            assert_eq!(seen.header(name), Some(""), "{name}");
        }
        assert!(!seen.head.contains("root"), "{}", seen.head);
    }
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_tls_where_the_listener_says_so() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/own" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=5\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
        _ => Answer::Echo,
    });
    let gateway = setup(
        &upstream,
        "hsts = \"365days\"\nhsts_subdomains = true\nhsts_preload = true",
    )
    .start()
    .await;
    let expected = Some("max-age=31536000; includeSubDomains; preload");
    for mut connection in [
        Connection::tls(&gateway, "a.test").await,
        Connection::h2(&gateway, "a.test").await,
    ] {
        for (target, told) in [
            ("/", expected),
            ("/own", Some("max-age=5")),
            ("/%2e%2f%00", expected),
        ] {
            let reply = connection.send(Call::get(target)).await;
            assert_eq!(reply.header("strict-transport-security"), told, "{target}");
            if reply.status != 200 {
                break;
            }
        }
    }
    let plain = gateway.send(Call::get("/")).await;
    assert_eq!(plain.header("strict-transport-security"), None);
}

/// A client's first flight.
fn hello(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from("a.test").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    (client, flight)
}

#[tokio::test]
async fn a_hello_in_pieces_is_a_hello_and_one_that_does_not_end_is_cut_off() {
    let upstream = upstream();
    let mut gateway = setup(&upstream, "")
        .toml("[limits]\nhandshake_timeout = \"500ms\"")
        .start()
        .await;
    let config = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    let address = gateway.secure();
    let records = |flight: &[u8]| -> Vec<u8> {
        // Each byte of the message in a record of its own.
        flight[5..]
            .iter()
            .flat_map(|byte| [flight[0], flight[1], flight[2], 0, 1, *byte])
            .collect()
    };
    let (mut client, flight) = hello(&config);
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let pieces = records(&flight);
        for piece in pieces.chunks(pieces.len() / 3 + 1) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut tls = Stream::new(&mut client, &mut stream);
        tls.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).ok();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));

    let (_, flight) = hello(&config);
    let closed = tokio::task::spawn_blocking(move || {
        let silent = TcpStream::connect(address).unwrap();
        let mut slow = TcpStream::connect(address).unwrap();
        for byte in &flight[..flight.len() - 1] {
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for mut stream in [silent, slow] {
            stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
            let mut rest = Vec::new();
            // Closed or reset, and not by us.
            let ended = stream.read_to_end(&mut rest);
            assert!(
                !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "{ended:?}"
            );
        }
    });
    closed.await.unwrap();
    // Extensions far beyond what a hello has, with and without the bytes that they announce.
    let huge = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let body = [
            &[1, 0, 0xf0, 0][..],
            &[3, 3],
            &[7; 32],
            &[0],
            &[0, 2, 0x13, 1],
            &[1, 0],
            &[0xef, 0xd0],
            &[0xaa; 61_392],
        ]
        .concat();
        for piece in body.chunks(16_000) {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            if stream
                .write_all(&[&[22, 3, 1][..], &length, piece].concat())
                .is_err()
            {
                break;
            }
        }
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    });
    huge.await.unwrap();
    let reply = gateway.send(Call::get("/")).await;
    assert_eq!(reply.status, 200);
    gateway.still_serves().await;
}

/// What lets one process have a clock of its own (the package `faketime`).
#[cfg(target_os = "linux")]
fn false_clock() -> std::path::PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut there = folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .chain(["/usr/lib64/faketime/libfaketimeMT.so.1".into()])
        .filter(|library| library.exists());
    there
        .next()
        .expect("faketime is installed (tests/run.sh does that)")
}

/// Whether this client took up an earlier session; it has a ticket for the next time then.
#[cfg(target_os = "linux")]
async fn takes_up(gateway: &Gateway, client: &Arc<ClientConfig>) -> bool {
    let stream = shake_hands(gateway, "a.test", Arc::clone(client))
        .await
        .unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    // The ticket comes with the first answer at the latest.
    let reply = Connection::h1_over(stream).await.send(Call::get("/")).await;
    assert_eq!(reply.status, 200);
    kind == Some(HandshakeKind::Resumed)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_ticket_outlives_one_change_of_its_key_and_not_the_next() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let put_forward = |by: &str| std::fs::write(&clock, by).unwrap();
    put_forward("+0");
    let gateway = setup(&upstream, "")
        .env("LD_PRELOAD", false_clock().to_str().unwrap())
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .start()
        .await;
    let client = || {
        let authority = gateway.authority();
        authority.client(&["http/1.1"], None, ALL_VERSIONS)
    };
    let (often, seldom) = (client(), client());
    assert!(!takes_up(&gateway, &often).await && !takes_up(&gateway, &seldom).await);
    assert!(takes_up(&gateway, &often).await);

    put_forward("+7h");
    assert!(takes_up(&gateway, &often).await, "the key before is kept");
    put_forward("+14h");
    assert!(!takes_up(&gateway, &seldom).await, "its key is gone");
    assert!(takes_up(&gateway, &often).await);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_and_warned_of() {
    let upstream = upstream();
    let gateway = setup(&upstream, "")
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .start()
        .await;
    let text = String::from_utf8(gateway.monitor("/metrics").await.body.to_vec()).unwrap();
    let secure = gateway.secure();
    let line = text
        .lines()
        .find(|line| {
            line.starts_with(&format!(
                "drawbridge_certificate_expiry_timestamp_seconds{{listener=\"{secure}\",file=\""
            ))
        })
        .unwrap_or_else(|| panic!("{text}"));
    // 4096-01-01: what rcgen writes if it is told nothing.
    assert!(
        line.ends_with(" 67090118400")
            || line.ends_with(" 67090032000")
            || line.rsplit(' ').next().unwrap().parse::<i64>().unwrap() > 60_000_000_000,
        "{line}"
    );
    let check = || {
        let output = Command::new(PROGRAM)
            .args(["check", "--config"])
            .arg(gateway.config())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!check().contains("ends in"), "{}", check());

    let soon = std::time::SystemTime::now() + Duration::from_secs(5 * 24 * 3600 + 3600);
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_after = soon.into();
    std::fs::write(&leaf.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&leaf.key, key.serialize_pem()).unwrap();
    let known = gateway.authority().file().with_file_name("a.test.cert.pem");
    std::fs::copy(&leaf.key, known.with_file_name("a.test.key.pem")).unwrap();
    std::fs::copy(&leaf.cert, &known).unwrap();

    let told = check();
    assert!(
        told.contains("ends in 5 days") && told.contains("1 warning") || told.contains("warnings"),
        "{told}"
    );
    assert!(told.contains("ends in 5 days"), "{told}");
}
