//! How often the server is written to.

use std::sync::Arc;

use drawbridge::session::RecordError;
use drawbridge::store::{SessionStore, StoreError};
use tokio::task::JoinSet;

use crate::bench::{open, session, token};
use crate::redis::Redis;

/// How often the server has read from any connection.
fn reads(redis: &Redis) -> u64 {
    let stats = redis.cli(&["INFO", "stats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.expect("Redis counts them since 6.0")
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn session_and_its_end_are_asked_for_in_one_write() {
    const LOOKUPS: u64 = 200;
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    let token = token("asked-for");
    store.create(&token, &session("alice")).await.unwrap();
    let before = reads(&redis);

    for _ in 0..LOOKUPS {
        assert!(store.find(&token).await.unwrap().is_some());
    }

    let made = reads(&redis) - before;
    // Signs of life and our own questions come on top; with two writes each it would be twice as many.
    assert!(
        made < LOOKUPS * 3 / 2,
        "{made} reads for {LOOKUPS} look-ups"
    );
}

/// Asks for all of these at once: who has the token, nobody, or what is no session.
async fn at_once(store: &Arc<SessionStore>, count: usize) {
    let mut all = JoinSet::new();
    for number in 0..count {
        let store = Arc::clone(store);
        all.spawn(async move { (number, store.find(&token(&format!("token-{number}"))).await) });
    }
    while let Some(found) = all.join_next().await {
        match found.unwrap() {
            (number, Ok(None)) => assert_eq!(number % 10, 3),
            (number, Err(StoreError::Record(RecordError::Type))) => assert_eq!(number % 10, 7),
            (number, found) => {
                let user = found.unwrap().unwrap().user_id;
                assert_eq!(user, format!("user-{number}"));
            }
        }
    }
}

async fn fill(redis: &Redis, store: &SessionStore, count: usize) {
    for number in 0..count {
        let name = format!("token-{number}");
        match number % 10 {
            3 => {}
            // Asked for alone the server says that this is no string, asked for with others that it is nothing.
            7 => drop(redis.cli(&["LPUSH", &format!("login:token:{name}"), "x"])),
            _ => {
                let session = session(&format!("user-{number}"));
                store.create(&token(&name), &session).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_is_asked_at_once_is_asked_as_one_and_answered_each_for_itself() {
    const COUNT: usize = 200;
    let redis = Redis::start().await;
    let store = Arc::new(open(&format!("redis = \"{}\"", redis.url()), "plain").await);
    fill(&redis, &store, COUNT).await;
    let (before, singles) = (redis.calls("mget"), redis.calls("get"));

    at_once(&store, COUNT).await;

    let (merged, singles) = (redis.calls("mget") - before, redis.calls("get") - singles);
    assert!((1..20).contains(&merged), "{merged}");
    // What was not found is made sure of.
    assert!(singles <= 60, "{singles}");
}

#[tokio::test]
async fn user_who_may_not_ask_for_several_asks_one_by_one() {
    const COUNT: usize = 50;
    let redis = Redis::start().await;
    redis.cli(&[
        "ACL", "SETUSER", "reader", "on", ">word", "~*", "&*", "+@all", "-mget",
    ]);
    let url = redis.url().replace("redis://", "redis://reader:word@");
    let store = Arc::new(open(&format!("redis = \"{url}\""), "plain").await);
    fill(&redis, &store, COUNT).await;

    at_once(&store, COUNT).await;
    at_once(&store, COUNT).await;
}
