use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::oneshot;

use super::*;

const AGE: MaxAge = MaxAge(3_000_000_000);
const KEY: &[u8] = b"login:token:a";

/// A store whose answers are counted, and can be held back.
struct Store {
    changes: Arc<Changes>,
    asked: AtomicUsize,
    says: Mutex<Result<&'static str, &'static str>>,
    held: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Store {
    fn new() -> Arc<Self> {
        let changes = Changes::whole();
        changes.hear([0]);
        Arc::new(Self {
            changes: Arc::new(changes),
            asked: AtomicUsize::new(0),
            says: Mutex::new(Ok("live")),
            held: Mutex::new(None),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The next answer is made now and arrives when the sender says so.
    fn hold(&self) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        *self.held.lock() = Some(held);
        release
    }

    async fn ask(
        self: Arc<Self>,
        lasts: Option<Duration>,
    ) -> Result<Answer<&'static str>, &'static str> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let basis = self.changes.basis([KEY]);
        let says = *self.says.lock();
        let held = self.held.lock().take();
        if let Some(held) = held {
            held.await.ok();
        }
        says.map(|verdict| Answer {
            verdict,
            basis,
            lasts,
            imprint: None,
            is_miss: verdict == "unknown",
        })
    }
}

impl Verdict for &'static str {}

type TestReader = Reader<&'static str, &'static str>;

fn reader(store: &Store) -> TestReader {
    let limits = Limits {
        entries: 100,
        misses: 10,
        misses_live: MaxAge(1_000_000_000),
    };
    Reader::new(Arc::new(Cache::new(limits, Arc::clone(&store.changes))))
}

async fn find(
    reader: &TestReader,
    store: &Arc<Store>,
    max_age: MaxAge,
) -> Result<&'static str, &'static str> {
    let ask = |_: Option<&Entry<_>>| Arc::clone(store).ask(None);
    if max_age != MaxAge::STRICT
        && let Some(verdict) = reader.remembered(&[1; 16], (Uptime::now(), max_age), ask)
    {
        return Ok(verdict);
    }
    let found = reader.find(&[1; 16], max_age, ask).await;
    found.map(|entry| *entry.verdict())
}

#[tokio::test]
async fn second_look_up_asks_nobody_until_a_record_changes() {
    let store = Store::new();
    let reader = reader(&store);

    for _ in 0..3 {
        assert_eq!(find(&reader, &store, AGE).await, Ok("live"));
    }
    assert_eq!(store.asked(), 1);
    store.changes.change(KEY);
    *store.says.lock() = Ok("ended");

    assert_eq!(find(&reader, &store, AGE).await, Ok("ended"));
    assert_eq!(store.asked(), 2);
    let total = reader.cache().total();
    assert_eq!((total.hits, total.misses), (2, 2));
}

#[tokio::test]
async fn many_at_once_ask_once_and_all_get_the_answer_or_the_error() {
    for says in [Ok("live"), Err("away")] {
        let store = Store::new();
        *store.says.lock() = says;
        let reader = Arc::new(reader(&store));
        let release = store.hold();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (reader, store) = (Arc::clone(&reader), Arc::clone(&store));
            all.spawn(async move { find(&reader, &store, AGE).await });
        }
        while reader.cache().total().misses < 50 {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();

        for found in all.join_all().await {
            assert_eq!(found, says);
        }
        assert_eq!(store.asked(), 1, "{says:?}");
    }
}

#[tokio::test]
async fn question_goes_on_when_the_one_who_asked_goes_away() {
    let store = Store::new();
    let reader = Arc::new(reader(&store));
    let release = store.hold();
    let first = tokio::spawn({
        let (reader, store) = (Arc::clone(&reader), Arc::clone(&store));
        async move { find(&reader, &store, AGE).await }
    });
    while store.asked() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    release.send(()).unwrap();

    assert_eq!(find(&reader, &store, AGE).await, Ok("live"));
    assert_eq!(store.asked(), 1);
}

#[tokio::test]
async fn answer_that_was_overtaken_by_a_change_is_not_used_twice() {
    let store = Store::new();
    let reader = Arc::new(reader(&store));
    let release = store.hold();
    let early = tokio::spawn({
        let (reader, store) = (Arc::clone(&reader), Arc::clone(&store));
        async move { find(&reader, &store, AGE).await }
    });
    while store.asked() == 0 {
        tokio::task::yield_now().await;
    }

    *store.says.lock() = Ok("ended");
    store.changes.change(KEY);
    release.send(()).unwrap();

    assert_eq!(early.await.unwrap(), Ok("live"), "it was asked before");
    assert_eq!(find(&reader, &store, AGE).await, Ok("ended"));
}

#[tokio::test]
async fn verdict_that_is_too_old_is_asked_for_again() {
    let store = Store::new();
    let reader = reader(&store);
    let short = MaxAge(1);

    find(&reader, &store, AGE).await.unwrap();
    find(&reader, &store, short).await.unwrap();
    assert_eq!(
        store.asked(),
        3,
        "twice, because no answer can be as young as that"
    );
    find(&reader, &store, AGE).await.unwrap();

    assert_eq!(store.asked(), 3, "for this one it is young enough");
}

#[tokio::test]
async fn strict_asks_each_time_and_joins_nobody() {
    let store = Store::new();
    let reader = Arc::new(reader(&store));
    let release = store.hold();
    let early = tokio::spawn({
        let (reader, store) = (Arc::clone(&reader), Arc::clone(&store));
        async move { find(&reader, &store, AGE).await }
    });
    while store.asked() == 0 {
        tokio::task::yield_now().await;
    }
    *store.says.lock() = Ok("ended");

    assert_eq!(find(&reader, &store, MaxAge::STRICT).await, Ok("ended"));
    release.send(()).unwrap();
    assert_eq!(early.await.unwrap(), Ok("live"));
    assert_eq!(find(&reader, &store, MaxAge::STRICT).await, Ok("ended"));
    assert_eq!(store.asked(), 3);
    assert_eq!(reader.cache().total().strict, 2);
}

#[tokio::test]
async fn strict_answer_takes_the_place_of_what_is_kept_and_of_nothing_else() {
    let store = Store::new();
    let reader = reader(&store);
    find(&reader, &store, MaxAge::STRICT).await.unwrap();
    assert!(reader.cache().is_empty(), "nobody else asked for it");
    find(&reader, &store, AGE).await.unwrap();
    *store.says.lock() = Ok("ended");

    assert_eq!(find(&reader, &store, MaxAge::STRICT).await, Ok("ended"));
    assert_eq!(find(&reader, &store, AGE).await, Ok("ended"));
    assert_eq!(store.asked(), 3);
}

#[tokio::test]
async fn no_worker_goes_on_with_what_another_one_found_to_be_wrong() {
    let store = Store::new();
    let first = reader(&store);
    let second = Reader::new(Arc::clone(first.cache()));
    for _ in 0..2 {
        assert_eq!(find(&first, &store, AGE).await, Ok("live"));
    }
    *store.says.lock() = Ok("unknown");

    assert_eq!(find(&second, &store, MaxAge::STRICT).await, Ok("unknown"));
    assert_eq!(find(&first, &store, AGE).await, Ok("unknown"));

    *store.says.lock() = Ok("live");
    assert_eq!(find(&second, &store, MaxAge::STRICT).await, Ok("live"));
    for worker in [&first, &second] {
        assert_eq!(find(worker, &store, AGE).await, Ok("live"));
    }
}

#[tokio::test]
async fn doubted_verdict_serves_only_while_the_store_cannot_be_asked() {
    let store = Store::new();
    let reader = reader(&store);
    find(&reader, &store, AGE).await.unwrap();

    store.changes.lose([0]);
    *store.says.lock() = Err("away");
    assert_eq!(find(&reader, &store, AGE).await, Ok("live"));
    assert_eq!(
        find(&reader, &store, MaxAge(1)).await,
        Err("away"),
        "too old"
    );
    *store.says.lock() = Ok("ended");
    assert_eq!(find(&reader, &store, AGE).await, Ok("ended"));
    *store.says.lock() = Err("away");
    store.changes.empty([0]);

    assert_eq!(
        find(&reader, &store, AGE).await,
        Err("away"),
        "known to be gone"
    );
    assert_eq!(reader.cache().total().doubted, 1);
}

#[tokio::test]
async fn verdict_in_use_is_renewed_in_the_background() {
    let store = Store::new();
    let reader = reader(&store);
    let age = MaxAge(500_000_000);
    find(&reader, &store, age).await.unwrap();

    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        assert_eq!(find(&reader, &store, age).await, Ok("live"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let total = reader.cache().total();
    assert!(total.refreshes >= 3, "{total:?}");
    assert!(total.misses <= 2, "it never gets too old: {total:?}");
}

#[tokio::test]
async fn end_of_the_session_ends_the_verdict_without_the_store() {
    let store = Store::new();
    let reader = reader(&store);
    let lasts = Duration::from_millis(50);
    let ask = |_: Option<&Entry<_>>| Arc::clone(&store).ask(Some(lasts));
    let digest = [7; 16];
    let entry = reader.find(&digest, AGE, ask).await.unwrap();

    let end = entry.basis().sent_at().plus(lasts);
    let before = Uptime::from_nanos(end.as_nanos() - 1);

    assert!(reader.cache().is_good(&entry, before, AGE));
    assert!(!reader.cache().is_good(&entry, end, AGE));
}

#[tokio::test]
async fn flood_of_unknown_tokens_drives_no_session_out() {
    let store = Store::new();
    let reader = reader(&store);
    find(&reader, &store, AGE).await.unwrap();
    *store.says.lock() = Ok("unknown");

    for n in 0..10_000_u32 {
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        digest[15] = 9;
        let ask = |_: Option<&Entry<_>>| Arc::clone(&store).ask(None);
        reader.find(&digest, AGE, ask).await.unwrap();
    }
    let asked = store.asked();

    assert_eq!(find(&reader, &store, AGE).await, Ok("live"));
    assert_eq!(store.asked(), asked);
    assert!(reader.cache().len() <= 20, "{}", reader.cache().len());
}

#[tokio::test]
async fn question_that_panics_breaks_nobody_who_comes_later() {
    let store = Store::new();
    let reader = Arc::new(reader(&store));
    let broken = tokio::spawn({
        let reader = Arc::clone(&reader);
        async move {
            let ask = |_: Option<&Entry<_>>| async { panic!("on purpose") };
            reader.find(&[1; 16], AGE, ask).await.map(|_| ())
        }
    });
    assert!(broken.await.unwrap_err().is_panic());

    assert_eq!(find(&reader, &store, AGE).await, Ok("live"));
}

/// Prints what a hit costs; asserts nothing about it.
#[tokio::test]
async fn a_hit_is_measured() {
    let store = Store::new();
    let limits = Limits {
        entries: 100_000,
        misses: 10,
        misses_live: MaxAge(1_000_000_000),
    };
    let reader = TestReader::new(Arc::new(Cache::new(limits, Arc::clone(&store.changes))));
    let digests: Vec<Digest> = (0..10_000_u32)
        .map(|n| {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &n.to_be_bytes());
            half(hash.as_ref().try_into().unwrap())
        })
        .collect();
    let age = MaxAge(3_600_000_000_000);
    let ask = |_: Option<&Entry<_>>| Arc::clone(&store).ask(None);
    for digest in &digests {
        reader.find(digest, age, ask).await.unwrap();
    }
    let rounds = 20;

    let start = Instant::now();
    for _ in 0..rounds {
        for digest in &digests {
            let entry = reader.find(digest, age, ask).await.unwrap();
            std::hint::black_box(&entry);
        }
    }
    let hit = start.elapsed() / rounds / 10_000;
    let start = Instant::now();
    for _ in 0..rounds * 10_000 {
        std::hint::black_box(Uptime::now());
    }
    let clock = start.elapsed() / rounds / 10_000;
    let token = [b'x'; 83];
    let start = Instant::now();
    for _ in 0..rounds * 10_000 {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &token);
        std::hint::black_box(&hash);
    }
    let sha = start.elapsed() / rounds / 10_000;

    println!("a hit: {hit:?}, of it the clock {clock:?}; SHA-256 of the token {sha:?} more");
    assert_eq!(store.asked(), 10_000);
}

#[tokio::test]
async fn answer_that_is_too_old_when_it_arrives_is_asked_for_again() {
    for (max_age, late) in [(MaxAge(50_000_000), 100), (MaxAge::STRICT, 1100)] {
        let store = Store::new();
        let reader = Arc::new(reader(&store));
        let release = store.hold();
        let waiting = {
            let (reader, store) = (Arc::clone(&reader), Arc::clone(&store));
            tokio::spawn(async move { find(&reader, &store, max_age).await })
        };
        tokio::time::sleep(Duration::from_millis(late)).await;
        *store.says.lock() = Ok("ended");
        release.send(()).unwrap();

        assert_eq!(waiting.await.unwrap(), Ok("ended"));
        assert_eq!(store.asked(), 2);
    }
}
