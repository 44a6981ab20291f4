//! How often the server is written to.

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
