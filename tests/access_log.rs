//! The access log: what a line says, where it goes, and that it never tells a secret.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use support::admin::json;
use support::{
    Answer, Call, Connection, Gateway, Raw, Redis, Setup, gateway, upstream, upstream_that, user,
};

const TOKEN: &str = "an-ordinary-token-of-alice-0123456789";

fn setup(upstream: &support::Upstream) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .session(TOKEN, user("alice", &["orders:read"]))
        .upstream("app", upstream)
        .toml("[tokens]\nsources = [\"bearer\", \"cookie:session\"]")
        .route("name = \"orders\"\nprefix = \"/orders\"\nupstream = \"app\"\n[routes.require]\nall = [\"orders:read\"]")
        .route("name = \"users\"\nprefix = \"/users\"\nupstream = \"app\"\n[routes.require]\nall = [\"users:read\"]")
        .route("name = \"open\"\nprefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

/// The line of the request with this path, once it is there.
async fn line(gateway: &Gateway, path: &str) -> Value {
    let with = |line: &&str| {
        line.starts_with("{\"time\"") && line.contains(&format!("\"path\":\"{path}\""))
    };
    gateway.tells(&format!("\"path\":\"{path}\""), 1).await;
    let logs = gateway.logs();
    serde_json::from_str(logs.lines().find(with).unwrap()).unwrap()
}

#[tokio::test]
async fn a_line_says_who_asked_for_what_what_was_said_and_where_the_time_went() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let call = Call::new("POST", "/orders/1?secret=query-of-alice")
        .bearer(TOKEN)
        .body("twelve bytes");
    let reply = gateway.send_h2(call).await;
    let passed = line(&gateway, "/orders/1").await;

    for (name, expected) in [
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("protocol", "HTTP/2"),
        ("host", "a.test"),
        ("route", "orders"),
        ("user", "alice"),
        ("device", "alice-device"),
        ("upstream", "app"),
    ] {
        assert_eq!(passed[name], expected, "{name}");
    }
    assert_eq!(
        passed["id"],
        upstream.last().header("x-request-id").unwrap()
    );
    assert_eq!(passed["status"], 200);
    assert_eq!(passed["received"], 12);
    assert_eq!(passed["sent"], reply.body.len());
    assert!(passed.get("cut").is_none() && passed.get("refusal").is_none());
    let millis = |line: &Value, name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}"));
    let (total, head) = (millis(&passed, "millis"), millis(&passed, "head_millis"));
    assert!(total >= head);
    assert!(head >= millis(&passed, "store_millis") + millis(&passed, "upstream_millis"));
    assert!(!gateway.logs().contains("query-of-alice"));
    assert!(passed.get("limits_millis").is_none());

    gateway
        .send(Call::get("/users/1").header("cookie", &format!("session={TOKEN}")))
        .await
        .refused(403, "permission_denied");
    let denied = line(&gateway, "/users/1").await;
    assert_eq!(
        (&denied["user"], &denied["refusal"]),
        (&"alice".into(), &"permission_denied".into())
    );
    assert!(denied.get("upstream").is_none() && denied.get("upstream_millis").is_none());
    gateway
        .send(Call::get("/orders/2"))
        .await
        .refused(401, "token_missing");
    let nobody = line(&gateway, "/orders/2").await;
    assert_eq!(
        (&nobody["status"], &nobody["protocol"]),
        (&401.into(), &"HTTP/1.1".into())
    );
    assert!(nobody.get("user").is_none() && nobody.get("store_millis").is_none());
    assert!(nobody["sent"].as_u64().unwrap() > 50);
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write("GET /unread HTTP/1.1\r\nhost: a.test\r\n x: y\r\n\r\n")
        .await;
    raw.replies_until_close().await;
    gateway.tells("\"refusal\":\"bad_request\"", 1).await;
}

#[tokio::test]
async fn a_line_names_our_session_as_the_admin_api_does_and_tells_what_shared_limits_took() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = setup(&upstream)
        .redis(&redis)
        .admin()
        .route("prefix = \"/rated\"\nupstream = \"app\"\nlimits = [{ by = \"user\", rate = \"1000/s\", scope = \"shared\", on_error = \"deny\" }]")
        .start()
        .await;
    let login = json(
        "POST",
        "/v1/sessions",
        &serde_json::json!({"user_id": "kim"}),
    );
    let granted = gateway.administer("root", login).await.json();
    let token = granted["access_token"].as_str().unwrap();

    let reply = gateway.send(Call::get("/rated/%70ath").bearer(token)).await;
    assert_eq!(reply.status, 200);

    // The path in the form that it was judged in.
    let rated = line(&gateway, "/rated/path").await;
    assert_eq!(rated["session"], granted["session"]["sid"]);
    assert_eq!(rated["user"], "kim");
    let millis = |name: &str| rated[name].as_f64().unwrap();
    assert!(millis("limits_millis") > 0.0 && millis("limits_millis") <= millis("head_millis"));
    assert!(!gateway.logs().contains(token));
}

#[tokio::test]
async fn a_line_is_written_at_the_end_of_the_answer_and_says_if_that_was_cut() {
    let upstream = upstream_that(|_| Answer::Hold);
    let gateway = setup(&upstream).start().await;
    let begin = async |path: &str, length: usize| {
        let mut connection = Connection::plain(&gateway).await;
        let call = Call::get(path);
        let asked = tokio::spawn(async move { (connection.begin(call).await, connection) });
        let mut held = upstream.held().await;
        let head =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        held.write(head + "12345").await;
        (asked.await.unwrap(), held)
    };
    let (client, mut held) = begin("/public/whole", 10).await;
    let (gone, mut left) = begin("/public/left", 100).await;
    let (broken, broke) = begin("/public/broken", 10).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(gateway.told("\"route\":\"open\""), 0);

    held.write("67890").await;
    support::Reply::read(client.0.unwrap()).await;
    drop(gone);
    // Only what is written shows that nobody is there any more.
    for _ in 0..2 {
        left.write("x").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(broke);

    let whole = line(&gateway, "/public/whole").await;
    assert_eq!((&whole["sent"], whole.get("cut")), (&10.into(), None));
    for path in ["/public/left", "/public/broken"] {
        let cut = line(&gateway, path).await;
        assert_eq!(cut["cut"], true, "{path}");
        assert!((5..=7).contains(&cut["sent"].as_u64().unwrap()), "{path}");
    }
    drop(broken);
}

fn in_file(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.config().with_file_name(name)
}

#[tokio::test]
async fn in_a_file_lines_survive_its_rotation_and_the_end() {
    let upstream = upstream();
    let mut gateway = setup(&upstream)
        .access_log("file = \"access.log\"\nformat = \"logfmt\"")
        .start()
        .await;
    let (path, old) = (
        in_file(&gateway, "access.log"),
        in_file(&gateway, "access.1"),
    );
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let has = async |path: &PathBuf, what: &str| {
        support::redis::eventually(what, support::PATIENCE, || text(path).contains(what)).await;
    };
    gateway.send(Call::get("/orders/1").bearer(TOKEN)).await;
    has(
        &path,
        " path=/orders/1 route=orders user=alice device=alice-device status=200 upstream=app ",
    )
    .await;
    std::fs::rename(&path, &old).unwrap();
    gateway.send(Call::get("/public/2")).await;
    has(&path, " path=/public/2 ").await;
    // A reload leaves the file where it is.
    gateway.signal("-HUP");
    gateway.tells("taken over", 1).await;
    gateway.send(Call::get("/public/3")).await;
    gateway.terminate();
    assert!(gateway.ended().await.success());

    assert_eq!(text(&old).lines().count(), 1);
    assert_eq!(text(&path).lines().count(), 2);
    assert!(text(&path).contains(" path=/public/3 "));
    assert!(!text(&old).contains(TOKEN) && !gateway.logs().contains("path=/"));
}
