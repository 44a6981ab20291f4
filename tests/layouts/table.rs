//! What lies in Redis, and what is made of it. From the frameworks' documentation, not from the frameworks.

use crate::support::gateway::now;
use crate::support::redis::Redis;
use crate::support::{Call, Gateway, upstream};
use crate::{Setup, reading};

/// An answer: status, code, and the line of the log that tells why, if there is one.
type Answer = (u16, &'static str);

const LET_IN: Answer = (200, "");
const NOBODY: Answer = (401, "token_invalid");
const MALFORMED: Answer = (401, "token_malformed");
const UNREADABLE: Answer = (503, "session_unreadable");

/// Asks with each of these headers.
async fn holds(gateway: &Gateway, header: &str, table: &[(&str, Answer)]) {
    for (value, (status, code)) in table {
        let reply = gateway.send(Call::get("/").header(header, value)).await;
        let told = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, *status, "{value}: {told}");
        if !code.is_empty() {
            reply.refused(*status, code);
        }
        assert_eq!(
            reply.header("retry-after").is_some(),
            *status == 503,
            "{value}"
        );
    }
}

fn strict(setup: Setup) -> Setup {
    setup.toml("[cache]\nmax_staleness = \"0s\"")
}

/// Writes raw bytes, in the spelling of Lua.
fn set(redis: &Redis, key: &str, bytes: &str) {
    let script = format!("return redis.call('SET', KEYS[1], \"{bytes}\")");
    assert_eq!(redis.cli(&["EVAL", &script, "1", key]), "OK");
}

#[tokio::test]
async fn what_flask_did_not_write_as_it_does_now_is_nobody_or_cannot_be_told() {
    let (redis, upstream) = (Redis::start().await, upstream());
    for (id, bytes) in [
        // {"_user_id": "alice"}, as msgpack, JSON and pickles of protocol 4 and 0.
        ("packed", "\\129\\168_user_id\\165alice"),
        ("json", "{\\\"_user_id\\\": \\\"alice\\\"}"),
        (
            "pickle",
            "\\128\\004\\149\\021\\000\\000\\000\\000\\000\\000\\000}\\140\\b_user_id\\140\\005alice\\115.",
        ),
        ("pickle-0", "(dp0\\nV_user_id\\np1\\nValice\\np2\\ns."),
        ("cut", "\\129\\168_user_id\\165ali"),
        ("more", "\\129\\168_user_id\\165alice\\001"),
        ("anonymous", "\\129\\170_permanent\\195"),
        ("empty", ""),
        // {"_user_id": b"alice"} and a list in its place.
        ("binary", "\\129\\168_user_id\\196\\005alice"),
        ("list", "\\129\\168_user_id\\145\\165alice"),
        ("no-map", "\\145\\165alice"),
        ("php", "a:1:{s:8:\\\"_user_id\\\";s:5:\\\"alice\\\";}"),
    ] {
        set(&redis, &format!("session:{id}"), bytes);
    }
    redis.cli(&["HSET", "session:hash", "_user_id", "alice"]);
    let gateway = strict(reading(
        &redis,
        "flask-session",
        "\"header:sid\"",
        &upstream,
    ))
    .start()
    .await;

    holds(
        &gateway,
        "sid",
        &[
            ("packed", LET_IN),
            ("json", LET_IN),
            ("pickle", UNREADABLE),
            ("pickle-0", UNREADABLE),
            ("cut", UNREADABLE),
            ("more", UNREADABLE),
            ("anonymous", NOBODY),
            ("absent", NOBODY),
            ("empty", UNREADABLE),
            ("binary", UNREADABLE),
            ("list", UNREADABLE),
            ("no-map", UNREADABLE),
            ("php", UNREADABLE),
            ("hash", UNREADABLE),
            ("packed", LET_IN),
        ],
    )
    .await;
    assert_eq!(gateway.told("of the framework cannot be read"), 1);
}

/// Signed with `keyboard cat` by `cookie-signature`, as its tests have it.
#[tokio::test]
async fn what_express_did_not_write_is_nobody_or_cannot_be_told() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let (hello, signed) = (
        "hello",
        "s%3Ahello.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI",
    );
    let gateway = strict(reading(
        &redis,
        "connect-redis",
        "\"cookie:connect.sid\"",
        &upstream,
    ))
    .toml("[store.foreign]\nsecrets = [\"tobiiscool\"]")
    .start()
    .await;
    let cookie = format!("connect.sid={signed}");
    let unencoded = "connect.sid=s:hello.DGDUkGlIkCzPz+C0B064FNgHdEjox7ch8tOBGslZ5QI";
    holds(&gateway, "cookie", &[(&cookie, NOBODY)]).await;

    for (text, answer) in [
        (r#"{"cookie":{},"passport":{"user":"alice"}}"#, LET_IN),
        (r#"{"cookie":{},"passport":{"user":7}}"#, LET_IN),
        (r#"{"cookie":{}}"#, NOBODY),
        (r#"{"cookie":{},"passport":{}}"#, NOBODY),
        (r#"{"cookie":{},"passport":{"user":""}}"#, NOBODY),
        (r#"{"cookie":{},"passport":{"user":null}}"#, NOBODY),
        (r#"{"cookie":{},"passport":{"user":{"id":1}}}"#, UNREADABLE),
        (r#"{"cookie":{},"passport":{"user":true}}"#, UNREADABLE),
        (
            r#"{"passport":{"user":"alice"},"permissions":7}"#,
            UNREADABLE,
        ),
        (r#"{"passport":{"user":"alice""#, UNREADABLE),
        ("", UNREADABLE),
        ("[]", UNREADABLE),
    ] {
        redis.cli(&["SET", &format!("sess:{hello}"), text]);
        holds(
            &gateway,
            "cookie",
            &[(&cookie, answer), (unencoded, answer)],
        )
        .await;
    }
    redis.cli(&["SET", "sess:hello", r#"{"passport":{"user":"alice"}}"#]);
    holds(
        &gateway,
        "cookie",
        &[
            (&cookie, LET_IN),
            ("connect.sid=hello", MALFORMED),
            ("connect.sid=s%3Ahello", MALFORMED),
            ("connect.sid=s%3Ahello.", MALFORMED),
            (
                "connect.sid=s%3Ahellx.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI",
                MALFORMED,
            ),
            (
                "connect.sid=s%3Ahello.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5Q",
                MALFORMED,
            ),
            (
                "connect.sid=s%3Ahello.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI=",
                MALFORMED,
            ),
        ],
    )
    .await;
}

/// As the repositories of Spring Session write it with `GenericJackson2JsonRedisSerializer`.
#[tokio::test]
async fn session_of_spring_is_judged_by_its_use_and_not_by_its_key() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let key = |id: &str| format!("spring:session:sessions:{id}");
    let context = r#"{"@class":"org.springframework.security.core.context.SecurityContextImpl","authentication":{"@class":"org.springframework.security.authentication.UsernamePasswordAuthenticationToken","authorities":["java.util.Collections$UnmodifiableRandomAccessList",[{"@class":"org.springframework.security.core.authority.SimpleGrantedAuthority","authority":"ROLE_clerk"},{"@class":"org.springframework.security.core.authority.SimpleGrantedAuthority","authority":"orders:write"}]],"authenticated":true,"principal":{"@class":"org.springframework.security.core.userdetails.User","username":"alice"}}}"#;
    let write = |id: &str, fields: &[(&str, &str)]| {
        let key = key(id);
        let pairs = fields.iter().flat_map(|(name, value)| [*name, *value]);
        let command: Vec<&str> = ["HSET", &key].into_iter().chain(pairs).collect();
        redis.cli(&command);
    };
    let (recent, old) = ((now() - 1000).to_string(), (now() - 1_900_000).to_string());
    let boxed = format!("[\"java.lang.Long\",{recent}]");
    let session = |id: &str, used: &str, interval: &str| {
        write(
            id,
            &[
                ("creationTime", &recent),
                ("lastAccessedTime", used),
                ("maxInactiveInterval", interval),
                ("sessionAttr:SPRING_SECURITY_CONTEXT", context),
            ],
        );
    };
    session("good-1", &recent, "1800");
    session("boxed-1", &boxed, "[\"java.lang.Integer\",1800]");
    session("forever-1", &old, "-1");
    session("logged-out-1", &recent, "0");
    session("unused-1", &old, "1800");
    session("java-1", &recent, "1800");
    write(
        "named-1",
        &[
            ("creationTime", &recent),
            ("lastAccessedTime", &recent),
            ("maxInactiveInterval", "1800"),
            (
                "sessionAttr:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME",
                "\"bob\"",
            ),
            ("sessionAttr:gone", ""),
        ],
    );
    write(
        "nobody-1",
        &[
            ("creationTime", &recent),
            ("lastAccessedTime", &recent),
            ("maxInactiveInterval", "1800"),
        ],
    );
    write("torn-1", &[("lastAccessedTime", &recent)]);
    let java =
        "return redis.call('HSET', KEYS[1], 'sessionAttr:x', \"\\172\\237\\000\\005t\\000\\001x\")";
    redis.cli(&["EVAL", java, "1", &key("java-1")]);
    redis.cli(&["SET", &key("text-1"), "{}"]);
    let gateway = strict(reading(
        &redis,
        "spring-session",
        "\"cookie:SESSION\", \"header:x-auth-token\"",
        &upstream,
    ))
    .start()
    .await;

    holds(
        &gateway,
        "x-auth-token",
        &[
            ("good-1", LET_IN),
            ("boxed-1", LET_IN),
            ("forever-1", LET_IN),
            ("named-1", LET_IN),
            ("logged-out-1", NOBODY),
            ("unused-1", NOBODY),
            ("nobody-1", NOBODY),
            ("absent-1", NOBODY),
            ("torn-1", UNREADABLE),
            ("java-1", UNREADABLE),
            ("text-1", UNREADABLE),
        ],
    )
    .await;
    // base64 of `good-1`, with and without the name of a server, and the id as WebFlux sends it.
    for cookie in [
        "SESSION=Z29vZC0x",
        "SESSION=Z29vZC0xLm5vZGUx",
        "SESSION=good-1",
    ] {
        holds(&gateway, "cookie", &[(cookie, LET_IN)]).await;
        let seen = upstream.last();
        assert_eq!(seen.header("x-user-id"), Some("alice"));
        assert_eq!(seen.header("x-user-roles"), Some("clerk"));
        assert_eq!(seen.header("x-user-permissions"), Some("orders:write"));
    }
    holds(&gateway, "cookie", &[("SESSION=%%%", MALFORMED)]).await;
}

#[tokio::test]
async fn token_of_sa_token_is_judged_by_markers_use_and_bans() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let put = |key: &str, value: &str| {
        redis.cli(&["SET", &format!("satoken:login:{key}"), value, "EX", "600"]);
    };
    let (recent, old) = ((now() - 1000).to_string(), (now() - 400_000).to_string());
    let token = |name: &str, account: &str| {
        put(&format!("token:{name}"), account);
        put(&format!("last-active:{name}"), &recent);
    };
    for marker in ["-1", "-2", "-3", "-4", "-5", "-6", "-7"] {
        token(&format!("m{marker}"), marker);
    }
    for (name, account) in [
        ("good", "10001"),
        ("plain", "10002"),
        ("banned", "10003"),
        ("odd", "10004"),
        ("java", "10005"),
        ("eight", "-8"),
        ("no-one", ""),
        ("idle", "10001"),
        ("own-idle", "10001"),
        ("never-idle", "10001"),
        ("unknown-idle", "10001"),
        ("odd-idle", "10001"),
    ] {
        token(name, account);
    }
    put("last-active:idle", &old);
    put("last-active:own-idle", &format!("{recent},0"));
    put("last-active:never-idle", &format!("{old},-1"));
    put("last-active:odd-idle", "yesterday");
    redis.cli(&["DEL", "satoken:login:last-active:unknown-idle"]);
    // As the plugin for Jackson writes it; fastjson leaves the classes out.
    put(
        "session:10001",
        r#"{"@class":"cn.dev33.satoken.session.SaSession","id":"satoken:login:session:10001","loginId":["java.lang.Long",10001],"dataMap":{"@class":"java.util.concurrent.ConcurrentHashMap","PERMISSION_LIST":["java.util.ArrayList",["orders:read","orders:write"]],"ROLE_LIST":["java.util.ArrayList",["clerk"]]},"terminalList":["java.util.Vector",[{"@class":"cn.dev33.satoken.session.SaTerminalInfo","index":1,"tokenValue":"good","deviceType":"APP","deviceId":"d-1","createTime":["java.lang.Long",1700000000000]}]]}"#,
    );
    put("session:10003", r#"{"dataMap":{},"terminalList":[]}"#);
    put("session:10004", "{");
    set(
        &redis,
        "satoken:login:session:10005",
        "\\172\\237\\000\\005sr",
    );
    put("disable:login:10003", "1");
    redis.cli(&["LPUSH", "satoken:login:token:a-list", "10001"]);
    let gateway = strict(reading(&redis, "sa-token", "\"header:satoken\"", &upstream))
        .toml("[store.foreign]\nidle = \"5m\"")
        .start()
        .await;

    for marker in ["m-1", "m-2", "m-3", "m-4", "m-5", "m-6", "m-7"] {
        holds(&gateway, "satoken", &[(marker, NOBODY)]).await;
    }
    holds(
        &gateway,
        "satoken",
        &[
            ("plain", LET_IN),
            ("eight", LET_IN),
            ("never-idle", LET_IN),
            ("absent", NOBODY),
            ("idle", NOBODY),
            ("own-idle", NOBODY),
            ("unknown-idle", NOBODY),
            ("banned", (403, "account_disabled")),
            ("no-one", UNREADABLE),
            ("odd", UNREADABLE),
            ("java", UNREADABLE),
            ("odd-idle", UNREADABLE),
            ("a-list", UNREADABLE),
            ("good", LET_IN),
        ],
    )
    .await;
    let seen = upstream.last();
    assert_eq!(seen.header("x-user-id"), Some("10001"));
    assert_eq!(
        seen.header("x-user-permissions"),
        Some("orders:read,orders:write")
    );
    assert_eq!(seen.header("x-user-roles"), Some("clerk"));
    assert_eq!(seen.header("x-device-id"), Some("d-1"));
    assert_eq!(seen.header("x-device-type"), Some("APP"));
}

/// Every key that a verdict rests on is listened for.
#[tokio::test]
async fn change_of_any_key_of_sa_token_is_heard() {
    let (redis, upstream) = (Redis::start().await, upstream());
    redis.cli(&["SET", "satoken:login:token:t", "7"]);
    redis.cli(&[
        "SET",
        "satoken:login:session:7",
        r#"{"dataMap":{"PERMISSION_LIST":["orders:write"]}}"#,
    ]);
    let gateway = reading(&redis, "sa-token", "\"header:satoken\"", &upstream)
        .toml("[cache]\nmax_staleness = \"1h\"")
        .start()
        .await;
    let status = |target: &'static str| {
        let gateway = &gateway;
        async move {
            let call = Call::get(target).header("satoken", "t");
            gateway.send(call).await.status
        }
    };
    let becomes = |target: &'static str, wanted: u16| async move {
        while status(target).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let steps: [(&[&str], u16); 5] = [
        (&["PING"], 200),
        (&["SET", "satoken:login:session:7", "{}"], 403),
        (
            &[
                "SET",
                "satoken:login:session:7",
                r#"{"dataMap":{"PERMISSION_LIST":["orders:write"]}}"#,
            ],
            200,
        ),
        (&["SET", "satoken:login:disable:login:7", "1"], 403),
        (&["SET", "satoken:login:token:t", "-5"], 401),
    ];
    for (command, wanted) in steps {
        redis.cli(command);
        crate::support::soon(&format!("{command:?}"), becomes("/admin", wanted)).await;
    }
}
