//! Many at once.

use std::sync::Arc;

use drawbridge::session::Why;
use drawbridge::sessions::{Grant, Whom};
use tokio::task::JoinSet;

use crate::bench::{
    Bench, enter, everywhere, is_live, is_too_many, login, refresh_of, refreshable,
};

everywhere!(
    parallel_logins_leave_exactly_as_many_as_allowed,
    "max_per_user = 3\nmax_per_type = { tv = 2 }"
);
everywhere!(
    parallel_logins_are_refused_beyond_the_limit,
    "max_per_user = 3\non_limit = \"refuse\""
);
everywhere!(kick_of_all_races_logins_and_refreshes, "");

/// As many logins of one user as asked for, spread over three gateways.
async fn crowd(
    bench: &Bench,
    count: usize,
) -> Vec<Result<Grant, drawbridge::sessions::LoginError>> {
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(bench.gateway().await);
    }
    let mut logins = JoinSet::new();
    for n in 0..count {
        let gateway = Arc::clone(&gateways[n % 3]);
        logins.spawn(async move {
            let kind = if n % 2 == 0 { "phone" } else { "tv" };
            gateway.login(login("alice", &format!("d{n}"), kind)).await
        });
    }
    logins.join_all().await
}

async fn parallel_logins_leave_exactly_as_many_as_allowed(bench: Bench) {
    let grants = crowd(&bench, 200).await;
    let sessions = bench.gateway().await;

    let mut live = Vec::new();
    for grant in grants {
        let grant = grant.unwrap();
        if is_live(&sessions, &grant).await {
            live.push(grant);
        }
    }

    assert_eq!(live.len(), 3);
    let listed = sessions.list("alice").await.unwrap();
    assert_eq!(listed.len(), 3);
    for grant in &live {
        assert!(listed.iter().any(|view| view.sid == grant.session.sid));
    }
    let tv = listed.iter().filter(|view| view.device.kind == "tv");
    assert!(tv.count() <= 2);
}

async fn parallel_logins_are_refused_beyond_the_limit(bench: Bench) {
    let grants = crowd(&bench, 60).await;
    let sessions = bench.gateway().await;

    let (granted, refused): (Vec<_>, Vec<_>) = grants.into_iter().partition(Result::is_ok);

    assert_eq!(granted.len(), 3);
    assert!(refused.iter().all(is_too_many), "{refused:?}");
    for grant in granted {
        assert!(is_live(&sessions, &grant.unwrap()).await);
    }
}

/// Afterwards no token is good that was issued before the kick, every one is that was issued after it, and whatever is
/// good is in the list.
async fn kick_of_all_races_logins_and_refreshes(bench: Bench) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let mut old = Vec::new();
    for n in 0..20 {
        old.push(enter(&one, refreshable("alice", &format!("old-{n}"))).await);
    }

    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let gateway = Arc::clone(if n % 2 == 0 { &one } else { &two });
        let refresh = refresh_of(&old[n % 20]).to_owned();
        tasks.spawn(async move {
            let login = gateway.login(refreshable("alice", &format!("new-{n}")));
            // Whoever comes too late is told so.
            let refreshed = gateway.refresh(&refresh).await.ok();
            [login.await.ok(), refreshed]
        });
    }
    let kick = tokio::spawn({
        let two = Arc::clone(&two);
        async move { two.kick("alice", Whom::All, Why::Kicked).await.unwrap() }
    });
    let kicked = kick.await.unwrap();
    let after = enter(&one, refreshable("alice", "after")).await;
    let racing: Vec<Grant> = tasks
        .join_all()
        .await
        .into_iter()
        .flatten()
        .flatten()
        .collect();

    assert!(
        is_live(&two, &after).await,
        "what came after it is not lost"
    );
    for grant in old.iter().chain(&racing) {
        let ended = kicked.sids.contains(&grant.session.sid);
        let live = is_live(&two, grant).await;
        assert!(!(ended && live), "a token of an ended session is good");
    }
    let listed = two.list("alice").await.unwrap();
    for grant in racing.iter().chain([&after]) {
        let in_list = listed.iter().any(|view| view.sid == grant.session.sid);
        if is_live(&two, grant).await {
            assert!(in_list, "good, but not in the list");
        }
    }
    for grant in &old {
        assert!(!is_live(&two, grant).await);
    }
    let last = two.kick("alice", Whom::All, Why::Kicked).await.unwrap();
    assert_eq!(last.sids.len(), listed.len());
    for grant in racing.iter().chain([&after]) {
        assert!(!is_live(&one, grant).await);
        assert!(one.refresh(refresh_of(grant)).await.is_err());
    }
}
