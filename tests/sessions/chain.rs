//! Refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use drawbridge::clock;
use drawbridge::session::Why;
use drawbridge::sessions::{NewBan, RefreshError, Whom};
use tokio::task::JoinSet;

use crate::bench::{Bench, enter, everywhere, is_live, live, past, refresh_of, refreshable, why};

everywhere!(
    fifty_refreshes_at_once_are_one_step,
    "refresh_grace = \"60s\""
);
everywhere!(
    parent_after_the_grace_is_taken_for_stolen,
    "refresh_grace = \"1s\""
);
everywhere!(
    grandparent_is_taken_for_stolen_within_the_grace,
    "refresh_grace = \"60s\""
);
everywhere!(whoever_was_ended_is_told_why_at_the_refresh, "");

async fn fifty_refreshes_at_once_are_one_step(bench: Bench) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let first = enter(&one, refreshable("alice", "d1")).await;

    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let gateway = Arc::clone(if n % 2 == 0 { &one } else { &two });
        let token = refresh_of(&first).to_owned();
        tasks.spawn(async move { gateway.refresh(&token).await.unwrap() });
    }
    let answers = tasks.join_all().await;

    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let child = &answers[0];
    assert_ne!(child.access, first.access);
    assert_ne!(child.refresh, first.refresh);
    assert_eq!(child.session.sid, first.session.sid);
    let session = live(&two, child).await;
    assert_eq!(session.permissions, ["orders:read"]);
    assert_eq!(session.roles, ["clerk"]);
    assert!(is_live(&one, &first).await, "requests may be under way");
    let next = two.refresh(refresh_of(child)).await.unwrap();
    assert!(is_live(&one, &next).await);
}

async fn parent_after_the_grace_is_taken_for_stolen(bench: Bench) {
    let sessions = bench.gateway().await;
    let first = enter(&sessions, refreshable("alice", "d1")).await;
    let other = enter(&sessions, refreshable("alice", "d2")).await;
    let child = sessions.refresh(refresh_of(&first)).await.unwrap();
    past(clock::now() + 1000).await;

    let replay = sessions.refresh(refresh_of(&first)).await;

    assert!(matches!(replay, Err(RefreshError::Reused)), "{replay:?}");
    assert_eq!(why(&sessions, &child).await, Why::RefreshReused);
    let heir = sessions.refresh(refresh_of(&child)).await;
    assert!(
        matches!(heir, Err(RefreshError::Ended(Why::RefreshReused))),
        "{heir:?}"
    );
    assert!(is_live(&sessions, &other).await, "another family goes on");
}

async fn grandparent_is_taken_for_stolen_within_the_grace(bench: Bench) {
    let sessions = bench.gateway().await;
    let first = enter(&sessions, refreshable("alice", "d1")).await;
    let child = sessions.refresh(refresh_of(&first)).await.unwrap();
    let again = sessions.refresh(refresh_of(&first)).await.unwrap();
    assert_eq!(again, child, "the parent gets the same again");
    let grandchild = sessions.refresh(refresh_of(&child)).await.unwrap();

    let replay = sessions.refresh(refresh_of(&first)).await;

    assert!(matches!(replay, Err(RefreshError::Reused)), "{replay:?}");
    assert_eq!(why(&sessions, &grandchild).await, Why::RefreshReused);
}

async fn whoever_was_ended_is_told_why_at_the_refresh(bench: Bench) {
    let sessions = bench.gateway().await;
    let enter = async |device: &str| enter(&sessions, refreshable("alice", device)).await;

    let kicked = enter("d1").await;
    let whom = Whom::Session(kicked.session.sid.clone());
    let ended = sessions
        .kick("alice", whom, Why::PasswordChanged)
        .await
        .unwrap();
    assert_eq!(ended.sids, [kicked.session.sid.as_str()]);
    let answer = sessions.refresh(refresh_of(&kicked)).await;
    assert!(
        matches!(answer, Err(RefreshError::Ended(Why::PasswordChanged))),
        "{answer:?}"
    );

    let left = enter("d2").await;
    sessions.logout(left.access.token()).await.unwrap();
    assert!(!is_live(&sessions, &left).await);
    let answer = sessions.refresh(refresh_of(&left)).await;
    assert!(
        matches!(answer, Err(RefreshError::Ended(Why::LoggedOut))),
        "{answer:?}"
    );

    let gone = enter("d3").await;
    let ended = sessions.logout_family(refresh_of(&gone)).await.unwrap();
    assert_eq!(ended.sids, [gone.session.sid.as_str()]);
    assert_eq!(why(&sessions, &gone).await, Why::LoggedOut);

    let realm = enter("d4").await;
    sessions.kick_realm(Why::Realm).await.unwrap();
    assert_eq!(why(&sessions, &realm).await, Why::Realm);
    let answer = sessions.refresh(refresh_of(&realm)).await;
    assert!(
        matches!(answer, Err(RefreshError::Ended(Why::Realm))),
        "{answer:?}"
    );

    let banned = enter("d5").await;
    let ban = NewBan {
        service: None,
        until: Some(clock::now() + 3_600_000),
        reason: "fraud".to_owned(),
        end_sessions: true,
    };
    let ended = sessions.ban("alice", ban).await.unwrap();
    assert_eq!(ended.sids, [banned.session.sid.as_str()]);
    assert_eq!(why(&sessions, &banned).await, Why::Banned);
    let answer = sessions.refresh(refresh_of(&banned)).await;
    assert!(
        matches!(answer, Err(RefreshError::Disabled(_))),
        "{answer:?}"
    );
    assert!(sessions.unban("alice", None).await.unwrap());
    assert_eq!(why(&sessions, &banned).await, Why::Kicked);
    assert!(is_live(&sessions, &enter("d6").await).await);
    let made_up = sessions.refresh("dbr_nothing").await;
    assert!(matches!(made_up, Err(RefreshError::Unknown)));
    tokio::time::sleep(Duration::from_millis(1)).await;
}
