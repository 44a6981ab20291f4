//! Buckets that gateways share: the same promises on every backend.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use drawbridge::config::value::Rate;
use drawbridge::limit::{Meter, Metered};
use drawbridge::session::RecordError;
use drawbridge::store::{Key, SessionStore, StoreError};

use crate::bench::{open, settled};
use crate::redis::{Cluster, Redis};

/// Longer than anything that is not broken takes.
const DEADLINE: Duration = Duration::from_secs(10);
const HOUR: u64 = 3600;

fn meter(count: u32, seconds: u64, burst: u32) -> Meter {
    let rate = Rate {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_secs(seconds),
    };
    Meter::new(rate, burst)
}

async fn take(store: &SessionStore, bucket: &str, meter: Meter) -> Metered {
    let mut answers = store.meter(&[(Key::limit(bucket), meter)], DEADLINE).await;
    assert_eq!(answers.len(), 1);
    answers.pop().unwrap().unwrap()
}

/// Asks everything that is promised of buckets.
async fn holds(settings: &str) {
    let store = open(settings, "plain").await;
    a_burst_is_counted_to_the_last_request(&store).await;
    questions_of_one_request_are_answered_in_order(&store).await;
    a_bucket_is_refilled(&store).await;
    many_at_once_do_not_get_more(&store).await;
}

async fn a_burst_is_counted_to_the_last_request(store: &SessionStore) {
    let slow = meter(3, HOUR, 5);
    for left in (0..5).rev() {
        let answer = take(store, "burst", slow).await;
        assert!(answer.allowed);
        assert_eq!(answer.remaining, left);
        let used = 5 - left;
        let full_in = answer.full_in.as_secs();
        assert!(
            (used * 1200 - 60..=used * 1200).contains(&full_in),
            "{full_in}"
        );
    }
    for _ in 0..3 {
        let answer = take(store, "burst", slow).await;
        assert!(!answer.allowed);
        assert_eq!(answer.remaining, 0);
        let next_in = answer.next_in.as_secs();
        assert!((1140..=1200).contains(&next_in), "{next_in}");
    }
    assert!(take(store, "another", slow).await.allowed);
}

async fn questions_of_one_request_are_answered_in_order(store: &SessionStore) {
    let ask = |name: &str, burst| (Key::limit(name), meter(1, HOUR, burst));
    let questions = [ask("a", 7), ask("b", 1), ask("c", 9), ask("b", 1)];

    let answers = store.meter(&questions, DEADLINE).await;

    let told: Vec<_> = answers
        .into_iter()
        .map(|answer| {
            answer
                .map(|metered| (metered.allowed, metered.remaining))
                .unwrap()
        })
        .collect();
    assert_eq!(told, [(true, 6), (true, 0), (true, 8), (false, 0)]);
    assert!(store.meter(&[], DEADLINE).await.is_empty());
}

async fn a_bucket_is_refilled(store: &SessionStore) {
    let quick = meter(5, 1, 2);
    let start = Instant::now();
    let mut passed = 0;
    while passed < 6 {
        assert!(start.elapsed() < DEADLINE, "it is not refilled");
        let answer = take(store, "quick", quick).await;
        passed += u32::from(answer.allowed);
        tokio::time::sleep(answer.next_in).await;
    }
}

async fn many_at_once_do_not_get_more(store: &SessionStore) {
    let questions = vec![(Key::limit("crowd"), meter(1, HOUR, 50)); 100];
    let (one, two) = tokio::join!(
        store.meter(&questions, DEADLINE),
        store.meter(&questions, DEADLINE)
    );
    let allowed = |answer: &Result<Metered, StoreError>| answer.as_ref().unwrap().allowed;

    assert_eq!(
        one.iter()
            .chain(&two)
            .filter(|answer| allowed(answer))
            .count(),
        50
    );
}

/// Every key of this server has an end, and not later than the slowest bucket is full.
fn every_key_ends(redis: &Redis) -> usize {
    let keys = redis.cli(&["--scan"]);
    for key in keys.lines() {
        assert!(key.starts_with("login:limit:"), "{key}");
        let left: i64 = redis.cli(&["PTTL", key]).parse().unwrap();
        // It came to its end since it was listed.
        if left == -2 {
            continue;
        }
        assert!(
            (0..=50 * 3_600_000).contains(&left),
            "{key} ends in {left} ms"
        );
    }
    keys.lines().count()
}

#[tokio::test]
async fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.redb");

    holds(&format!("embedded = {:?}", file.display().to_string())).await;
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;

    holds(&format!("redis = \"{}\"", redis.url())).await;

    assert!(every_key_ends(&redis) >= 6);
}

#[tokio::test]
async fn cluster() {
    let cluster = Cluster::start(0).await;

    holds(&format!("redis = \"{}\"", cluster.url())).await;

    let keys: Vec<usize> = cluster.nodes.iter().map(every_key_ends).collect();
    assert!(
        keys.iter().filter(|count| **count > 0).count() > 1,
        "all on one node: {keys:?}"
    );
}

#[tokio::test]
async fn an_acl_user_needs_no_more_than_the_manual_says() {
    let redis = Redis::start().await;
    let rules = [
        "~login:*", "+get", "+set", "+pttl", "+evalsha", "+eval", "+time", "+ping",
    ];
    let user = ["ACL", "SETUSER", "gate", "on", ">secret"];
    assert_eq!(redis.cli(&[&user[..], &rules[..]].concat()), "OK");

    holds(&format!(
        "redis = \"{}\"\nusername = \"gate\"\npassword = \"secret\"",
        redis.url()
    ))
    .await;
}

#[tokio::test]
async fn two_connections_count_together_and_a_server_that_forgot_the_script_is_told_again() {
    let redis = Redis::start().await;
    let settings = format!("redis = \"{}\"", redis.url());
    let (one, two) = (
        open(&settings, "plain").await,
        open(&settings, "plain").await,
    );
    let slow = meter(1, HOUR, 4);

    assert_eq!(take(&one, "x", slow).await.remaining, 3);
    assert_eq!(take(&two, "x", slow).await.remaining, 2);
    redis.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(take(&one, "x", slow).await.remaining, 1);
    assert_eq!(take(&two, "x", slow).await.remaining, 0);
    assert!(!take(&one, "x", slow).await.allowed);
}

#[tokio::test]
async fn questions_of_one_request_do_not_wait_for_one_another() {
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    let questions = vec![(Key::limit("x"), meter(100, 1, 100)); 100];
    store.meter(&questions[..1], DEADLINE).await;
    let reads = || {
        let stats = redis.cli(&["INFO", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };

    let before = reads();
    redis.freeze();
    let go_on = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        redis.thaw();
    };
    let (answers, ()) = tokio::join!(store.meter(&questions, DEADLINE), go_on);
    let after = reads();

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // All of them lay there when it went on, and few reads took them. One after the other they would be 100 reads.
    assert!(after - before < 50, "{} reads", after - before);
}

#[tokio::test]
async fn what_others_left_under_the_key_shuts_a_bucket_neither_out_nor_for_ever() {
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    let quick = meter(10, 1, 2);

    for value in ["", "nan", "-nan", "text", "-5", "1"] {
        redis.cli(&["SET", "login:limit:odd", value]);
        let answer = take(&store, "odd", quick).await;
        assert!(answer.allowed, "{value:?}");
        assert_eq!(answer.remaining, 1, "{value:?}");
        every_key_ends(&redis);
    }
    for value in ["9007199254740991", "inf", "1e300"] {
        redis.cli(&["SET", "login:limit:odd", value]);
        let start = Instant::now();
        while !take(&store, "odd", quick).await.allowed {
            assert!(start.elapsed() < DEADLINE, "{value:?} shuts it for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        every_key_ends(&redis);
    }
    redis.cli(&["DEL", "login:limit:odd"]);
    redis.cli(&["RPUSH", "login:limit:odd", "x"]);
    let questions = [(Key::limit("odd"), quick), (Key::limit("fine"), quick)];
    let answers = store.meter(&questions, DEADLINE).await;
    assert!(
        matches!(&answers[0], Err(StoreError::Record(RecordError::Type))),
        "{answers:?}"
    );
    assert!(answers[1].as_ref().unwrap().allowed);
}

#[tokio::test]
async fn a_bucket_keeps_its_promise_when_its_rule_changes() {
    let redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    for _ in 0..100 {
        take(&store, "x", meter(1, HOUR, 100)).await;
    }

    let answer = take(&store, "x", meter(1, 1, 2)).await;

    assert!(!answer.allowed);
    assert!(answer.next_in <= Duration::from_secs(1), "{answer:?}");
    every_key_ends(&redis);
}

#[tokio::test]
async fn one_dead_node_of_a_cluster_spoils_no_other_answer_and_a_hung_server_is_not_waited_for() {
    let mut cluster = Cluster::start(0).await;
    let store = open(&format!("redis = \"{}\"", cluster.url()), "plain").await;
    let slow = meter(1, HOUR, 1000);
    let names: Vec<_> = (0..40).map(|n| format!("b{n}")).collect();
    let questions: Vec<_> = names.iter().map(|name| (Key::limit(name), slow)).collect();
    let first = store.meter(&questions, DEADLINE).await;
    assert!(
        first
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|answer| answer.allowed))
    );
    let node = |bucket: &str| {
        let key = format!("login:limit:{bucket}");
        let holds = |node: &&Redis| node.cli(&["--scan"]).lines().any(|line| line == key);
        cluster.nodes.iter().find(holds).unwrap().port()
    };
    let dead = cluster.nodes[2].port();
    let lost: Vec<bool> = names.iter().map(|name| node(name) == dead).collect();
    assert!(lost.contains(&true) && lost.contains(&false));

    cluster.nodes[2].freeze();
    let answers = store.meter(&questions, Duration::from_secs(2)).await;
    cluster.nodes[2].thaw();
    for ((answer, lost), name) in answers.iter().zip(&lost).zip(&names) {
        assert_eq!(answer.is_err(), *lost, "{name}: {answer:?}");
    }
    cluster.nodes[2].kill();
    let answers = store.meter(&questions, Duration::from_secs(2)).await;
    for (answer, lost) in answers.iter().zip(&lost) {
        assert!(answer.is_err() || !lost, "a dead node has answered");
    }
}

#[tokio::test]
async fn a_script_is_sent_once_also_when_its_server_comes_back_within_the_deadline() {
    let mut redis = Redis::start().await;
    let store = open(&format!("redis = \"{}\"", redis.url()), "plain").await;
    let slow = meter(1, HOUR, 10);
    take(&store, "x", slow).await;

    redis.freeze();
    let come_back = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis.restart().await;
    };
    let question = [(Key::limit("x"), slow)];
    let (answers, ()) = tokio::join!(store.meter(&question, DEADLINE), come_back);
    settled(&store, DEADLINE).await;

    assert!(answers[0].is_err(), "{answers:?}");
    let stats = redis.cli(&["INFO", "commandstats"]);
    assert!(
        !stats.contains("cmdstat_eval"),
        "it was sent again:\n{stats}"
    );
}
