//! What is left in the store, and what must never come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drawbridge::clock;
use drawbridge::session::{Idle, Session};
use drawbridge::sessions::{Login, Sessions, Standing};
use drawbridge::store::Ends;
use tokio::task::JoinSet;

use crate::bench::{
    Bench, PATIENCE, Place, enter, everywhere, is_live, live, login, past, refresh_of, refreshable,
    standing,
};

everywhere!(nothing_comes_back_after_a_logout, "idle = \"2s\"");
everywhere!(use_keeps_a_session_and_its_lack_ends_it, "idle = \"2s\"");
everywhere!(use_on_another_domain_keeps_a_session, "idle = \"2s\"");
everywhere!(
    many_users_with_short_ends_leave_no_key,
    "remember = \"1s\"\nrefresh_grace = \"1s\""
);

/// A request that is still under way when its session is logged out: what it does at its end must not write anything.
async fn nothing_comes_back_after_a_logout(bench: Bench) {
    let sessions = bench.gateway().await;
    let grant = enter(&sessions, refreshable("alice", "d1")).await;
    let mut session = Session::clone(&*live(&sessions, &grant).await);
    // As it looks after a while: due to be touched.
    session.extras.idle = session.extras.idle.map(|idle| Idle {
        ends_at: clock::now() + 1,
        ..idle
    });
    assert!(session.extras.idle.is_some());

    sessions.logout(grant.access.token()).await.unwrap();
    for _ in 0..20 {
        sessions.touch(grant.access.token(), &session);
    }
    let key = bench.keys().token(grant.access.token());
    for _ in 0..20 {
        assert_eq!(
            sessions
                .store()
                .get(std::slice::from_ref(&key), Ends::None)
                .await
                .unwrap(),
            [None],
            "the record is back"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        standing(&sessions, grant.access.token()).await,
        Standing::Unknown
    );
    assert!(sessions.refresh(refresh_of(&grant)).await.is_err());
    assert!(sessions.list("alice").await.unwrap().is_empty());
}

async fn use_keeps_a_session_and_its_lack_ends_it(bench: Bench) {
    let sessions = bench.gateway().await;
    let used = enter(&sessions, login("alice", "d1", "phone")).await;
    let unused = enter(&sessions, login("alice", "d2", "phone")).await;

    // Twice as long as a session may lie unused.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let session = live(&sessions, &used).await;
        sessions.touch(used.access.token(), &session);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert!(is_live(&sessions, &used).await);
    assert!(!is_live(&sessions, &unused).await);
    let listed = sessions.list("alice").await.unwrap();
    let sids: Vec<_> = listed.iter().map(|view| &view.sid).collect();
    assert_eq!(sids, [&used.session.sid], "who lay unused is not listed");
    assert!(listed[0].last_seen.unwrap() > used.session.issued_at);
}

/// The token of home lies unused while the one of another domain does not.
async fn use_on_another_domain_keeps_a_session(bench: Bench) {
    let sessions = bench.gateway().await;
    let home = enter(&sessions, login("alice", "d1", "phone")).await;
    let shared = sessions.share(home.access.token()).await.unwrap().unwrap();
    let there = sessions.adopt(&shared).await.unwrap().unwrap();

    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let session = live(&sessions, &there).await;
        sessions.touch(there.access.token(), &session);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert_eq!(
        standing(&sessions, home.access.token()).await,
        Standing::Unknown
    );
    let listed = sessions.list("alice").await.unwrap();
    assert_eq!(listed.len(), 1, "it is in use");
    assert!(listed[0].last_seen.unwrap() > home.session.issued_at);
    let ended = sessions
        .kick(
            "alice",
            drawbridge::sessions::Whom::All,
            drawbridge::session::Why::Kicked,
        )
        .await
        .unwrap();
    assert_eq!(ended.sids, [home.session.sid.as_str()]);
    assert!(!is_live(&sessions, &there).await);
}

async fn many_users_with_short_ends_leave_no_key(bench: Bench) {
    leaves_no_key(bench, 300).await;
}

#[tokio::test]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn a_hundred_thousand_users_with_short_ends_leave_no_key() {
    let settings = "remember = \"1s\"\nrefresh_grace = \"1s\"";
    leaves_no_key(Bench::redis(settings).await, 100_000).await;
}

async fn leaves_no_key(bench: Bench, users: usize) {
    let sessions = bench.gateway().await;
    let mut tasks = JoinSet::new();
    for n in 0..users {
        while tasks.len() >= 200 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let sessions = Arc::clone(&sessions);
        tasks.spawn(async move {
            let login = Login {
                lifetime: Some(Duration::from_millis(500 + u64::try_from(n % 700).unwrap())),
                ..refreshable(&format!("user-{n}"), "d1")
            };
            let grant = sessions.login(login).await.unwrap();
            if n % 3 == 0 {
                // The session may be over by then on a busy machine.
                sessions.refresh(refresh_of(&grant)).await.ok();
            }
        });
    }
    tasks.join_all().await;
    past(clock::now() + 1200 + 1000).await;

    match &bench.place {
        Place::Embedded(_) => assert_eq!(rows(&bench, sessions).await, 0),
        Place::Redis(_) | Place::Cluster(_) => {
            let start = Instant::now();
            for server in bench.servers() {
                // Redis takes ended keys out when it meets them.
                while !server.cli(&["--scan"]).is_empty() {
                    assert!(start.elapsed() < PATIENCE, "keys are left");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// How many rows the session file has. It is looked through when it is opened.
async fn rows(bench: &Bench, sessions: Arc<Sessions>) -> u64 {
    use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
    const SESSIONS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("sessions");
    let Place::Embedded(dir) = &bench.place else {
        panic!("it is not embedded");
    };
    let copy = dir.path().join("copy");
    let start = Instant::now();
    loop {
        std::fs::copy(dir.path().join("s"), &copy).unwrap();
        let left = Database::create(&copy).map(|database| {
            let snapshot = database.begin_read().unwrap();
            snapshot.open_table(SESSIONS).unwrap().len().unwrap()
        });
        if let Ok(0) = left {
            drop(sessions);
            return 0;
        }
        assert!(start.elapsed() < PATIENCE, "rows are left: {left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn dump_holds_no_token_that_was_ever_issued() {
    let bench = Bench::redis("idle = \"1h\"").await;
    let sessions = bench.gateway().await;
    let mut secrets = Vec::new();
    let mut note = |grant: &drawbridge::sessions::Grant| {
        secrets.push(grant.access.expose().to_owned());
        secrets.extend(grant.refresh.iter().map(|token| token.expose().to_owned()));
    };
    for n in 0..5 {
        let grant = enter(&sessions, refreshable("alice", &format!("d{n}"))).await;
        note(&grant);
        let child = sessions.refresh(refresh_of(&grant)).await.unwrap();
        note(&child);
        note(&enter(&sessions, login("bob", &format!("d{n}"), "tv")).await);
    }
    let once = drawbridge::sessions::Once {
        purpose: "sso".to_owned(),
        audience: "b.test".to_owned(),
        payload: "alice".into(),
        lifetime: Duration::from_secs(60),
    };
    let ticket = sessions.issue_once(once).await.unwrap();
    secrets.push(ticket.expose().to_owned());

    let dump = bench.servers()[0].dump();

    assert!(dump.contains("orders:read"), "the dump shows what is there");
    assert_eq!(secrets.len(), 5 * 5 + 1);
    for secret in &secrets {
        assert!(!dump.contains(secret.as_str()), "{secret} is in the dump");
        let bare = &secret[secret.len() - 43..];
        assert!(
            !dump.contains(bare),
            "the secret of {secret} is in the dump"
        );
    }
}
