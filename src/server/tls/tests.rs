//! Real handshakes, with certificates made on the spot.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use tokio::net::TcpStream;

use http::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::tests::{PATIENCE, Running, config};
use super::*;
use crate::body::Body;

/// An authority and the files it signed.
struct Pki {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self { dir, ca }
    }

    /// Writes `file.crt` and `file.key`; the table that names them.
    fn issue(&self, file: &str, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        let (cert_path, key_path) = (self.path(file, "crt"), self.path(file, "key"));
        std::fs::write(&cert_path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        format!("{{ cert = {cert_path:?}, key = {key_path:?} }}")
    }

    fn path(&self, file: &str, kind: &str) -> PathBuf {
        self.dir.path().join(format!("{file}.{kind}"))
    }

    fn listener(certificates: &[String], rest: &str) -> String {
        let certificates = certificates.join(", ");
        format!(
            "{{ address = \"127.0.0.1:0\", tls = {{ certificates = [{certificates}], {rest} }} }}"
        )
    }

    fn client(&self, options: Client) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let mut provider = aws_lc_rs::default_provider();
        let likes = |suite: &rustls::SupportedCipherSuite| {
            suite.suite().as_str().unwrap().contains(options.likes)
        };
        provider.cipher_suites.sort_by_key(|suite| !likes(suite));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(options.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match options.certificate {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = read_certificates(&self.path(file, "crt")).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(file, "key")).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![options.alpn.as_bytes().to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

#[derive(Clone, Copy)]
struct Client {
    versions: Versions,
    certificate: Option<&'static str>,
    alpn: &'static str,
    /// What its cipher suites are called that it likes best.
    likes: &'static str,
}

const CLIENT: Client = Client {
    versions: &[&rustls::version::TLS13, &rustls::version::TLS12],
    certificate: None,
    alpn: "http/1.1",
    likes: "AES_256",
};

type Versions = &'static [&'static rustls::SupportedProtocolVersion];

const ONLY_1_2: Versions = &[&rustls::version::TLS12];
const ONLY_1_3: Versions = &[&rustls::version::TLS13];

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(server: &Running, client: &TlsConnector, name: &str) -> io::Result<Stream> {
    let stream = TcpStream::connect(server.addresses[0]).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    client.connect(name, stream).await
}

/// The status of the answer to a request for `host`.
async fn ask(stream: Stream, host: &str) -> hyper::Result<u16> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", host).body(Body::Empty);
    let answer = sender.send_request(request.unwrap()).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn the_name_a_client_asks_for_decides_which_certificate_it_gets() {
    let pki = Pki::new();
    let certificates = [
        pki.issue("default", &["default.test", "127.0.0.1"]),
        pki.issue("wild", &["*.wild.test", "a.exact.test"]),
    ];
    let server = Running::start(&config(&Pki::listener(&certificates, ""), ""));
    let client = pki.client(CLIENT);

    for (name, file) in [
        ("default.test", Some("default")),
        ("127.0.0.1", Some("default")),
        ("a.wild.test", Some("wild")),
        ("a.exact.test", Some("wild")),
        ("a.b.wild.test", None),
        ("wild.test", None),
    ] {
        let shown = connect(&server, &client, name).await.ok().map(|stream| {
            let (_, session) = stream.get_ref();
            session.peer_certificates().unwrap()[0].clone()
        });
        let expected =
            file.map(|file| read_certificates(&pki.path(file, "crt")).unwrap()[0].clone());
        assert_eq!(shown, expected, "{name}");
    }
}

#[tokio::test]
async fn a_connection_is_good_for_the_hosts_of_its_certificate_only() {
    let pki = Pki::new();
    let certificates = [
        pki.issue("one", &["one.test", "also.one.test", "127.0.0.1"]),
        pki.issue("two", &["two.test", "*.two.test"]),
    ];
    let server = Running::start(&config(&Pki::listener(&certificates, ""), ""));
    let client = pki.client(CLIENT);

    for (name, host, status) in [
        ("one.test", "one.test", 200),
        ("one.test", "also.one.test", 200),
        ("one.test", "two.test", 421),
        ("two.test", "a.two.test", 200),
        ("two.test", "one.test", 421),
        ("127.0.0.1", "one.test", 200),
        ("127.0.0.1", "two.test", 421),
        ("one.test", "127.0.0.1", 200),
        ("two.test", "127.0.0.1", 421),
    ] {
        let stream = connect(&server, &client, name).await.unwrap();
        assert_eq!(ask(stream, host).await.unwrap(), status, "{name} {host}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_demanded_where_the_configuration_says() {
    let pki = Pki::new();
    let stranger = Pki::new();
    let certificate = pki.issue("server", &["a.test"]);
    pki.issue("user", &["user.test"]);
    stranger.issue("user", &["user.test"]);
    std::fs::copy(stranger.path("user", "crt"), pki.path("forged", "crt")).unwrap();
    std::fs::copy(stranger.path("user", "key"), pki.path("forged", "key")).unwrap();

    for (auth, shown, welcome) in [
        ("required", None, false),
        ("required", Some("user"), true),
        ("required", Some("forged"), false),
        ("optional", None, true),
        ("optional", Some("user"), true),
        ("optional", Some("forged"), false),
        ("none", None, true),
    ] {
        let ca = pki.path("ca", "pem");
        let rest = format!("client_auth = {auth:?}, client_ca = {ca:?}");
        let listener = Pki::listener(std::slice::from_ref(&certificate), &rest);
        let server = Running::start(&config(&listener, ""));
        let client = pki.client(Client {
            certificate: shown,
            ..CLIENT
        });

        // In TLS 1.3 the client is done before the server has judged it, so only the answer tells.
        let answered = match connect(&server, &client, "a.test").await {
            Ok(stream) => ask(stream, "a.test").await.is_ok(),
            Err(_) => false,
        };

        assert_eq!(answered, welcome, "{auth} {shown:?}");
    }
}

#[tokio::test]
async fn a_version_older_than_the_oldest_allowed_is_refused() {
    let pki = Pki::new();
    let certificate = pki.issue("server", &["a.test"]);

    for (min, old, welcome) in [
        ("1.3", true, false),
        ("1.3", false, true),
        ("1.2", true, true),
    ] {
        let rest = format!("min_version = {min:?}");
        let listener = Pki::listener(std::slice::from_ref(&certificate), &rest);
        let server = Running::start(&config(&listener, ""));
        let versions = if old { ONLY_1_2 } else { ONLY_1_3 };
        let client = pki.client(Client { versions, ..CLIENT });

        let connected = connect(&server, &client, "a.test").await;

        assert_eq!(connected.is_ok(), welcome, "{min} {old}");
    }
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let pki = Pki::new();
    let certificate = [pki.issue("server", &["a.test"])];
    let server = Running::start(&config(&Pki::listener(&certificate, ""), ""));
    let client = pki.client(Client {
        alpn: "h2",
        ..CLIENT
    });

    let stream = connect(&server, &client, "a.test").await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://a.test/").body(Body::Empty).unwrap();
    let answer = sender.send_request(request).await.unwrap();

    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn http2_is_refused_where_it_is_not_offered() {
    let pki = Pki::new();
    let certificate = [pki.issue("server", &["a.test"])];
    let listener = Pki::listener(&certificate, "alpn = [\"http/1.1\"]");
    let server = Running::start(&config(&listener, ""));
    let client = pki.client(Client {
        alpn: "h2",
        ..CLIENT
    });

    assert!(connect(&server, &client, "a.test").await.is_err());
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_closed() {
    let pki = Pki::new();
    let certificate = [pki.issue("server", &["a.test"])];
    let rest = "limits.handshake_timeout = \"200ms\"";
    let server = Running::start(&config(&Pki::listener(&certificate, ""), rest));
    let mut silent = TcpStream::connect(server.addresses[0]).await.unwrap();

    let closed = tokio::time::timeout(PATIENCE, silent.read_u8()).await;

    assert!(closed.is_ok());
}

fn faults(certificates: &[String], rest: &str) -> Vec<String> {
    let config = config(&Pki::listener(certificates, rest), "");
    let tls = config.listeners[0].get_ref().tls.as_ref().unwrap();
    let faults = Tls::load(tls).expect_err("it has faults");
    faults.into_iter().map(|fault| fault.message).collect()
}

#[test]
fn every_file_that_cannot_be_used_is_told() {
    let pki = Pki::new();
    let (one, two) = (pki.issue("one", &["a.test"]), pki.issue("two", &["b.test"]));
    std::fs::copy(pki.path("two", "key"), pki.path("one", "key")).unwrap();
    std::fs::write(pki.path("two", "crt"), "no certificate").unwrap();
    let missing = one.replace("one.crt", "missing.crt");
    let keyless = one.replace("one.key", "two.crt");

    let found = faults(&[one, two, missing, keyless], "client_auth = \"required\"");

    let expected = [
        "one.key` does not belong to the certificate",
        "two.crt` holds no certificate",
        "missing.crt`",
        "two.crt` cannot be read as a private key",
        "`client_auth` needs `client_ca`",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}

#[tokio::test]
async fn the_cheaper_suite_is_taken_unless_the_client_has_no_hardware_for_it() {
    let pki = Pki::new();
    let listener = Pki::listener(&[pki.issue("a", &["a.test"])], "");
    let server = Running::start(&config(&listener, ""));
    for (likes, versions, wanted) in [
        ("AES_256", ONLY_1_3, "AES_128"),
        ("CHACHA20", ONLY_1_3, "CHACHA20"),
        ("AES_256", ONLY_1_2, "AES_128"),
        ("CHACHA20", ONLY_1_2, "CHACHA20"),
    ] {
        let client = pki.client(Client {
            versions,
            likes,
            ..CLIENT
        });

        let stream = connect(&server, &client, "a.test").await.unwrap();

        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap();
        let name = suite.suite().as_str().unwrap();
        assert!(name.contains(wanted), "{likes}: {name}");
    }
}

/// Asks for `path` on a connection that is the last one for it, and waits until it is closed.
async fn ask_last(mut stream: Stream, path: &str) -> (io::Result<usize>, String, HandshakeKind) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An end without the word for it is an error: somebody may have cut the answer off.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (ended.unwrap(), answer, kind)
}

#[tokio::test]
async fn a_last_answer_comes_with_a_ticket_before_it_and_the_word_that_nothing_follows() {
    let pki = Pki::new();
    let certificate = [pki.issue("server", &["a.test"])];
    let server = Running::start(&config(&Pki::listener(&certificate, ""), ""));
    for versions in [ONLY_1_2, ONLY_1_3] {
        let client = pki.client(Client { versions, ..CLIENT });
        for (path, expected) in [
            ("/", HandshakeKind::Full),
            ("/slow", HandshakeKind::Resumed),
        ] {
            let stream = connect(&server, &client, "a.test").await.unwrap();

            let (ended, answer, kind) = ask_last(stream, path).await;

            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(ended.is_ok(), "{ended:?}");
            assert_eq!(kind, expected, "{versions:?}");
        }
    }
}

/// Ends a handshake, and sends this with the last of it. Says whether anything came within `patience`.
fn shake_hands_and_say(
    server: &Running,
    client: &TlsConnector,
    said: &'static [u8],
    patience: Duration,
) -> JoinHandle<bool> {
    let (address, config) = (server.addresses[0], Arc::clone(client.config()));
    tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from("a.test").unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        tls.write_tls(&mut stream).unwrap();
        while tls.is_handshaking() {
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
        }
        tls.writer().write_all(said).unwrap();
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).unwrap();
        }
        stream.write_all(&flight).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.read(&mut [0; 1]).is_ok_and(|read| read > 0)
    })
}

#[tokio::test]
async fn a_ticket_waits_for_the_first_answer_and_not_for_the_first_request() {
    let pki = Pki::new();
    let certificate = [pki.issue("server", &["a.test"])];
    let server = Running::start(&config(&Pki::listener(&certificate, ""), ""));
    let versions = ONLY_1_3;
    let client = pki.client(Client { versions, ..CLIENT });

    let asked: &[u8] = b"GET /never HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let soon = Duration::from_millis(300);
    let came = shake_hands_and_say(&server, &client, asked, soon);
    assert!(!came.await.unwrap(), "something came before the answer");

    for begun in [&b""[..], b"GET /ne"] {
        let came = shake_hands_and_say(&server, &client, begun, PATIENCE);
        assert!(came.await.unwrap(), "{begun:?}: nobody says that it came");
    }
}

#[tokio::test]
async fn a_client_that_is_turned_away_is_told_why() {
    let pki = Pki::new();
    let certificate = pki.issue("server", &["a.test"]);
    let ca = pki.path("ca", "pem");
    let rest = format!("client_auth = \"required\", client_ca = {ca:?}, min_version = \"1.3\"");
    let listener = Pki::listener(&[certificate], &rest);
    let server = Running::start(&config(&listener, ""));

    for (versions, reason) in [
        (ONLY_1_2, "ProtocolVersion"),
        (ONLY_1_3, "CertificateRequired"),
    ] {
        let client = pki.client(Client { versions, ..CLIENT });

        let told = match connect(&server, &client, "a.test").await {
            Ok(mut stream) => stream.read_u8().await.map(drop),
            Err(error) => Err(error),
        };

        let told = told.unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
    }
}

/// The certificate and the protocol that whoever offers these is given; `None` if it is turned away.
async fn given(
    server: &Running,
    client: &TlsConnector,
    name: &str,
    offered: &[&str],
) -> Option<(CertificateDer<'static>, Option<Vec<u8>>)> {
    let mut config = ClientConfig::clone(client.config());
    config.alpn_protocols = offered.iter().map(|one| one.as_bytes().to_vec()).collect();
    let client = TlsConnector::from(Arc::new(config));
    let stream = connect(server, &client, name).await.ok()?;
    let (_, session) = stream.get_ref();
    let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
    Some((session.peer_certificates()?[0].clone(), protocol))
}

#[tokio::test]
async fn what_an_authority_is_to_see_is_shown_to_nobody_else() {
    let pki = Pki::new();
    let file = pki.issue("file", &["file.test"]);
    let folder = pki.dir.path().join("acme/127.0.0.1-9-dir");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, lies) in [("real", "a.test.pem"), ("answer", "a.test.challenge")] {
        pki.issue(name, &["a.test"]);
        let read = |kind| std::fs::read_to_string(pki.path(name, kind)).unwrap();
        std::fs::write(folder.join(lies), read("key") + &read("crt")).unwrap();
    }
    pki.issue("user", &["user.test"]);
    let (ca, cache) = (pki.path("ca", "pem"), pki.dir.path().join("acme"));
    let rest = format!(
        "client_auth = \"required\", client_ca = {ca:?}, acme = {{ domains = [\"a.test\"], \
         accept_terms = true, cache = {cache:?}, directory = \"https://127.0.0.1:9/dir\" }}"
    );
    let server = Running::start(&config(&Pki::listener(&[file], &rest), ""));
    // In TLS 1.2 nobody is done whose certificate is still to be judged.
    let client = |certificate| {
        pki.client(Client {
            versions: ONLY_1_2,
            certificate,
            ..CLIENT
        })
    };
    let (authority, user) = (client(None), client(Some("user")));

    for (client, name, offered, expected) in [
        (
            &authority,
            "a.test",
            &["acme-tls/1"][..],
            Some(("answer", Some("acme-tls/1"))),
        ),
        (
            &user,
            "a.test",
            &["http/1.1"],
            Some(("real", Some("http/1.1"))),
        ),
        (&user, "a.test", &[], Some(("real", None))),
        (
            &user,
            "a.test",
            &["acme-tls/1", "http/1.1"],
            Some(("real", Some("http/1.1"))),
        ),
        (
            &user,
            "a.test",
            &["http/1.1", "acme-tls/1"],
            Some(("real", Some("http/1.1"))),
        ),
        (&authority, "a.test", &["http/1.1"], None),
        (&authority, "file.test", &["acme-tls/1"], None),
        (
            &user,
            "file.test",
            &["http/1.1"],
            Some(("file", Some("http/1.1"))),
        ),
    ] {
        let expected = expected.map(|(file, protocol)| {
            let chain = read_certificates(&pki.path(file, "crt")).unwrap();
            (chain[0].clone(), protocol.map(|it| it.as_bytes().to_vec()))
        });
        let found = given(&server, client, name, offered).await;
        assert_eq!(found, expected, "{name} {offered:?}");
    }
    std::fs::remove_file(folder.join("a.test.challenge")).unwrap();
    assert_eq!(
        given(&server, &authority, "a.test", &["acme-tls/1"]).await,
        None
    );
}
