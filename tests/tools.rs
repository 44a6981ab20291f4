//! Tools that others wrote to find what is wrong with a server: testssl.sh, slowhttptest, and the HTTP/2 cases of
//! httpwg. `tests/run.sh --long` installs and runs them.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::certs::Leaf;
use support::redis::eventually;
use support::{
    Answer, Gateway, PATIENCE, Setup, Upstream, gateway, installed, signal, upstream, upstream_that,
};
use tempfile::{NamedTempFile, TempDir};

fn setup(upstream: &Upstream) -> Setup {
    gateway()
        .plain()
        .quiet()
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
}

async fn run(mut command: Command) -> String {
    let name = command.get_program().to_owned();
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", name.display()));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// An authority and a certificate as one that people believe would sign it; testssl.sh looks at these, too.
async fn certificate(dir: &Path) -> Leaf {
    let script = "set -e; ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $ec -days 400 -keyout ca.key -out ca.pem -subj /CN=tests \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign
        openssl req $ec -keyout leaf.key -out leaf.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost\\nextendedKeyUsage=serverAuth\\nkeyUsage=digitalSignature\\n' > more
        printf 'basicConstraints=CA:FALSE\\ncrlDistributionPoints=URI:http://localhost/crl\\n' >> more
        openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 200 -out leaf.pem -extfile more";
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(dir);
    let told = run(command).await;
    let leaf = Leaf {
        cert: dir.join("leaf.pem"),
        key: dir.join("leaf.key"),
    };
    assert!(leaf.cert.exists(), "{told}");
    leaf
}

#[tokio::test]
#[ignore = "needs testssl.sh and takes minutes: tests/run.sh --long"]
async fn testssl_finds_nothing_above_low() {
    // What browsers may do with a page is for the application to say; testssl.sh looks whether anybody does.
    let upstream = upstream_that(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-security-policy: default-src 'none'\r\nx-frame-options: DENY\r\n\
            x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\ncontent-length: 2\r\n\r\nok";
        Answer::Bytes(head.into())
    });
    let dir = TempDir::new().unwrap();
    let leaf = certificate(dir.path()).await;
    let gateway = setup(&upstream)
        .tls_with(&[leaf], "hsts = \"365d\"")
        .start()
        .await;
    let findings = dir.path().join("findings.json");
    let mut command = Command::new("testssl");
    command
        .args([
            "--quiet",
            "--color",
            "0",
            "--warnings",
            "off",
            "--ip",
            "127.0.0.1",
        ])
        .arg("--add-ca")
        .arg(dir.path().join("ca.pem"))
        .arg("--jsonfile")
        .arg(&findings)
        .arg(format!("https://localhost:{}", gateway.secure().port()));
    let told = run(command).await;

    let findings = std::fs::read_to_string(&findings).unwrap_or_else(|_| panic!("{told}"));
    let findings: Vec<Value> = serde_json::from_str(&findings).unwrap();
    let of = |severity: &str| {
        let found = findings
            .iter()
            .filter(|found| found["severity"] == severity);
        let text = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
        found
            .map(|found| format!("{} {}", text(found, "id"), text(found, "finding")))
            .collect::<Vec<_>>()
    };
    for severity in ["MEDIUM", "HIGH", "CRITICAL", "FATAL"] {
        assert!(of(severity).is_empty(), "{severity}: {:?}", of(severity));
    }
    for severity in ["LOW", "WARN"] {
        let known = |text: &String| BESIDE.iter().any(|id| text.starts_with(id));
        assert!(of(severity).iter().all(known), "{:?}", of(severity));
    }
    // It came to its end, and found what it looked for.
    assert!(findings.iter().any(|found| found["id"] == "scanTime"));
    let sound = of("OK");
    for id in [
        "TLS1_3 ",
        "ALPN_HTTP2 ",
        "HSTS_time ",
        "cert_chain_of_trust ",
    ] {
        assert!(
            sound.iter().any(|text| text.starts_with(id)),
            "{id}: {told}"
        );
    }
    assert!(sound.len() > 40, "{told}");
}

/// What testssl.sh finds that is not of the gateway.
const BESIDE: [&str; 2] = [
    // A warning of the tool about its own openssl, which lacks the ciphers of GOST. It looks for those with sockets, too.
    "engine_problem ",
    // LOW. Who may sign for a name is for the owner of its zone in DNS to say; `localhost` has none.
    "DNS_CAArecord ",
];

/// A program of others until it is dropped, with the file that it reads or writes.
struct Running {
    process: Child,
    file: NamedTempFile,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// How many connections slowhttptest keeps busy.
const SLOW: usize = 200;

async fn open(gateway: &Gateway) -> f64 {
    gateway.metric("client_connections_open").await
}

/// Lets slowhttptest keep its connections busy for a minute (after a hundred seconds its hundred lines of a head are too
/// many), but for those that it loses; what it says at its end. It does not look whether what it reads slowly has ended;
/// the gateway tells, and it is let go then.
async fn slow(gateway: &Gateway, how: &[&str], target: &str) -> String {
    let file = NamedTempFile::new().unwrap();
    let url = format!("http://{}{target}", gateway.plain());
    let process = Command::new("slowhttptest")
        .args(["-c", &SLOW.to_string(), "-r", "100", "-i", "1"])
        .args(["-l", "60", "-p", "30", "-u", &url])
        .args(how)
        .stdout(file.reopen().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("slowhttptest: {error}"));
    let mut tool = Running { process, file };
    let asked = format!("\"path\":\"{target}\"");
    while tool.process.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if how[0] == "-X" && gateway.told(&asked) >= SLOW && open(gateway).await <= 1.0 {
            signal::send(tool.process.id(), "-INT");
            tool.process.wait().unwrap();
        }
    }
    std::fs::read_to_string(tool.file.path()).unwrap()
}

#[tokio::test]
#[ignore = "needs slowhttptest and takes half a minute: tests/run.sh --long"]
async fn slow_clients_are_cut_off_and_others_served_meanwhile() {
    // More than what may lie in buffers on its way to a client that does not read.
    const BIG: usize = 16 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n");
    let big = Arc::new([head.into_bytes(), vec![b'x'; BIG]].concat());
    let upstream = upstream_that(move |seen| match seen.target() {
        "/big" => Answer::Shared(Arc::clone(&big)),
        _ => Answer::Echo,
    });
    let mut gateway = setup(&upstream)
        .toml(
            "[limits]\nheader_timeout = \"5s\"\nidle_timeout = \"5s\"\nwrite_timeout = \"5s\"\nmin_body_grace = \"5s\"",
        )
        .start()
        .await;
    let read = ["-X", "-w", "1", "-y", "10", "-n", "1", "-z", "16"];
    for (how, target, lost) in [
        (&["-H"][..], "/", "No open connections left"),
        (&["-B", "-s", "8192"], "/", "No open connections left"),
        (&read, "/big", "Cancelled by user"),
    ] {
        let told = slow(&gateway, how, target).await;
        assert!(told.contains(lost), "{how:?}: {told}");
        let served = told.matches("service available:").count();
        let yes = told
            .lines()
            .filter(|line| line.contains("service available:") && line.contains("YES"));
        assert!(served > 0 && yes.count() == served, "{how:?}: {told}");
        let start = Instant::now();
        while open(&gateway).await > 1.0 {
            assert!(start.elapsed() < PATIENCE, "{how:?}: {told}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gateway.still_serves().await;
    }
}

#[tokio::test]
#[ignore = "needs httpwg-cli and takes minutes: tests/run.sh --long"]
async fn the_cases_of_httpwg_hold_but_for_those_named_here() {
    let upstream = upstream();
    let gateway = setup(&upstream).tls(&["localhost"]).start().await;
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // It takes TLS off the tool, which has none.
    let mut file = NamedTempFile::new().unwrap();
    writeln!(
        file,
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen h2\n bind {address}\n server gateway {} ssl verify none alpn h2",
        gateway.secure(),
    )
    .unwrap();
    let process = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(file.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy is installed (tests/run.sh does that)");
    let _proxy = Running { process, file };
    let listens = || std::net::TcpStream::connect(address).is_ok();
    eventually("HAProxy to listen", PATIENCE, listens).await;

    let mut command = Command::new(installed("httpwg/bin/httpwg"));
    command
        .args([
            "--address",
            &address.to_string(),
            "--frame-timeout",
            "10000",
            "--connect-timeout",
            "10000",
        ])
        .env("NO_COLOR", "1");
    let told = run(command).await;
    let told = told.replace("\u{1b}[1;32m", "").replace("\u{1b}[0m", "");

    let name = |text: &str| {
        let line = text.lines().next().unwrap_or_default();
        line.rsplit(" :: ").next().unwrap_or_default().to_owned()
    };
    let passed: Vec<_> = told.split("✅ Test passed: ").skip(1).map(name).collect();
    let mut unknown = Vec::new();
    let failed = told.split("❌ Test failed: ").skip(1);
    let failed: Vec<_> = failed
        .map(|text| {
            let text = text.split("✅ Test passed: ").next().unwrap_or_default();
            let known = OTHERWISE
                .iter()
                .any(|(what, names)| text.contains(what) && names.contains(&name(text).as_str()));
            if !known {
                unknown.push(text.lines().take(3).collect::<String>());
            }
            name(text)
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let listed = OTHERWISE.iter().flat_map(|(_, names)| *names);
    let mended: Vec<_> = listed
        .filter(|name| !RACING.contains(name) && !failed.iter().any(|failed| failed == *name))
        .collect();
    assert!(
        mended.is_empty(),
        "these hold now, and need not be named: {mended:?}"
    );
    // A case that panics says neither.
    assert_eq!(passed.len() + failed.len(), CASES, "{told}");
}

/// All that httpwg-cli 0.2.5 has.
const CASES: usize = 107;

const RESET: &str = "but got ProtocolError";
const ANSWERED: &str = "Timed out while waiting for stream error, last frame: (Some(#1:Data";

/// Where a case wants something else than we do: what we do, and the cases. Sections are those of RFC 9113.
const OTHERWISE: [(&str, &[&str]); 6] = [
    // Right: "An endpoint that receives an unexpected stream identifier MUST respond with a connection error of type
    // PROTOCOL_ERROR" (5.1.1); a HEADERS frame opens a stream, and this one's number has been used.
    (
        RESET,
        &[
            "closed sends headers frame",
            "closed sends headers frame after rst stream",
        ],
    ),
    // Allowed but for the code, STREAM_CLOSED: what comes behind the end of a request is an error of its stream (5.1, 6.1),
    // which an endpoint may treat as one of the connection (5.4.1). The h2 library does, as an unspecific one.
    (
        RESET,
        &[
            "half closed remote sends data frame",
            "half closed remote sends headers frame",
            "sends data frame on invalid stream state",
        ],
    ),
    // Allowed but for the code, COMPRESSION_ERROR and FLOW_CONTROL_ERROR: the connection ends as it must (4.3, 6.5.2). The
    // code is h2's, and tells people what was wrong; it changes nothing for either side.
    (
        RESET,
        &[
            "invalid header block fragment",
            "sends settings initial window size with invalid value",
            "sends settings initial window size with exceeded max window size value",
        ],
    ),
    // Right: "For malformed requests, a server MAY send an HTTP response prior to closing or resetting the stream" (8.1.1),
    // for fields even "SHOULD generate a 400" (8.2.1). It is 400 here, and nothing goes upstream: tests/http2/heads.rs.
    (
        ANSWERED,
        &[
            "sends headers frame with leading space in field value",
            "sends headers frame with trailing tab in field value",
            "sends headers frame with mismatched host authority",
        ],
    ),
    // Right by the same sentence of 8.1.1: 405, whatever the CONNECT looks like, for nothing is tunneled here.
    (ANSWERED, &["sends connect without authority"]),
    // Wrong by the letter, which wants the request treated as malformed (8.3), and without harm: h2 drops a pseudo-field of
    // a trailer before anybody sees it, so it cannot be told here. That nothing of it goes upstream: tests/http2/heads.rs.
    (
        ANSWERED,
        &["sends headers frame with pseudo header in trailer"],
    ),
];

/// Cases that hold, too, if the answer was quicker than their last frame: the library knows then that the stream is closed.
const RACING: [&str; 3] = [
    "half closed remote sends data frame",
    "half closed remote sends headers frame",
    "sends data frame on invalid stream state",
];
