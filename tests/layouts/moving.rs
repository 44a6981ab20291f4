//! From sessions of express to ours, without a login.

use std::process::Command;

use futures_util::future::join_all;
use serde_json::json;

use crate::application::Application;
use crate::reading;
use crate::support::gateway::PROGRAM;
use crate::support::redis::Redis;
use crate::support::{Call, Gateway, PATIENCE, Reply, Upstream, soon, upstream};

const OURS: &str = "__Host-session";

/// A gateway that moves sessions of `Application::express` with the secret `s`.
async fn moving(
    redis: &Redis,
    app: &Application,
    upstream: &Upstream,
    (sessions, bound): (&str, &str),
) -> Gateway {
    let store = format!(
        "redis = \"{}\"\nlayout = \"connect-redis\"\nmigrate = true",
        redis.url()
    );
    reading(
        redis,
        "connect-redis",
        &format!("\"cookie:{OURS}\", \"cookie:connect.sid\""),
        upstream,
    )
    .store(&store)
    .toml("[store.foreign]\nsecrets = [\"s\"]")
    .toml(&format!(
        "[sessions]\nforeign_without_iat = \"refuse\"\n{sessions}"
    ))
    .toml("[self_service]\nprefix = \"/.own\"")
    .toml("[csrf]\nenabled = false")
    .toml(&format!("[cache]\nmax_staleness = \"{bound}\""))
    .toml(&format!(
        "[upstreams.express]\nendpoints = [\"http://127.0.0.1:{}\"]",
        app.port()
    ))
    .route("prefix = \"/visit\"\nupstream = \"express\"\nforward_token = true")
    .route("exact = \"/logout\"\nupstream = \"express\"\nforward_token = true\nlogout = true")
    .start()
    .await
}

fn ours(reply: &Reply) -> Option<String> {
    let lines = reply.headers.get_all("set-cookie").iter();
    let mut lines = lines.map(|line| line.to_str().unwrap());
    let line = lines.find(|line| line.starts_with(OURS))?;
    Some(line.split(';').next().unwrap().to_owned())
}

/// What `drawbridge explain` says of a GET with this cookie.
async fn explained(gateway: &Gateway, target: &str, cookie: &str) -> (Option<i32>, String) {
    let (config, url) = (
        gateway.config().to_owned(),
        format!("http://a.test{target}"),
    );
    let header = format!("cookie: {cookie}");
    let asked = tokio::task::spawn_blocking(move || {
        let words = ["explain", "GET", &url, "-H", &header, "--config"];
        let output = Command::new(PROGRAM).args(words).arg(config).output();
        let output = output.unwrap();
        let all = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(all).unwrap())
    });
    asked.await.unwrap()
}

/// Takes everything of ours away, and leaves what express has written.
fn forget(redis: &Redis) {
    for key in redis
        .cli(&["--scan"])
        .lines()
        .filter(|key| !key.starts_with("sess:"))
    {
        redis.cli(&["DEL", key]);
    }
}

async fn with(gateway: &Gateway, target: &str, cookie: &str) -> Reply {
    gateway
        .send(Call::get(target).header("cookie", cookie))
        .await
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn whoever_comes_with_a_session_of_express_gets_one_of_ours_beside_it() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let gateway = moving(&redis, &app, &upstream, ("", "0s")).await;
    let (old, id) = app.log_in("user=alice&permissions=orders:write").await;

    let reply = with(&gateway, "/admin", &old).await;
    assert_eq!(reply.status, 200);
    let new = ours(&reply).expect("our cookie");

    for cookie in [
        &new,
        &format!("{old}; {new}"),
        &format!("{new}; {old}"),
        &old,
    ] {
        let reply = with(&gateway, "/admin", cookie).await;
        assert_eq!(reply.status, 200, "{cookie}");
        assert_eq!(ours(&reply), None, "one session is enough");
        assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
        assert_eq!(upstream.last().header("cookie"), None);
    }
    assert_eq!(redis.cli(&["EXISTS", &format!("sess:{id}")]), "1");
    // The old one ends by itself, and ours goes on.
    app.log_out(&old).await;
    assert_eq!(with(&gateway, "/admin", &old).await.status, 401);
    let both = format!("{old}; {new}");
    assert_eq!(with(&gateway, "/admin", &both).await.status, 200);
    let other = app.log_in("user=bob").await.0;
    let reply = with(&gateway, "/", &format!("{other}; {new}")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
    let forged = with(&gateway, "/", &format!("{old}; {other}; {new}")).await;
    forged.refused(401, "token_malformed");
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn explain_goes_by_the_session_that_counts() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let gateway = moving(&redis, &app, &upstream, ("", "0s")).await;
    let (old, _) = app.log_in("user=alice&permissions=orders:write").await;
    let moves = "moves     the answer sets our cookie";

    // Nothing of ours yet: the first answer will have it, and to be told so opens nothing.
    for _ in 0..2 {
        let (code, told) = explained(&gateway, "/admin", &old).await;
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("session   user alice"), "{told}");
        assert!(told.contains(moves), "{told}");
    }
    let new = ours(&with(&gateway, "/", &old).await).unwrap();
    let both = format!("{old}; {new}");

    let (code, told) = explained(&gateway, "/admin", &old).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains(moves), "it has one already: {told}");
    let (code, told) = explained(&gateway, "/admin", &both).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("it counts before the framework's in cookie connect.sid"),
        "{told}"
    );
    assert!(!told.contains(moves), "{told}");
    for of_both in [&old, &new] {
        let value = of_both.split_once('=').unwrap().1;
        assert!(!told.contains(value), "no token is told: {told}");
    }

    // Ours is forgotten, as when it runs out: the old one takes over, with requests and here.
    forget(&redis);
    let (code, told) = explained(&gateway, "/admin", &both).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("nobody knows it any more: the framework's in cookie connect.sid counts"),
        "{told}"
    );
    assert!(told.contains("session   user alice"), "{told}");
    let (code, told) = explained(&gateway, "/.own/sessions", &both).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("nobody knows it any more"), "{told}");
    assert_eq!(with(&gateway, "/admin", &both).await.status, 200);

    app.log_out(&old).await;
    let (code, told) = explained(&gateway, "/admin", &old).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("none: there is no such session"), "{told}");
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn fifty_requests_at_once_make_one_session() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let one = moving(&redis, &app, &upstream, ("", "0s")).await;
    let other = moving(&redis, &app, &upstream, ("", "0s")).await;
    let (old, _) = app.log_in("user=alice").await;

    let sent = (0..50).map(|number| {
        let gateway = if number % 2 == 0 { &one } else { &other };
        with(gateway, "/", &old)
    });
    let replies = join_all(sent).await;

    assert!(replies.iter().all(|reply| reply.status == 200));
    let cookies: Vec<String> = replies.iter().filter_map(ours).collect();
    assert_eq!(cookies.len(), 1);
    let listed = with(&one, "/.own/sessions", &cookies[0]).await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn end_of_the_one_is_the_end_of_the_other() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let gateway = moving(&redis, &app, &upstream, ("", "1h")).await;
    let own_logout = ("POST", "/.own/logout");
    let kick = ("DELETE", "/.own/sessions");
    let apps_logout = ("POST", "/logout");
    // With which cookies what ends it: ours, the old one, both.
    for (case, call, old_too, new_too) in [
        ("ours alone", own_logout, false, true),
        ("the old one alone", own_logout, true, false),
        ("both", own_logout, true, true),
        ("the application's logout", apps_logout, true, true),
        ("a kick of the others", kick, false, false),
    ] {
        let (old, id) = app.log_in("user=alice").await;
        let new = ours(&with(&gateway, "/", &old).await).expect(case);
        let mut cookies: Vec<&str> = Vec::new();
        cookies.extend(old_too.then_some(old.as_str()));
        cookies.extend(new_too.then_some(new.as_str()));
        let third = app.log_in("user=alice&device=d-3").await.0;
        let third = ours(&with(&gateway, "/", &third).await).expect(case);
        if cookies.is_empty() {
            cookies.push(&third);
        }

        let call = Call::new(call.0, call.1).header("cookie", &cookies.join("; "));
        let reply = gateway.send(call).await;
        assert!(reply.status < 300, "{case}: {}", reply.status);

        for cookie in [&old, &new, &format!("{old}; {new}")] {
            assert_eq!(
                with(&gateway, "/", cookie).await.status,
                401,
                "{case}: {cookie}"
            );
        }
        let key = format!("sess:{id}");
        assert_eq!(redis.cli(&["EXISTS", &key]), "0", "{case}");
        assert_eq!(with(&gateway, "/", &third).await.status, 200, "{case}");
    }
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn old_session_that_the_end_of_ours_did_not_reach_is_refused_all_the_same() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    for bound in ["0s", "1h"] {
        let gateway = moving(&redis, &app, &upstream, ("", bound)).await;
        let (old, id) = app.log_in("user=alice").await;
        let new = ours(&with(&gateway, "/", &old).await).unwrap();
        assert_eq!(with(&gateway, "/", &old).await.status, 200);
        // Where it came from is forgotten, so that the logout cannot take express's key away.
        for key in redis
            .cli(&["--scan", "--pattern", "login:origin:*"])
            .lines()
        {
            redis.cli(&["DEL", key]);
        }

        let call = Call::new("POST", "/.own/logout").header("cookie", &new);
        assert!(gateway.send(call).await.status < 300);

        assert_eq!(redis.cli(&["EXISTS", &format!("sess:{id}")]), "1");
        let refused = async {
            while with(&gateway, "/", &old).await.status != 401 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        soon("the old one is refused", refused).await;
        let reply = with(&gateway, "/", &format!("{old}; {new}")).await;
        assert_eq!(reply.status, 401);
        assert_eq!(ours(&reply), None, "nobody comes back in by it");
    }
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn old_session_takes_over_again_from_one_of_ours_that_has_run_out() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let gateway = moving(&redis, &app, &upstream, ("lifetime = \"1s\"", "0s")).await;
    let (old, _) = app.log_in("user=alice").await;
    let new = ours(&with(&gateway, "/", &old).await).unwrap();

    let replaced = async {
        loop {
            let reply = with(&gateway, "/", &format!("{old}; {new}")).await;
            assert_eq!(reply.status, 200);
            if let Some(newer) = ours(&reply) {
                return newer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let newer = soon("another session", replaced).await;
    assert_ne!(newer, new);
    assert!(PATIENCE.as_secs() > 1);
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn whoever_may_not_have_a_session_of_ours_keeps_the_old_one() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let limits = "max_per_user = 1\non_limit = \"refuse\"";
    let gateway = moving(&redis, &app, &upstream, (limits, "0s")).await;
    let (first, _) = app.log_in("user=alice").await;
    let (second, _) = app.log_in("user=alice&device=d-2").await;

    assert!(ours(&with(&gateway, "/", &first).await).is_some());
    for _ in 0..2 {
        let reply = with(&gateway, "/", &second).await;
        assert_eq!((reply.status, ours(&reply)), (200, None));
    }
}
