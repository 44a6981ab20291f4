//! Acting as somebody else: it is no way past the end of one's own session.

use std::sync::Arc;
use std::time::Duration;

use drawbridge::session::Why;
use drawbridge::sessions::{Grant, LoginError, NewBan, Sessions, Standing, Whom};

use crate::bench::{Bench, enter, everywhere, is_live, live, login, standing, why};

everywhere!(acting_ends_with_the_session_of_whoever_acts, "");
everywhere!(bans_of_whoever_acts_count_as_somebody_else_too, "");

/// The session of a helper, and one in which they act as alice.
async fn acting(sessions: &Sessions, helper: &str) -> (Grant, Grant) {
    let own = enter(sessions, login(helper, "desk", "desktop")).await;
    let actor = live(sessions, &own).await;
    let hour = Duration::from_secs(3600);
    let acting = sessions.act_as(&actor, "alice", hour).await.unwrap();
    assert!(is_live(sessions, &acting).await);
    (own, acting)
}

async fn acting_ends_with_the_session_of_whoever_acts(bench: Bench) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let alice = enter(&one, login("alice", "d1", "phone")).await;

    let (own, logged_out) = acting(&one, "logged-out").await;
    one.logout(own.access.token()).await.unwrap();
    let (own, kicked) = acting(&one, "kicked").await;
    let whom = Whom::Session(own.session.sid.clone());
    one.kick("kicked", whom, Why::Kicked).await.unwrap();
    let (_, all) = acting(&one, "all").await;
    one.kick("all", Whom::All, Why::PasswordChanged)
        .await
        .unwrap();
    let (_, replaced) = acting(&one, "replaced").await;
    enter(&one, login("replaced", "desk", "desktop")).await;
    let (_, banned) = acting(&one, "banned").await;
    one.ban("banned", whole_ban()).await.unwrap();
    let (_, stays) = acting(&one, "stays").await;

    for (grant, expected) in [
        (&logged_out, Why::LoggedOut),
        (&kicked, Why::Kicked),
        (&all, Why::PasswordChanged),
        (&replaced, Why::Replaced),
        (&banned, Why::Banned),
    ] {
        for gateway in [&one, &two] {
            assert_eq!(why(gateway, grant).await, expected);
        }
    }
    assert!(is_live(&two, &stays).await);
    assert!(is_live(&two, &alice).await, "she has nothing to do with it");
    one.kick_realm(Why::Realm).await.unwrap();
    assert_eq!(why(&two, &stays).await, Why::Realm);
}

fn whole_ban() -> NewBan {
    NewBan {
        service: None,
        until: None,
        reason: String::new(),
        end_sessions: false,
    }
}

async fn bans_of_whoever_acts_count_as_somebody_else_too(bench: Bench) {
    let sessions: Arc<Sessions> = bench.gateway().await;
    let (_, grant) = acting(&sessions, "helper").await;
    let ban = NewBan {
        service: Some("billing".to_owned()),
        ..whole_ban()
    };
    sessions.ban("helper", ban).await.unwrap();

    let session = live(&sessions, &grant).await;
    let bans: Vec<_> = session
        .extras
        .bans
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(bans, ["billing"]);

    // Whoever has no session that could be ended would act for as long as they please.
    let nameless = drawbridge::session::Session {
        user_id: "foreign".into(),
        ..Default::default()
    };
    let refused = sessions
        .act_as(&nameless, "alice", Duration::from_secs(60))
        .await;
    assert!(
        matches!(refused, Err(LoginError::Unusable(_))),
        "{refused:?}"
    );
    assert_ne!(
        standing(&sessions, grant.access.token()).await,
        Standing::Unknown
    );
}
