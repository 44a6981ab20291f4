//! express-session and Flask-Session themselves: a login there is one here, and so is a logout.

use serde_json::{Value, json};

use crate::application::Application;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, Seen, Upstream, gateway, soon, upstream};
use crate::{Gateway, Setup, get, reading};

/// For so long a verdict may be kept: whatever is seen sooner was heard of.
const LONG: &str = "[cache]\nmax_staleness = \"1h\"";

/// Waits until this cookie gets this answer.
async fn becomes(gateway: &Gateway, cookie: &str, status: u16) {
    let answered = async {
        while get(gateway, "/", ("cookie", cookie)).await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("another answer", answered).await;
}

fn told(seen: &Seen) -> [Option<&str>; 5] {
    [
        "x-user-id",
        "x-user-permissions",
        "x-user-roles",
        "x-device-id",
        "x-device-type",
    ]
    .map(|name| seen.header(name))
}

const ALICE: [Option<&str>; 5] = [
    Some("alice"),
    Some("orders:read,orders:write"),
    Some("clerk"),
    Some("d-1"),
    Some("phone"),
];

/// A login of `alice` there gives what she may do here, until she logs out there.
async fn comes_and_goes(app: &Application, gateway: &Gateway, upstream: &Upstream) {
    let query = "user=alice&permissions=orders:read,orders:write&roles=clerk";
    let (cookie, id) = app.log_in(query).await;
    let (other, _) = app.log_in("user=bob").await;

    let reply = get(gateway, "/", ("cookie", &cookie)).await;
    assert_eq!(reply.status, 200);
    let seen = upstream.last();
    assert_eq!(told(&seen), ALICE);
    assert_eq!(
        seen.header("cookie"),
        None,
        "the token is not for upstreams"
    );
    let reply = get(gateway, "/admin", ("cookie", &cookie)).await;
    assert_eq!(reply.status, 200);
    let reply = get(gateway, "/admin", ("cookie", &other)).await;
    reply.refused(403, "permission_denied");

    app.visit(&cookie).await;
    becomes(gateway, &cookie, 200).await;
    app.log_out(&cookie).await;
    becomes(gateway, &cookie, 401).await;
    becomes(gateway, &other, 200).await;
    assert_eq!(gateway.told(&id), 0, "no id of a session is logged");
}

fn express(redis: &Redis, secrets: &str, upstream: &Upstream) -> Setup {
    reading(redis, "connect-redis", "\"cookie:connect.sid\"", upstream)
        .toml(&format!("[store.foreign]\nsecrets = [{secrets}]\n{LONG}"))
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn login_to_express_is_one_here_until_its_logout() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "keyboard cat"}));
    let gateway = express(&redis, "\"${EXPRESS}\"", &upstream)
        .env("EXPRESS", "keyboard cat")
        .start()
        .await;

    comes_and_goes(&app, &gateway, &upstream).await;
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn any_of_several_secrets_of_express_may_have_signed_and_no_other() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let before = Application::express(&redis, &json!({"secret": "old"}));
    let after = Application::express(&redis, &json!({"secret": ["new", "old"]}));
    let thief = Application::express(&redis, &json!({"secret": "guessed"}));
    let gateway = express(&redis, "\"new\", \"old\"", &upstream).start().await;

    for app in [&before, &after] {
        let (cookie, _) = app.log_in("user=alice").await;
        assert_eq!(get(&gateway, "/", ("cookie", &cookie)).await.status, 200);
    }
    let (cookie, id) = thief.log_in("user=alice").await;
    let reply = get(&gateway, "/", ("cookie", &cookie)).await;
    reply.refused(401, "token_malformed");
    for forged in [
        id.clone(),
        format!("s:{id}"),
        format!("s:{id}."),
        format!("s%3A{id}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ] {
        let cookie = format!("connect.sid={forged}");
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(401, "token_malformed");
    }
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn session_of_express_lasts_as_long_as_its_key_whatever_its_cookie_says() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(
        &redis,
        &json!({"secret": "s", "prefix": "shop:", "cookie": {"maxAge": 60_000}}),
    );
    let gateway = gateway()
        .store(&format!(
            "redis = \"{}\"\nlayout = \"connect-redis\"\nkey = \"shop:{{token}}\"",
            redis.url()
        ))
        .toml(&format!("[store.foreign]\nsecrets = [\"s\"]\n{LONG}"))
        .toml("[tokens]\nsources = [\"cookie:connect.sid\"]")
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let (cookie, id) = app.log_in("user=alice").await;
    let key = format!("shop:{id}");
    let mut stale: Value = serde_json::from_str(&redis.cli(&["GET", &key])).unwrap();
    assert!(stale["cookie"]["expires"].is_string(), "{stale}");
    stale["cookie"]["expires"] = "2020-01-01T00:00:00.000Z".into();

    // As it is after requests that only touched it.
    redis.cli(&["SET", &key, &stale.to_string(), "EX", "60"]);
    becomes(&gateway, &cookie, 200).await;
    redis.cli(&["PEXPIRE", &key, "300"]);

    becomes(&gateway, &cookie, 401).await;
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn visitor_of_express_who_has_not_logged_in_is_nobody() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::express(&redis, &json!({"secret": "s"}));
    let gateway = express(&redis, "\"s\"", &upstream)
        .route("prefix = \"/open\"\nauth = \"optional\"\nupstream = \"app\"")
        .start()
        .await;
    let reply = app.send(crate::Call::get("/visit")).await;
    let cookie = reply.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(redis.cli(&["DBSIZE"]), "1");

    let reply = get(&gateway, "/", ("cookie", cookie)).await;
    reply.refused(401, "token_invalid");
}

fn flask(redis: &Redis, foreign: &str, upstream: &Upstream) -> Setup {
    reading(redis, "flask-session", "\"cookie:session\"", upstream)
        .toml(&format!("{foreign}\n{LONG}"))
}

#[tokio::test]
#[ignore = "needs Flask-Session: tests/run.sh"]
async fn login_to_flask_is_one_here_until_its_logout_in_either_format() {
    for format in ["msgpack", "json"] {
        let (redis, upstream) = (Redis::start().await, upstream());
        let app = Application::flask(&redis, &json!({"SESSION_SERIALIZATION_FORMAT": format}));
        let gateway = flask(&redis, "", &upstream).start().await;

        comes_and_goes(&app, &gateway, &upstream).await;
    }
}

#[tokio::test]
#[ignore = "needs Flask-Session: tests/run.sh"]
async fn signed_cookie_of_flask_counts_with_its_signature_only() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let settings = |secret| json!({"SESSION_USE_SIGNER": true, "SECRET_KEY": secret});
    let app = Application::flask(&redis, &settings("dev"));
    let thief = Application::flask(&redis, &settings("guessed"));
    let foreign = "[store.foreign]\nsecrets = [\"next\", \"dev\"]";
    let gateway = flask(&redis, foreign, &upstream).start().await;

    comes_and_goes(&app, &gateway, &upstream).await;
    let (cookie, id) = thief.log_in("user=alice").await;
    for cookie in [cookie, format!("session={id}"), format!("session={id}.")] {
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(401, "token_malformed");
    }
}

#[tokio::test]
#[ignore = "needs Flask-Session: tests/run.sh"]
async fn session_of_flask_that_is_not_permanent_lasts_as_long_as_its_key() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let app = Application::flask(&redis, &json!({"SESSION_PERMANENT": false}));
    let gateway = flask(&redis, "", &upstream).start().await;
    let (cookie, id) = app.log_in("user=alice").await;

    assert_eq!(get(&gateway, "/", ("cookie", &cookie)).await.status, 200);
    redis.cli(&["PEXPIRE", &format!("session:{id}"), "300"]);

    becomes(&gateway, &cookie, 401).await;
    assert!(
        PATIENCE.as_secs() < 3600,
        "sooner than anything kept runs out"
    );
}
