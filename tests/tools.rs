//! Tools that others wrote to find what is wrong with a server: testssl.sh, slowhttptest, and the HTTP/2 cases of
//! httpwg. `tests/run.sh --long` installs and runs them.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::certs::Leaf;
use support::redis::eventually;
use support::{
    Answer, Gateway, PATIENCE, Setup, Upstream, gateway, installed, upstream, upstream_that,
};
use tempfile::TempDir;

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
        found
            .map(|found| format!("{} {}", found["id"], found["finding"]))
            .collect::<Vec<_>>()
    };
    for severity in ["MEDIUM", "HIGH", "CRITICAL", "FATAL"] {
        assert!(of(severity).is_empty(), "{severity}: {:?}", of(severity));
    }
    // The tool's own openssl, and what belongs to a name in DNS.
    let known = |text: &String| text.contains("engine_problem") || text.contains("CAA");
    let others = [of("LOW"), of("WARN")].concat();
    assert!(others.iter().all(known), "{others:?}");
    assert!(of("OK").len() > 30, "{told}");
}

/// Lets slowhttptest keep as many connections busy as it can; what it says at its end.
async fn slow(gateway: &Gateway, how: &[&str], target: &str) -> String {
    let url = format!("http://{}{target}", gateway.plain());
    let mut command = Command::new("slowhttptest");
    command.args([
        "-c", "200", "-r", "100", "-i", "1", "-l", "60", "-p", "10", "-u", &url,
    ]);
    command.args(how);
    let told = run(command).await;
    assert!(told.contains("Exit status"), "{told}");
    told
}

#[tokio::test]
#[ignore = "needs slowhttptest and takes minutes: tests/run.sh --long"]
async fn slow_clients_are_cut_off_and_others_served_meanwhile() {
    const BIG: usize = 16 << 20;
    let upstream = upstream_that(|seen| match seen.target() {
        "/big" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n");
            Answer::Bytes([head.into_bytes(), vec![b'x'; BIG]].concat())
        }
        _ => Answer::Echo,
    });
    let mut gateway = setup(&upstream)
        .toml("[limits]\nheader_timeout = \"5s\"\nwrite_timeout = \"5s\"\nmin_body_grace = \"5s\"")
        .start()
        .await;
    let read = ["-X", "-w", "1", "-y", "10", "-n", "1", "-z", "16"];
    for (how, target) in [
        (&["-H"][..], "/"),
        (&["-B", "-s", "8192"], "/"),
        (&read, "/big"),
    ] {
        let told = slow(&gateway, how, target).await;
        let served = told.matches("service available:").count();
        let yes = told
            .lines()
            .filter(|line| line.contains("service available:") && line.contains("YES"));
        assert!(served > 0 && yes.count() == served, "{how:?}: {told}");
        // The tool does not read the end of what it reads slowly; the gateway tells.
        if how[0] != "-X" {
            assert!(told.contains("No open connections left"), "{how:?}: {told}");
        }
        let start = std::time::Instant::now();
        while gateway.metric("client_connections_open").await > 1.0 {
            assert!(start.elapsed() < PATIENCE, "{how:?}: {told}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        gateway.still_serves().await;
    }
    assert!(gateway.told("\"cut\":true") >= 200);
}

/// HAProxy that passes bytes on into TLS, for a tool that has none.
struct Haproxy {
    process: Child,
    _config: tempfile::NamedTempFile,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
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
    let mut config = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        config,
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen h2\n bind {address}\n server gateway {} ssl verify none alpn h2",
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
    let _proxy = Haproxy {
        process,
        _config: config,
    };
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

    let failed: Vec<_> = told.split("❌ Test failed: ").skip(1).collect();
    let unknown = failed.iter().filter(|text| {
        let name = text.lines().next().unwrap_or_default();
        // The h2 library ends the stream or the connection all the same, with a less telling code.
        let ended = text.contains("but got ProtocolError");
        !ended && !ANSWERED.iter().any(|known| name.ends_with(known))
    });
    let unknown: Vec<_> = unknown
        .map(|text| text.lines().take(3).collect::<String>())
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let passed = told.matches("✅ Test passed").count();
    assert!(passed >= 85, "only {passed} passed: {told}");
}

/// Cases in which a stream error is expected, and which get an answer with a status instead: 400 and 405, as section 8.1.1
/// of RFC 9113 allows; the last one 200, because the library drops what must not be in a trailer before anybody sees it.
const ANSWERED: [&str; 5] = [
    "sends headers frame with leading space in field value",
    "sends headers frame with trailing tab in field value",
    "sends connect without authority",
    "sends headers frame with mismatched host authority",
    "sends headers frame with pseudo header in trailer",
];
