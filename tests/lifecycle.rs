//! Starting, stopping, and what the other commands say.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::gateway::PROGRAM;
use support::{Answer, Call, Connection, Redis, gateway, upstream, upstream_that, user};

fn drawbridge(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[tokio::test]
async fn after_sigterm_the_open_request_is_finished_and_a_new_one_refused() {
    let upstream = upstream_that(|seen| {
        if seen.target() == "/slow" {
            Answer::Hold
        } else {
            Answer::Echo
        }
    });
    let mut gateway = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;
    let mut connection = Connection::plain(&gateway).await;
    let open = tokio::spawn(async move { connection.send(Call::get("/slow")).await });
    let mut held = upstream.held().await;

    gateway.terminate();
    let address = gateway.plain();
    support::redis::eventually("new connections to be refused", support::PATIENCE, || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    held.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;

    let reply = open.await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &b"done"[..]));
    assert_eq!(gateway.ended().await.code(), Some(0));
    let line = || {
        gateway
            .logs()
            .lines()
            .any(|line| line.contains("\"path\":\"/slow\"") && line.contains("\"status\":200"))
    };
    support::redis::eventually("the last line of the access log", support::PATIENCE, line).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    let upstream = upstream_that(|_| Answer::Hold);
    let mut gateway = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await;
    let mut connection = Connection::plain(&gateway).await;
    let open = tokio::spawn(async move { connection.begin(Call::get("/slow")).await.is_err() });
    let held = upstream.held().await;

    gateway.terminate();
    let address = gateway.plain();
    support::redis::eventually("the first signal to be heard", support::PATIENCE, || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    gateway.terminate();

    assert_eq!(gateway.ended().await.code(), Some(130));
    assert!(open.await.unwrap());
    drop(held);
}

#[test]
fn the_shipped_configuration_is_fine() {
    let config = shipped("gateway.toml");

    let output = drawbridge(&["check", "--config", config.to_str().unwrap()]);

    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("is fine"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_bad_configuration_is_told_whole_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let bad = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"no.pem\", key = \"no.key\" }] }\n\
               [store]\nembeded = \"x\"\n[upstreams.app]\nendpoints = [\"ftp://x\"]\n\
               [[routes]]\nprefix = \"/\"\nupstream = \"app\"\nauth = \"sometimes\"\n";
    std::fs::write(&path, bad).unwrap();
    let path = path.to_str().unwrap();

    for command in ["check", "run"] {
        let output = drawbridge(&[command, "--config", path]);

        let told = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {told}");
        for part in [
            "unknown key `embeded`",
            "ftp://x",
            "sometimes",
            "gateway.toml:5:1",
            "did you mean `embedded`",
        ] {
            assert!(
                told.contains(part),
                "{command} does not tell {part:?}: {told}"
            );
        }
    }
}

#[test]
fn a_missing_certificate_and_a_missing_file_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"no.pem\", key = \"no.key\" }] }\n\
                  [store]\nembedded = \"x\"\n[upstreams.app]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                  [[routes]]\nprefix = \"/\"\nupstream = \"app\"\n";
    std::fs::write(&path, config).unwrap();

    let missing_pem = drawbridge(&["check", "--config", path.to_str().unwrap()]);
    let missing_toml = drawbridge(&["run", "--config", "nowhere.toml"]);

    let told = text(&missing_pem.stdout);
    assert!(told.contains("no.pem") && told.contains("no.key"), "{told}");
    assert_eq!(missing_pem.status.code(), Some(1));
    assert!(
        text(&missing_toml.stderr).contains("nowhere.toml"),
        "{}",
        text(&missing_toml.stderr)
    );
    assert_eq!(missing_toml.status.code(), Some(1));
}

#[test]
fn a_key_that_does_not_fit_its_certificate_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let own = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), own.cert.pem()).unwrap();
        std::fs::write(
            folder.path().join(format!("{name}.key")),
            own.signing_key.serialize_pem(),
        )
        .unwrap();
    }
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"one.pem\", key = \"two.key\" }] }\n\
                  [store]\nembedded = \"x\"\n[upstreams.app]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                  [[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[log]\nfilter = \"=x=\"\n";
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, config).unwrap();

    let output = drawbridge(&["check", "--config", path.to_str().unwrap()]);

    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "does not belong to the certificate",
        "gateway.toml:3:",
        "is not a log filter",
        "2 errors",
    ] {
        assert!(told.contains(part), "{part:?} is not told: {told}");
    }
}

#[tokio::test]
async fn explain_tells_route_session_checks_and_headers_as_the_live_path_decides() {
    let upstream = upstream();
    let redis = Redis::start().await;
    let gateway = gateway()
        .redis(&redis)
        .session("explained-token", user("alice", &["orders:read"]))
        .upstream("app", &upstream)
        .route("name = \"read\"\nprefix = \"/orders\"\nmethods = [\"GET\"]\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .route("name = \"write\"\nprefix = \"/orders\"\nmethods = [\"POST\"]\nrequire = { all = [\"orders:write\"] }\nupstream = \"app\"")
        .start()
        .await;
    let config = gateway.config().to_str().unwrap().to_owned();
    let cases = [
        (
            "GET",
            "/orders/1",
            Some("explained-token"),
            200,
            &[
                "read",
                "user alice",
                "holds:  permission orders:read",
                "x-user-id: alice",
            ][..],
        ),
        (
            "POST",
            "/orders/1",
            Some("explained-token"),
            403,
            &[
                "write",
                "FAILS:  permission orders:write",
                "403 permission_denied",
            ][..],
        ),
        (
            "GET",
            "/orders/1",
            Some("unknown-token"),
            401,
            &["401 token_invalid"][..],
        ),
        ("GET", "/orders/1", None, 401, &["401 token_missing"][..]),
        (
            "PUT",
            "/orders/1",
            None,
            405,
            &["405 method_not_allowed"][..],
        ),
        ("GET", "/nowhere", None, 404, &["404 route_not_found"][..]),
        ("GET", "/orders/../x", None, 400, &["400 bad_request"][..]),
    ];

    for (method, path, token, status, parts) in cases {
        let url = format!("http://a.test{path}");
        let mut arguments = vec!["explain", method, &url, "--config", &config];
        arguments.extend(token.iter().flat_map(|token| ["--token", token]));
        let output = drawbridge(&arguments);
        let told = text(&output.stdout);
        let mut call = Call::new(method, path);
        if let Some(token) = token {
            call = call.bearer(token);
        }

        let live = gateway.send(call).await;

        assert_eq!(live.status, status, "{method} {path}");
        assert_eq!(
            output.status.success(),
            status == 200,
            "{told}{}",
            text(&output.stderr)
        );
        for part in parts {
            assert!(
                told.contains(part),
                "{method} {path} does not tell {part:?}:\n{told}"
            );
        }
        assert!(!told.contains("explained-token"), "{told}");
    }
}

#[test]
fn schema_prints_a_json_schema_and_help_teaches() {
    let schema: serde_json::Value =
        serde_json::from_slice(&drawbridge(&["schema"]).stdout).unwrap();
    let help = text(&drawbridge(&["--help"]).stdout);

    assert!(schema["properties"]["routes"].is_object());
    for word in ["run", "check", "explain", "schema", "demo"] {
        assert!(help.contains(word), "{help}");
    }
}

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_demo_prints_lines_that_do_what_they_say() {
    let child = Command::new(PROGRAM)
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut demo = Demo(child);
    let printed = BufReader::new(demo.0.stdout.take().unwrap());
    let (mut expected, mut seen) = (String::new(), Vec::new());

    for line in printed.lines().map_while(Result::ok) {
        if let Some((_, status)) = line
            .strip_prefix("# ")
            .and_then(|line| line.rsplit_once("-> "))
        {
            status.clone_into(&mut expected);
        }
        if line.starts_with("curl ") {
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            let answer = text(&output.stdout);
            assert!(
                answer.trim_end().ends_with(&format!("-> {expected}")),
                "{line}\n{answer}{}",
                text(&output.stderr)
            );
            assert!(
                !answer.contains("root"),
                "a forged header got through: {answer}"
            );
            seen.push(expected.clone());
        }
        if seen.len() == 7 {
            break;
        }
    }

    assert_eq!(seen, ["200", "200", "401", "403", "200", "401", "200"]);
}
