//! Two gateways that are restarted in turn behind a real HAProxy, which asks each of them whether it is ready and never
//! tries again: no request fails.

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::gateway::log_in;
use support::redis::eventually;
use support::{
    Call, Connection, Gateway, PATIENCE, Redis, Upstream, gateway, soon, upstream, user,
};
use tokio::net::TcpStream;

const TOKEN: &str = "alices-token";

async fn one(redis: &Redis, upstream: &Upstream) -> Gateway {
    let mut gateway = gateway()
        .redis(redis)
        .plain()
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .server("drain_delay = \"2s\"\nwatch = false")
        .quiet()
        .start()
        .await;
    gateway.keep_addresses();
    gateway
}

/// A load balancer before these, until it is dropped.
struct Haproxy {
    process: Child,
    address: SocketAddr,
    figures: SocketAddr,
    _config: tempfile::NamedTempFile,
}

impl Haproxy {
    async fn before(gateways: &[Gateway]) -> Self {
        let free = || {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let (address, figures) = (free(), free());
        let mut config = tempfile::NamedTempFile::new().unwrap();
        let servers: String = gateways
            .iter()
            .enumerate()
            .map(|(number, gateway)| {
                let (at, asked) = (gateway.plain(), gateway.monitored().port());
                format!(
                    " server gateway{number} {at} check port {asked} inter 50ms fall 1 rise 1\n"
                )
            })
            .collect();
        writeln!(
            config,
            "defaults\n mode http\n retries 0\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n timeout check 5s\n\
             listen gateways\n bind {address}\n balance roundrobin\n option httpchk GET /ready\n\
             http-check expect status 200\n{servers}\
             listen figures\n bind {figures}\n stats enable\n stats uri /",
        )
        .unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed (tests/run.sh does that)");
        for address in [address, figures] {
            let listens = || std::net::TcpStream::connect(address).is_ok();
            eventually("HAProxy to listen", PATIENCE, listens).await;
        }
        Self {
            process,
            address,
            figures,
            _config: config,
        }
    }

    async fn connection(&self) -> Connection {
        Connection::h1_over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// Waits until so many gateways get requests.
    async fn has(&self, ready: usize) {
        let wait = async {
            loop {
                let stream = TcpStream::connect(self.figures).await.unwrap();
                let reply = Connection::h1_over(stream)
                    .await
                    .send(Call::get("/;csv"))
                    .await;
                let figures = String::from_utf8(reply.body.to_vec()).unwrap();
                let lines = figures
                    .lines()
                    .filter(|line| line.starts_with("gateways,gateway"));
                if lines.filter(|line| line.contains(",UP,")).count() == ready {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("HAProxy to know who is ready", wait).await;
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Requests one after the other until it is over: some on one connection, some each on its own, some with a body.
async fn ask(proxy: &Haproxy, kind: usize, over: &AtomicBool, answers: &AtomicUsize) {
    let mut connection = proxy.connection().await;
    while !over.load(Ordering::SeqCst) {
        let call = match kind % 3 {
            0 => Call::get("/"),
            1 => Call::new("POST", "/").body(vec![b'x'; 100_000]),
            _ => {
                connection = proxy.connection().await;
                Call::get("/")
            }
        };
        let reply = connection.send(call.bearer(TOKEN)).await;
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!((reply.status, reply.whole), (200, true), "{text}");
        assert_eq!(reply.json()["user"], "alice");
        answers.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_two_gateways_restart_in_turn_behind_a_load_balancer() {
    let (redis, upstream) = (Redis::start().await, upstream());
    log_in(&redis, TOKEN, &user("alice", &[]));
    let mut gateways = vec![one(&redis, &upstream).await, one(&redis, &upstream).await];
    let proxy = Arc::new(Haproxy::before(&gateways).await);
    proxy.has(2).await;
    let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..9)
        .map(|kind| {
            let (proxy, over, answers) =
                (Arc::clone(&proxy), Arc::clone(&over), Arc::clone(&answers));
            tokio::spawn(async move { ask(&proxy, kind, &over, &answers).await })
        })
        .collect();

    for round in 0..4 {
        let before = answers.load(Ordering::SeqCst);
        let busy = || answers.load(Ordering::SeqCst) > before + 100;
        eventually("the clients to be busy", PATIENCE, busy).await;
        gateways[round % 2].terminate();
        proxy.has(1).await;
        gateways[round % 2].restart().await;
        proxy.has(2).await;
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        soon("a client", client).await.unwrap();
    }
    assert!(answers.load(Ordering::SeqCst) > 400);
}
