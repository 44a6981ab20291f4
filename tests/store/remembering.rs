//! Sessions in memory before the session file: what this process changes is seen at once.

use std::sync::Arc;
use std::time::Duration;

use drawbridge::cache::MaxAge;
use drawbridge::sessions::{Memory, Sessions, Standing, memory};
use drawbridge::store::{SessionStore, StoreSource};

use crate::bench::{session, token};
use crate::listening::config;

const AGE: MaxAge = MaxAge::new(Duration::from_secs(60));

async fn open(dir: &std::path::Path) -> (Arc<SessionStore>, Arc<Memory>, Arc<Sessions>) {
    let file = dir.join("sessions");
    let config = config(&format!("embedded = \"{}\"", file.display()), "");
    let mut source = StoreSource::open(config.store.get_ref(), &config.tokens).unwrap();
    source.listen(&config).unwrap();
    let memory = memory(&config, Arc::clone(source.changes().unwrap()));
    let store = Arc::new(source.connect().await.unwrap());
    let sessions = Sessions::new(Arc::clone(&store), &config, Arc::default());
    let sessions = Arc::new(sessions.remembering(Some(Arc::clone(&memory))));
    (store, memory, sessions)
}

#[tokio::test]
async fn what_was_ended_is_ended_when_that_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, memory, sessions) = open(dir.path()).await;
    let token = token("remembered");
    for round in 0..20 {
        let user = format!("user-{round}");
        store.create(&token, &session(&user)).await.unwrap();
        for _ in 0..3 {
            match sessions.recall(&token, AGE).await.unwrap() {
                Standing::Live(found) => assert_eq!(found.user_id, user),
                other => panic!("{other:?}"),
            }
        }
        assert!(store.remove(&token).await.unwrap());
        for _ in 0..3 {
            let found = sessions.recall(&token, AGE).await.unwrap();
            assert_eq!(found, Standing::Unknown);
        }
    }

    let total = memory.total();
    assert_eq!((total.hits, total.misses), (80, 40), "of three, one asks");
}

#[tokio::test]
async fn session_that_is_replaced_while_it_is_read_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, sessions) = open(dir.path()).await;
    let token = token("replaced");
    for round in 0..200 {
        let user = format!("user-{round}");
        let new = session(&user);
        let (created, _) = tokio::join!(store.create(&token, &new), async {
            tokio::task::yield_now().await;
            sessions.recall(&token, AGE).await
        });
        created.unwrap();
        match sessions.recall(&token, AGE).await.unwrap() {
            Standing::Live(found) => assert_eq!(found.user_id, user),
            other => panic!("{other:?}"),
        }
    }
}
