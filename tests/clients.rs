//! Clients that people use, as they come: httpx and websockets of Python, undici and node:http of Node.js, curl, wrk.
//! `tests/run.sh` installs them.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Answer, Gateway, Program, Setup, Upstream, gateway, installed, upstream_that, user};

/// Pinned in `tests/run.sh`, too, with what is in it.
const PYTHON: &str = "clients/bin/python";
const UNDICI: &str = "undici-7.30.2";
const TOKEN: &str = "alices-token";
const BIG: usize = 20 << 20;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Echoes, but for an answer that is long and one that has trailers.
fn shop() -> Upstream {
    upstream_that(|seen| {
        match seen.target() {
        "/public/big" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n");
            Answer::Bytes([head.into_bytes(), vec![b'x'; BIG]].concat())
        }
        "/public/trailing" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"
                .to_vec(),
        ),
        _ => Answer::Echo,
    }
    })
}

fn before(endpoint: &str) -> Setup {
    gateway()
        .session(TOKEN, user("alice", &["orders:read"]))
        .plain()
        .tls(&["localhost"])
        .quiet()
        .workers(2)
        .toml(&format!("[upstreams.app]\nendpoints = [\"http://{endpoint}\"]"))
        .route("prefix = \"/\"\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .route("prefix = \"/users\"\nrequire = { all = [\"users:read\"] }\nupstream = \"app\"")
        .route("prefix = \"/closed\"\nrequire = { all = [\"users:read\"] }\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .route("prefix = \"/socket\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

async fn shop_before(upstream: &Upstream) -> Gateway {
    before(&upstream.address().to_string()).start().await
}

/// Where it has TLS, by its name.
fn secure(gateway: &Gateway) -> String {
    format!("localhost:{}", gateway.secure().port())
}

/// Runs a client to its end, which must be good.
async fn run(mut command: Command) -> Output {
    let name = command.get_program().to_owned();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", name.display());
    output
}

async fn told(command: Command) -> Value {
    serde_json::from_slice(&run(command).await.stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs httpx: tests/run.sh"]
async fn httpx_asks_uploads_and_is_refused_over_both_protocols() {
    let upstream = shop();
    let gateway = shop_before(&upstream).await;
    let mut command = Command::new(installed(PYTHON));
    command
        .arg(script("ask.py"))
        .args([gateway.plain().to_string(), secure(&gateway)])
        .arg(gateway.authority().file())
        .arg(TOKEN);
    let told = told(command).await;

    let expected = json!({
        "statuses": [200], "versions": ["HTTP/1.1"], "users": ["alice"], "uploaded": 5 << 20, "form": 200,
        "downloaded": BIG, "refused": [401, 401, 401], "forbidden": 403, "too_much": 413, "after": "alice",
    });
    assert_eq!(told["h1"], expected);
    for (name, version) in [("h1_tls", "HTTP/1.1"), ("h2", "HTTP/2")] {
        let expected = json!({
            "versions": [version], "targets": true, "uploaded": [20_000], "refused": [403], "downloaded": [BIG],
        });
        assert_eq!(told[name], expected, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs undici: tests/run.sh"]
async fn node_pipelines_uploads_waits_for_100_and_reads_trailers() {
    let upstream = shop();
    let gateway = shop_before(&upstream).await;
    let mut command = Command::new("node");
    command
        .arg(script("node.mjs"))
        .arg(installed(UNDICI))
        .args([gateway.plain().to_string(), secure(&gateway)])
        .arg(gateway.authority().file())
        .arg(TOKEN);
    let told = told(command).await;

    let expected = json!({
        "inOrder": true, "uploaded": 5 << 20, "announced": 3 << 20, "downloaded": BIG, "body": "hello",
        "trailers": {"x-sum": "7"}, "refused": 401, "head": 200,
    });
    assert_eq!(told["pipelined"], expected);
    for protocol in ["h1", "h2"] {
        let expected =
            json!({"right": true, "uploaded": 2 << 20, "refused": 403, "downloaded": BIG});
        assert_eq!(told[protocol], expected, "{protocol}");
    }
    let expected = json!({"target": "/orders/fetch?a=b", "status": 200, "refused": 401, "code": "token_missing"});
    assert_eq!(told["fetched"], expected);
    assert_eq!(told["patient"], json!([100, 200]));
    assert_eq!(told["impatient"], json!([401]));
    let seen = upstream.seen();
    let waited = seen.iter().find(|seen| !seen.trailers.is_empty()).unwrap();
    assert_eq!(waited.body, b"one two");
    assert_eq!(waited.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

/// What curl writes about each transfer: connections made, version, status, bytes sent.
async fn curl(arguments: &[&str], input: Option<&Path>) -> (Vec<String>, String) {
    let mut command = Command::new("curl");
    let facts = "%{num_connects} %{http_version} %{http_code} %{size_upload}\n";
    command.args(["-sSv", "-o", "/dev/null", "-w", facts]);
    command.args(arguments);
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input).unwrap());
    }
    let output = run(command).await;
    let facts = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    (facts.lines().map(str::to_owned).collect(), talk)
}

#[tokio::test]
#[ignore = "needs curl: tests/run.sh"]
async fn curl_keeps_its_connection_and_sends_nothing_before_it_is_let_in() {
    let upstream = shop();
    let gateway = shop_before(&upstream).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let authority = gateway.authority().file();
    let authority = authority.to_str().unwrap();
    let plain = format!("http://{}/orders/1", gateway.plain());
    let tls = format!("https://{}/orders/1", secure(&gateway));

    let twice = [&plain, "-o", "/dev/null", &plain, "-H", &bearer];
    let (facts, _) = curl(&twice, None).await;
    assert_eq!(facts, ["1 1.1 200 0", "0 1.1 200 0"]);
    let twice = [
        &tls,
        "-o",
        "/dev/null",
        &tls,
        "-H",
        &bearer,
        "--cacert",
        authority,
    ];
    let (facts, _) = curl(&[&twice[..], &["--http2"]].concat(), None).await;
    assert_eq!(facts, ["1 2 200 0", "0 2 200 0"]);

    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), vec![b'x'; 3 << 20]).unwrap();
    for (url, version) in [(&plain, "1.1"), (&tls, "2")] {
        let upload = [url.as_str(), "-T", "-", "--cacert", authority];
        let (facts, talk) =
            curl(&[&upload[..], &["-H", &bearer]].concat(), Some(body.path())).await;
        // With what frames it.
        let begun = format!("1 {version} 200 31");
        assert!(
            facts.len() == 1 && facts[0].starts_with(&begun),
            "{facts:?}"
        );
        assert_eq!(upstream.last().body.len(), 3 << 20);
        if version == "1.1" {
            assert!(talk.contains("< HTTP/1.1 100 Continue"), "{talk}");
        }
    }
    let waits = [
        &plain,
        "-T",
        "-",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "60",
    ];
    let (facts, talk) = curl(&waits, Some(body.path())).await;
    assert_eq!(facts, ["1 1.1 401 0"]);
    assert!(!talk.contains("100 Continue"), "{talk}");
}

#[tokio::test]
#[ignore = "needs wrk: tests/run.sh"]
async fn wrk_gets_nothing_but_200_on_many_connections() {
    let upstream = shop();
    let gateway = shop_before(&upstream).await;
    for url in [
        format!("http://{}/orders", gateway.plain()),
        format!("https://{}/orders", secure(&gateway)),
    ] {
        let mut command = Command::new("wrk");
        let bearer = format!("Authorization: Bearer {TOKEN}");
        command.args(["-t", "2", "-c", "50", "-d", "2s", "-H", &bearer, &url]);
        let output = run(command).await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            !told.contains("Non-2xx") && !told.contains("Socket errors"),
            "{told}"
        );
        let count = told
            .lines()
            .find_map(|line| line.split_once(" requests in "));
        let count: usize = count.unwrap().0.trim().parse().unwrap();
        assert!(count > 0, "{told}");
    }
    let seen = upstream.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.header("x-user-id") == Some("alice"))
    );
}

/// A server that says what it is told.
fn echo() -> Program {
    Program::start(
        Command::new(installed(PYTHON))
            .arg(script("sockets.py"))
            .arg("serve"),
    )
}

#[tokio::test]
#[ignore = "needs websockets: tests/run.sh"]
async fn websockets_talk_in_messages_fragments_pings_and_closes() {
    let echo = echo();
    let gateway = before(&format!("127.0.0.1:{}", echo.port())).start().await;
    for uri in [
        format!("ws://{}", gateway.plain()),
        format!("wss://{}", secure(&gateway)),
    ] {
        let mut command = Command::new(installed(PYTHON));
        command
            .arg(script("sockets.py"))
            .args(["talk", &uri])
            .arg(gateway.authority().file())
            .arg(TOKEN);
        let told = told(command).await;

        for (told, compressed) in told.as_array().unwrap().iter().zip([false, true]) {
            let expected = json!({
                "echoed": 13, "sent": 13, "user": "alice", "subprotocol": "chat", "compressed": compressed,
                "fragments_there": 270_001, "fragments_back": ["one ", "", "two ", "three", ""],
                "interrupted": "firstsecond", "pinged": "ponged", "in_order": true, "closed": [4001, "enough"],
                "closed_by_server": [4002, "servers may, too"], "refused": [401, 403],
            });
            assert_eq!(*told, expected, "{uri}");
        }
    }
}
