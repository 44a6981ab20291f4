//! `drawbridge check --token`: how a framework's session is understood.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::reading;
use crate::support::gateway::{PROGRAM, now};
use crate::support::redis::Redis;
use crate::support::{Gateway, upstream};

/// The exit code, and what is printed.
async fn check(gateway: &Gateway, token: &str) -> (Option<i32>, String) {
    let (config, token) = (gateway.config().to_owned(), token.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let mut process = Command::new(PROGRAM)
            .args(["check", "--token", "-", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(token.as_bytes()).unwrap();
        drop(input);
        let output = process.wait_with_output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(all).unwrap();
        assert!(!text.contains(&token), "{text}");
        (output.status.code(), text)
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn token_of_a_framework_is_told_with_whose_it_is_or_why_it_is_nobodys() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = reading(&redis, "sa-token", "\"header:satoken\"", &upstream)
        .start()
        .await;
    let put = |key: &str, value: &str| redis.cli(&["SET", &format!("satoken:login:{key}"), value]);
    put("token:tok-good", "10001");
    put(
        "session:10001",
        r#"{"dataMap":{"PERMISSION_LIST":["a","b"],"ROLE_LIST":["clerk"]},"terminalList":[{"tokenValue":"tok-good","deviceType":"APP\u001b[2J","deviceId":"d-1"}]}"#,
    );
    put("token:tok-kicked", "-5");
    put("token:tok-torn", "10002");
    put("session:10002", "{");
    redis.cli(&[
        "PEXPIREAT",
        "satoken:login:token:tok-good",
        &(now() + 60_000).to_string(),
    ]);

    let (code, told) = check(&gateway, "tok-good").await;
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "layout     sa-token",
        "user       10001",
        "may        a, b",
        "roles      clerk",
        "device     d-1",
        "type       APP\\u{1b}[2J",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(told.contains("\nuntil      20"), "{told}");
    for (token, code, why) in [
        ("tok-kicked", 1, "none: it is marked -5: kicked out"),
        ("tok-absent", 1, "none: there is no such token"),
        ("tok absent", 1, "none: the token has a character outside"),
        (
            "tok-torn",
            3,
            "nobody can tell: the session record is not a JSON object",
        ),
    ] {
        let (exit, told) = check(&gateway, token).await;
        assert_eq!(exit, Some(code), "{told}");
        assert!(told.contains(why), "{told}");
    }
}
