//! The audit log: two lines for a change, one for a refusal, no secret in any; to a file or to a stream.

use serde_json::{Value, json};

use crate::support::admin::{form, json as call, key, keys};
use crate::support::redis::{Cluster, Settings, eventually};
use crate::support::{Call, Gateway, PATIENCE, gateway, upstream};

const ROUTE: &str = "prefix = \"/\"\nupstream = \"app\"";

/// Makes a change of every kind; gives every secret that came up.
async fn make_changes(gateway: &Gateway) -> Vec<String> {
    let ask = async |method: &str, path: &str, body: Value| {
        let request = match body {
            Value::Null => Call::new(method, path),
            body => call(method, path, &body),
        };
        let reply = gateway.administer("root", request).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.status);
        match reply.body.is_empty() {
            true => Value::Null,
            false => reply.json(),
        }
    };
    let mut secrets = vec![key("root"), key("reader")];
    let mut learn = |answer: &Value| {
        for name in ["access_token", "refresh_token", "token"] {
            secrets.extend(answer[name].as_str().map(str::to_owned));
        }
    };
    let login = json!({"user_id": "alice", "refresh": true, "permissions": ["a:b"], "device": {"id": "d1"}});
    let session = ask("POST", "/v1/sessions", login.clone()).await;
    learn(&session);
    let sid = session["session"]["sid"].as_str().unwrap();
    let of = |what: &str| format!("/v1/users/alice/sessions/{sid}{what}");
    ask("POST", &of("/step-up"), json!({"lifetime": 60})).await;
    ask("PUT", &of("/risk"), json!({"level": 3})).await;
    ask("PUT", "/v1/users/alice/risk", json!({"level": 4})).await;
    ask(
        "PATCH",
        "/v1/users/alice/rights",
        json!({"grant": ["c:d"], "add_roles": ["clerk"]}),
    )
    .await;
    ask("PUT", "/v1/roles/clerk", json!({"permissions": ["e:f"]})).await;
    ask("DELETE", "/v1/roles/clerk", Value::Null).await;
    let act = json!({"actor_token": session["access_token"], "subject": "bob", "lifetime": 60});
    learn(&ask("POST", "/v1/act-as", act).await);
    ask(
        "PUT",
        "/v1/users/alice/bans/billing",
        json!({"reason": "unpaid", "keep_sessions": true}),
    )
    .await;
    ask("DELETE", "/v1/users/alice/bans/billing", Value::Null).await;
    let once = json!({"purpose": "reset", "audience": "shop", "payload": "payload-is-secret", "lifetime": 60});
    let once = ask("POST", "/v1/once", once).await;
    learn(&once);
    let redeem = json!({"token": once["token"], "purpose": "reset", "audience": "shop"});
    ask("POST", "/v1/once/redeem", redeem).await;
    ask("DELETE", &of(""), Value::Null).await;
    ask(
        "POST",
        "/v1/users/alice/kick",
        json!({"which": {"device_type": "phone"}}),
    )
    .await;
    let session = ask("POST", "/v1/sessions", login).await;
    learn(&session);
    let token = session["access_token"].as_str().unwrap();
    let revoke = form("/revoke", &format!("token={token}"));
    assert_eq!(gateway.administer("root", revoke).await.status, 200);
    ask("POST", "/v1/realm/kick", json!({"everybody": true})).await;
    secrets.push("payload-is-secret".to_owned());
    secrets
}

/// The actions that [`make_changes`] makes, in its order.
const ACTIONS: [&str; 17] = [
    "session.create",
    "session.step_up",
    "session.risk",
    "user.risk",
    "user.rights",
    "role.set",
    "role.delete",
    "session.act_as",
    "user.ban",
    "user.unban",
    "once.issue",
    "once.redeem",
    "session.end",
    "session.kick",
    "session.create",
    "token.revoke",
    "realm.kick",
];

#[tokio::test]
async fn a_change_has_a_line_before_and_a_line_after_and_no_line_has_a_secret() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;

    let secrets = make_changes(&gateway).await;

    let lines = gateway.audit();
    assert_eq!(lines.len(), 2 * ACTIONS.len());
    for (pair, action) in lines.chunks(2).zip(ACTIONS) {
        let (intent, outcome) = (&pair[0], &pair[1]);
        assert_eq!(
            (&intent["result"], &outcome["result"]),
            (&json!("intent"), &json!("done")),
            "{action}"
        );
        assert_eq!(intent["id"], outcome["id"]);
        for line in pair {
            assert_eq!(line["what"], action);
            assert_eq!((&line["who"], &line["by"]), (&json!("root"), &json!("key")));
            assert_eq!(line["from"], "127.0.0.1");
            let whom = match action {
                "role.set" | "role.delete" => json!("clerk"),
                "session.act_as" => json!("bob"),
                "once.issue" | "once.redeem" | "token.revoke" | "realm.kick" => Value::Null,
                _ => json!("alice"),
            };
            assert_eq!(line["whom"], whom, "{action}");
            let time = line["time"].as_str().unwrap();
            assert!(time.ends_with('Z') && time.len() == 24, "{time}");
        }
    }
    let rights = &lines[8];
    assert_eq!(
        rights["detail"],
        json!({"grant": ["c:d"], "add_roles": ["clerk"]})
    );
    assert_eq!(lines[9]["detail"]["permissions"], json!(["c:d"]));
    let (text, log) = (
        std::fs::read_to_string(gateway.audit_file()).unwrap(),
        gateway.logs(),
    );
    for secret in secrets {
        assert!(!text.contains(&secret), "the audit log holds {secret}");
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
}

/// What one entry of the stream holds, oldest first.
fn entries(printed: &str) -> Vec<Value> {
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_in_redis_takes_the_lines_and_keeps_about_as_many_as_it_may() {
    let upstream = upstream();
    // Small nodes, because a stream is trimmed by whole nodes.
    let redis = Settings::default()
        .with("stream-node-max-entries", "4")
        .start()
        .await;
    let gateway = gateway()
        .redis(&redis)
        .admin_with(&keys())
        .toml("[audit]\nstream = \"login:audit\"\nmax_entries = 10")
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let refused = Call::get("/v1/roles").bearer("dba_wrong");
    gateway
        .administer_as_is(refused)
        .await
        .refused(401, "key_invalid");
    let set = call("PUT", "/v1/roles/a", &json!({"permissions": ["x:y"]}));
    assert_eq!(gateway.administer("root", set).await.status, 204);

    let lines = entries(&redis.cli(&["XRANGE", "login:audit", "-", "+"]));
    let told: Vec<_> = lines
        .iter()
        .map(|line| line["result"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["key_invalid", "intent", "done"]);

    let secrets = make_changes(&gateway).await;
    let text = redis.cli(&["XRANGE", "login:audit", "-", "+"]);
    let kept = entries(&text);
    assert!((10..18).contains(&kept.len()), "{} entries", kept.len());
    assert_eq!(kept.last().unwrap()["what"], "realm.kick");
    for secret in secrets {
        assert!(!text.contains(&secret), "the audit log holds {secret}");
    }
}

#[tokio::test]
async fn a_stream_in_a_cluster_lies_where_its_key_belongs() {
    let (cluster, upstream) = (Cluster::start(0).await, upstream());
    let url = cluster.url();
    let gateway = gateway()
        .store(&format!("redis = \"{url}\""))
        .admin_with(&keys())
        .toml("[audit]\nstream = \"login:audit\"")
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;

    make_changes(&gateway).await;

    let lengths = cluster.nodes.iter().filter_map(|node| {
        let printed = node.cli(&["XLEN", "login:audit"]);
        printed.parse::<usize>().ok()
    });
    assert_eq!(lengths.sum::<usize>(), 2 * ACTIONS.len());
}

#[tokio::test]
async fn who_is_not_known_cannot_fill_the_audit_log() {
    let upstream = upstream();
    let keys = keys();
    let gateway = gateway()
        .toml(&format!(
            "[sessions]\n[admin]\nlisten = \"127.0.0.1:0\"\n{keys}\n[audit]\nfile = \"audit.jsonl\"\nstrangers = \"3/s\""
        ))
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let wrong = || Call::get("/v1/roles").bearer("dba_wrong");
    let (mut refused, left_out) = (0, || -> u64 {
        let lines = gateway.audit();
        let told = lines.iter().filter(|line| line["result"] == "left_out");
        told.map(|line| line["detail"]["count"].as_u64().unwrap())
            .sum()
    });
    let noted = || {
        gateway
            .audit()
            .iter()
            .filter(|line| line["result"] == "key_invalid")
            .count()
    };

    let start = std::time::Instant::now();
    while left_out() == 0 {
        let reply = gateway.administer_as_is(wrong()).await;
        reply.refused(401, "key_invalid");
        refused += 1;
        assert!(start.elapsed() < PATIENCE, "all of them are noted");
        // Whoever is known is noted each time.
        if refused % 10 == 0 {
            let reply = gateway
                .administer(
                    "reader",
                    call("PUT", "/v1/roles/a", &json!({"permissions": []})),
                )
                .await;
            reply.refused(403, "scope_missing");
        }
    }

    // Of the last ones the count may still be to come.
    let all = || u64::try_from(noted()).unwrap() + left_out() == refused;
    eventually("every refusal is told of", PATIENCE, all).await;
    assert!(left_out() > 0);
    let lines = gateway.audit();
    let told = lines
        .iter()
        .find(|line| line["result"] == "left_out")
        .unwrap();
    assert_eq!(
        (&told["from"], &told["who"]),
        (&json!("127.0.0.1"), &json!("-"))
    );
    let known = lines
        .iter()
        .filter(|line| line["result"] == "scope_missing");
    assert_eq!(u64::try_from(known.count()).unwrap(), refused / 10);
}
