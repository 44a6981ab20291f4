//! `drawbridge session`, `user`, `role` and `admin-key`, as typed in a shell: on the store itself, and through a gateway.

#[path = "cli/wrongly.rs"]
mod wrongly;

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::admin::{key, keys};
use support::gateway::PROGRAM;
use support::redis::{Settings, free_port};
use support::{Call, Gateway, Redis, gateway, upstream};

/// Somebody at a shell, with a configuration or with an admin API to talk to.
struct Shell {
    config: PathBuf,
    admin: Option<(String, String)>,
}

impl Shell {
    fn at(config: &Path) -> Self {
        Self {
            config: config.to_owned(),
            admin: None,
        }
    }

    /// Through the admin API of this gateway.
    fn through(gateway: &Gateway, holder: &str) -> Self {
        Self {
            config: PathBuf::from("/nowhere"),
            admin: Some((format!("http://{}", gateway.admin()), key(holder))),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).env_remove("DRAWBRIDGE_CONFIG");
        match &self.admin {
            Some((url, key)) => command
                .args(["--admin", url])
                .env("DRAWBRIDGE_ADMIN_KEY", key),
            None => command.arg("--config").arg(&self.config),
        };
        command
    }

    /// Exit code, what is printed, and what is told of failure.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(words).stdin(Stdio::null()).output().unwrap())
    }

    /// What is printed by a command that succeeds.
    fn done(&self, words: &[&str]) -> String {
        let (code, printed, failure) = self.run(words);
        assert_eq!(code, Some(0), "{words:?}: {printed}{failure}");
        printed
    }

    /// The same as JSON.
    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.done(&words)).unwrap()
    }

    /// The command fails with this code, prints nothing, and tells this.
    fn fails(&self, words: &[&str], code: i32, telling: &str) {
        let (found, printed, failure) = self.run(words);
        assert_eq!(found, Some(code), "{words:?}: {printed}{failure}");
        assert_eq!(printed, "", "{words:?}");
        assert!(failure.contains(telling), "{words:?}: {failure}");
    }

    /// With this on standard input.
    fn piped(&self, words: &[&str], input: &str) -> (Option<i32>, String, String) {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        told(child.wait_with_output().unwrap())
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A configuration with this store and nobody who serves it.
fn configure(store: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\n{store}\n[sessions]\n[audit]\nfile = \"audit.jsonl\"\n\
         [upstreams.app]\nendpoints = [\"http://127.0.0.1:9\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n"
    );
    std::fs::write(&config, text).unwrap();
    (folder, config)
}

/// The whole life of sessions, users and roles, the same wherever it is carried out.
fn live(shell: &Shell) {
    let granted = shell.json(&[
        "session",
        "create",
        "alice",
        "-p",
        "orders:read",
        "-r",
        "clerk",
        "--device-id",
        "d1",
        "--device-type",
        "phone",
        "--device-name",
        "Pixel\u{1b}[2J",
        "--refresh",
        "--label",
        "mine",
        "--ip",
        "10.0.0.7",
        "--lifetime",
        "1h",
    ]);
    let token = granted["access_token"].as_str().unwrap();
    let sid = granted["session"]["sid"].as_str().unwrap();
    assert!(
        granted["refresh_token"]
            .as_str()
            .unwrap()
            .starts_with("dbr_")
    );

    let list = shell.done(&["session", "list", "alice"]);
    let lines: Vec<_> = list.lines().collect();
    assert!(
        lines[0].starts_with("SESSION") && lines[0].contains("DEVICE"),
        "{list}"
    );
    assert!(lines[1].starts_with(sid), "{list}");
    for part in ["d1", "phone", "Pixel\u{fffd}[2J", "10.0.0.7", "mine"] {
        assert!(lines[1].contains(part), "{part} is not in {list}");
    }
    assert!(!list.contains('\u{1b}') && !list.contains(token), "{list}");
    let shown = shell.json(&["session", "show", "alice", "--sid", sid]);
    assert_eq!(shown["device"]["id"], "d1");
    assert!(
        shell
            .done(&["session", "show", "alice", "--sid", sid])
            .contains("d1")
    );
    let (code, known, _) = shell.piped(
        &["session", "show", "--token", "-", "--json"],
        &format!("{token}\n"),
    );
    let known: Value = serde_json::from_str(&known).unwrap();
    assert_eq!((code, &known["sub"]), (Some(0), &json!("alice")));
    assert!(
        shell
            .done(&["session", "show", "--token", token])
            .contains("orders:read")
    );

    let rights = shell.json(&["user", "grant", "alice", "a:b", "c:d"]);
    assert_eq!(rights["permissions"], json!(["a:b", "c:d"]));
    let rights = shell.json(&["user", "revoke", "alice", "a:b", "--deny"]);
    assert_eq!(
        (&rights["permissions"], &rights["denied"]),
        (&json!(["c:d"]), &json!(["a:b"]))
    );
    let rights = shell.json(&[
        "user", "roles", "alice", "--add", "auditor", "--remove", "x",
    ]);
    assert_eq!(rights["roles"], json!(["auditor"]));
    assert!(shell.done(&["user", "roles", "alice"]).contains("auditor"));
    assert_eq!(shell.done(&["user", "risk", "alice", "40"]), "done\n");
    assert_eq!(
        shell.done(&["user", "risk", "alice", "41", "--session", sid]),
        "done\n"
    );
    assert_eq!(
        shell.json(&["session", "show", "alice", "--sid", sid])["risk"],
        41
    );
    let laid = shell.done(&[
        "user",
        "ban",
        "alice",
        "--service",
        "billing",
        "--for",
        "7days",
        "--reason",
        "unpaid",
        "--keep-sessions",
    ]);
    assert!(laid.starts_with("done"), "{laid}");
    let user = shell.done(&["user", "show", "alice"]);
    for part in ["alice", "c:d", "auditor", "40", "billing", "unpaid", sid] {
        assert!(user.contains(part), "{part} is not in {user}");
    }
    assert_eq!(
        shell.done(&["user", "unban", "alice", "--service", "billing"]),
        "done\n"
    );
    shell.fails(
        &["user", "unban", "alice", "--service", "billing"],
        1,
        "There is no such ban.",
    );

    assert_eq!(
        shell.done(&["role", "set", "clerk", "orders:*", "users:read"]),
        "done\n"
    );
    assert_eq!(
        shell.done(&["role", "list"]),
        "ROLE   PERMISSIONS\nclerk  orders:*, users:read\n"
    );
    assert_eq!(shell.done(&["role", "delete", "clerk"]), "done\n");
    assert_eq!(shell.json(&["role", "list"]), json!({"roles": {}}));

    let ended = shell.done(&["session", "kick", "alice", "--sid", sid]);
    assert!(ended.starts_with(&format!("ended: {sid}")), "{ended}");
    shell.fails(
        &["session", "kick", "alice", "--sid", sid],
        1,
        "There is no such live session.",
    );
    shell.fails(
        &["session", "show", "alice", "--sid", sid],
        1,
        "There is no such live session.",
    );
    shell.fails(
        &["session", "show", "--token", token],
        1,
        "not the access token of a live session",
    );
    let open = |kind: &str| {
        shell.json(&[
            "session",
            "create",
            "alice",
            "--device-type",
            kind,
            "--device-id",
            kind,
        ])
    };
    let spared = open("tablet");
    open("phone");
    let spared = spared["session"]["sid"].as_str().unwrap();
    assert!(
        shell
            .done(&["session", "kick", "alice", "--device-type", "phone"])
            .starts_with("ended")
    );
    open("phone");
    assert!(
        shell
            .done(&[
                "session",
                "kick",
                "alice",
                "--device",
                "phone",
                "--why",
                "password_changed"
            ])
            .starts_with("ended")
    );
    open("phone");
    let all_but = format!("--all-but={spared}");
    assert!(
        shell
            .done(&["session", "kick", "alice", &all_but])
            .starts_with("ended")
    );
    assert!(
        shell
            .done(&["session", "kick", "alice", "--all"])
            .contains(spared)
    );
    let last = open("phone");
    let (code, ..) = shell.piped(
        &["session", "kick", "--token", "-"],
        last["access_token"].as_str().unwrap(),
    );
    assert_eq!(code, Some(0));
    assert_eq!(
        shell.json(&["session", "list", "alice"]),
        json!({"sessions": []})
    );
    open("phone");
    assert!(
        shell
            .done(&["session", "kick", "--everybody"])
            .starts_with("done")
    );
    assert_eq!(
        shell.json(&["session", "list", "alice"]),
        json!({"sessions": []})
    );
    assert!(
        shell
            .done(&["user", "ban", "alice", "--until", "2999-01-01T00:00:00Z"])
            .starts_with("done")
    );
    shell.fails(&["session", "create", "alice"], 1, "This user is banned.");
    shell.fails(
        &["user", "show", "nobody"],
        1,
        "Nothing is known of this user",
    );
}

#[test]
fn on_an_embedded_store() {
    let (folder, config) = configure("embedded = \"sessions.redb\"");

    live(&Shell::at(&config));

    let noted = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(
        !noted.contains("dbt_") && !noted.contains("dbr_"),
        "{noted}"
    );
    let lines: Vec<Value> = noted
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 30, "{noted}");
    for line in &lines {
        assert_eq!(
            (&line["who"], &line["by"]),
            (&json!("cli"), &json!("cli")),
            "{line}"
        );
        assert!(line.get("from").is_none());
    }
    assert!(
        lines
            .iter()
            .any(|line| line["result"] == "account_disabled")
    );
}

#[tokio::test]
async fn on_redis_while_a_gateway_serves() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = gateway()
        .redis(&redis)
        .toml("[sessions]")
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let shell = Shell::at(gateway.config());
    let opened = shell.json(&["session", "create", "zoe"]);
    let token = opened["access_token"].as_str().unwrap();

    assert_eq!(gateway.send(Call::get("/").bearer(token)).await.status, 200);
    shell.done(&["session", "kick", "--token", token]);
    assert_eq!(gateway.send(Call::get("/").bearer(token)).await.status, 401);
    live(&shell);
}

#[tokio::test]
async fn through_the_admin_api_where_a_gateway_has_the_file() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let here = Shell::at(gateway.config());

    here.fails(
        &["session", "list", "alice"],
        3,
        "in use by another process",
    );
    here.fails(
        &["session", "list", "alice"],
        3,
        "--admin http://127.0.0.1:",
    );
    here.fails(&["session", "list", "alice"], 3, "DRAWBRIDGE_ADMIN_KEY");

    live(&Shell::through(&gateway, "root"));
    let reader = Shell::through(&gateway, "reader");
    reader.fails(&["session", "kick", "alice", "--all"], 1, "may not do that");
    assert_eq!(
        reader.json(&["session", "list", "bob"]),
        json!({"sessions": []})
    );
    let mut nobody = Shell::through(&gateway, "root");
    nobody.admin.as_mut().unwrap().1 = "dba_wrong".to_owned();
    nobody.fails(&["role", "list"], 1, "There is no such admin key.");
    let file = gateway.config().with_file_name("key");
    std::fs::write(&file, format!("{}\n", key("root"))).unwrap();
    nobody.done(&["role", "list", "--admin-key-file", file.to_str().unwrap()]);
    let line = gateway.audit().pop().unwrap();
    assert_eq!((&line["who"], &line["by"]), (&json!("-"), &json!("-")));
}

#[tokio::test]
async fn over_tls_with_a_client_certificate() {
    let upstream = upstream();
    let setup = gateway();
    let (own, ops) = (
        setup.authority().sign(&["127.0.0.1"]),
        setup.authority().sign(&["ops.test"]),
    );
    let ca = setup.authority().file();
    let gateway = setup
        .admin_with(&format!(
            "{}\nclients = [{{ name = \"ops\", certificate = \"dns:ops.test\", scopes = [\"sessions:read\"] }}]\n\
             tls = {{ certificates = [{{ cert = {:?}, key = {:?} }}], client_auth = \"required\", client_ca = {ca:?} }}",
            keys(),
            own.cert,
            own.key
        ))
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let url = format!("https://{}", gateway.admin());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, cert, cert_key) = (text(&ca), text(&ops.cert), text(&ops.key));
    let run = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        told(
            command
                .args(words)
                .args(["--admin", &url])
                .output()
                .unwrap(),
        )
    };

    let shown = [
        "role",
        "list",
        "--json",
        "--admin-ca",
        &ca,
        "--admin-cert",
        &cert,
        "--admin-cert-key",
        &cert_key,
    ];
    assert_eq!(
        run(&shown),
        (Some(0), "{\n  \"roles\": {}\n}\n".to_owned(), String::new())
    );
    let (code, _, failure) = run(&["role", "list", "--admin-ca", &ca]);
    assert_eq!(code, Some(3), "{failure}");
    let (code, _, failure) = run(&["role", "list"]);
    assert_eq!(
        code,
        Some(3),
        "a certificate of nobody known is trusted: {failure}"
    );
}

#[tokio::test]
async fn what_cannot_be_told_is_not_a_no() {
    let port = free_port();
    let (_folder, config) = configure(&format!("redis = \"redis://127.0.0.1:{port}\""));
    let away = Shell::at(&config);
    away.fails(&["session", "list", "alice"], 3, "does not answer");
    away.fails(&["user", "ban", "alice"], 3, "does not answer");

    let mut nobody = Shell::at(&config);
    nobody.admin = Some((format!("http://127.0.0.1:{port}"), key("root")));
    nobody.fails(&["session", "list", "alice"], 3, "no answer");
}

#[test]
fn what_is_asked_wrongly_is_told_and_nothing_is_done() {
    let (folder, config) = configure("embedded = \"sessions.redb\"");
    let shell = Shell::at(&config);
    for (words, telling) in [
        (&["session", "kick", "alice"][..], "required"),
        (
            &["session", "kick", "alice", "--all", "--sid", "x"],
            "cannot be used with",
        ),
        (
            &["session", "kick", "alice", "--everybody"],
            "cannot be used with",
        ),
        (&["session", "show", "alice"], "required"),
        (&["user", "risk", "alice", "101"], "101"),
        (&["user", "ban", "alice", "--for", "7"], "unit"),
        (&["user", "ban", "alice", "--until", "tomorrow"], "tomorrow"),
        (&["user", "grant", "alice"], "required"),
        (&["role", "list", "--admin", "ftp://x"], "http://host:port"),
    ] {
        shell.fails(words, 2, telling);
    }
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("[sessions]\n", "");
    std::fs::write(&config, text).unwrap();
    shell.fails(&["role", "list"], 2, "there is no [sessions]");
    std::fs::write(&config, "what").unwrap();
    shell.fails(&["role", "list"], 2, "gateway.toml");
    assert!(
        !folder.path().join("audit.jsonl").exists()
            || std::fs::read_to_string(folder.path().join("audit.jsonl"))
                .unwrap()
                .lines()
                .count()
                <= 1
    );
}

#[tokio::test]
async fn a_minted_key_opens_and_its_line_is_what_the_configuration_wants() {
    let minted = || {
        let output = Command::new(PROGRAM)
            .args(["admin-key", "ci \"x\"", "-s", "sessions:read"])
            .output()
            .unwrap();
        let (code, printed, _) = told(output);
        assert_eq!(code, Some(0));
        let mut lines = printed
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        (
            lines.next().unwrap().to_owned(),
            lines.next().unwrap().to_owned(),
        )
    };
    let ((minted_key, line), (other, _)) = (minted(), minted());
    assert!(minted_key.starts_with("dba_") && minted_key.len() == 47 && minted_key != other);
    assert!(!line.contains(&minted_key));
    let upstream = upstream();
    let gateway = gateway()
        .admin_with(&format!("keys = [{line}]"))
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;

    let roles = |key: &str| gateway.administer_as_is(Call::get("/v1/roles").bearer(key));
    assert_eq!(roles(&minted_key).await.status, 200);
    roles(&other).await.refused(401, "key_invalid");

    let wrong = Command::new(PROGRAM)
        .args(["admin-key", "ci", "-s", "everything"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn why_the_store_cannot_be_asked_is_told() {
    let redis = Settings::default().password("right").start().await;
    let url = format!("redis://127.0.0.1:{}", redis.port());
    for (store, why) in [
        (
            format!("redis = \"{url}\""),
            "it wants a password, and none is set",
        ),
        (
            format!("redis = \"{url}\"\npassword = \"hunter2\""),
            "the user or the password is wrong",
        ),
        (
            format!("redis = \"redis://127.0.0.1:{}\"", free_port()),
            "reason=Connection refused",
        ),
        (
            format!("redis = \"rediss://127.0.0.1:{}\"", redis.port()),
            "does only one side speak TLS?",
        ),
        (
            format!(
                "redis = \"redis-sentinel://127.0.0.1:{}?sentinelServiceName=main\"\npassword = \"right\"",
                redis.port()
            ),
            "is it a sentinel or a cluster, as the URL says?",
        ),
    ] {
        let (_folder, config) = configure(&store);
        let shell = Shell::at(&config);

        let (code, _, told) = shell.run(&["session", "list", "alice"]);

        assert_eq!(code, Some(3), "{store}: {told}");
        assert!(
            told.contains("Redis is out of reach") && told.contains(why),
            "{store}: {told}"
        );
        assert!(
            !told.contains("hunter2") && !told.contains("right\""),
            "{told}"
        );
    }
    let (_folder, config) = configure(&format!("redis = \"{url}\""));
    let question = ["explain", "GET", "http://a.test/", "--token", "some-token"];
    let (code, explained, told) = Shell::at(&config).run(&question);
    assert_eq!(code, Some(1), "{explained}{told}");
    assert!(
        explained.contains("503") && told.contains("NOAUTH"),
        "{explained}{told}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure_to_tell_about() {
    let (_folder, config) = configure("embedded = \"s.redb\"");
    let config = config.display();
    for line in [
        "schema",
        "schema --markdown",
        &format!("check --config {config}"),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(PROGRAM);
        command.args(line.split(' ')).stdout(writer);

        let (code, _, told) = told(command.output().unwrap());

        assert_eq!((code, told.as_str()), (Some(141), ""), "{line}");
    }
}

/// Standard output and standard error are the same terminal here.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colors_unless_somebody_would_rather_not() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("gateway.toml");
    std::fs::write(&bad, "[store]\nembeded = \"s.redb\"\n").unwrap();
    for (no_color, colorful) in [("", true), ("1", false)] {
        let output = Command::new("script")
            .args([
                "-qec",
                &format!("{PROGRAM} check --config {}", bad.display()),
                "/dev/null",
            ])
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (_, printed, _) = told(output);

        assert!(printed.contains("unknown key"), "{printed}");
        assert_eq!(printed.contains("\u{1b}["), colorful, "{printed:?}");
    }
}
