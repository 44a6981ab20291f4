//! What every backend can do with one key, asked of each of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drawbridge::config::Config;
use drawbridge::session::RecordError;
use drawbridge::store::{Ends, Key, Keys, SessionStore, StoreError, Swapped};
use drawbridge::token::Anchor;
use tokio::task::JoinSet;

use crate::bench::{ahead, open};
use crate::redis::{Cluster, Redis, Sentinel, Settings};

/// Far enough away to still be there at the end of the test.
const LATER: Duration = Duration::from_secs(3600);

fn keys() -> Keys {
    let text = "listeners = []\nroutes = []\n[store]\n[upstreams]\n";
    Keys::new(&toml::from_str::<Config>(text).unwrap())
}

/// A key of its own for this name; in a cluster they lie on all nodes.
fn key(name: &str) -> Key {
    keys().user(Anchor::of("test", name))
}

async fn value(store: &SessionStore, key: &Key) -> Option<Vec<u8>> {
    let found = store.get(std::slice::from_ref(key), Ends::None).await;
    let kept = found.unwrap().remove(0);
    kept.map(|kept| kept.bytes.to_vec())
}

async fn end(store: &SessionStore, key: &Key) -> Option<u64> {
    let found = store.get(std::slice::from_ref(key), Ends::All).await;
    found.unwrap().remove(0).unwrap().ends_at
}

async fn until_gone(store: &SessionStore, key: &Key) {
    let start = Instant::now();
    while value(store, key).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether this end is the one that was asked for, as far as the way there allows to tell.
fn about(end: u64, wanted: u64) -> bool {
    end.abs_diff(wanted) < 10_000
}

async fn hold(settings: &str) {
    let store = Arc::new(open(settings, "plain").await);
    several_at_once(&store).await;
    swaps(&store).await;
    one_of_many_swaps_wins(&store).await;
    ends(&store).await;
    puts_and_takes(&store).await;
}

async fn several_at_once(store: &SessionStore) {
    let all: Vec<Key> = (0..20).map(|n| key(&format!("many-{n}"))).collect();
    for (n, key) in all.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        let end = (n % 2 == 0).then(|| ahead(LATER));
        store
            .put(key, format!("value {n}").as_bytes(), end)
            .await
            .unwrap();
    }

    for asked in [Ends::All, Ends::First, Ends::None] {
        let found = store.get(&all, asked).await.unwrap();
        assert_eq!(found.len(), all.len());
        for (n, kept) in found.iter().enumerate() {
            let Some(kept) = kept else {
                assert_eq!(n % 3, 0, "{n} is there");
                continue;
            };
            assert_eq!(kept.bytes, format!("value {n}"));
            if asked == Ends::All {
                assert_eq!(kept.ends_at.is_some(), n % 2 == 0, "{n}");
            }
        }
    }
    assert!(store.get(&[], Ends::All).await.unwrap().is_empty());
}

async fn swaps(store: &SessionStore) {
    let key = key("swapped");
    let conflict =
        |held: Option<&'static [u8]>| Swapped::Conflict(held.map(bytes::Bytes::from_static));
    let swap = async |expected: Option<&[u8]>, new: Option<&[u8]>| {
        store
            .swap(&key, expected, new, Some(ahead(LATER)))
            .await
            .unwrap()
    };

    assert_eq!(swap(Some(b"a"), Some(b"b")).await, conflict(None));
    assert_eq!(value(store, &key).await, None);
    assert_eq!(swap(None, Some(b"a")).await, Swapped::Done);
    assert_eq!(swap(None, Some(b"b")).await, conflict(Some(b"a")));
    assert_eq!(swap(Some(b"A"), Some(b"b")).await, conflict(Some(b"a")));
    assert_eq!(value(store, &key).await.unwrap(), b"a");
    assert_eq!(swap(Some(b"a"), Some(b"\xff\0\r\n")).await, Swapped::Done);
    assert_eq!(value(store, &key).await.unwrap(), b"\xff\0\r\n");
    assert!(about(end(store, &key).await.unwrap(), ahead(LATER)));
    assert_eq!(swap(Some(b"\xff\0\r\n"), None).await, Swapped::Done);
    assert_eq!(value(store, &key).await, None);

    let forever = store.swap(&key, None, Some(b"a"), None).await.unwrap();
    assert_eq!(forever, Swapped::Done);
    assert_eq!(end(store, &key).await, None);
    let soon = Some(ahead(Duration::from_millis(100)));
    assert_eq!(
        store
            .swap(&key, Some(b"a"), Some(b"b"), soon)
            .await
            .unwrap(),
        Swapped::Done
    );
    until_gone(store, &key).await;
    assert_eq!(swap(Some(b"b"), Some(b"c")).await, conflict(None));
    assert_eq!(swap(None, Some(b"c")).await, Swapped::Done);
}

/// Many count up the same number; none of their steps is lost.
async fn one_of_many_swaps_wins(store: &Arc<SessionStore>) {
    const TASKS: u32 = 8;
    const STEPS: u32 = 20;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (store, key) = (Arc::clone(store), key("counted"));
        tasks.spawn(async move {
            let mut held: Option<Vec<u8>> = None;
            for _ in 0..STEPS {
                loop {
                    let text = held
                        .as_deref()
                        .map_or("0", |held| str::from_utf8(held).unwrap());
                    let next = (text.parse::<u32>().unwrap() + 1).to_string();
                    let new = Some(next.as_bytes());
                    match store.swap(&key, held.as_deref(), new, None).await.unwrap() {
                        Swapped::Done => {
                            held = Some(next.into_bytes());
                            break;
                        }
                        Swapped::Conflict(other) => held = other.map(|other| other.to_vec()),
                    }
                }
            }
        });
    }
    tasks.join_all().await;

    let counted = value(store, &key("counted")).await.unwrap();
    assert_eq!(counted, (TASKS * STEPS).to_string().into_bytes());
}

async fn ends(store: &SessionStore) {
    let (timed, endless, absent) = (key("timed"), key("endless"), key("absent"));
    store
        .put(&timed, b"v", Some(ahead(2 * LATER)))
        .await
        .unwrap();
    store.put(&endless, b"v", None).await.unwrap();

    assert!(!store.shorten(&timed, ahead(3 * LATER)).await.unwrap());
    assert!(!store.extend(&timed, ahead(LATER)).await.unwrap());
    assert!(about(end(store, &timed).await.unwrap(), ahead(2 * LATER)));
    assert!(store.extend(&timed, ahead(3 * LATER)).await.unwrap());
    assert!(about(end(store, &timed).await.unwrap(), ahead(3 * LATER)));
    assert!(store.shorten(&timed, ahead(LATER)).await.unwrap());
    assert!(about(end(store, &timed).await.unwrap(), ahead(LATER)));
    assert_eq!(value(store, &timed).await.unwrap(), b"v");

    assert!(!store.extend(&endless, ahead(LATER)).await.unwrap());
    assert_eq!(end(store, &endless).await, None);
    assert!(store.shorten(&endless, ahead(LATER)).await.unwrap());
    assert!(about(end(store, &endless).await.unwrap(), ahead(LATER)));

    assert!(!store.shorten(&absent, ahead(LATER)).await.unwrap());
    assert!(!store.extend(&absent, ahead(LATER)).await.unwrap());
    assert_eq!(value(store, &absent).await, None, "it must not be made");

    let soon = ahead(Duration::from_millis(100));
    assert!(store.shorten(&timed, soon).await.unwrap());
    until_gone(store, &timed).await;
    assert!(!store.extend(&timed, ahead(LATER)).await.unwrap());
    assert_eq!(value(store, &timed).await, None, "it must stay gone");
}

async fn puts_and_takes(store: &Arc<SessionStore>) {
    let key = key("put");
    store.put(&key, b"1", Some(ahead(LATER))).await.unwrap();
    store.put(&key, b"2", None).await.unwrap();
    assert_eq!(value(store, &key).await.unwrap(), b"2");
    assert_eq!(end(store, &key).await, None);
    assert!(!store.put_new(&key, b"3", None).await.unwrap());
    assert_eq!(value(store, &key).await.unwrap(), b"2");
    assert!(store.discard(&key).await.unwrap());
    assert!(!store.discard(&key).await.unwrap());
    assert!(store.put_new(&key, b"3", Some(ahead(LATER))).await.unwrap());
    assert!(about(end(store, &key).await.unwrap(), ahead(LATER)));
    let soon = Some(ahead(Duration::from_millis(50)));
    store.put(&key, b"4", soon).await.unwrap();
    until_gone(store, &key).await;
    assert_eq!(store.take(&key).await.unwrap(), None, "it has ended");
    assert!(
        store
            .put_new(&key, b"once", Some(ahead(LATER)))
            .await
            .unwrap()
    );

    let mut takers = JoinSet::new();
    for _ in 0..20 {
        let (store, key) = (Arc::clone(store), key.clone());
        takers.spawn(async move { store.take(&key).await.unwrap() });
    }
    let taken: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken, ["once"]);
}

#[tokio::test]
async fn session_file_does_what_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let settings = format!("embedded = \"{}\"", dir.path().join("sessions").display());

    hold(&settings).await;

    let store = open(&settings, "plain").await;
    assert!(value(&store, &key("counted")).await.is_some(), "it is kept");
    assert!(store.confirm(&key("counted"), b"160").await);
}

#[tokio::test]
async fn redis_does_what_it_is_asked_also_after_it_forgot_the_scripts() {
    let redis = Redis::start().await;
    let settings = format!("redis = \"{}\"", redis.url());

    hold(&settings).await;
    redis.cli(&["SCRIPT", "FLUSH"]);
    redis.cli(&["FLUSHALL"]);
    hold(&settings).await;
}

#[tokio::test]
async fn sentinel_does_what_it_is_asked() {
    let sentinel = Sentinel::start().await;

    hold(&format!("redis = \"{}\"", sentinel.url())).await;
}

#[tokio::test]
async fn cluster_does_what_it_is_asked_on_every_node() {
    let cluster = Cluster::start(0).await;

    hold(&format!("redis = \"{}\"", cluster.url())).await;

    for node in &cluster.nodes {
        assert_ne!(node.cli(&["DBSIZE"]), "0", "all nodes took part");
    }
}

#[tokio::test]
async fn what_is_no_text_is_a_failure_and_not_absent() {
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    store.put(&key("good"), b"v", None).await.unwrap();
    let name = redis.cli(&["--scan"]);
    redis.cli(&["DEL", &name]);
    redis.cli(&["HSET", &name, "a", "b"]);

    let asked = [key("other"), key("good")];
    let answers = [
        store.get(&asked, Ends::All).await.map(|_| ()),
        store
            .swap(&key("good"), None, Some(b"v"), None)
            .await
            .map(|_| ()),
        store.take(&key("good")).await.map(|_| ()),
    ];

    for answer in answers {
        assert!(
            matches!(answer, Err(StoreError::Record(RecordError::Type))),
            "{answer:?}"
        );
    }
    assert_eq!(redis.cli(&["HGET", &name, "a"]), "b");
}

#[tokio::test]
async fn sentinel_confirms_what_its_replica_has_and_nothing_else() {
    let mut sentinel = Sentinel::start().await;
    let store = open(&format!("redis = \"{}\"", sentinel.url()), "plain").await;
    store
        .put(&key("a"), b"v", Some(ahead(LATER)))
        .await
        .unwrap();

    assert!(store.confirm(&key("a"), b"v").await);
    assert!(about(end(&store, &key("a")).await.unwrap(), ahead(LATER)));
    assert!(!store.confirm(&key("a"), b"another").await);
    assert!(!store.confirm(&key("nothing"), b"v").await);
    assert_eq!(value(&store, &key("nothing")).await, None);

    sentinel.servers[1].freeze();
    store
        .put(&key("a"), b"w", Some(ahead(LATER)))
        .await
        .unwrap();
    assert!(
        !store.confirm(&key("a"), b"w").await,
        "a replica that is frozen has nothing"
    );
    sentinel.servers[1].thaw();

    sentinel.servers[1].kill();
    let start = Instant::now();
    while !sentinel.servers[0]
        .cli(&["INFO", "replication"])
        .contains("connected_slaves:0")
    {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        !store.confirm(&key("a"), b"w").await,
        "there is no replica left"
    );
}

#[tokio::test]
async fn single_redis_confirms_for_itself_and_for_its_replicas() {
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    store.put(&key("a"), b"v", None).await.unwrap();
    assert!(store.confirm(&key("a"), b"v").await);

    let port = redis.port().to_string();
    let replica = Settings::default().with("replicaof", &format!("127.0.0.1 {port}"));
    let replica = replica.start().await;
    let port = replica.port().to_string();
    crate::redis::eventually("the replica follows", Duration::from_secs(20), || {
        let replication = redis.cli(&["INFO", "replication"]);
        replication.contains(&port) && replication.contains("state=online")
    })
    .await;
    // A replica that has just come says how far it is a moment later.
    let give_up = Instant::now() + Duration::from_secs(20);
    while !store.confirm(&key("a"), b"v").await {
        assert!(Instant::now() < give_up, "the replica never confirms");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    replica.freeze();
    assert!(!store.confirm(&key("a"), b"v").await);
    replica.thaw();
}

#[tokio::test]
async fn cluster_confirms_on_the_node_that_has_the_key() {
    let cluster = Cluster::start(1).await;
    let store = open(&format!("redis = \"{}\"", cluster.url()), "plain").await;
    for n in 0..12 {
        let key = key(&format!("user-{n}"));
        store.put(&key, b"v", Some(ahead(LATER))).await.unwrap();
        // On a busy machine a replica that has just come is not always as far within the time that is allowed.
        let give_up = Instant::now() + Duration::from_secs(20);
        while !store.confirm(&key, b"v").await {
            assert!(Instant::now() < give_up, "{n}: the replica never confirms");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!store.confirm(&key, b"w").await, "{n}");
    }
}

/// Proxies and clusters find the node of a script by its key, so each has one, and no other name for it.
#[test]
fn every_script_names_its_one_key_literally() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis/script");
    let mut scripts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "lua") {
            continue;
        }
        scripts += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect();
        for call in code.split("redis.call(").skip(1) {
            let inside = call.split(')').next().unwrap();
            let on_key = inside.split(',').nth(1).map(str::trim);
            assert!(
                on_key == Some("KEYS[1]") || inside == "'TIME'",
                "{}: {inside}",
                path.display()
            );
        }
        assert_eq!(
            code.matches("KEYS").count(),
            code.matches("KEYS[1]").count()
        );
        assert!(
            !code.contains("= KEYS"),
            "{}: another name for the key",
            path.display()
        );
    }
    assert!(scripts >= 5, "{scripts}");
}
