//! What the store's tests have in common.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drawbridge::config::{Store, Tokens};
use drawbridge::session::{Device, Session};
use drawbridge::store::{SessionStore, StoreError, StoreSource};
use drawbridge::token::{Token, TokenShape};

/// The token in this text.
pub(crate) fn token(text: &str) -> Token {
    TokenShape::new(&Tokens::default())
        .check(text.as_bytes())
        .unwrap()
}

/// The `[store]` table in this text.
pub(crate) fn settings(text: &str) -> Store {
    toml::from_str(text).unwrap()
}

/// The `[tokens]` table with this `at_rest`.
pub(crate) fn tokens(at_rest: &str) -> Tokens {
    toml::from_str(&format!("at_rest = \"{at_rest}\"")).unwrap()
}

/// A store with these settings, as soon as it answers.
pub(crate) async fn open(text: &str, at_rest: &str) -> SessionStore {
    let source = StoreSource::open(&settings(text), &tokens(at_rest)).unwrap();
    let store = source.connect().await.unwrap();
    settled(&store, Duration::from_secs(10)).await;
    store
}

/// Waits until this store can tell, and says how long it took.
pub(crate) async fn settled(store: &SessionStore, limit: Duration) -> Duration {
    let start = Instant::now();
    loop {
        match store.find(&token("nobody-has-this-token")).await {
            Ok(None) => return start.elapsed(),
            Ok(Some(_)) => panic!("there is no such session"),
            Err(error) => assert!(start.elapsed() < limit, "still: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Unix milliseconds, this far ahead.
pub(crate) fn ahead(by: Duration) -> u64 {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + by;
    u64::try_from(end.as_millis()).unwrap()
}

/// A session with every part, for an hour.
pub(crate) fn session(user: &str) -> Session {
    Session {
        user_id: user.into(),
        permissions: vec!["orders:read".to_owned(), "orders:write".to_owned()].into(),
        roles: vec!["clerk".to_owned()].into(),
        device: Device {
            id: "d1".into(),
            kind: "phone".into(),
            name: "Pixel 12".into(),
        },
        expires_at: Some(ahead(Duration::from_secs(3600))),
        ..Session::default()
    }
}

/// Fails if `answer` claims to know that there is no session, or if it found somebody else's.
pub(crate) fn never_wrong(answer: &Result<Option<Session>, StoreError>, user: &str) {
    match answer {
        Ok(Some(found)) => assert_eq!(found.user_id, user),
        Ok(None) => panic!("a live session was denied"),
        Err(_) => {}
    }
}
