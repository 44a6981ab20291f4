//! gRPC from a real client through the gateway to a real server, both of grpcio, which `tests/run.sh` installs.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Gateway, Program, Setup, gateway, installed, user};

/// Pinned in `tests/run.sh`, too.
const VENV: &str = "grpcio-1.85.3";

fn python() -> PathBuf {
    installed(&format!("{VENV}/bin/python"))
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_echo.py")
}

fn server() -> Program {
    Program::start(Command::new(python()).arg(script()).arg("serve"))
}

async fn before(server: &Program) -> Gateway {
    setup(server, "").start().await
}

/// A gateway before this server, with more lines of the route to it.
fn setup(server: &Program, more: &str) -> Setup {
    gateway()
        .session("alices-token", user("alice", &["echo"]))
        .tls(&["a.test"])
        .plain()
        .toml(&format!(
            "[upstreams.app]\nprotocol = \"h2\"\nendpoints = [\"http://127.0.0.1:{}\"]\n\
             [upstreams.down]\nprotocol = \"h2\"\nendpoints = [\"http://127.0.0.1:1\"]",
            server.port()
        ))
        .route(&format!(
            "prefix = \"/test.Echo\"\nrequire = {{ all = [\"echo\"] }}\nupstream = \"app\"\n{more}"
        ))
        .route("prefix = \"/test.Admin\"\nrequire = { all = [\"admin\"] }\nupstream = \"app\"")
        .route("prefix = \"/test.Down\"\nupstream = \"down\"")
}

async fn call(gateway: &Gateway, name: &'static str, token: Option<&'static str>) -> Value {
    let (address, authority) = (gateway.secure().to_string(), gateway.authority().file());
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python())
            .arg(script())
            .args(["call", &address])
            .arg(authority)
            .arg(name)
            .args(token)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const TOKEN: Option<&str> = Some("alices-token");

#[tokio::test]
#[ignore = "needs grpcio: tests/run.sh"]
async fn calls_of_every_kind_pass_with_their_messages_and_trailers() {
    let server = server();
    let gateway = before(&server).await;

    let unary = call(&gateway, "unary", TOKEN).await;
    let unary = &unary["result"];
    assert_eq!(unary["answer"]["length"], 3_000_000, "{unary}");
    assert_eq!(unary["answer"]["metadata"]["x-user-id"], "alice");
    assert!(unary["answer"]["metadata"]["authorization"].is_null());
    assert_eq!(unary["trailing"]["x-trailer"], "behind");

    let numbers: Vec<u32> = (0..1000).collect();
    assert_eq!(
        call(&gateway, "count", TOKEN).await,
        json!({"result": numbers})
    );
    assert_eq!(
        call(&gateway, "total", TOKEN).await,
        json!({"result": 499_500})
    );
    let answers: Vec<_> = (0..20).map(|number| format!("re: {number}")).collect();
    assert_eq!(
        call(&gateway, "chat", TOKEN).await,
        json!({"result": answers})
    );
}

#[tokio::test]
#[ignore = "needs grpcio: tests/run.sh"]
async fn a_status_in_trailers_arrives_and_a_call_that_is_given_up_is_reset() {
    let server = server();
    let gateway = before(&server).await;

    let failed = call(&gateway, "fail", TOKEN).await;
    assert_eq!(
        failed,
        json!({"code": "NOT_FOUND", "details": "no such thing: ä"})
    );
    let late = call(&gateway, "fail-late", TOKEN).await;
    let expected = json!({"answers": ["one"], "code": "DATA_LOSS", "details": "the rest is lost"});
    assert_eq!(late["result"], expected);

    let given_up = call(&gateway, "give-up", TOKEN).await;
    assert_eq!(
        given_up["result"],
        json!({"code": "DEADLINE_EXCEEDED", "given_up": "yes"})
    );
}

#[tokio::test]
#[ignore = "needs grpcio: tests/run.sh"]
async fn refusals_are_statuses_that_a_client_of_grpc_knows() {
    let server = server();
    let gateway = before(&server).await;

    for (name, token, code, reason) in [
        ("unary", None, "UNAUTHENTICATED", "token_missing: "),
        (
            "unary",
            Some("unknown-token"),
            "UNAUTHENTICATED",
            "token_invalid: ",
        ),
        (
            "forbidden",
            TOKEN,
            "PERMISSION_DENIED",
            "permission_denied: ",
        ),
        ("down", TOKEN, "UNAVAILABLE", "upstream_unreachable: "),
        ("unrouted", TOKEN, "UNIMPLEMENTED", "route_not_found: "),
    ] {
        let refused = call(&gateway, name, token).await;
        assert_eq!(refused["code"], code, "{name}: {refused}");
        let details = refused["details"].as_str().unwrap();
        assert!(details.starts_with(reason), "{name}: {details}");
    }
}

#[tokio::test]
#[ignore = "needs grpcio: tests/run.sh"]
async fn a_client_may_be_silent_while_it_listens_but_not_both_sides_for_long() {
    let server = server();
    let gateway = setup(&server, "timeouts = { idle = \"1s\" }")
        .toml("[limits]\nmin_body_grace = \"100ms\"")
        .start()
        .await;

    let heard: Vec<u32> = (0..25).collect();
    assert_eq!(
        call(&gateway, "listen", TOKEN).await,
        json!({"result": heard})
    );

    let cut = call(&gateway, "silence", TOKEN).await;
    assert!(cut["code"].is_string(), "{cut}");
    assert_ne!(cut["code"], "DEADLINE_EXCEEDED", "{cut}");
}
