//! Random faults under load, and a check of everything that was seen: nobody is let in longer after the end of a session
//! was acknowledged than the bound allows, nobody as somebody else, nobody after the session's own end, and nobody is
//! logged out by a fault that loses nothing.
//!
//! A request is decided after it was begun, so one that was begun too late and let in is a violation however slow the
//! machine is: no clock has to be trusted further than that it runs forward. `CHECKER_SEED` repeats a run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drawbridge::session::Why;
use drawbridge::sessions::{Login, Sessions, Whom};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::own::Desk;
use crate::safeguards::without;
use crate::support::gateway::now;
use crate::support::proxy::{Proxy, Way, Which};
use crate::support::redis::{Cluster, Sentinel, eventually};
use crate::support::{Gateway, PATIENCE, Redis, Upstream, gateway, upstream};

/// The bound of the gateways under test.
const BOUND: Duration = Duration::from_secs(2);
/// Tokens that are asked about at a time, opened within some eight seconds; the older ones are let go.
const IN_USE: usize = 120;
/// A session is ended when so many have been opened after it: it goes on being asked about for longer than the bound.
const ENDED_AFTER: usize = 20;

/// One session, and what became of it.
#[derive(Debug, Clone)]
struct Known {
    number: usize,
    token: String,
    user: String,
    sid: String,
    /// Unix milliseconds.
    ends_at: u64,
    /// Since when its end is acknowledged and confirmed.
    over: Option<Instant>,
    /// Somebody has tried to end it, or a fault has lost it: it may be gone.
    shaky: bool,
}

/// One answer.
#[derive(Debug)]
struct Seen {
    number: usize,
    begun: Instant,
    begun_at: u64,
    status: u16,
    user: String,
    gateway: usize,
}

#[derive(Default)]
struct Log {
    known: Vec<Known>,
    seen: Vec<Seen>,
    /// Requests begun before were under way when something was lost.
    losses: Vec<Instant>,
}

/// What is wrong with what was seen, and the longest that anybody was let in after an acknowledged end.
fn check(log: &Log, bound: Duration) -> (Vec<String>, Duration) {
    let (mut wrong, mut worst) = (Vec::new(), Duration::ZERO);
    for seen in &log.seen {
        let known = &log.known[seen.number];
        let age = known
            .over
            .map(|over| seen.begun.saturating_duration_since(over));
        match seen.status {
            200 => {
                if seen.user != known.user {
                    let at = seen.gateway;
                    wrong.push(format!(
                        "S3: {} let in as {} at {at}",
                        known.user, seen.user
                    ));
                }
                if seen.begun_at > known.ends_at {
                    wrong.push(format!("S4: let in after its end: {known:?} {seen:?}"));
                }
                worst = worst.max(age.unwrap_or_default());
                if age.is_some_and(|age| age > bound) {
                    wrong.push(format!(
                        "S1: let in {age:?} after its end: {known:?} {seen:?}"
                    ));
                }
            }
            401 => {
                let lived =
                    known.over.is_none() && !known.shaky && seen.begun_at + 5000 < known.ends_at;
                let lost = log
                    .losses
                    .iter()
                    .any(|lost| seen.begun <= *lost + Duration::from_secs(5));
                if lived && !lost {
                    wrong.push(format!("L1: logged out by nobody: {known:?} {seen:?}"));
                }
            }
            503 => {}
            other => wrong.push(format!("{other} is no answer: {seen:?}")),
        }
    }
    (wrong, worst)
}

/// A number from the seed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = std::env::var("CHECKER_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(u64::from(clock.subsec_nanos()) | 1);
        println!("CHECKER_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % most
    }
}

/// Two gateways, the load on them, and whoever opens and ends sessions meanwhile.
struct World {
    gateways: Vec<Gateway>,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    _upstream: Upstream,
}

impl World {
    async fn start(stores: &[String], authority: &str, rule: Option<&str>) -> Self {
        let upstream = upstream();
        let mut gateways = Vec::new();
        for store in stores {
            let setup = gateway()
                .plain()
                .store(&format!("redis = \"{store}\""))
                .upstream("app", &upstream)
                .toml(&format!(
                    "[sessions]\n[cache]\nmax_staleness = \"{}s\"",
                    BOUND.as_secs()
                ))
                .route("prefix = \"/\"\nupstream = \"app\"");
            gateways.push(without(setup, rule).quiet().start().await);
        }
        let desk = Desk::open_at(authority).await;
        let mut world = Self {
            log: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
            gateways,
            _upstream: upstream,
        };
        let (log, stop) = (Arc::clone(&world.log), Arc::clone(&world.stop));
        world
            .tasks
            .spawn(live(Arc::clone(&desk.sessions), log, stop));
        for (number, gateway) in world.gateways.iter().enumerate() {
            for step in [1, 7] {
                let (log, stop) = (Arc::clone(&world.log), Arc::clone(&world.stop));
                world
                    .tasks
                    .spawn(load((number, gateway.plain()), step, log, stop));
            }
        }
        world
    }

    /// From now on it may be that what was there before is gone.
    fn loses(&self) {
        let mut log = self.log.lock();
        for known in &mut log.known {
            known.shaky = true;
        }
        log.losses.push(Instant::now());
    }

    /// Ends the load and checks what was seen.
    async fn verdict(mut self) -> (Vec<String>, Duration, usize) {
        self.stop.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
        let log = self.log.lock();
        let (wrong, worst) = check(&log, BOUND);
        let over = log
            .known
            .iter()
            .filter(|known| known.over.is_some())
            .count();
        let let_in = log.seen.iter().filter(|seen| seen.status == 200).count();
        println!(
            "{} answers, {let_in} let in, {over} ends, worst staleness {worst:?}",
            log.seen.len()
        );
        assert!(let_in > 100 && over > 0, "there was no load to speak of");
        (wrong, worst, over)
    }
}

/// Opens sessions and ends them, some by kick and some by waiting.
async fn live(sessions: Arc<Sessions>, log: Arc<Mutex<Log>>, stop: Arc<AtomicBool>) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        round += 1;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let user = format!("user-{round}");
        let brief = round % 5 == 0;
        let login = Login {
            user_id: user.clone(),
            lifetime: brief.then_some(Duration::from_millis(1500)),
            ..Login::default()
        };
        if let Ok(grant) = sessions.login(login).await {
            let mut log = log.lock();
            let number = log.known.len();
            log.known.push(Known {
                number,
                token: grant.access.expose().to_owned(),
                user,
                sid: grant.session.sid,
                ends_at: grant.access_ends_at,
                over: None,
                shaky: false,
            });
        }
        // One that has been in use for a while.
        let meant = {
            let mut log = log.lock();
            let count = log.known.len();
            let old = count.checked_sub(ENDED_AFTER);
            old.map(|old| {
                log.known[old].shaky = true;
                log.known[old].clone()
            })
        };
        let Some(known) = meant.filter(|known| known.over.is_none()) else {
            continue;
        };
        let whom = Whom::Session(known.sid.clone());
        let ended = sessions.kick(&known.user, whom, Why::Kicked).await;
        if ended.is_ok_and(|ended| ended.confirmed) {
            log.lock().known[known.number].over = Some(Instant::now());
        }
    }
}

/// Asks one gateway about the tokens in use, one after the other.
async fn load(
    (gateway, address): (usize, SocketAddr),
    step: usize,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
) {
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) {
        turn += step;
        let picked = {
            let log = log.lock();
            let first = log.known.len().saturating_sub(IN_USE);
            let used = &log.known[first..];
            (!used.is_empty()).then(|| used[turn % used.len()].clone())
        };
        tokio::time::sleep(Duration::from_millis(3)).await;
        let Some(known) = picked else {
            continue;
        };
        let (begun, begun_at) = (Instant::now(), now());
        let asked = ask(address, &known.token);
        let Ok(Some((status, user))) = tokio::time::timeout(PATIENCE, asked).await else {
            continue;
        };
        log.lock().seen.push(Seen {
            number: known.number,
            begun,
            begun_at,
            status,
            user,
            gateway,
        });
    }
}

/// Status and, as the upstream was told it, user; nothing if there was no whole answer.
async fn ask(address: SocketAddr, token: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET /x HTTP/1.1\r\nhost: a.test\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body.trim()).unwrap_or_default();
    let user = body["user"].as_str().unwrap_or_default().to_owned();
    Some((status, user))
}

/// Longer than the bound, so that what is not ended by anything else shows.
const FAULT: Duration = Duration::from_millis(3000);
/// Until everything is as before.
const CALM: Duration = Duration::from_millis(1200);

/// One fault of a single Redis, and its repair.
async fn fault(kind: usize, world: &World, redis: &mut Redis, proxies: &[Proxy], dice: &mut Dice) {
    let proxy = &proxies[dice.below(proxies.len())];
    match kind {
        0 => proxy.silence(),
        1 => proxy.hold(Which::Listeners, Way::Back),
        2 => proxy.hold(Which::Others, Way::Back),
        3 => proxy.delay(Duration::from_millis(30)),
        4 => {
            for _ in 0..10 {
                proxy.cut();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        5 => redis.stop_signal(),
        6 => world.gateways[dice.below(2)].signal("-STOP"),
        7 => {
            redis.cli(&["SAVE"]);
            tokio::time::sleep(FAULT / 2).await;
            world.loses();
            redis.restart().await;
        }
        _ => {
            world.loses();
            std::fs::remove_file(redis.dir().join("dump.rdb")).ok();
            redis.restart().await;
        }
    }
    tokio::time::sleep(FAULT).await;
    proxy.mend();
    redis.cont_signal();
    for gateway in &world.gateways {
        gateway.signal("-CONT");
    }
    tokio::time::sleep(CALM).await;
}

const FAULTS: usize = 9;

async fn single(rounds: usize) {
    let mut dice = Dice::new();
    let mut redis = Redis::start().await;
    let proxies = [Proxy::to(redis.port()), Proxy::to(redis.port())];
    let stores = proxies
        .each_ref()
        .map(|proxy| format!("redis://127.0.0.1:{}", proxy.port()));
    let world = World::start(&stores, &redis.url(), None).await;
    tokio::time::sleep(CALM).await;

    let first = dice.below(FAULTS);
    for round in 0..rounds {
        let kind = (first + round * 2) % FAULTS;
        println!("fault {kind}");
        fault(kind, &world, &mut redis, &proxies, &mut dice).await;
    }

    let (wrong, worst, _) = world.verdict().await;
    assert!(
        wrong.is_empty(),
        "{} violations: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(worst <= BOUND, "{worst:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_beyond_the_bound_whatever_fails() {
    single(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_whatever_fails_for_long() {
    single(4 * FAULTS).await;
}

/// A failover, by death or by order, and another one back.
async fn failovers(count: usize) {
    let mut dice = Dice::new();
    let mut sentinel = Sentinel::start().await;
    let url = sentinel.url();
    let world = World::start(&[url.clone(), url.clone()], &url, None).await;
    tokio::time::sleep(2 * FAULT).await;

    for _ in 0..count {
        let before = sentinel.master();
        let old = usize::from(sentinel.servers[1].port() == before);
        // What was written last may not have arrived at the replica; such ends are not confirmed, but openings may be lost.
        world.loses();
        match dice.below(3) {
            0 => sentinel.failover(),
            1 => sentinel.servers[old].kill(),
            _ => sentinel.servers[old].stop_signal(),
        }
        eventually("another master", PATIENCE, || {
            let now = sentinel.master();
            now != before && now != 0
        })
        .await;
        world.loses();
        tokio::time::sleep(FAULT).await;
        if sentinel.servers[old].is_running() {
            sentinel.servers[old].cont_signal();
        } else {
            sentinel.servers[old].restart().await;
        }
        tokio::time::sleep(FAULT).await;
        world.loses();
    }

    let (wrong, worst, _) = world.verdict().await;
    assert!(
        wrong.is_empty(),
        "{} violations: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(worst <= BOUND, "{worst:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_beyond_the_bound_when_the_master_changes() {
    failovers(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_when_the_master_changes_again_and_again() {
    failovers(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_when_nodes_of_a_cluster_die() {
    let mut dice = Dice::new();
    let mut cluster = Cluster::start(1).await;
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "700"]);
    }
    let url = cluster.url();
    let world = World::start(&[url.clone(), url.clone()], &url, None).await;
    tokio::time::sleep(CALM).await;

    for _ in 0..4 {
        let node = dice.below(3);
        world.loses();
        cluster.nodes[node].kill();
        tokio::time::sleep(2 * FAULT).await;
        cluster.nodes[node].restart().await;
        tokio::time::sleep(FAULT).await;
        world.loses();
    }

    let (wrong, _, _) = world.verdict().await;
    assert!(
        wrong.is_empty(),
        "{} violations: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
}

/// With the rules taken away that end what nothing else ends, the checker finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checker_finds_what_it_is_there_to_find() {
    let mut dice = Dice::new();
    let mut redis = Redis::start().await;
    let proxies = [Proxy::to(redis.port())];
    let store = format!("redis://127.0.0.1:{}", proxies[0].port());
    let world = World::start(&[store.clone(), store], &redis.url(), Some("age,epoch")).await;
    tokio::time::sleep(CALM).await;

    fault(0, &world, &mut redis, &proxies, &mut dice).await;

    let (wrong, worst, _) = world.verdict().await;
    assert!(
        wrong.iter().any(|wrong| wrong.starts_with("S1")),
        "{wrong:?}"
    );
    assert!(worst > BOUND);
}

/// Each kind of violation, planted.
#[test]
fn each_violation_is_one() {
    let begun = Instant::now();
    let known = |over: Option<Duration>| Known {
        number: 0,
        token: String::new(),
        user: "alice".to_owned(),
        sid: String::new(),
        ends_at: 100_000,
        over: over.map(|ago| begun.checked_sub(ago).unwrap()),
        shaky: false,
    };
    let seen = |status, user: &str, begun_at| Seen {
        number: 0,
        begun,
        begun_at,
        status,
        user: user.to_owned(),
        gateway: 0,
    };
    let found = |known: Known, seen: Seen| {
        let log = Log {
            known: vec![known],
            seen: vec![seen],
            losses: Vec::new(),
        };
        check(&log, BOUND)
            .0
            .first()
            .map(|wrong| wrong[..2].to_owned())
    };
    let late = BOUND + Duration::from_millis(1);

    assert_eq!(
        found(known(Some(late)), seen(200, "alice", 1)).as_deref(),
        Some("S1")
    );
    assert_eq!(found(known(Some(BOUND)), seen(200, "alice", 1)), None);
    assert_eq!(found(known(Some(late)), seen(401, "", 1)), None);
    assert_eq!(
        found(known(None), seen(200, "bob", 1)).as_deref(),
        Some("S3")
    );
    assert_eq!(
        found(known(None), seen(200, "alice", 100_001)).as_deref(),
        Some("S4")
    );
    assert_eq!(found(known(None), seen(401, "", 1)).as_deref(), Some("L1"));
    assert_eq!(found(known(None), seen(503, "", 1)), None);
}
