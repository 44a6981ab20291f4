//! Random faults under load, and a check of everything that was seen: nobody is let in longer after the end of a session
//! was acknowledged than the bound allows, nobody as somebody else, nobody after the session's own end, and nobody is
//! logged out by a fault that loses nothing. What counts as which is in [`crate::witness`].
//!
//! `CHECKER_SEED` repeats a run's faults; `CHECKER_SECONDS` is how long a long one takes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use crate::support::proxy::{Proxy, Way, Which};
use crate::support::redis::{Cluster, Sentinel, eventually};
use crate::support::{PATIENCE, Redis};
use crate::world::{BOUND, Servers, World};

/// Longer than the bound, so that what is not ended by anything else shows.
const FAULT: Duration = Duration::from_millis(3000);
/// Until everything is as before.
const CALM: Duration = Duration::from_millis(1200);
/// The same where it is also seen that everything is.
const LONG_CALM: Duration = Duration::from_millis(7500);
/// So many seconds a long run takes without further word.
const SECONDS: u64 = 180;

/// A number from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % most
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How long a run is.
#[derive(Clone, Copy)]
enum Length {
    Rounds(usize),
    Long,
}

struct Run {
    dice: Dice,
    length: Length,
    rounds: usize,
    started: Instant,
}

impl Run {
    fn new(length: Length) -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = setting("CHECKER_SEED").unwrap_or(u64::from(clock.subsec_nanos()) | 1);
        println!("CHECKER_SEED={seed}");
        let (rounds, started) = (0, Instant::now());
        let dice = Dice(seed);
        Self {
            dice,
            length,
            rounds,
            started,
        }
    }

    fn goes_on(&self) -> bool {
        match self.length {
            Length::Rounds(most) => self.rounds < most,
            Length::Long => {
                let most = setting("CHECKER_SECONDS").unwrap_or(SECONDS);
                self.started.elapsed() < Duration::from_secs(most)
            }
        }
    }

    /// The next of these faults. Each has its turn, whatever the first is.
    fn next<F: Copy>(&mut self, faults: &[F]) -> F {
        if self.rounds == 0 {
            self.rounds = 1 + self.dice.below(faults.len());
            if let Length::Rounds(most) = &mut self.length {
                *most += self.rounds - 1;
            }
        } else {
            self.rounds += 1;
        }
        // Those that stand beside each other are alike; a prime that divides none of the numbers of faults.
        faults[self.rounds * 7 % faults.len()]
    }

    async fn calm(&self, world: &World, what: &str) {
        sleep(match self.length {
            Length::Rounds(_) => CALM,
            Length::Long => LONG_CALM,
        })
        .await;
        world.settle(what);
    }
}

async fn finish(world: World) {
    let tally = world.verdict().await;
    let wrong = &tally.wrong;
    let first = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} violations: {first:#?}", wrong.len());
    assert!(tally.worst <= BOUND, "{:?}", tally.worst);
}

/// What becomes of a single Redis and the way to it.
#[derive(Debug, Clone, Copy)]
enum Single {
    Silence,
    SilentLink,
    SilentAnswers,
    SlowNetwork,
    Cuts,
    FrozenRedis,
    FrozenGateway,
    OlderDump,
    EmptyRedis,
    DeadRedis,
    KilledLinks,
    Flush,
    ManyPushes,
    Pauses,
    Busy,
    Full,
    NoRights,
    Swapped,
    Refused,
}

const SINGLE: [Single; 19] = [
    Single::Silence,
    Single::SilentLink,
    Single::SilentAnswers,
    Single::SlowNetwork,
    Single::Cuts,
    Single::FrozenRedis,
    Single::FrozenGateway,
    Single::OlderDump,
    Single::EmptyRedis,
    Single::DeadRedis,
    Single::KilledLinks,
    Single::Flush,
    Single::ManyPushes,
    Single::Pauses,
    Single::Busy,
    Single::Full,
    Single::NoRights,
    Single::Swapped,
    Single::Refused,
];

/// Ten times a second for as long as a fault lasts.
async fn again_and_again(what: impl Fn()) {
    for _ in 0..FAULT.as_millis() / 100 {
        what();
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ends the connections of all clients but those of sentinels, who would take it for the server's death.
fn kill_links(redis: &Redis) {
    for client in redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]).lines() {
        let id = client.split(' ').find_map(|part| part.strip_prefix("id="));
        if let Some(id) = id.filter(|_| !client.contains(" name=sentinel-")) {
            redis.cli(&["CLIENT", "KILL", "ID", id]);
        }
    }
}

/// The store forgets.
async fn forgets(world: &World, redis: &mut Redis, keep: bool) {
    if keep {
        redis.cli(&["SAVE"]);
        sleep(FAULT / 2).await;
    } else {
        std::fs::remove_file(redis.dir().join("dump.rdb")).ok();
    }
    world.loses();
    redis.restart().await;
    world.loses();
    sleep(FAULT).await;
}

/// One fault of a single Redis, and its repair.
async fn fail(kind: Single, world: &World, redis: &mut Redis, proxy: &Proxy, gateway: usize) {
    match kind {
        Single::Silence => proxy.silence(),
        Single::SilentLink => proxy.hold(Which::Listeners, Way::Back),
        Single::SilentAnswers => proxy.hold(Which::Others, Way::Back),
        Single::SlowNetwork => proxy.delay(Duration::from_millis(30)),
        Single::Refused => proxy.refuse(),
        Single::Cuts => again_and_again(|| proxy.cut()).await,
        Single::FrozenRedis => redis.freeze(),
        Single::FrozenGateway => world.freeze(gateway, FAULT).await,
        Single::OlderDump => forgets(world, redis, true).await,
        Single::EmptyRedis => forgets(world, redis, false).await,
        Single::DeadRedis => {
            world.loses();
            redis.kill();
            sleep(FAULT).await;
            forgets(world, redis, false).await;
        }
        Single::KilledLinks => {
            again_and_again(|| kill_links(redis)).await;
        }
        Single::Flush => {
            world.loses();
            redis.cli(&["FLUSHALL"]);
            world.loses();
        }
        Single::ManyPushes => {
            let many = "for i = 1, 100000 do redis.call('SET', 'login:token:dbt_many' .. i, 'x', 'PX', 3000) end";
            redis.cli(&["EVAL", many, "0"]);
        }
        Single::Pauses => {
            again_and_again(|| {
                redis.cli(&["CLIENT", "PAUSE", "70", "ALL"]);
            })
            .await;
        }
        Single::Busy => {
            let long =
                "local from = redis.call('TIME')[1]; while redis.call('TIME')[1] - from < 3 do end";
            redis.cli(&["EVAL", long, "0"]);
        }
        Single::Full => {
            redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        }
        Single::NoRights => {
            redis.cli(&["ACL", "SETUSER", "default", "-get"]);
        }
        Single::Swapped => {
            world.loses();
            redis.cli(&["SWAPDB", "0", "1"]);
            world.moves();
        }
    }
    if !matches!(
        kind,
        Single::Cuts | Single::FrozenGateway | Single::KilledLinks | Single::Pauses
    ) {
        sleep(FAULT).await;
    }
    proxy.mend();
    redis.thaw();
    match kind {
        Single::Full => {
            redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        }
        Single::NoRights => {
            redis.cli(&["ACL", "SETUSER", "default", "+@all"]);
        }
        Single::Swapped => {
            redis.cli(&["SWAPDB", "0", "1"]);
            world.loses();
        }
        _ => {}
    }
}

async fn single(length: Length) {
    let mut run = Run::new(length);
    let mut redis = Redis::start().await;
    let proxies = [Proxy::to(redis.port()), Proxy::to(redis.port())];
    let world = before(&redis, &proxies, None).await;

    while run.goes_on() {
        let kind = run.next(&SINGLE);
        let gateway = run.dice.below(2);
        world.fails();
        fail(kind, &world, &mut redis, &proxies[gateway], gateway).await;
        world.repaired();
        run.calm(&world, &format!("{kind:?} at {gateway}")).await;
    }

    finish(world).await;
}

/// Gateways behind these proxies before this Redis.
async fn before(redis: &Redis, proxies: &[Proxy; 2], rule: Option<&str>) -> World {
    let stores = proxies
        .each_ref()
        .map(|proxy| format!("redis://127.0.0.1:{}", proxy.port()));
    let servers = Servers {
        ports: vec![redis.port()],
        needed: 1,
    };
    let world = World::start(&stores, &redis.url(), servers, rule).await;
    sleep(CALM).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_beyond_the_bound_whatever_fails() {
    single(Length::Rounds(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_whatever_fails_for_long() {
    single(Length::Long).await;
}

/// What becomes of servers that stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Order,
    DeadMaster,
    FrozenMaster,
    FrozenReplica,
    DeadReplica,
    KilledLinks,
    FrozenGateway,
    /// One of three sentinels, or nothing in a cluster.
    FrozenSentinel,
    /// Two of them.
    FrozenSentinels,
    /// Slots change their place in a cluster.
    Moved,
}

const SENTINEL: [Group; 9] = [
    Group::Order,
    Group::DeadMaster,
    Group::FrozenReplica,
    Group::FrozenMaster,
    Group::FrozenSentinel,
    Group::DeadReplica,
    Group::FrozenGateway,
    Group::KilledLinks,
    Group::FrozenSentinels,
];

const CLUSTER: [Group; 8] = [
    Group::DeadMaster,
    Group::Order,
    Group::FrozenReplica,
    Group::FrozenMaster,
    Group::Moved,
    Group::DeadReplica,
    Group::FrozenGateway,
    Group::KilledLinks,
];

/// Faults that every group of servers has: those of one of them, or of a gateway.
async fn fail_one(kind: Group, world: &World, redis: &mut Redis, gateway: usize) {
    match kind {
        Group::DeadReplica | Group::DeadMaster => {
            redis.kill();
            // From here on, and not before: what was confirmed while it fell need not be found on it.
            world.moves();
            sleep(2 * FAULT).await;
            redis.restart().await;
        }
        Group::FrozenReplica | Group::FrozenMaster => {
            redis.freeze();
            world.moves();
            sleep(2 * FAULT).await;
            redis.thaw();
        }
        Group::KilledLinks => {
            again_and_again(|| kill_links(redis)).await;
        }
        Group::FrozenGateway => world.freeze(gateway, FAULT).await,
        _ => unreachable!("{kind:?} is not a fault of one"),
    }
}

/// Whether what was written last may be lost: it may not have arrived at whoever takes over.
fn loses(kind: Group) -> bool {
    matches!(kind, Group::Order | Group::DeadMaster | Group::FrozenMaster)
}

async fn fail_sentinel(kind: Group, world: &World, sentinel: &mut Sentinel, gateway: usize) {
    let before = sentinel.master();
    let master = usize::from(sentinel.servers[1].port() == before);
    match kind {
        Group::Order => {
            sentinel.failover();
            eventually("another master", PATIENCE, || {
                let now = sentinel.master();
                now != before && now != 0
            })
            .await;
        }
        Group::FrozenSentinel | Group::FrozenSentinels => {
            let count = if kind == Group::FrozenSentinel { 1 } else { 2 };
            let frozen = &sentinel.sentinels[3 - count..];
            frozen.iter().for_each(Redis::freeze);
            sleep(FAULT).await;
            frozen.iter().for_each(Redis::thaw);
        }
        Group::FrozenReplica | Group::DeadReplica => {
            fail_one(kind, world, &mut sentinel.servers[1 - master], gateway).await;
        }
        _ => fail_one(kind, world, &mut sentinel.servers[master], gateway).await,
    }
    sentinel.settled().await;
}

async fn failovers(length: Length) {
    let mut run = Run::new(length);
    let mut sentinel = Sentinel::start().await;
    let url = sentinel.url();
    let ports = sentinel.servers.iter().map(Redis::port).collect();
    let servers = Servers { ports, needed: 2 };
    let world = World::start(&[url.clone(), url.clone()], &url, servers, None).await;
    sleep(2 * FAULT).await;

    while run.goes_on() {
        let kind = run.next(&SENTINEL);
        let gateway = run.dice.below(2);
        world.fails();
        if loses(kind) {
            world.loses();
        }
        fail_sentinel(kind, &world, &mut sentinel, gateway).await;
        if loses(kind) {
            world.loses();
        }
        world.repaired();
        run.calm(&world, &format!("{kind:?}")).await;
    }

    finish(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_beyond_the_bound_when_sentinels_change_the_master() {
    failovers(Length::Rounds(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_when_sentinels_change_the_master_for_long() {
    failovers(Length::Long).await;
}

async fn fail_cluster(
    kind: Group,
    world: &World,
    cluster: &mut Cluster,
    (node, gateway): (usize, usize),
) {
    let of_replicas = matches!(
        kind,
        Group::Order | Group::FrozenReplica | Group::DeadReplica
    );
    let members = cluster.members(!of_replicas);
    let node = members[node % members.len()];
    match kind {
        Group::Order => {
            cluster.nodes[node].cli(&["CLUSTER", "FAILOVER"]);
            sleep(FAULT).await;
        }
        Group::Moved => cluster.reshard(node, 500).await,
        _ => fail_one(kind, world, &mut cluster.nodes[node], gateway).await,
    }
    cluster.settled().await;
}

async fn clusters(length: Length) {
    let mut run = Run::new(length);
    let mut cluster = Cluster::start(1).await;
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "700"]);
    }
    let url = cluster.url();
    let ports = cluster.nodes.iter().map(Redis::port).collect();
    let servers = Servers { ports, needed: 2 };
    let world = World::start(&[url.clone(), url.clone()], &url, servers, None).await;
    sleep(CALM).await;

    while run.goes_on() {
        let kind = run.next(&CLUSTER);
        let places = (run.dice.below(3), run.dice.below(2));
        world.fails();
        if loses(kind) {
            world.loses();
        }
        fail_cluster(kind, &world, &mut cluster, places).await;
        if loses(kind) {
            world.loses();
        }
        world.repaired();
        run.calm(&world, &format!("{kind:?} of {}", places.0)).await;
    }

    finish(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_beyond_the_bound_when_nodes_of_a_cluster_die() {
    clusters(Length::Rounds(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn nobody_is_let_in_beyond_the_bound_when_nodes_of_a_cluster_die_for_long() {
    clusters(Length::Long).await;
}

/// With the rules taken away that end what nothing else ends, the checker finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checker_finds_what_it_is_there_to_find() {
    let redis = Redis::start().await;
    let proxies = [Proxy::to(redis.port()), Proxy::to(redis.port())];
    let world = before(&redis, &proxies, Some("age,epoch")).await;

    // Long enough for tunnels, too.
    proxies[0].silence();
    sleep(2 * FAULT).await;

    let tally = world.verdict().await;
    for rule in ["S1", "S3", "S5"] {
        let found = tally.wrong.iter().any(|wrong| wrong.starts_with(rule));
        assert!(found, "{rule} is not found");
    }
    assert!(tally.worst > BOUND);
}
