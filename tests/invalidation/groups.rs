//! Sentinel and Cluster: masters that change, and one that does not know that it is none any more.

use std::process::Command;
use std::time::Duration;

use crate::bench::{LONG, Scene, TOKEN, becomes, bound, status};
use crate::safeguards::without;
use crate::support::gateway::{PROGRAM, log_in, record};
use crate::support::proxy::Proxy;
use crate::support::redis::{Cluster, Sentinel, eventually};
use crate::support::{Call, Gateway, PATIENCE, Redis, user};

fn log_out_at(redis: &Redis) {
    assert_eq!(redis.cli(&["DEL", &format!("login:token:{TOKEN}")]), "1");
}

async fn promoted(sentinel: &Sentinel) {
    let replica = sentinel.servers[1].port();
    eventually("the replica is master", PATIENCE, || {
        sentinel.master() == replica
    })
    .await;
}

#[tokio::test]
async fn session_that_is_ended_at_the_new_master_of_the_sentinels_is_ended_here() {
    for orderly in [true, false] {
        let mut sentinel = Sentinel::start().await;
        log_in(&sentinel.servers[0], TOKEN, &user("alice", &[]));
        sentinel.servers[0].cli(&["WAIT", "1", "1000"]);
        let scene = Scene::new().await;
        let store = format!("redis = \"{}\"", sentinel.url());
        let gateway = scene.door_to(&store, LONG).start().await;
        becomes(&gateway, 200).await;

        if orderly {
            sentinel.failover();
        } else {
            sentinel.servers[0].kill();
        }
        promoted(&sentinel).await;
        log_out_at(&sentinel.servers[1]);

        becomes(&gateway, 401).await;
        log_in(&sentinel.servers[1], TOKEN, &user("alice", &[]));
        becomes(&gateway, 200).await;
    }
}

/// A master and a gateway on one side of a cut, the replica and the sentinels on the other.
struct Island {
    sentinel: Sentinel,
    to_master: Proxy,
    to_sentinels: Vec<Proxy>,
    gateway: Gateway,
    /// Its upstream serves.
    _scene: Scene,
}

impl Island {
    async fn new(rule: Option<&str>) -> Self {
        let master = Redis::start().await;
        let real = master.port().to_string();
        let to_master = Proxy::to(master.port());
        let sentinel = Sentinel::around(master, to_master.port()).await;
        log_in(&sentinel.servers[0], TOKEN, &user("alice", &[]));
        sentinel.servers[0].cli(&["WAIT", "1", "1000"]);
        let to_sentinels: Vec<Proxy> = sentinel.ports().into_iter().map(Proxy::to).collect();
        for proxy in &to_sentinels {
            // The gateway is on the master's side, and finds it where it really is.
            proxy.rewrite(&to_master.port().to_string(), &real);
        }
        let nodes: Vec<String> = to_sentinels
            .iter()
            .map(|proxy| format!("node=127.0.0.1:{}", proxy.port()))
            .collect();
        let store = format!(
            "redis = \"redis-sentinel://{}?sentinelServiceName=main&{}\"",
            nodes[0].trim_start_matches("node="),
            nodes[1..].join("&")
        );
        let scene = Scene::new().await;
        let setup = without(scene.door_to(&store, &bound(5)), rule);
        let gateway = setup.start().await;
        becomes(&gateway, 200).await;
        Self {
            sentinel,
            to_master,
            to_sentinels,
            gateway,
            _scene: scene,
        }
    }

    /// Cuts it off, and ends the session on the other side.
    async fn cut(&self) {
        self.to_master.refuse();
        for proxy in &self.to_sentinels {
            proxy.refuse();
        }
        promoted(&self.sentinel).await;
        log_out_at(&self.sentinel.servers[1]);
    }
}

#[tokio::test]
async fn sentinel_fence_keeps_a_master_that_was_cut_off_from_being_believed() {
    let island = Island::new(None).await;
    island.cut().await;
    becomes(&island.gateway, 503).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status(&island.gateway).await, 503, "and it stays so");
    let public = island.gateway.send(Call::get("/public/x")).await;
    assert_eq!(public.status, 200);

    for proxy in &island.to_sentinels {
        proxy.mend();
    }
    becomes(&island.gateway, 401).await;

    let island = Island::new(Some("fence")).await;
    island.cut().await;
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert_eq!(status(&island.gateway).await, 200);
}

/// A token in the slots of each of the first three nodes.
fn tokens(cluster: &Cluster) -> Vec<String> {
    let owner = |token: &str| {
        let key = format!("login:token:{token}");
        let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &key]);
        let slot: u32 = slot.parse().unwrap();
        slot * 3 / 16_384
    };
    let all: Vec<String> = (0..100).map(|n| format!("dbt_cluster-{n}")).collect();
    let one = |third| all.iter().find(|token| owner(token) == third).unwrap();
    (0..3).map(|third| one(third).clone()).collect()
}

/// Runs a command wherever the key is.
fn anywhere(cluster: &Cluster, args: &[&str]) -> String {
    let port = cluster.nodes[1].port().to_string();
    let mut command = Command::new("redis-cli");
    let output = command.args(["-c", "-p", &port]).args(args).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

async fn all_become(gateway: &Gateway, tokens: &[String], expected: u16) {
    for token in tokens {
        let start = std::time::Instant::now();
        loop {
            let reply = gateway.send(Call::get("/x").bearer(token)).await;
            if reply.status == expected {
                break;
            }
            assert!(matches!(reply.status, 200 | 503), "{}", reply.status);
            assert!(start.elapsed() < PATIENCE, "still {}", reply.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn cluster_failover_loses_no_session_and_no_end_of_one() {
    let mut cluster = Cluster::start(1).await;
    let tokens = tokens(&cluster);
    for token in &tokens {
        let session = record(&user("alice", &[]));
        anywhere(
            &cluster,
            &["SET", &format!("login:token:{token}"), &session],
        );
    }
    for node in &cluster.nodes[..3] {
        node.cli(&["WAIT", "1", "1000"]);
    }
    let scene = Scene::new().await;
    let store = format!("redis = \"{}\"", cluster.url());
    let gateway = scene.door_to(&store, LONG).start().await;
    all_become(&gateway, &tokens, 200).await;

    cluster.nodes[0].kill();
    eventually("a replica took over", PATIENCE, || {
        let seen = cluster.nodes[1].cli(&["CLUSTER", "NODES"]);
        let masters = |line: &&str| line.contains("master") && !line.contains("fail");
        seen.contains("fail ") && seen.lines().filter(masters).count() == 3
    })
    .await;
    for token in &tokens {
        let answer = anywhere(&cluster, &["DEL", &format!("login:token:{token}")]);
        assert_eq!(answer.trim(), "1");
    }

    all_become(&gateway, &tokens, 401).await;
}

/// What a gateway says that does not start before this cluster, with these lines in `[cache]`.
fn refusal(cluster: &Cluster, cache: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\nredis = \"{}\"\n[cache]\n{cache}\n\
         [upstreams.app]\nendpoints = [\"http://127.0.0.1:9\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n",
        cluster.url()
    );
    std::fs::write(&file, text).unwrap();

    let mut command = Command::new(PROGRAM);
    let output = command
        .args(["run", "--config"])
        .arg(&file)
        .output()
        .unwrap();

    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn gateway_does_not_start_before_a_cluster_that_notices_too_late() {
    let cluster = Cluster::start(0).await;
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "15000"]);
    }
    let said = refusal(&cluster, "");
    assert!(
        said.contains("cache.max_staleness cannot be kept"),
        "{said}"
    );
    assert!(
        said.contains("15s") && said.contains("below 3.75s"),
        "{said}"
    );

    // It no longer tells by itself; what the configuration says counts.
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "1000"]);
        node.cli(&["ACL", "SETUSER", "default", "-config"]);
    }
    let said = refusal(&cluster, "");
    assert!(said.contains("cache.cluster_node_timeout"), "{said}");
    let said = refusal(&cluster, "cluster_node_timeout = \"16s\"");
    assert!(said.contains("16s"), "{said}");
    let scene = Scene::new().await;
    let store = format!("redis = \"{}\"", cluster.url());
    let cache = "cluster_node_timeout = \"1s\"";
    let gateway = scene.door_to(&store, cache).start().await;
    assert_eq!(status(&gateway).await, 401);
}
