//! The store's contract, against every backend.

#[path = "support/redis.rs"]
mod redis;

use redis::{Cluster, Redis, Sentinel, Settings};

#[tokio::test]
async fn helper_starts_every_kind() {
    let mut redis = Redis::start().await;
    assert_eq!(redis.cli(&["SET", "a", "b"]), "OK");
    redis.stop_signal();
    redis.cont_signal();
    redis.restart().await;
    assert_eq!(redis.cli(&["GET", "a"]), "");
    let tls = Settings::default().tls().password("secret").start().await;
    assert_eq!(tls.cli(&["SET", "a", "b"]), "OK");
    let sentinel = Sentinel::start().await;
    assert_eq!(sentinel.master(), sentinel.servers[0].port());
    println!("{}", sentinel.url());
    let cluster = Cluster::start(0).await;
    println!("{}", cluster.url());
}
