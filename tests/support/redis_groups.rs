//! Several Redis servers that belong together.

use std::process::Command;

use super::{Redis, START, Settings, eventually, free_port};

/// One master, one replica and three sentinels that know the master as `main`.
#[derive(Debug)]
pub(crate) struct Sentinel {
    /// The two servers; the first one starts as master.
    pub(crate) servers: [Redis; 2],
    pub(crate) sentinels: Vec<Redis>,
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

    /// Waits until one of the servers is master and the other follows it, also as the sentinels see it.
    pub(crate) async fn settled(&self) {
        eventually("a master and its replica", START, || {
            let master = self.master();
            let follows = |server: &Redis| {
                let role = server.cli(&["INFO", "replication"]);
                match server.port() == master {
                    true => role.contains("role:master") && role.contains("state=online"),
                    false => role.contains("master_link_status:up"),
                }
            };
            self.servers.iter().all(follows)
        })
        .await;
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

    /// The places of all masters, or of all replicas.
    pub(crate) fn members(&self, masters: bool) -> Vec<usize> {
        let is_master = |node: &Redis| node.cli(&["ROLE"]).starts_with("master");
        let places = 0..self.nodes.len();
        places
            .filter(|place| is_master(&self.nodes[*place]) == masters)
            .collect()
    }

    /// Waits until every node says that all is well, and every replica follows its master.
    pub(crate) async fn settled(&self) {
        let masters = 3;
        eventually("the cluster is whole again", START, || {
            let well = self.nodes.iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && !node.cli(&["CLUSTER", "NODES"]).contains("fail")
            });
            let follows = |place: &usize| {
                let info = self.nodes[*place].cli(&["INFO", "replication"]);
                info.contains("master_link_status:up")
            };
            well && self
                .members(false)
                .iter()
                .filter(|place| follows(place))
                .count()
                == self.nodes.len() - masters
        })
        .await;
    }

    /// Moves so many slots from this master to another.
    pub(crate) async fn reshard(&self, from: usize, slots: u16) {
        let masters = self.members(true);
        let to = masters
            .iter()
            .find(|place| **place != from)
            .expect("there are three");
        let name = |place: usize| self.nodes[place].cli(&["CLUSTER", "MYID"]);
        let address = format!("127.0.0.1:{}", self.nodes[0].port());
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &address, "--cluster-yes"]);
        command.args(["--cluster-from", &name(from), "--cluster-to", &name(*to)]);
        command.args(["--cluster-slots", &slots.to_string()]);
        let moving = tokio::task::spawn_blocking(move || command.output());
        let output = moving.await.unwrap().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// `redis-cluster://…` with every node.
    pub(crate) fn url(&self) -> String {
        let mut ports = self.nodes.iter().map(Redis::port);
        let first = ports.next().expect("there are three");
        let others: Vec<_> = ports.map(|port| format!("node=127.0.0.1:{port}")).collect();
        format!("redis-cluster://127.0.0.1:{first}?{}", others.join("&"))
    }
}
