//! A configuration that changes under way: taken over whole or not at all, and no request notices.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::client::shake_hands;
use support::{
    Answer, Call, Connection, Gateway, Setup, gateway, soon, upstream, upstream_that, user,
};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind};

const TAKEN: &str = "the configuration taken over";
const REFUSED: &str = "the configuration is not taken over";
const PUBLIC: &str = "name = \"all\"\nprefix = \"/\"\nauth = \"public\"\nupstream = \"app\"";

fn monitored() -> Setup {
    gateway().toml("[metrics]\nlisten = \"127.0.0.1:0\"")
}

#[tokio::test]
async fn a_changed_file_is_taken_over_by_itself_and_sighup_does_it_too() {
    let (old, new) = (upstream(), upstream());
    let gateway = monitored()
        .upstream("app", &old)
        .upstream("other", &new)
        .route("name = \"all\"\nprefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;
    let mut kept = Connection::plain(&gateway).await;
    assert_eq!(kept.send(Call::get("/")).await.status, 200);

    gateway.edit("upstream = \"app\"", "upstream = \"other\"");
    gateway.tells(TAKEN, 1).await;
    assert_eq!(kept.send(Call::get("/")).await.status, 200);
    assert_eq!((old.seen().len(), new.seen().len()), (1, 1));

    gateway.signal("-HUP");
    gateway.tells(TAKEN, 2).await;
    assert_eq!(
        gateway.metric("reloads_total{result=\"applied\"}").await,
        2.0
    );
}

#[tokio::test]
async fn a_policy_that_becomes_stricter_holds_for_the_next_request_of_an_open_connection() {
    let upstream = upstream();
    let gateway = gateway()
        .session("weak-token", user("alice", &["orders:read"]))
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .workers(2)
        .tls(&["a.test"])
        .plain()
        .start()
        .await;
    let mut connections = [
        Connection::plain(&gateway).await,
        Connection::h2(&gateway, "a.test").await,
    ];
    for connection in &mut connections {
        let reply = connection.send(Call::get("/").bearer("weak-token")).await;
        assert_eq!(reply.status, 200);
    }

    gateway.edit("orders:read", "orders:write");
    gateway.tells(TAKEN, 1).await;

    for connection in &mut connections {
        let reply = connection.send(Call::get("/").bearer("weak-token")).await;
        reply.refused(403, "permission_denied");
    }
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_says_everything_that_is_wrong() {
    let upstream = upstream();
    let setup = monitored().upstream("app", &upstream).route(PUBLIC);
    let gateway = setup.tls(&["a.test"]).plain().start().await;
    let good = std::fs::read_to_string(gateway.config()).unwrap();
    let bad = [
        "this is not toml",
        "",
        &good.replace("public", "sometimes"),
        &good.replace("upstream = \"app\"", "upstream = \"nobody\""),
        &good.replace(".cert.pem", ".missing.pem"),
        &good.replace("prefix = \"/\"", "prefixx = \"/\""),
        &good.replace("http://", "ftp://"),
        &good.replacen("127.0.0.1:0", "192.0.2.1:1", 1),
        &good.replace("info,drawbridge=trace", "=x="),
    ];

    for (number, text) in bad.iter().enumerate() {
        std::fs::write(gateway.config(), text).unwrap();
        gateway.signal("-HUP");
        let refused =
            || gateway.told("not taken over") + gateway.told("cannot be taken over") > number;
        support::redis::eventually(text, support::PATIENCE, refused).await;
        assert_eq!(gateway.send(Call::get("/")).await.status, 200, "{text}");
        assert_eq!(gateway.send_h2(Call::get("/")).await.status, 200, "{text}");
    }

    let logs = gateway.logs();
    for part in [
        "sometimes",
        "nobody",
        "missing.pem",
        "did you mean `prefix`",
        "ftp://",
        "192.0.2.1:1",
        "not a log filter",
    ] {
        assert!(logs.contains(part), "{part} is not told");
    }
    assert_eq!(gateway.told(TAKEN), 0);
    std::fs::write(gateway.config(), &good).unwrap();
    gateway.signal("-HUP");
    gateway.tells(TAKEN, 1).await;
    assert!(gateway.metric("reloads_total{result=\"refused\"}").await >= 9.0);
}

#[tokio::test]
async fn what_fails_late_has_changed_nothing_either() {
    let upstream = upstream_that(|seen| match seen.target() {
        "/held" => Answer::Hold,
        _ => Answer::Echo,
    });
    let setup = monitored().upstream("app", &upstream).route(PUBLIC);
    let leaf = setup.authority().sign(&["a.test"]);
    let gateway = setup
        .toml("[limits]\nmax_in_flight = 8")
        .tls_with(&[leaf], "")
        .plain()
        .start()
        .await;
    let good = std::fs::read_to_string(gateway.config()).unwrap();
    let port = support::redis::free_port();
    let one_more = format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\n");
    let changed = good
        .replace("[store]", &format!("{one_more}[store]"))
        .replace("auth = \"public\"", "auth = \"public\"\nmax_body = \"1B\"")
        .replace("certificates =", "hsts = \"1d\"\ncertificates =")
        .replace(
            "max_in_flight = 8",
            "max_in_flight = 1\nmax_connections_per_client = 1",
        );
    let mut under_way = Connection::plain(&gateway).await;
    let under_way = tokio::spawn(async move { under_way.send(Call::get("/held")).await });
    let mut held = upstream.held().await;

    // An address that is not ours, and a file without an authority: nothing that a look at the text would find.
    let not_ours = changed.replace(
        "[store]",
        "[[listeners]]\naddress = \"192.0.2.1:1\"\n[store]",
    );
    std::fs::write(gateway.config().with_file_name("empty.pem"), "").unwrap();
    let no_authority = changed
        .replace(
            "[upstreams.app]",
            "[upstreams.app]\ntls = { ca = \"empty.pem\" }",
        )
        .replace(
            "endpoints = [\"",
            "endpoints = [\"https://127.0.0.1:1\", \"",
        );
    for (number, text) in [not_ours, no_authority].iter().enumerate() {
        std::fs::write(gateway.config(), text).unwrap();
        gateway.signal("-HUP");
        let refused =
            || gateway.told("not taken over") + gateway.told("cannot be taken over") > number;
        support::redis::eventually(text, support::PATIENCE, refused).await;

        let call = || Call::new("POST", "/").host("a.test").body("many bytes");
        assert_eq!(gateway.send(call()).await.status, 200, "{text}");
        let secure = gateway.send_h2(call()).await;
        assert_eq!(
            (secure.status, secure.header("strict-transport-security")),
            (200, None)
        );
        let opened = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        assert!(opened.is_err(), "{text}");
    }
    held.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(under_way.await.unwrap().status, 200);

    std::fs::write(gateway.config(), &changed).unwrap();
    gateway.signal("-HUP");
    gateway.tells(TAKEN, 1).await;
    let call = Call::new("POST", "/").host("a.test").body("many bytes");
    let reply = gateway.send_h2(call).await;
    assert_eq!(reply.status, 413);
    assert_eq!(
        reply.header("strict-transport-security"),
        Some("max-age=86400")
    );
}

#[tokio::test]
async fn two_faults_are_told_together() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route(PUBLIC)
        .start()
        .await;

    gateway.edit(
        "upstream = \"app\"",
        "upstream = \"app\"\nstrip_prefix = \"yes\"\nmax_body = \"much\"",
    );
    gateway.tells(REFUSED, 1).await;

    let logs = gateway.logs();
    let line = logs.lines().find(|line| line.contains(REFUSED)).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["errors"], 2, "{line}");
    assert!(
        logs.contains("strip_prefix") && logs.contains("much"),
        "{logs}"
    );
}

#[tokio::test]
async fn listeners_come_and_go_while_the_others_stay() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route(PUBLIC)
        .start()
        .await;
    let mut kept = Connection::plain(&gateway).await;
    assert_eq!(kept.send(Call::get("/")).await.status, 200);
    let port = support::redis::free_port();
    let more = format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\n");

    gateway.edit("[store]", &format!("{more}[store]"));
    gateway.tells(TAKEN, 1).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let mut added = Connection::h1_over(stream).await;
    assert_eq!(added.send(Call::get("/")).await.status, 200);

    gateway.edit(&more, "");
    gateway.tells(TAKEN, 2).await;
    let closed = || std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    support::redis::eventually("the port to be closed", support::PATIENCE, closed).await;
    let last = added.begin(Call::get("/")).await;
    assert!(last.is_err() || last.unwrap().headers()["connection"] == "close");
    assert_eq!(kept.send(Call::get("/")).await.status, 200);
}

#[tokio::test]
async fn what_takes_a_restart_is_told_and_the_rest_is_in_use() {
    let (old, new) = (upstream(), upstream());
    let gateway = gateway()
        .upstream("app", &old)
        .upstream("other", &new)
        .route(PUBLIC)
        .start()
        .await;
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let text = text
        .replace("workers = 1", "workers = 2")
        .replace("sessions.redb", "elsewhere.redb")
        .replace("upstream = \"app\"", "upstream = \"other\"");

    std::fs::write(gateway.config(), text).unwrap();
    gateway.tells("take a restart", 1).await;

    let logs = gateway.logs();
    let line = logs
        .lines()
        .find(|line| line.contains("take a restart"))
        .unwrap();
    assert!(
        line.contains("\"keys\":\"server.workers, store\""),
        "{line}"
    );
    assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    assert_eq!((old.seen().len(), new.seen().len()), (0, 1));
}

#[tokio::test]
async fn an_upstream_that_stays_keeps_its_connections() {
    let upstream = upstream();
    let gateway = gateway()
        .upstream("app", &upstream)
        .route(PUBLIC)
        .start()
        .await;
    gateway.send(Call::get("/")).await;

    gateway.edit(
        "auth = \"public\"",
        "auth = \"public\"\nmax_body = \"1MiB\"",
    );
    gateway.tells(TAKEN, 1).await;
    gateway.send(Call::get("/")).await;

    assert_eq!(upstream.connections(), 1);
}

/// The number of the certificate that a new client is shown.
async fn shown(gateway: &Gateway) -> Vec<u8> {
    let config = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    let stream = shake_hands(gateway, "a.test", config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn handshake(gateway: &Gateway, config: &Arc<ClientConfig>) -> HandshakeKind {
    let stream = shake_hands(gateway, "a.test", Arc::clone(config))
        .await
        .unwrap();
    let mut connection = Connection::h1_over(stream).await;
    // The ticket comes after the handshake, with the first answer at the latest.
    assert_eq!(
        connection.send(Call::get("/").host("a.test")).await.status,
        200
    );
    let again = shake_hands(gateway, "a.test", Arc::clone(config))
        .await
        .unwrap();
    let kind = again.get_ref().1.handshake_kind().unwrap();
    // A ticket is used once: the next handshake takes the one that this connection gets.
    let mut connection = Connection::h1_over(again).await;
    assert_eq!(
        connection.send(Call::get("/").host("a.test")).await.status,
        200
    );
    kind
}

#[tokio::test]
async fn certificates_change_alone_and_sessions_can_still_be_taken_up() {
    let upstream = upstream();
    let setup = monitored().upstream("app", &upstream).route(PUBLIC);
    let leaf = setup.authority().sign(&["a.test"]);
    let gateway = setup
        .tls_with(std::slice::from_ref(&leaf), "")
        .workers(2)
        .start()
        .await;
    let client = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    let before = shown(&gateway).await;
    assert_eq!(handshake(&gateway, &client).await, HandshakeKind::Resumed);
    let mut open = Connection::tls(&gateway, "a.test").await;
    // A change of the configuration that nobody has finished must not keep a certificate from being renewed.
    std::fs::write(gateway.config(), "not finished").unwrap();
    gateway.tells(REFUSED, 1).await;

    let renewed = gateway.authority().sign(&["a.test"]);
    assert_eq!(renewed.cert, leaf.cert);
    gateway
        .tells("certificates and authorities taken over", 1)
        .await;

    assert_ne!(shown(&gateway).await, before);
    let resumed = shake_hands(&gateway, "a.test", client).await.unwrap();
    assert_eq!(
        resumed.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    assert_eq!(open.send(Call::get("/").host("a.test")).await.status, 200);
    assert!(gateway.metric("handshakes_total{kind=\"resumed\"}").await >= 2.0);
}

#[tokio::test]
async fn a_key_that_does_not_fit_yet_leaves_the_old_certificate_in_place() {
    let upstream = upstream();
    let setup = gateway().upstream("app", &upstream).route(PUBLIC);
    let leaf = setup.authority().sign(&["a.test"]);
    let gateway = setup
        .tls_with(std::slice::from_ref(&leaf), "")
        .start()
        .await;
    let before = shown(&gateway).await;
    let old_cert = std::fs::read(&leaf.cert).unwrap();

    gateway.authority().sign(&["a.test"]);
    let new_cert = std::fs::read(&leaf.cert).unwrap();
    std::fs::write(&leaf.cert, old_cert).unwrap();
    gateway.tells("does not belong to the certificate", 0).await;
    let refused = || {
        gateway
            .logs()
            .contains("does not belong to the certificate")
    };
    support::redis::eventually("the pair to be refused", support::PATIENCE, refused).await;
    assert_eq!(shown(&gateway).await, before);

    std::fs::write(&leaf.cert, new_cert).unwrap();
    gateway
        .tells("certificates and authorities taken over", 1)
        .await;
    assert_ne!(shown(&gateway).await, before);
}

#[tokio::test]
async fn who_may_not_come_in_any_more_is_asked_to_leave_and_cannot_take_up_a_session() {
    let upstream = upstream();
    let setup = gateway().upstream("app", &upstream).route(PUBLIC);
    let leaf = setup.authority().sign(&["a.test"]);
    let ca = setup.authority().file();
    let optional = format!("client_auth = \"optional\"\nclient_ca = {ca:?}");
    let gateway = setup.tls_with(&[leaf], &optional).start().await;
    let client = gateway
        .authority()
        .client(&["http/1.1"], None, ALL_VERSIONS);
    assert_eq!(handshake(&gateway, &client).await, HandshakeKind::Resumed);
    let mut open = Connection::tls(&gateway, "a.test").await;
    assert_eq!(open.send(Call::get("/").host("a.test")).await.status, 200);

    gateway.edit("\"optional\"", "\"required\"");
    gateway.tells(TAKEN, 1).await;

    let last = open.begin(Call::get("/").host("a.test")).await;
    assert!(last.is_err() || last.unwrap().headers()["connection"] == "close");
    let refused = async {
        let stream = shake_hands(&gateway, "a.test", client).await.ok()?;
        let mut connection = Connection::h1_over(stream).await;
        connection.begin(Call::get("/").host("a.test")).await.ok()
    };
    assert!(
        refused.await.is_none(),
        "nobody comes in without a certificate"
    );
}

#[tokio::test]
async fn a_request_under_way_ends_as_it_began() {
    let slow = upstream_that(|_| Answer::Hold);
    let other = upstream();
    let gateway = gateway()
        .upstream("app", &slow)
        .upstream("other", &other)
        .route(PUBLIC)
        .start()
        .await;
    let mut connection = Connection::plain(&gateway).await;
    let open = tokio::spawn(async move { connection.send(Call::get("/slow")).await });
    let mut held = slow.held().await;

    gateway.edit("upstream = \"app\"", "upstream = \"other\"");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let address = slow.address().to_string();
    let gone = format!("[upstreams.app]\nendpoints = [\"http://{address}\"]\n");
    std::fs::write(gateway.config(), text.replace(&gone, "")).unwrap();
    gateway.tells(TAKEN, 1).await;
    held.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;

    let reply = open.await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &b"done"[..]));
}

/// Asks without a pause until it is told to stop; counts the answers. Every failure is one.
async fn load(
    gateway: Arc<Gateway>,
    kind: usize,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) {
    let mut kept = match kind {
        0 => Some(Connection::plain(&gateway).await),
        1 => Some(Connection::tls(&gateway, "a.test").await),
        2 => Some(Connection::h2(&gateway, "a.test").await),
        _ => None,
    };
    while !stop.load(Ordering::Relaxed) {
        let call = Call::get("/orders").host("a.test").bearer("loaded-token");
        let reply = match &mut kept {
            Some(connection) => connection.send(call).await,
            None if kind == 3 => gateway.send(call).await,
            None => gateway.send_h2(call).await,
        };
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        assert!(reply.whole);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_in_a_hundred_reloads() {
    let (one, two) = (upstream(), upstream());
    let gateway = gateway()
        .session("loaded-token", user("alice", &["orders:read"]))
        .upstream("app", &one)
        .upstream("other", &two)
        .route("prefix = \"/\"\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .workers(2)
        .server("drain_delay = \"0s\"\nwatch = false")
        .tls(&["a.test"])
        .plain()
        .quiet()
        .start()
        .await;
    let gateway = Arc::new(gateway);
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = Vec::new();
    for number in 0..10 {
        let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
        clients.push(tokio::spawn(load(
            Arc::clone(&gateway),
            number % 5,
            stop,
            answers,
        )));
    }

    for round in 0..100 {
        let (part, by) = match round % 2 {
            0 => ("upstream = \"app\"", "upstream = \"other\""),
            _ => ("upstream = \"other\"", "upstream = \"app\""),
        };
        gateway.edit(part, by);
        let before = answers.load(Ordering::Relaxed);
        gateway.signal("-HUP");
        gateway.tells(TAKEN, round + 1).await;
        let served = || answers.load(Ordering::Relaxed) > before;
        support::redis::eventually("an answer in between", support::PATIENCE, served).await;
    }
    stop.store(true, Ordering::Relaxed);

    for client in clients {
        soon("the client's last answer", client).await.unwrap();
    }
    assert!(one.seen().len() > 50 && two.seen().len() > 50);
}
