//! The same questions to every backend.

use std::process::Command;
use std::time::{Duration, Instant};

use drawbridge::session::{RecordError, Session};
use drawbridge::store::{Earlier, Look, SessionStore, StoreError};
use drawbridge::token::Token;

use crate::bench::{ahead, open, session, token};
use crate::redis::{Cluster, Redis, Sentinel, Settings};

/// A record that somebody else wrote: token, record, and milliseconds to live in the store.
pub(crate) type Foreign = (Token, String, Option<u64>);

/// How long the record `short` lives, in milliseconds.
const SHORT: u64 = 2500;

/// Records as login services write them, and as nobody should.
pub(crate) fn foreign() -> Vec<Foreign> {
    let deep = format!(
        r#"{{"user_id":"u","x":{}{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    let large = format!(r#"{{"user_id":"u","x":"{}"}}"#, "x".repeat(70_000));
    let other = token("some-other-token").sha256_hex();
    let records: [(&str, String, Option<u64>); 13] = [
        ("minimal", r#"{"user_id":"u1"}"#.into(), None),
        (
            "number",
            r#"{"user_id":7,"more":{"a":[1]},"roles":"a, b"}"#.into(),
            None,
        ),
        (
            "mapped",
            r#"{"user_id":"u","sub":"u9","auth":{"scopes":["a"]}}"#.into(),
            None,
        ),
        (
            "dead",
            r#"{"user_id":"u1","expires_at":1700000000}"#.into(),
            None,
        ),
        ("large", large, None),
        ("deep", deep, None),
        ("text", "not json".into(), None),
        ("list", "[]".into(), None),
        ("nobody", r#"{"roles":["a"]}"#.into(), None),
        ("wrong", r#"{"user_id":"u1","roles":{"a":1}}"#.into(), None),
        (
            "own",
            format!(
                r#"{{"user_id":"u1","token_sha256":"{}"}}"#,
                token("own").sha256_hex()
            ),
            None,
        ),
        (
            "alien",
            format!(r#"{{"user_id":"u1","token_sha256":"{other}"}}"#),
            None,
        ),
        // Last, because its time runs from when it is put there.
        ("short", r#"{"user_id":"u1"}"#.into(), Some(SHORT)),
    ];
    records
        .into_iter()
        .map(|(name, record, ttl)| (token(name), record, ttl))
        .collect()
}

/// Asks everything that the contract promises. `foreign` has been put into the store just before.
pub(crate) async fn holds(settings: &str, at_rest: &str) {
    let store = open(settings, at_rest).await;

    let found = store.find(&token("short")).await.unwrap().unwrap();
    assert!(
        found
            .expires_at
            .is_some_and(|end| end <= ahead(Duration::from_millis(SHORT)))
    );
    let minimal = store.find(&token("minimal")).await.unwrap().unwrap();
    let expected = Session {
        user_id: "u1".into(),
        ..Session::default()
    };
    assert_eq!(minimal, expected);
    let number = store.find(&token("number")).await.unwrap().unwrap();
    assert_eq!((number.user_id.as_str(), number.roles.len()), ("7", 2));
    assert_eq!(store.find(&token("dead")).await.unwrap(), None);
    assert_eq!(store.find(&token("nothing")).await.unwrap(), None);
    assert_eq!(
        store.find(&token("own")).await.unwrap().unwrap().user_id,
        "u1"
    );

    for (name, fault) in [
        ("large", RecordError::TooLarge),
        ("deep", RecordError::TooDeep),
        ("text", RecordError::NotJson),
        ("list", RecordError::NotJson),
        ("nobody", RecordError::Field("user_id")),
        ("wrong", RecordError::Field("roles")),
    ] {
        let answer = store.find(&token(name)).await;
        assert!(
            matches!(answer, Err(StoreError::Record(found)) if found == fault),
            "{name}: {answer:?}"
        );
    }

    own_sessions_come_and_go(&store).await;
    let knows_records = !settings.contains("embedded");
    sessions_are_known_again(&store, knows_records).await;

    let alien = store.find(&token("alien")).await;
    assert!(matches!(alien, Err(StoreError::Mismatch)), "{alien:?}");

    drop(store);
    let mapped = "[fields]\nuser_id = \"sub\"\npermissions = \"auth.scopes\"\n";
    let store = open(&format!("{settings}\n{mapped}"), at_rest).await;
    let found = store.find(&token("mapped")).await.unwrap().unwrap();
    assert_eq!(
        (found.user_id.as_str(), found.permissions),
        ("u9", vec!["a".to_owned()].into())
    );
}

/// What was found is known again for as long as its record is the same. `knows_records`: without reading it.
async fn sessions_are_known_again(store: &SessionStore, knows_records: bool) {
    let (mine, whole) = (token("known-again"), session("u6"));
    store.create(&mine, &whole).await.unwrap();
    let Look::Found(Some(found), imprint) = store.look(&mine, None).await.unwrap() else {
        panic!("it is there");
    };
    assert_eq!(imprint.is_some(), knows_records);
    if let Some(imprint) = imprint {
        let ask = async |session: &Session| {
            let earlier = Earlier { session, imprint };
            store.look(&mine, Some(earlier)).await.unwrap()
        };
        assert_eq!(ask(&found).await, Look::Same);
        let over = Session {
            expires_at: Some(ahead(Duration::ZERO)),
            ..found.clone()
        };
        assert!(
            matches!(ask(&over).await, Look::Found(None, _)),
            "it had ended"
        );

        let fewer = Session {
            permissions: Vec::new().into(),
            ..whole
        };
        store.create(&mine, &fewer).await.unwrap();
        let again = ask(&found).await;
        assert!(
            matches!(&again, Look::Found(Some(now), Some(_)) if *now == fewer),
            "{again:?}"
        );

        assert!(store.remove(&mine).await.unwrap());
        assert_eq!(ask(&found).await, Look::Found(None, None));
    }
}

/// What we mint is found, and is not found once it was removed or has ended.
async fn own_sessions_come_and_go(store: &SessionStore) {
    let (mine, whole) = (token("minted-by-us"), session("u2"));
    store.create(&mine, &whole).await.unwrap();
    assert_eq!(store.find(&mine).await.unwrap().unwrap(), whole);
    assert!(store.remove(&mine).await.unwrap());
    assert_eq!(store.find(&mine).await.unwrap(), None);
    assert!(!store.remove(&mine).await.unwrap());

    let brief = Session {
        expires_at: Some(ahead(Duration::from_millis(400))),
        ..session("u3")
    };
    store.create(&mine, &brief).await.unwrap();
    assert!(store.find(&mine).await.unwrap().is_some());
    for brief in [&mine, &token("short")] {
        let start = Instant::now();
        while store.find(brief).await.unwrap().is_some() {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(
        !store.remove(&mine).await.unwrap(),
        "it had ended by itself"
    );

    let endless = Session {
        expires_at: None,
        ..session("u4")
    };
    store.create(&mine, &endless).await.unwrap();
    assert_eq!(store.find(&mine).await.unwrap().unwrap(), endless);
    let huge = Session {
        permissions: vec!["p".repeat(70_000)].into(),
        ..session("u5")
    };
    let refused = store.create(&mine, &huge).await;
    assert!(matches!(
        refused,
        Err(StoreError::Record(RecordError::TooLarge))
    ));
    assert_eq!(store.find(&mine).await.unwrap().unwrap(), endless);
}

/// The key that the default template and this `at_rest` make of a token.
fn key(token: &Token, at_rest: &str) -> String {
    match at_rest {
        "sha256" => format!("login:token:{}", token.sha256_hex()),
        _ => format!("login:token:{}", token.expose()),
    }
}

fn plant(redis: &Redis, at_rest: &str) {
    for (token, record, ttl) in foreign() {
        let key = key(&token, at_rest);
        let answer = match ttl {
            Some(ttl) => redis.cli(&["SET", &key, &record, "PX", &ttl.to_string()]),
            None => redis.cli(&["SET", &key, &record]),
        };
        assert_eq!(answer, "OK");
    }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let redis = Redis::start().await;
    plant(&redis, "plain");

    holds(&format!("redis = \"{}\"", redis.url()), "plain").await;
}

#[tokio::test]
async fn redis_with_digests_keeps_the_contract_and_holds_no_token() {
    let redis = Redis::start().await;
    plant(&redis, "sha256");
    let settings = format!("redis = \"{}\"", redis.url());

    holds(&settings, "sha256").await;

    assert!(redis.dump().contains("u4"), "the dump shows what is there");
    assert!(!redis.dump().contains("minted-by-us"));
}

#[tokio::test]
async fn redis_over_tls_keeps_the_contract() {
    let redis = Settings::default().tls().start().await;
    plant(&redis, "plain");
    let ca = redis.ca();

    holds(
        &format!("redis = \"{}\"\ntls_ca = \"{}\"", redis.url(), ca.display()),
        "plain",
    )
    .await;
}

#[tokio::test]
async fn redis_with_an_acl_user_keeps_the_contract() {
    let redis = Redis::start().await;
    plant(&redis, "plain");
    let rules = ["~login:token:*", "+get", "+pttl", "+set", "+del", "+ping"];
    let user = ["ACL", "SETUSER", "gate", "on", ">secret pass"];
    assert_eq!(redis.cli(&[&user[..], &rules[..]].concat()), "OK");
    let settings = format!(
        "redis = \"{}\"\nusername = \"gate\"\npassword = \"secret pass\"",
        redis.url()
    );

    holds(&settings, "plain").await;
}

#[tokio::test]
async fn sentinel_keeps_the_contract() {
    let sentinel = Sentinel::start().await;
    plant(&sentinel.servers[0], "plain");

    holds(&format!("redis = \"{}\"", sentinel.url()), "plain").await;
}

#[tokio::test]
async fn cluster_keeps_the_contract() {
    let cluster = Cluster::start(0).await;
    let port = cluster.nodes[0].port().to_string();
    for (token, record, ttl) in foreign() {
        let key = key(&token, "plain");
        let mut command = Command::new("redis-cli");
        command.args(["-c", "-p", &port, "SET", &key, &record]);
        if let Some(ttl) = ttl {
            command.args(["PX", &ttl.to_string()]);
        }
        assert!(command.output().unwrap().status.success());
    }

    holds(&format!("redis = \"{}\"", cluster.url()), "plain").await;
}
