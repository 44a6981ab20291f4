//! No request ever carries another token's identity, whatever breaks meanwhile.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Call, Connection, Gateway, Redis, Reply, gateway, record, upstream, user};

const TOKENS: usize = 1_000;
const CONNECTIONS: usize = 64;
const REQUESTS_EACH: usize = 120;
/// One request in so many is cancelled at some point of its way.
const CANCELLED: u64 = 8;
/// Between two cuts of all connections to Redis.
const CUT_EVERY: Duration = Duration::from_millis(60);

fn token(number: usize) -> String {
    format!("dbt_isolation{number:04}")
}

fn name(number: usize) -> String {
    format!("user-{number}")
}

/// SplitMix64: every connection has its own, so a run can be told again by its seeds.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    unavailable: AtomicUsize,
    cancelled: AtomicUsize,
}

async fn connect(gateway: &Gateway, index: usize) -> Connection {
    match index % 4 {
        0 => Connection::h2(gateway, "a.test").await,
        1 => Connection::plain(gateway).await,
        _ => Connection::tls(gateway, "a.test").await,
    }
}

/// Sends requests with random tokens over one connection after the other.
async fn client(gateway: Arc<Gateway>, index: usize, tally: Arc<Tally>) {
    let mut dice = Dice(index as u64);
    let mut connection = connect(&gateway, index).await;
    for _ in 0..REQUESTS_EACH {
        let number = usize::try_from(dice.below(TOKENS as u64)).unwrap();
        let call = Call::get("/private").bearer(&token(number));
        if dice.below(CANCELLED) == 0 {
            let patience = Duration::from_micros(dice.below(4_000));
            let cut = tokio::time::timeout(patience, connection.begin(call)).await;
            drop(cut);
            tally.cancelled.fetch_add(1, Ordering::Relaxed);
            // What was cancelled on HTTP/1.1 takes its connection along; on HTTP/2 only its stream.
            if !matches!(connection, Connection::H2(_)) {
                connection = connect(&gateway, index).await;
            }
            continue;
        }
        let reply = connection.send(call).await;
        check(&reply, number, &tally);
    }
}

fn check(reply: &Reply, number: usize, tally: &Tally) {
    let sent = name(number);
    match reply.status {
        200 => {
            assert_eq!(reply.json()["user"], sent, "another token's identity");
            let headers = String::from_utf8_lossy(&reply.body);
            assert!(headers.contains(&format!("\"{sent}-device\"")), "{headers}");
            tally.answered.fetch_add(1, Ordering::Relaxed);
        }
        503 => {
            assert_eq!(reply.json()["code"], "session_store_unavailable");
            tally.unavailable.fetch_add(1, Ordering::Relaxed);
        }
        other => panic!("{sent} got {other}: {:?}", reply.body),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_ever_carries_another_tokens_identity() {
    let upstream = upstream();
    let redis = Arc::new(Redis::start().await);
    for batch in (0..TOKENS).collect::<Vec<_>>().chunks(200) {
        let mut command = vec!["MSET".to_owned()];
        for number in batch {
            command.push(format!("login:token:{}", token(*number)));
            command.push(record(&user(&name(*number), &["orders:read"])));
        }
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_eq!(redis.cli(&arguments), "OK");
    }
    let setup = gateway()
        .quiet()
        .workers(2)
        .plain()
        .tls(&["a.test"])
        .redis(&redis);
    let gateway = setup
        .upstream("app", &upstream)
        .route("prefix = \"/private\"\nrequire = { all = [\"orders:read\"] }\nupstream = \"app\"")
        .secret("dbt_isolation")
        .start()
        .await;
    let (gateway, tally) = (Arc::new(gateway), Arc::new(Tally::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let cutter = std::thread::spawn({
        let (redis, stop) = (Arc::clone(&redis), Arc::clone(&stop));
        move || {
            let mut cut = 0;
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(CUT_EVERY);
                cut += redis
                    .cli(&["CLIENT", "KILL", "TYPE", "normal"])
                    .parse::<usize>()
                    .unwrap_or(0);
            }
            cut
        }
    });

    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|index| tokio::spawn(client(Arc::clone(&gateway), index, Arc::clone(&tally))))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let cut = cutter.join().unwrap();

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (answered, unavailable) = (count(&tally.answered), count(&tally.unavailable));
    println!(
        "{answered} answered, {unavailable} unavailable, {} cancelled, {cut} cuts",
        count(&tally.cancelled)
    );
    assert!(cut > 4, "Redis connections were cut {cut} times only");
    assert!(
        count(&tally.cancelled) > CONNECTIONS,
        "too few were cancelled"
    );
    assert!(
        answered > unavailable,
        "{answered} answered, {unavailable} unavailable"
    );
}
