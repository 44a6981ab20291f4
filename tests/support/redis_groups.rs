//! Several Redis servers that belong together.

use std::process::Command;

use super::{Redis, START, Settings, eventually, free_port};

/// One master, one replica and three sentinels that know the master as `main`.
#[derive(Debug)]
pub(crate) struct Sentinel {
    /// The two servers; the first one starts as master.
    pub(crate) servers: [Redis; 2],
    sentinels: Vec<Redis>,
}

impl Sentinel {
    /// Starts all five and waits until the sentinels know each other and the replica.
    pub(crate) async fn start() -> Self {
        let master = Redis::start().await;
        let port = master.port();
        Self::around(master, port).await
    }

    /// The same around this master, which the replica and the sentinels reach at this port.
    pub(crate) async fn around(master: Redis, port: u16) -> Self {
        let port = port.to_string();
        let replica = Settings::default().with("replicaof", &format!("127.0.0.1 {port}"));
        let replica = replica.start().await;
        eventually("the replica follows", START, || {
            replica
                .cli(&["INFO", "replication"])
                .contains("master_link_status:up")
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let settings = Settings {
                sentinel: Some(format!(
                    "sentinel monitor main 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds main 700\n\
                     sentinel failover-timeout main 3000\n"
                )),
                ..Settings::default()
            };
            sentinels.push(settings.start().await);
        }
        eventually("the sentinels know each other", START, || {
            sentinels.iter().all(|sentinel| {
                let info = sentinel.cli(&["INFO", "sentinel"]);
                info.contains("slaves=1,sentinels=3")
            })
        })
        .await;
        Self {
            servers: [master, replica],
            sentinels,
        }
    }

    /// `redis-sentinel://…?sentinelServiceName=main` with all three sentinels.
    pub(crate) fn url(&self) -> String {
        let mut ports = self.sentinels.iter().map(Redis::port);
        let first = ports.next().expect("there are three");
        let others: String = ports
            .map(|port| format!("&node=127.0.0.1:{port}"))
            .collect();
        format!("redis-sentinel://127.0.0.1:{first}?sentinelServiceName=main{others}")
    }

    /// The ports of the sentinels.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(Redis::port).collect()
    }

    /// The port of whoever the sentinels take for the master.
    pub(crate) fn master(&self) -> u16 {
        let answer = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        let port = answer.lines().nth(1).expect("it knows one");
        port.parse().unwrap()
    }

    /// `SENTINEL FAILOVER`: an orderly change of master.
    pub(crate) fn failover(&self) {
        let answer = self.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]);
        assert_eq!(answer, "OK");
    }
}

/// Three masters with all slots between them, each with as many replicas as asked for.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The nodes; the first three start as masters.
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts it and waits until every node says that the cluster is ok.
    pub(crate) async fn start(replicas: usize) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 * (1 + replicas) {
            let settings = Settings::default()
                .with("cluster-enabled", "yes")
                .with("cluster-port", &free_port().to_string())
                .with("cluster-node-timeout", "1000")
                .with("cluster-require-full-coverage", "no");
            nodes.push(settings.start().await);
        }
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(
            nodes
                .iter()
                .map(|node| format!("127.0.0.1:{}", node.port())),
        );
        command.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        eventually("the cluster is ok", START, || {
            nodes.iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
        })
        .await;
        // A replica that has never had its master's data does not stand for election.
        eventually("the replicas follow", START, || {
            let followers = nodes.iter().filter(|node| {
                let info = node.cli(&["INFO", "replication"]);
                info.contains("master_link_status:up")
            });
            followers.count() == 3 * replicas
        })
        .await;
        Self { nodes }
    }

    /// `redis-cluster://…` with every node.
    pub(crate) fn url(&self) -> String {
        let mut ports = self.nodes.iter().map(Redis::port);
        let first = ports.next().expect("there are three");
        let others: Vec<_> = ports.map(|port| format!("node=127.0.0.1:{port}")).collect();
        format!("redis-cluster://127.0.0.1:{first}?{}", others.join("&"))
    }
}
