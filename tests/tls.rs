//! Who is on the line: certificates by name, mutual TLS, versions, protocols.

mod support;

use std::sync::Arc;

use support::client::shake_hands;
use support::{Authority, Call, Connection, Gateway, Raw, Setup, Upstream, gateway, upstream};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig};

fn to(upstream: &Upstream) -> Setup {
    gateway()
        .upstream("app", upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
}

/// Whether a request over such a connection is answered.
async fn serves(gateway: &Gateway, name: &str, config: Arc<ClientConfig>) -> bool {
    let Ok(mut stream) = shake_hands(gateway, name, config).await else {
        return false;
    };
    // In TLS 1.3 a client learns of its rejection only when it reads.
    let mut first = [0; 1];
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .ok();
    matches!(stream.read(&mut first).await, Ok(1))
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let upstream = upstream();
    let setup = to(&upstream);
    let leaves = [
        setup.authority().sign(&["a.test"]),
        setup.authority().sign(&["b.test", "*.c.test"]),
    ];
    let gateway = setup.tls_with(&leaves, "").start().await;

    for name in ["a.test", "b.test", "x.c.test"] {
        let config = gateway.authority().client(&[], None, ALL_VERSIONS);
        assert!(serves(&gateway, name, config).await, "{name}");
    }
    for name in ["d.test", "x.y.c.test"] {
        let config = gateway.authority().client(&[], None, ALL_VERSIONS);
        assert!(!serves(&gateway, name, config).await, "{name}");
    }
}

#[tokio::test]
async fn a_host_of_another_certificate_is_421_on_both_protocols() {
    let upstream = upstream();
    let setup = to(&upstream);
    let leaves = [
        setup.authority().sign(&["a.test", "a2.test"]),
        setup.authority().sign(&["b.test"]),
    ];
    let gateway = setup.tls_with(&leaves, "").start().await;

    for mut connection in [
        Connection::tls(&gateway, "a.test").await,
        Connection::h2(&gateway, "a.test").await,
    ] {
        let own = connection.send(Call::get("/").host("a.test")).await;
        let shared = connection.send(Call::get("/").host("a2.test")).await;
        let other = connection.send(Call::get("/").host("b.test")).await;

        assert_eq!(own.status, 200);
        assert_eq!(shared.status, 200);
        other.refused(421, "misdirected_request");
    }
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test]
async fn alpn_chooses_http2_then_http1_and_refuses_what_is_neither() {
    let upstream = upstream();
    let gateway = to(&upstream).tls(&["a.test"]).start().await;
    let chosen = async |offered: &[&str]| {
        let config = gateway.authority().client(offered, None, ALL_VERSIONS);
        let stream = shake_hands(&gateway, "a.test", config).await.ok()?;
        let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default();
        Some(String::from_utf8_lossy(protocol).into_owned())
    };

    assert_eq!(chosen(&["http/1.1", "h2"]).await.as_deref(), Some("h2"));
    assert_eq!(chosen(&["http/1.1"]).await.as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&[]).await.as_deref(), Some(""));
    assert_eq!(chosen(&["foo"]).await, None);
    let without = gateway.authority().client(&[], None, ALL_VERSIONS);
    assert!(
        serves(&gateway, "a.test", without).await,
        "no ALPN is HTTP/1.1"
    );
}

#[tokio::test]
async fn a_listener_that_offers_http1_only_does_not_speak_http2() {
    let upstream = upstream();
    let setup = to(&upstream);
    let leaf = setup.authority().sign(&["a.test"]);
    let gateway = setup
        .tls_with(&[leaf], "alpn = [\"http/1.1\"]")
        .start()
        .await;
    let config = gateway
        .authority()
        .client(&["h2", "http/1.1"], None, ALL_VERSIONS);

    let stream = shake_hands(&gateway, "a.test", config).await.unwrap();

    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_version_below_the_least_is_refused() {
    let upstream = upstream();
    for (setting, old) in [("", true), ("min_version = \"1.3\"", false)] {
        let setup = to(&upstream);
        let leaf = setup.authority().sign(&["a.test"]);
        let gateway = setup.tls_with(&[leaf], setting).start().await;

        let tls12 = gateway.authority().client(&[], None, &[&TLS12]);
        let tls13 = gateway.authority().client(&[], None, &[&TLS13]);

        assert_eq!(serves(&gateway, "a.test", tls12).await, old, "{setting}");
        assert!(serves(&gateway, "a.test", tls13).await);
    }
}

#[tokio::test]
async fn mutual_tls_lets_in_only_whom_the_right_authority_signed() {
    let upstream = upstream();
    let stranger = Authority::new();
    let foreign = stranger.sign(&["client"]);
    for (mode, without) in [("required", false), ("optional", true)] {
        let setup = to(&upstream);
        let leaf = setup.authority().sign(&["a.test"]);
        let known = setup.authority().sign(&["client"]);
        let ca = setup.authority().file();
        let settings = format!("client_auth = \"{mode}\"\nclient_ca = {ca:?}");
        let gateway = setup.tls_with(&[leaf], &settings).start().await;
        let shows = |leaf| gateway.authority().client(&[], leaf, ALL_VERSIONS);

        assert!(serves(&gateway, "a.test", shows(Some(&known))).await);
        assert_eq!(serves(&gateway, "a.test", shows(None)).await, without);
        assert!(!serves(&gateway, "a.test", shows(Some(&foreign))).await);
    }
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_no_way_in_and_harms_nobody() {
    let upstream = upstream();
    let gateway = to(&upstream).tls(&["a.test"]).start().await;
    let mut raw = Raw::connect(gateway.secure()).await;

    raw.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(raw.reply().await.is_none());

    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(gateway.send_h2(Call::get("/")).await.status, 200);
}
