//! Sessions of a framework whose users have records with us as well.

use std::time::{Duration, Instant};

use crate::support::redis::Redis;
use crate::support::upstream;
use crate::{get, reading};

#[tokio::test]
async fn session_of_sa_token_rests_on_its_keys_and_on_ours() {
    let (redis, upstream) = (Redis::start().await, upstream());
    let gateway = reading(&redis, "sa-token", "\"header:satoken\"", &upstream)
        .toml("[sessions]\nforeign_without_iat = \"refuse\"\nforeign = \"check\"")
        .start()
        .await;
    let account = r#"{"dataMap":{"PERMISSION_LIST":["orders:read"],"ROLE_LIST":["clerk"]},
        "terminalList":[{"tokenValue":"t-1","deviceType":"APP","createTime":1700000000000}]}"#;
    redis.cli(&["SET", "satoken:login:token:t-1", "10001", "EX", "600"]);
    redis.cli(&["SET", "satoken:login:session:10001", account, "EX", "600"]);
    redis.cli(&["SET", "satoken:login:last-active:t-1", "1700000000000,-1"]);

    for _ in 0..2 {
        let reply = get(&gateway, "/", ("satoken", "t-1")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(upstream.last().header("x-user-id"), Some("10001"));
    }
    redis.cli(&["SET", "satoken:login:disable:login:10001", "1", "EX", "600"]);

    let deadline = Instant::now() + Duration::from_secs(10);
    let reply = loop {
        let reply = get(&gateway, "/", ("satoken", "t-1")).await;
        if reply.status != 200 || Instant::now() > deadline {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    reply.refused(403, "account_disabled");
}
