//! What only the session file promises.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use drawbridge::session::Session;
use drawbridge::store::{StoreError, StoreSource};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::bench::{ahead, open, session, settings, token, tokens};
use crate::contract::{foreign, holds};

const SESSIONS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("sessions");

fn plant(file: &Path, sha256: bool) {
    let database = Database::create(file).unwrap();
    let write = database.begin_write().unwrap();
    for (token, record, ttl) in foreign() {
        let name = if sha256 {
            token.sha256_hex()
        } else {
            token.expose().to_owned()
        };
        let end = ttl.map_or(u64::MAX, |ttl| ahead(Duration::from_millis(ttl)));
        // Redis says when a key ends; here the record must.
        let record = match ttl {
            Some(_) => record.replace('}', &format!(",\"expires_at\":{end}}}")),
            None => record,
        };
        let mut table = write.open_table(SESSIONS).unwrap();
        table
            .insert(
                format!("login:token:{name}").as_str(),
                (end, record.as_bytes()),
            )
            .unwrap();
    }
    write.commit().unwrap();
}

fn holds_bytes(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn session_file_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions");
    plant(&file, false);

    holds(&format!("embedded = \"{}\"", file.display()), "plain").await;

    assert!(holds_bytes(&file, "minted-by-us"), "plain keys are plain");
}

#[tokio::test]
async fn session_file_with_digests_keeps_the_contract_and_holds_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions");
    plant(&file, true);

    holds(&format!("embedded = \"{}\"", file.display()), "sha256").await;

    assert!(holds_bytes(&file, "u4"));
    assert!(!holds_bytes(&file, "minted-by-us"));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("embedded = \"{}\"", dir.path().join("sessions").display());
    let store = open(&text, "plain").await;
    store.create(&token("stays"), &session("u1")).await.unwrap();
    store.create(&token("goes"), &session("u2")).await.unwrap();
    assert!(store.remove(&token("goes")).await.unwrap());

    drop(store);
    let store = open(&text, "plain").await;

    assert_eq!(
        store.find(&token("stays")).await.unwrap().unwrap().user_id,
        "u1"
    );
    assert_eq!(store.find(&token("goes")).await.unwrap(), None);
}

#[tokio::test]
async fn file_that_is_open_is_refused_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("embedded = \"{}\"", dir.path().join("sessions").display());
    let store = open(&text, "plain").await;

    let second = StoreSource::open(&settings(&text), &tokens("plain"));

    let Err(refusal @ StoreError::InUse(_)) = second else {
        panic!("it must be refused");
    };
    let reason = refusal.to_string();
    assert!(reason.contains("in use by another process"), "{reason}");
    assert_eq!(store.find(&token("nothing")).await.unwrap(), None);
}

#[tokio::test]
async fn many_changes_at_once_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("embedded = \"{}\"", dir.path().join("sessions").display());
    let store = std::sync::Arc::new(open(&text, "plain").await);

    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500 {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move {
            let token = token(&format!("t{n}"));
            store
                .create(&token, &session(&format!("u{n}")))
                .await
                .unwrap();
        });
    }
    tasks.join_all().await;

    for n in 0..500 {
        let found = store.find(&token(&format!("t{n}"))).await.unwrap().unwrap();
        assert_eq!(found.user_id, format!("u{n}"));
    }
}

#[tokio::test]
async fn ended_sessions_are_taken_out_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions");
    let text = format!("embedded = \"{}\"", file.display());
    let store = open(&text, "plain").await;
    for n in 0..600 {
        let brief = Session {
            expires_at: Some(ahead(Duration::from_millis(5))),
            ..session("u1")
        };
        store
            .create(&token(&format!("t{n}")), &brief)
            .await
            .unwrap();
    }
    store.create(&token("stays"), &session("u2")).await.unwrap();

    // The first look comes with opening, the second one ten seconds later.
    drop(store);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let store = open(&text, "plain").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(store.find(&token("stays")).await.unwrap().is_some());
    drop(store);

    let database = Database::open(&file).unwrap();
    let sessions = database.begin_read().unwrap().open_table(SESSIONS).unwrap();
    assert_eq!(sessions.len().unwrap(), 1);
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("embedded = \"{}\"", dir.path().join("sessions").display());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "embedded::writes_until_it_is_killed",
        ])
        .env(CHILD, &text)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = lines
        .map(Result::unwrap)
        .filter_map(|line| line.strip_prefix("kept ")?.parse::<u32>().ok());

    let last = acknowledged.take(200).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let store = open(&text, "plain").await;
    assert!(last >= 199);
    for n in 0..=last {
        assert!(
            store
                .find(&token(&format!("stays-{n}")))
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(
            store.find(&token(&format!("goes-{n}"))).await.unwrap(),
            None
        );
    }
}

/// Where the settings of the process that is to be killed stand.
const CHILD: &str = "DRAWBRIDGE_TEST_STORE";

#[tokio::test]
#[ignore = "the process that what_was_acknowledged_survives_kill_9 kills"]
async fn writes_until_it_is_killed() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let store = open(&text, "plain").await;
    for n in 0..100_000 {
        let (stays, goes) = (token(&format!("stays-{n}")), token(&format!("goes-{n}")));
        store.create(&stays, &session("u1")).await.unwrap();
        store.create(&goes, &session("u2")).await.unwrap();
        assert!(store.remove(&goes).await.unwrap());
        println!("kept {n}");
    }
}
