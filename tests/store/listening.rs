//! What is heard of changes, and what is made of silence.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use drawbridge::changes::{Basis, Changes, Worth};
use drawbridge::config::{Config, load};
use drawbridge::store::StoreSource;
use drawbridge::uptime::Uptime;

use crate::proxy::{Proxy, Way, Which};
use crate::redis::{Cluster, Redis, Sentinel, Settings, eventually, free_port};

/// Longer than anything takes that is not broken.
const LIMIT: Duration = Duration::from_secs(20);
const KEY: &str = "login:token:a";

/// A gateway's configuration with these lines in `[store]` and in `[cache]`.
pub(crate) fn config(store: &str, cache: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\n{store}\n[cache]\n{cache}\n\
         [upstreams.app]\nendpoints = [\"http://127.0.0.1:9\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n"
    );
    std::fs::write(&file, text).unwrap();
    match load::read(&file) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error:?}"),
    }
}

/// One that listens to this store.
struct Listener {
    source: StoreSource,
    changes: Arc<Changes>,
}

impl Listener {
    fn start(store: &str) -> Self {
        Self::start_with(store, "")
    }

    fn start_with(store: &str, cache: &str) -> Self {
        let config = config(store, cache);
        let mut source = StoreSource::open(config.store.get_ref(), &config.tokens).unwrap();
        source.listen(&config).unwrap();
        let changes = Arc::clone(source.changes().unwrap());
        Self { source, changes }
    }

    async fn hearing(store: &str) -> Self {
        let listener = Self::start(store);
        listener.hears().await;
        listener
    }

    async fn hears(&self) {
        eventually("it listens", LIMIT, || self.changes.hears_all()).await;
    }

    async fn is_deaf(&self) {
        eventually("it notices", LIMIT, || !self.changes.hears_all()).await;
    }

    fn basis(&self, key: &str) -> Basis {
        self.changes.basis([key.as_bytes()])
    }

    fn worth(&self, basis: &Basis) -> Worth {
        self.changes.judge(basis, Uptime::now())
    }

    async fn becomes(&self, basis: &Basis, worth: Worth) {
        let is = || self.worth(basis) == worth;
        eventually(&format!("{worth:?}"), LIMIT, is).await;
    }
}

fn url(redis: &Redis) -> String {
    format!("redis = \"{}\"", redis.url())
}

fn behind(proxy: &Proxy) -> String {
    format!("redis = \"redis://127.0.0.1:{}\"", proxy.port())
}

#[tokio::test]
async fn every_kind_of_change_is_heard_and_nothing_else() {
    let redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;
    let quiet = [
        listener.basis("login:token:b"),
        listener.basis("login:user:main:b"),
        listener.basis("login:realm:main"),
    ];
    let user = "login:user:main:a";
    let ways: [&[&str]; 8] = [
        &["SET", KEY, "1"],
        &["PEXPIRE", KEY, "100000"],
        &["DEL", KEY],
        &["SET", KEY, "1", "PX", "60"],
        &["MSET", "x", "1", KEY, "2", "y", "3"],
        &["GETDEL", KEY],
        &["SET", user, "1"],
        &["SET", "login:realm:main", "1"],
    ];
    for way in ways {
        let key = match way[1] {
            "x" => KEY,
            key => key,
        };
        let basis = listener.basis(key);
        redis.cli(way);
        listener.becomes(&basis, Worth::Void).await;
    }
    let realm = listener.basis("login:realm:main");
    redis.cli(&["SET", "something:else", "1"]);
    redis.cli(&["SET", "login:limit:main:a", "1"]);

    assert_eq!(listener.worth(&quiet[0]), Worth::Firm);
    assert_eq!(listener.worth(&quiet[1]), Worth::Firm);
    assert_eq!(listener.worth(&realm), Worth::Firm);
}

#[tokio::test]
async fn key_that_expires_is_heard() {
    let redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;
    redis.cli(&["SET", KEY, "1", "PX", "300"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let basis = listener.basis(KEY);

    listener.becomes(&basis, Worth::Void).await;
}

#[tokio::test]
async fn flood_of_changes_is_heard_to_the_last() {
    let redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;
    let bases: Vec<(String, Basis)> = (0..2000)
        .map(|n| format!("login:token:{n}"))
        .map(|key| (key.clone(), listener.basis(&key)))
        .collect();
    let mut command = vec!["MSET"];
    for (key, _) in &bases {
        command.extend([key.as_str(), "1"]);
    }

    redis.cli(&command);

    for (_, basis) in &bases {
        listener.becomes(basis, Worth::Void).await;
    }
    assert!(listener.changes.hears_all(), "and it has lost nothing");
}

#[tokio::test]
async fn emptied_server_is_heard() {
    for how in ["FLUSHALL", "FLUSHDB"] {
        let redis = Redis::start().await;
        let listener = Listener::hearing(&url(&redis)).await;
        redis.cli(&["SET", KEY, "1"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let basis = listener.basis(KEY);

        redis.cli(&[how]);

        listener.becomes(&basis, Worth::Void).await;
        let other = listener.basis(KEY);
        assert_eq!(listener.worth(&other), Worth::Firm, "{how}");
    }
}

#[tokio::test]
async fn killed_connection_casts_doubt_and_is_made_again() {
    let redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;
    let basis = listener.basis(KEY);

    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    listener.becomes(&basis, Worth::Doubted).await;
    listener.hears().await;

    let fresh = listener.basis(KEY);
    redis.cli(&["SET", KEY, "1"]);
    listener.becomes(&fresh, Worth::Void).await;
}

#[tokio::test]
async fn frozen_server_and_silent_network_are_noticed_without_being_told() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port());
    let listener = Listener::hearing(&behind(&proxy)).await;

    for way in [Way::There, Way::Back] {
        let basis = listener.basis(KEY);
        proxy.hold(Which::Listeners, way);
        listener.becomes(&basis, Worth::Doubted).await;
        assert!(!listener.changes.hears_all());
        proxy.mend();
        listener.hears().await;
    }
    let basis = listener.basis(KEY);
    redis.freeze();
    listener.becomes(&basis, Worth::Doubted).await;
    redis.thaw();
    listener.hears().await;
}

#[tokio::test]
async fn slow_network_is_not_a_silent_one() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port());
    let listener = Listener::hearing(&behind(&proxy)).await;
    proxy.delay(Duration::from_millis(100));
    let basis = listener.basis(KEY);

    tokio::time::sleep(Duration::from_secs(3)).await;

    assert_eq!(listener.worth(&basis), Worth::Firm);
}

#[tokio::test]
async fn server_that_comes_back_empty_has_nothing_of_what_was_read() {
    let mut redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;
    let basis = listener.basis(KEY);

    redis.kill();
    listener.becomes(&basis, Worth::Doubted).await;
    redis.restart().await;

    listener.becomes(&basis, Worth::Void).await;
    listener.hears().await;
}

#[tokio::test]
async fn replica_is_not_believed_not_even_one_that_was_a_master() {
    let master = Redis::start().await;
    let listener = Listener::hearing(&url(&master)).await;
    let other = Redis::start().await;
    let basis = listener.basis(KEY);

    master.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    listener.is_deaf().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!listener.changes.hears_all());
    assert_ne!(listener.worth(&basis), Worth::Firm);
    master.cli(&["REPLICAOF", "NO", "ONE"]);

    listener.hears().await;
}

#[tokio::test]
async fn gateway_may_be_there_first() {
    let port = free_port();
    let listener = Listener::start(&format!("redis = \"redis://127.0.0.1:{port}\""));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!listener.changes.hears_all());

    let _redis = Settings::default().on(port).start().await;

    listener.hears().await;
}

#[tokio::test]
async fn tls_and_a_user_of_few_rights_are_enough() {
    let redis = Settings::default().tls().start().await;
    let rules = [
        "~login:*",
        "+get",
        "+pttl",
        "+ping",
        "+hello",
        "+client|tracking",
    ];
    let user = ["ACL", "SETUSER", "gate", "on", ">secret pass"];
    redis.cli(&[&user[..], &rules[..]].concat());
    let text = format!(
        "{}\ntls_ca = \"{}\"\nusername = \"gate\"\npassword = \"secret pass\"",
        url(&redis),
        redis.ca().display()
    );
    let listener = Listener::hearing(&text).await;
    let basis = listener.basis(KEY);

    redis.cli(&["SET", KEY, "1"]);

    listener.becomes(&basis, Worth::Void).await;
}

#[tokio::test]
async fn user_who_may_not_be_told_hears_nothing_and_keeps_nothing() {
    let redis = Redis::start().await;
    redis.cli(&[
        "ACL", "SETUSER", "gate", "on", ">p", "~login:*", "+get", "+pttl", "+hello",
    ]);
    let text = format!("{}\nusername = \"gate\"\npassword = \"p\"", url(&redis));
    let listener = Listener::start(&text);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let basis = listener.basis(KEY);

    assert_eq!(listener.worth(&basis), Worth::Doubted);
    redis.cli(&["ACL", "SETUSER", "gate", "+client|tracking", "+ping"]);
    listener.hears().await;
}

#[tokio::test]
async fn server_that_speaks_nonsense_is_left_and_tried_again() {
    let fake = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = fake.local_addr().unwrap().port();
    let nonsense: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*99999999999\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$999999999\r\n",
        b"%1\r\n+proto\r\n:3\r\n+OK\r\n*1\r\n$6\r\nmaster\r\n$0\r\n\r\n$0\r\n\r\n\xff\xff\r\n",
    ];
    let visits = std::thread::spawn(move || {
        for answer in nonsense {
            let (mut stream, _) = fake.accept().unwrap();
            // The beginning of what the listener says.
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(answer).unwrap();
            // Until the listener leaves.
            stream.read_to_end(&mut Vec::new()).ok();
        }
    });
    let listener = Listener::start(&format!("redis = \"redis://127.0.0.1:{port}\""));

    tokio::task::spawn_blocking(move || visits.join().unwrap())
        .await
        .unwrap();
    let redis = Settings::default().on(port).start().await;

    listener.hears().await;
    drop(redis);
}

#[tokio::test]
async fn dropped_listener_leaves_no_connection() {
    let redis = Redis::start().await;
    let listener = Listener::hearing(&url(&redis)).await;

    drop(listener.source);

    eventually("the connection is closed", LIMIT, || {
        redis.cli(&["CLIENT", "LIST"]).lines().count() == 1
    })
    .await;
}

#[tokio::test]
async fn sentinel_failover_is_followed_and_casts_doubt() {
    let mut sentinel = Sentinel::start().await;
    let listener = Listener::hearing(&format!("redis = \"{}\"", sentinel.url())).await;
    eventually("the master is proven", LIMIT, || {
        listener.changes.is_proven(Uptime::now())
    })
    .await;
    let basis = listener.basis(KEY);
    assert_eq!(listener.worth(&basis), Worth::Firm);

    sentinel.servers[0].kill();
    eventually("the replica is master", LIMIT, || {
        sentinel.master() == sentinel.servers[1].port()
    })
    .await;
    eventually("the new master is proven", LIMIT, || {
        listener.changes.is_proven(Uptime::now()) && listener.changes.hears_all()
    })
    .await;

    assert_ne!(listener.worth(&basis), Worth::Firm);
    let fresh = listener.basis(KEY);
    sentinel.servers[1].cli(&["SET", KEY, "1"]);
    listener.becomes(&fresh, Worth::Void).await;
}

#[tokio::test]
async fn one_sentinel_in_the_configuration_leads_to_the_others() {
    let sentinel = Sentinel::start().await;
    let one = sentinel.url();
    let one = one.split("&node").next().unwrap();

    let listener = Listener::hearing(&format!("redis = \"{one}\"")).await;

    eventually("the majority is asked", LIMIT, || {
        listener.changes.is_proven(Uptime::now())
    })
    .await;
}

#[tokio::test]
async fn every_cluster_master_is_listened_to_also_the_one_that_comes_later() {
    let mut cluster = Cluster::start(1).await;
    let listener = Listener::hearing(&format!("redis = \"{}\"", cluster.url())).await;
    let keys: Vec<String> = (0..60).map(|n| format!("login:token:{n}")).collect();
    let set = |cluster: &Cluster, key: &str| {
        let port = cluster.nodes[1].port().to_string();
        let mut command = std::process::Command::new("redis-cli");
        command.args(["-c", "-p", &port, "SET", key, "1"]);
        assert!(command.output().unwrap().status.success());
    };
    for key in &keys {
        let basis = listener.basis(key);
        assert_eq!(listener.worth(&basis), Worth::Firm);
        set(&cluster, key);
        listener.becomes(&basis, Worth::Void).await;
    }
    let bases: Vec<Basis> = keys.iter().map(|key| listener.basis(key)).collect();

    cluster.nodes[0].kill();
    listener.is_deaf().await;
    listener.hears().await;

    let firm = bases
        .iter()
        .filter(|basis| listener.worth(basis) == Worth::Firm);
    let firm = firm.count();
    assert!(
        firm > 10 && firm < 50,
        "{firm} of 60 are on the other two masters"
    );
    for key in &keys {
        let basis = listener.basis(key);
        set(&cluster, key);
        listener.becomes(&basis, Worth::Void).await;
    }
}

#[tokio::test]
async fn cluster_that_notices_too_late_is_told_in_numbers() {
    let cluster = Cluster::start(0).await;
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "15000"]);
    }
    let text = format!("redis = \"{}\"", cluster.url());

    let listener = Listener::start(&text);
    eventually("it asks", LIMIT, || listener.source.unfit().is_some()).await;
    let unfit = listener.source.unfit().unwrap().to_string();
    assert!(unfit.contains("15s"), "{unfit}");
    assert!(unfit.contains("below 3.75s"), "{unfit}");
    assert_eq!(listener.changes.margin(), u64::MAX, "so nothing is young");

    let listener = Listener::start_with(&text, "max_staleness = \"20s\"");
    listener.hears().await;
    assert!(listener.source.unfit().is_none());
    assert_eq!(listener.changes.margin(), 16_000_000_000);
}
