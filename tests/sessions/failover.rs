//! Servers that go away while sessions are ended.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drawbridge::session::Why;
use drawbridge::sessions::{Sessions, Standing, Whom};
use drawbridge::store::StoreSource;
use parking_lot::Mutex;

use crate::bench::{PATIENCE, config, enter, is_live, login, reachable};
use crate::redis::{Redis, Sentinel, Settings, eventually};

async fn open(url: &str) -> Arc<Sessions> {
    let config = config(&format!("redis = \"{url}\""), "");
    let source = StoreSource::open(config.store.get_ref(), &config.tokens).unwrap();
    let store = Arc::new(source.connect().await.unwrap());
    reachable(&store).await;
    Arc::new(Sessions::new(store, &config, Arc::default()))
}

/// What was said to be confirmed stays so, whoever is master afterwards.
#[tokio::test]
async fn session_kicked_before_a_failover_stays_dead_if_that_was_confirmed() {
    let mut sentinel = Sentinel::start().await;
    let sessions = open(&sentinel.url()).await;
    let mut kicks = Vec::new();
    for n in 0..10 {
        let grant = enter(&sessions, login(&format!("user-{n}"), "d", "phone")).await;
        let whom = Whom::Session(grant.session.sid.clone());
        kicks.push((grant, format!("user-{n}"), whom));
    }
    sentinel.servers[0].cli(&["WAIT", "1", "5000"]);

    let mut confirmed = Vec::new();
    for (n, (grant, user, whom)) in kicks.into_iter().enumerate() {
        if n == 7 {
            // From now on nobody else has it.
            sentinel.servers[1].freeze();
        }
        let ended = sessions.kick(&user, whom, Why::Kicked).await.unwrap();
        assert_eq!(ended.confirmed, n < 7, "{n}");
        confirmed.extend(ended.confirmed.then_some(grant));
    }
    sentinel.servers[0].kill();
    sentinel.servers[1].thaw();
    let replica = sentinel.servers[1].port();
    eventually("the replica is master", PATIENCE, || {
        sentinel.master() == replica
    })
    .await;

    let start = Instant::now();
    loop {
        match sessions.find(confirmed[0].access.token()).await {
            Ok(_) => break,
            Err(error) => assert!(start.elapsed() < PATIENCE, "still: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for grant in &confirmed {
        assert!(!is_live(&sessions, grant).await, "it is back");
    }
}

#[tokio::test]
async fn outage_is_an_error_and_logs_nobody_out() {
    let redis = Redis::start().await;
    let sessions = open(&redis.url()).await;
    let grant = enter(&sessions, login("alice", "d", "phone")).await;

    redis.freeze();
    let mut failed = 0;
    for _ in 0..3 {
        let found = sessions.find(grant.access.token()).await;
        assert!(found.is_err(), "{found:?}");
        assert!(
            sessions
                .kick("alice", Whom::All, Why::Kicked)
                .await
                .is_err()
        );
        failed += 1;
    }
    redis.thaw();

    assert_eq!(failed, 3);
    let start = Instant::now();
    loop {
        match sessions.find(grant.access.token()).await {
            // A kick whose answer was lost may have been carried out when the server went on.
            Ok(Standing::Live(_)) => break,
            Ok(Standing::Ended(ended)) if ended.why == Why::Kicked => break,
            Ok(other) => panic!("nobody ended it so: {other:?}"),
            Err(error) => assert!(start.elapsed() < PATIENCE, "still: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Which connection sent each command that a Redis is sent meanwhile, by the command's name.
struct Monitor {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    async fn of(redis: &Redis) -> Self {
        let mut process = Command::new("redis-cli")
            .args(["-p", &redis.port().to_string(), "MONITOR"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                told.lock().push(line);
            }
        });
        let monitor = Self { process, lines };
        let listens = || !monitor.lines.lock().is_empty();
        eventually("MONITOR", PATIENCE, listens).await;
        monitor
    }

    /// `127.0.0.1:PORT` of whoever has sent this command.
    fn senders(&self, command: &str) -> BTreeSet<String> {
        let wanted = format!("] \"{command}\"");
        let lines = self.lines.lock();
        let sent = lines.iter().filter(|line| line.contains(&wanted));
        let sender = |line: &String| Some(line.split_once("[0 ")?.1.split_once(']')?.0.to_owned());
        sent.filter_map(sender).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Whoever waits for replicas keeps nobody else waiting: not even those who ask over the same worker.
/// Ends a session of alice's that is made for that; whether that was confirmed.
async fn kick_another(sessions: &Sessions) -> bool {
    let other = enter(sessions, login("alice", "other", "phone")).await;
    let whom = Whom::Session(other.session.sid.clone());
    let ended = sessions.kick("alice", whom, Why::Kicked).await;
    ended.unwrap().confirmed
}

#[tokio::test]
async fn replicas_are_waited_for_on_a_connection_that_nobody_else_uses() {
    let master = Redis::start().await;
    let follow = format!("127.0.0.1 {}", master.port());
    let replica = Settings::default().with("replicaof", &follow).start().await;
    eventually("the replica follows", PATIENCE, || {
        let info = master.cli(&["INFO", "replication"]);
        info.contains("state=online")
    })
    .await;
    let sessions = open(&master.url()).await;
    let grant = enter(&sessions, login("alice", "d", "phone")).await;
    // A replica that has just come takes a while to say for the first time how far it is.
    let start = Instant::now();
    while !kick_another(&sessions).await {
        assert!(start.elapsed() < PATIENCE, "the replica never confirms");
    }
    let monitor = Monitor::of(&master).await;

    for frozen in [false, true] {
        if frozen {
            replica.freeze();
        }
        assert_eq!(kick_another(&sessions).await, !frozen);
        assert!(is_live(&sessions, &grant).await);
    }

    let (waiting, asking) = (monitor.senders("WAIT"), monitor.senders("GET"));
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(!asking.is_empty());
    assert!(waiting.is_disjoint(&asking), "{waiting:?} {asking:?}");
}
