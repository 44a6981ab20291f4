//! Laravel and lua-resty-session, whose sessions `fixtures.cjs` writes as they are documented.

use serde_json::{Value, json};

use crate::application::node;
use crate::support::gateway::now;
use crate::support::redis::Redis;
use crate::support::upstream;
use crate::{get, reading};

/// What node makes of these settings.
fn make(kind: &str, settings: &Value) -> Value {
    let output = node("fixtures.cjs")
        .args([kind, &settings.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(made: &'a Value, name: &str) -> &'a str {
    made[name].as_str().unwrap()
}

const KEY: &str = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ID: &str = "abcdefghijABCDEFGHIJabcdefghijABCDEFGHIJ";
const LOGIN: &str = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d";

#[tokio::test]
#[ignore = "needs node: tests/run.sh"]
async fn session_of_laravel_is_opened_with_the_applications_key() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let laravel = |key: &str, cookie: &str, cipher: &str| {
        let session = json!({LOGIN: 7, "permissions": ["orders:write"], "_token": "x"});
        make(
            "laravel",
            &json!({"key": key, "cookie": cookie, "id": ID, "cipher": cipher, "session": session}),
        )
    };
    let gateway = reading(&redis, "laravel", "\"cookie:shop_session\"", &upstream)
        .toml(&format!(
            "[store.foreign]\nsecrets = [\"{KEY}\", \"{OLD}\"]"
        ))
        .toml("[cache]\nmax_staleness = \"0s\"")
        .start()
        .await;
    let made = laravel(KEY, "shop_session", "cbc");
    let key = format!("laravel-database-laravel-cache-{ID}");
    redis.cli(&["SET", &key, text(&made, "value"), "EX", "600"]);

    for (key, cipher) in [(KEY, "cbc"), (OLD, "cbc"), (KEY, "gcm")] {
        let made = laravel(key, "shop_session", cipher);
        let cookie = format!("shop_session={}", text(&made, "cookie"));
        let reply = get(&gateway, "/admin", ("cookie", &cookie)).await;
        assert_eq!(reply.status, 200, "{cipher}");
        assert_eq!(upstream.last().header("x-user-id"), Some("7"));
    }
    let guessed = "base64:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
    let cookie = text(&made, "cookie").to_owned();
    for forged in [
        ID.to_owned(),
        text(&laravel(guessed, "shop_session", "cbc"), "cookie").to_owned(),
        // Another cookie of the same application, whose value its user chose.
        text(&laravel(KEY, "shop_theme", "cbc"), "cookie").to_owned(),
        cookie.replace("ey", "eyA"),
        "eyJpdiI6IiJ9".to_owned(),
    ] {
        let cookie = format!("shop_session={forged}");
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(401, "token_malformed");
    }
    let cookie = format!("shop_session={cookie}");
    for (value, status, code) in [
        ("s:2:\"{}\";", 401, "token_invalid"),
        ("s:2:\"[]\";", 401, "token_invalid"),
        ("s:3:\"{}\";", 503, "session_unreadable"),
        ("{}", 503, "session_unreadable"),
        (
            "s:20:\"a:1:{s:1:\"a\";i:1;}xx\";",
            503,
            "session_unreadable",
        ),
        ("O:8:\"stdClass\":0:{}", 503, "session_unreadable"),
        ("s:8:\"eyJpdiI6\";", 503, "session_unreadable"),
    ] {
        redis.cli(&["SET", &key, value]);
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(status, code);
    }
    redis.cli(&["DEL", &key]);
    let reply = get(&gateway, "/", ("cookie", &cookie)).await;
    reply.refused(401, "token_invalid");
}

#[tokio::test]
#[ignore = "needs node: tests/run.sh"]
async fn session_of_lua_resty_session_lasts_as_its_cookie_says() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let seconds = now() / 1000;
    let data = json!([[{"permissions": ["orders:write"]}, "default", "alice"]]);
    let resty = |secret: &str, more: Value| {
        let mut settings = json!({"secret": secret, "created": seconds - 10, "data": data});
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = make("resty", &settings);
        redis.cli(&[
            "SET",
            &format!("session:{}", text(&made, "key")),
            text(&made, "value"),
        ]);
        made
    };
    let gateway = reading(&redis, "lua-resty-session", "\"cookie:session\"", &upstream)
        .toml("[store.foreign]\nsecrets = [\"new\", \"old\"]")
        .toml("[cache]\nmax_staleness = \"0s\"")
        .start()
        .await;

    for made in [
        resty("new", json!({})),
        resty("old", json!({})),
        resty("new", json!({"deflate": true})),
        resty(
            "new",
            json!({"created": seconds - 7200, "rolled": 7000, "idled": 100}),
        ),
    ] {
        let cookie = format!("session={}", text(&made, "cookie"));
        let reply = get(&gateway, "/admin", ("cookie", &cookie)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(upstream.last().header("x-user-id"), Some("alice"));
    }
    let (old, idle) = (seconds - 90_000, seconds - 1000);
    for (made, code) in [
        (resty("guessed", json!({})), "token_malformed"),
        (resty("new", json!({"stored": false})), "token_malformed"),
        (resty("new", json!({"created": idle})), "token_invalid"),
        (
            resty("new", json!({"created": idle, "rolled": 10, "idled": 20})),
            "token_invalid",
        ),
        (
            resty(
                "new",
                json!({"created": seconds - 7200, "rolled": 10, "idled": 7100}),
            ),
            "token_invalid",
        ),
        (
            resty("new", json!({"created": old, "rolled": 89_990})),
            "token_invalid",
        ),
        (
            resty("new", json!({"data": [[{}, "default"]]})),
            "token_invalid",
        ),
    ] {
        let cookie = format!("session={}", text(&made, "cookie"));
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(401, code);
    }
    let (one, other) = (resty("new", json!({})), resty("new", json!({})));
    let cookie = format!("session={}", text(&one, "cookie"));
    let key = format!("session:{}", text(&one, "key"));
    // Another session's data, which this cookie does not open; what is no text of theirs; nothing.
    for (value, status, code) in [
        (text(&other, "value"), 401, "token_invalid"),
        ("[\"%%\"]", 503, "session_unreadable"),
        ("{}", 503, "session_unreadable"),
        ("\"", 503, "session_unreadable"),
    ] {
        redis.cli(&["SET", &key, value]);
        let reply = get(&gateway, "/", ("cookie", &cookie)).await;
        reply.refused(status, code);
    }
    let mut flipped = text(&other, "cookie").to_owned();
    // A later end of use.
    flipped.replace_range(86..87, if &flipped[86..87] == "A" { "B" } else { "A" });
    let reply = get(&gateway, "/", ("cookie", &format!("session={flipped}"))).await;
    reply.refused(401, "token_malformed");
}
