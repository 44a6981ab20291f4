//! What these tests have in common.

use std::time::{Duration, Instant};

use crate::support::gateway::{log_in, log_out, record};
use crate::support::proxy::Proxy;
use crate::support::redis::eventually;
use crate::support::{Call, Gateway, PATIENCE, Redis, Setup, Upstream, gateway, upstream, user};

pub(crate) const TOKEN: &str = "dbt_memory-0123456789abcdef";
pub(crate) const OTHER: &str = "dbt_other-0123456789abcdef";

/// So long that nothing gets too old in a test: what is noticed is noticed for another reason.
pub(crate) const LONG: &str = "max_staleness = \"60s\"\nmisses = \"60s\"";

/// One Redis, a proxy before it, an upstream.
pub(crate) struct Scene {
    pub(crate) redis: Redis,
    pub(crate) proxy: Proxy,
    pub(crate) upstream: Upstream,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let redis = Redis::start().await;
        log_in(&redis, TOKEN, &user("alice", &["a"]));
        Self {
            proxy: Proxy::to(redis.port()),
            redis,
            upstream: upstream(),
        }
    }

    /// A gateway in the making that reaches Redis through the proxy, with these lines in `[cache]`.
    pub(crate) fn door(&self, cache: &str) -> Setup {
        let port = self.proxy.port();
        self.door_to(&format!("redis = \"redis://127.0.0.1:{port}\""), cache)
    }

    pub(crate) fn door_to(&self, store: &str, cache: &str) -> Setup {
        gateway()
            .plain()
            .store(store)
            .secret(TOKEN)
            .upstream("app", &self.upstream)
            .toml(&format!("[cache]\n{cache}"))
            .route("prefix = \"/\"\nupstream = \"app\"")
            .route("prefix = \"/strict\"\nmax_staleness = \"0s\"\nupstream = \"app\"")
            .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
    }

    /// A gateway that has the session in memory.
    pub(crate) async fn warm(&self, setup: Setup) -> Gateway {
        let gateway = setup.start().await;
        becomes(&gateway, 200).await;
        kept(&self.redis, &gateway).await;
        gateway
    }

    pub(crate) fn end(&self) {
        log_out(&self.redis, TOKEN);
    }
}

/// The status of a request with the token.
pub(crate) async fn status(gateway: &Gateway) -> u16 {
    status_at(gateway, "/x").await
}

pub(crate) async fn status_at(gateway: &Gateway, path: &str) -> u16 {
    gateway.send(Call::get(path).bearer(TOKEN)).await.status
}

/// Asks until the answer is this one. On the way it may be 503, but nothing else.
pub(crate) async fn becomes(gateway: &Gateway, expected: u16) {
    let start = Instant::now();
    loop {
        let found = status(gateway).await;
        if found == expected {
            return;
        }
        assert!(
            matches!(found, 200 | 401 | 503),
            "{found} is no answer of the gateway's"
        );
        assert!(start.elapsed() < PATIENCE, "still {found}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a request is answered without asking Redis.
pub(crate) async fn kept(redis: &Redis, gateway: &Gateway) {
    let start = Instant::now();
    loop {
        let before = redis.calls("get");
        let found = status(gateway).await;
        if found == 200 && redis.calls("get") == before {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "nothing is kept: {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the gateway has said this.
pub(crate) async fn says(gateway: &Gateway, text: &str) {
    eventually(text, PATIENCE, || gateway.logs().contains(text)).await;
}

/// A bound of so many seconds.
pub(crate) fn bound(seconds: u8) -> String {
    format!("max_staleness = \"{seconds}s\"")
}

/// The same session with another permission, as its login service would write it.
pub(crate) fn promote(redis: &Redis) {
    let key = format!("login:token:{TOKEN}");
    let answer = redis.cli(&["SET", &key, &record(&user("alice", &["b"])), "KEEPTTL"]);
    assert_eq!(answer, "OK");
}

/// What a gateway says when it no longer hears of changes.
pub(crate) const DEAF: &str = "changes in the session store are not heard of";
