//! Servers that die, freeze, refuse and move: "cannot tell" is never taken for "there is none".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drawbridge::store::{SessionStore, StoreError, StoreSource};
use tokio::time::timeout;

use crate::bench::{never_wrong, open, session, settings, settled, token, tokens};
use crate::redis::{Cluster, Redis, Sentinel, Settings, eventually, free_port};

/// The promise is two seconds, to which a busy machine cannot be held.
const BACK: Duration = Duration::from_secs(15);

async fn with_session(settings: &str) -> SessionStore {
    let store = open(settings, "plain").await;
    store.create(&token("alive"), &session("u1")).await.unwrap();
    store
}

fn url(redis: &Redis) -> String {
    format!("redis = \"{}\"", redis.url())
}

/// Asks until the store says that it is out of reach; every answer on the way is right, and none is waited for without an
/// end.
async fn until_unreachable(store: &SessionStore) {
    let start = Instant::now();
    loop {
        let asked = timeout(BACK, store.find(&token("alive"))).await;
        let answer = asked.expect("the deadline is 250 ms");
        never_wrong(&answer, "u1");
        if matches!(answer, Err(StoreError::Unreachable)) {
            return;
        }
        assert!(start.elapsed() < BACK, "never noticed: {answer:?}");
    }
}

#[tokio::test]
async fn killed_redis_is_unreachable_and_served_again_after_its_restart() {
    let mut redis = Redis::start().await;
    let store = with_session(&url(&redis)).await;

    redis.kill();
    until_unreachable(&store).await;
    let asked = Instant::now();
    for _ in 0..1000 {
        let answer = store.find(&token("alive")).await;
        assert!(matches!(answer, Err(StoreError::Unreachable)));
    }
    assert!(
        asked.elapsed() < BACK,
        "a dead server is not waited for a thousand times 250 ms"
    );
    redis.restart().await;

    settled(&store, BACK).await;
    store.create(&token("again"), &session("u2")).await.unwrap();
    assert!(store.find(&token("again")).await.unwrap().is_some());
}

#[tokio::test]
async fn frozen_redis_is_unreachable_and_served_again_when_it_thaws() {
    let redis = Redis::start().await;
    let store = with_session(&url(&redis)).await;

    redis.freeze();
    let first = store.find(&token("alive")).await;
    assert!(matches!(first, Err(StoreError::Deadline)), "{first:?}");
    until_unreachable(&store).await;
    redis.thaw();

    settled(&store, BACK).await;
    assert_eq!(
        store.find(&token("alive")).await.unwrap().unwrap().user_id,
        "u1"
    );
}

#[tokio::test]
async fn frozen_redis_is_noticed_while_many_keep_asking() {
    let redis = Redis::start().await;
    let store = Arc::new(with_session(&url(&redis)).await);
    let load = Load::start(&store, 1, 16).await;

    redis.freeze();
    until_unreachable(&store).await;
    redis.thaw();

    settled(&store, BACK).await;
    load.stop().await;
}

/// Tasks that keep asking for sessions `alive-N` of `user-N`, and check every answer.
struct Load {
    over: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<(u32, u32)>,
}

impl Load {
    async fn start(store: &Arc<SessionStore>, sessions: u32, tasks: u32) -> Self {
        for n in 0..sessions {
            let (token, session) = (token(&format!("alive-{n}")), session(&format!("user-{n}")));
            store.create(&token, &session).await.unwrap();
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut set = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let (store, over) = (Arc::clone(store), Arc::clone(&over));
            set.spawn(async move {
                let (mut n, mut good, mut bad) = (task, 0, 0);
                while !over.load(Ordering::Relaxed) {
                    n = (n + 1) % sessions;
                    let answer = store.find(&token(&format!("alive-{n}"))).await;
                    never_wrong(&answer, &format!("user-{n}"));
                    if answer.is_ok() {
                        good += 1;
                    } else {
                        bad += 1;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                (good, bad)
            });
        }
        Self { over, tasks: set }
    }

    /// How many were answered, and how many were not. A wrong answer panics.
    async fn stop(self) -> (u32, u32) {
        self.over.store(true, Ordering::Relaxed);
        let counts = self.tasks.join_all().await;
        counts.iter().fold((0, 0), |(good, bad), (more, worse)| {
            (good + more, bad + worse)
        })
    }
}

#[tokio::test]
async fn cut_connections_under_load_never_give_a_wrong_answer() {
    let redis = Redis::start().await;
    let store = Arc::new(with_session(&url(&redis)).await);
    let load = Load::start(&store, 50, 32).await;

    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    }

    settled(&store, BACK).await;
    let (good, _) = load.stop().await;
    assert!(good > 100, "only {good} were answered");
}

#[tokio::test]
async fn gateway_may_be_there_before_redis() {
    let port = free_port();
    let source = format!("redis = \"redis://127.0.0.1:{port}\"");
    let source = StoreSource::open(&settings(&source), &tokens("plain")).unwrap();
    let store = source.connect().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let early = store.find(&token("alive")).await;
    assert!(matches!(early, Err(StoreError::Unreachable)), "{early:?}");

    let _redis = Settings::default().on(port).start().await;

    settled(&store, BACK).await;
}

#[tokio::test]
async fn more_look_ups_than_allowed_are_busy() {
    let redis = Redis::start().await;
    let text = format!("{}\nmax_in_flight = 2", url(&redis));
    let store = with_session(&text).await;

    redis.freeze();
    let token = token("alive");
    let (a, b, c) = tokio::join!(store.find(&token), store.find(&token), store.find(&token));
    redis.thaw();

    assert!(matches!(a, Err(StoreError::Deadline)), "{a:?}");
    assert!(matches!(b, Err(StoreError::Deadline)), "{b:?}");
    assert!(matches!(c, Err(StoreError::Busy)), "{c:?}");
    settled(&store, BACK).await;
    assert!(store.find(&token).await.unwrap().is_some());
}

#[tokio::test]
async fn refusals_of_the_server_are_failures_without_the_key() {
    let redis = Redis::start().await;
    redis.cli(&["LPUSH", "login:token:a-list", "x"]);
    let store = with_session(&url(&redis)).await;

    let wrong_type = store.find(&token("a-list")).await.unwrap_err();
    assert_eq!(
        wrong_type.to_string(),
        "the key holds another type of value than this one"
    );

    redis.cli(&["ACL", "SETUSER", "default", "-get"]);
    let refused = store.find(&token("alive")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the session store failed: the server answered NOPERM"
    );
    redis.cli(&["ACL", "SETUSER", "default", "+get"]);
    assert!(store.find(&token("alive")).await.unwrap().is_some());

    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = store
        .create(&token("more"), &session("u2"))
        .await
        .unwrap_err();
    assert!(full.to_string().contains("OOM"), "{full}");
    assert!(store.find(&token("alive")).await.unwrap().is_some());
}

#[tokio::test]
async fn wrong_password_is_a_failure_and_not_an_empty_store() {
    let redis = Settings::default().password("right").start().await;
    let text = format!("redis = \"redis://127.0.0.1:{}\"", redis.port());
    for text in [text.clone(), format!("{text}\npassword = \"wrong\"")] {
        let source = StoreSource::open(&settings(&text), &tokens("plain")).unwrap();
        let store = source.connect().await.unwrap();
        for _ in 0..10 {
            assert!(store.find(&token("alive")).await.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn record_of_another_token_is_refused_and_service_goes_on() {
    let redis = Redis::start().await;
    let store = with_session(&url(&redis)).await;
    let record = redis.cli(&["GET", "login:token:alive"]);
    redis.cli(&["SET", "login:token:thief", &record]);

    let answer = store.find(&token("thief")).await;

    assert!(matches!(answer, Err(StoreError::Mismatch)), "{answer:?}");
    settled(&store, BACK).await;
    assert!(store.find(&token("alive")).await.unwrap().is_some());
}

#[tokio::test]
async fn dropped_store_leaves_no_connection() {
    let redis = Redis::start().await;
    let store = with_session(&url(&redis)).await;

    drop(store);

    eventually("the connection is closed", BACK, || {
        redis.cli(&["CLIENT", "LIST"]).lines().count() == 1
    })
    .await;
}

#[tokio::test]
async fn killed_master_is_replaced_by_the_sentinels() {
    let mut sentinel = Sentinel::start().await;
    let store = with_session(&format!("redis = \"{}\"", sentinel.url())).await;
    sentinel.servers[0].cli(&["WAIT", "1", "1000"]);

    sentinel.servers[0].kill();
    until_unreachable(&store).await;
    let replica = sentinel.servers[1].port();
    eventually("the replica is master", Duration::from_secs(20), || {
        sentinel.master() == replica
    })
    .await;

    settled(&store, BACK).await;
    assert_eq!(
        store.find(&token("alive")).await.unwrap().unwrap().user_id,
        "u1"
    );
    assert!(store.remove(&token("alive")).await.unwrap());
}

#[tokio::test]
async fn session_ended_on_the_new_master_is_ended_here() {
    let sentinel = Sentinel::start().await;
    let store = with_session(&format!("redis = \"{}\"", sentinel.url())).await;
    sentinel.servers[0].cli(&["WAIT", "1", "1000"]);

    sentinel.failover();
    let replica = &sentinel.servers[1];
    eventually("the replica is master", Duration::from_secs(20), || {
        sentinel.master() == replica.port()
    })
    .await;
    replica.cli(&["DEL", "login:token:alive"]);

    let start = Instant::now();
    while !matches!(store.find(&token("alive")).await, Ok(None)) {
        assert!(start.elapsed() < BACK, "still asks the old master");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn user_with_few_rights_is_served_without_a_break_behind_sentinels() {
    let sentinel = Sentinel::start().await;
    let rules = ["~*", "+get", "+pttl", "+set", "+del", "+role"];
    let user = ["ACL", "SETUSER", "gate", "on", ">pass"];
    sentinel.servers[0].cli(&[&user[..], &rules[..]].concat());
    let text = format!(
        "redis = \"{}\"\nusername = \"gate\"\npassword = \"pass\"",
        sentinel.url()
    );
    let store = with_session(&text).await;

    for _ in 0..100 {
        assert!(store.find(&token("alive")).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn killed_cluster_master_is_replaced_by_its_replica() {
    let mut cluster = Cluster::start(1).await;
    let store = Arc::new(with_session(&format!("redis = \"{}\"", cluster.url())).await);
    let load = Load::start(&store, 30, 4).await;
    for node in &cluster.nodes[..3] {
        node.cli(&["WAIT", "1", "1000"]);
    }

    cluster.nodes[0].kill();
    eventually("a replica took over", Duration::from_secs(20), || {
        let seen = cluster.nodes[1].cli(&["CLUSTER", "NODES"]);
        let failed = seen.lines().any(|line| line.contains("fail "));
        let masters = |line: &&str| line.contains("master") && !line.contains("fail");
        failed && seen.lines().filter(masters).count() == 3
    })
    .await;

    settled(&store, BACK).await;
    for n in 0..30 {
        let found = store
            .find(&token(&format!("alive-{n}")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.user_id, format!("user-{n}"));
    }
    load.stop().await;
}
