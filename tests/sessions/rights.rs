//! Rights, bans, step-up, act-as, one-time tokens; and sessions that somebody else wrote.

use std::sync::Arc;
use std::time::Duration;

use drawbridge::clock;
use drawbridge::session::{Session, Why};
use drawbridge::sessions::{Grant, LoginError, NewBan, Once, RightsEdit, Sessions, Standing, Whom};
use drawbridge::store::{Ends, StoreError};
use drawbridge::token::Token;
use tokio::task::JoinSet;

use crate::bench::{
    Bench, Place, config, enter, everywhere, is_live, live, login, refreshable, standing, why,
};

everywhere!(role_edit_is_one_write_and_the_next_request_sees_it, "");
everywhere!(rights_risk_bans_and_step_up_count_from_the_next_request, "");
everywhere!(acting_as_somebody_is_short_and_marked, "");
everywhere!(one_time_token_is_good_once_and_for_one_purpose, "");
everywhere!(foreign_sessions_are_checked_against_their_users, "");
everywhere!(what_cannot_be_read_is_an_error_and_not_an_end, "");

async fn role_edit_is_one_write_and_the_next_request_sees_it(bench: Bench) {
    edit_role_of(bench, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/run.sh --long runs it"]
async fn role_edit_with_a_hundred_thousand_members_is_one_write() {
    edit_role_of(Bench::redis("").await, 100_000).await;
}

/// Some of the work at a time.
async fn in_turn<W>(work: impl Iterator<Item = W>) -> Vec<W::Output>
where
    W: Future<Output: Send> + Send + 'static,
{
    let (mut tasks, mut done) = (JoinSet::new(), Vec::new());
    for one in work {
        if tasks.len() >= 100 {
            done.extend(tasks.join_next().await.map(Result::unwrap));
        }
        tasks.spawn(one);
    }
    done.extend(tasks.join_all().await);
    done
}

async fn edit_role_of(bench: Bench, members: usize) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let grants = in_turn((0..members).map(|n| {
        let one = Arc::clone(&one);
        async move { enter(&one, login(&format!("user-{n}"), "d", "phone")).await }
    }))
    .await;
    assert!(is_live(&two, &grants[0]).await);
    let before: u64 = bench.servers().iter().map(|server| written(server)).sum();

    let may = Some(vec!["reports:read".to_owned()]);
    one.set_role("clerk", may).await.unwrap();

    if !bench.servers().is_empty() {
        let after: u64 = bench.servers().iter().map(|server| written(server)).sum();
        assert_eq!(after - before, 1, "one key was written");
    }
    let first = grants[0].clone();
    let rights = in_turn(grants.into_iter().map(|grant| {
        let two = Arc::clone(&two);
        async move { live(&two, &grant).await.permissions.clone() }
    }))
    .await;
    assert_eq!(rights.len(), members);
    for permissions in rights {
        assert_eq!(permissions, ["orders:read", "reports:read"]);
    }
    assert_eq!(two.roles().await.unwrap()["clerk"], ["reports:read"]);
    one.set_role("clerk", None).await.unwrap();
    assert_eq!(live(&two, &first).await.permissions, ["orders:read"]);
    assert!(two.roles().await.unwrap().is_empty());
}

/// How many SET this server has carried out.
fn written(server: &crate::redis::Redis) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_set:"));
    let calls = line.and_then(|line| line.split("calls=").nth(1));
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

async fn rights_risk_bans_and_step_up_count_from_the_next_request(bench: Bench) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let grant = enter(&one, login("alice", "d1", "phone")).await;
    let sid = grant.session.sid.as_str();

    let edit = RightsEdit {
        grant: vec!["stock:*".to_owned()],
        add_roles: vec!["auditor".to_owned()],
        ..RightsEdit::default()
    };
    one.edit_rights("alice", edit).await.unwrap();
    let session = live(&two, &grant).await;
    assert_eq!(session.permissions, ["orders:read", "stock:*"]);
    assert_eq!(session.roles, ["clerk", "auditor"]);
    let deny = RightsEdit {
        deny: vec!["orders:*".to_owned()],
        ..RightsEdit::default()
    };
    one.edit_rights("alice", deny).await.unwrap();
    assert_eq!(live(&two, &grant).await.permissions, ["stock:*"]);

    assert!(one.set_risk("alice", None, 20).await.unwrap());
    assert_eq!(live(&two, &grant).await.extras.risk, 20);
    assert!(one.set_risk("alice", Some(sid), 70).await.unwrap());
    assert!(!one.set_risk("alice", Some("nothing"), 70).await.unwrap());
    assert!(!one.set_risk("nobody", Some(sid), 70).await.unwrap());
    assert_eq!(live(&two, &grant).await.extras.risk, 70);

    assert_eq!(live(&two, &grant).await.extras.elevated_at, None);
    let minute = Duration::from_secs(60);
    assert!(one.elevate("alice", sid, minute).await.unwrap());
    assert!(!one.elevate("alice", "nothing", minute).await.unwrap());
    assert!(live(&two, &grant).await.extras.elevated_at.is_some());

    let ban = NewBan {
        service: Some("billing".to_owned()),
        until: None,
        reason: "unpaid".to_owned(),
        end_sessions: false,
    };
    one.ban("alice", ban).await.unwrap();
    let session = live(&two, &grant).await;
    assert_eq!(session.extras.bans[0].0, "billing");
    assert!(
        two.introspect(grant.access.token())
            .await
            .unwrap()
            .is_some()
    );
    let whole = NewBan {
        service: None,
        until: Some(clock::now() + 60_000),
        reason: "fraud".to_owned(),
        end_sessions: false,
    };
    one.ban("alice", whole).await.unwrap();
    assert!(
        two.introspect(grant.access.token())
            .await
            .unwrap()
            .is_none()
    );
    let refused = two.login(login("alice", "d2", "tv")).await;
    assert!(
        matches!(refused, Err(LoginError::Disabled(_))),
        "{refused:?}"
    );
    let view = two.user("alice").await.unwrap().unwrap();
    assert_eq!(view.bans.keys().collect::<Vec<_>>(), ["*", "billing"]);
    assert_eq!((view.risk, view.sessions.len()), (20, 1));
    assert_eq!(view.rights.denied, ["orders:*"]);
    assert!(two.user("nobody").await.unwrap().is_none());
}

async fn acting_as_somebody_is_short_and_marked(bench: Bench) {
    let sessions = bench.gateway().await;
    let admin = enter(&sessions, login("admin", "a", "desktop")).await;
    let own = enter(&sessions, refreshable("alice", "d1")).await;
    let actor = live(&sessions, &admin).await;

    let day = Duration::from_secs(24 * 3600);
    let grant = sessions.act_as(&actor, "alice", day).await.unwrap();

    let session = live(&sessions, &grant).await;
    assert_eq!(session.user_id, "alice");
    assert_eq!(session.extras.actor.as_ref().unwrap().user_id, "admin");
    assert_eq!(session.permissions, ["orders:read"]);
    assert!(grant.refresh.is_none());
    assert!(session.expires_at.unwrap() <= clock::now() + 3_600_000);
    let minute = Duration::from_secs(60);
    assert!(
        !sessions
            .elevate("alice", &session.sid, minute)
            .await
            .unwrap()
    );
    for (actor, subject) in [(&session, "bob"), (&actor, "admin")] {
        let refused = sessions.act_as(actor, subject, minute).await;
        assert!(
            matches!(refused, Err(LoginError::Unusable(_))),
            "{refused:?}"
        );
    }
    let whom = Whom::AllBut(own.session.sid.clone());
    let ended = sessions.kick("alice", whom, Why::Kicked).await.unwrap();
    assert_eq!(ended.sids, [grant.session.sid.as_str()]);
    assert_eq!(why(&sessions, &grant).await, Why::Kicked);
    assert!(is_live(&sessions, &own).await);
}

async fn one_time_token_is_good_once_and_for_one_purpose(bench: Bench) {
    let (one, two) = (bench.gateway().await, bench.gateway().await);
    let issue = async |lifetime: Duration| {
        let once = Once {
            purpose: "sso".to_owned(),
            audience: "b.test".to_owned(),
            payload: serde_json::json!({"user": "alice"}),
            lifetime,
        };
        one.issue_once(once).await.unwrap()
    };
    let minute = Duration::from_secs(60);

    let good = issue(minute).await;
    let mut redeemed = Vec::new();
    for gateway in [&two, &one] {
        let payload = gateway.redeem_once(good.expose(), "sso", "b.test").await;
        redeemed.push(payload.unwrap());
    }
    assert_eq!(redeemed[0].as_ref().unwrap()["user"], "alice");
    assert_eq!(redeemed[1], None);
    for (purpose, audience) in [("mail", "b.test"), ("sso", "c.test")] {
        let token = issue(minute).await;
        let wrong = two.redeem_once(token.expose(), purpose, audience).await;
        assert_eq!(wrong.unwrap(), None);
        let right = two.redeem_once(token.expose(), "sso", "b.test").await;
        assert_eq!(right.unwrap(), None, "it was used up");
    }
    let brief = issue(Duration::from_millis(30)).await;
    crate::bench::past(clock::now() + 60).await;
    let late = two.redeem_once(brief.expose(), "sso", "b.test").await;
    assert_eq!(late.unwrap(), None);
    let made_up = two.redeem_once("dbo_nothing", "sso", "b.test").await;
    assert_eq!(made_up.unwrap(), None);
}

fn token(text: &str) -> Token {
    use drawbridge::config::Tokens;
    use drawbridge::token::TokenShape;
    TokenShape::new(&Tokens::default())
        .check(text.as_bytes())
        .unwrap()
}

/// Writes a record as a login service of somebody else does.
async fn foreign(bench: &Bench, sessions: &Sessions, name: &str, record: &str) -> Token {
    let token = token(name);
    let key = bench.keys().token(&token);
    let end = Some(clock::now() + 600_000);
    sessions
        .store()
        .put(&key, record.as_bytes(), end)
        .await
        .unwrap();
    token
}

async fn foreign_sessions_are_checked_against_their_users(bench: Bench) {
    let sessions = bench.gateway().await;
    let old = foreign(
        &bench,
        &sessions,
        "old",
        r#"{"user_id":"alice","iat":1700000000}"#,
    )
    .await;
    let dateless = foreign(&bench, &sessions, "dateless", r#"{"user_id":"alice"}"#).await;
    let other = foreign(
        &bench,
        &sessions,
        "other",
        r#"{"user_id":"bob","iat":1700000000}"#,
    )
    .await;
    for token in [&old, &dateless, &other] {
        assert!(matches!(
            standing(&sessions, token).await,
            Standing::Live(_)
        ));
    }

    let edit = RightsEdit {
        grant: vec!["more".to_owned()],
        ..RightsEdit::default()
    };
    sessions.edit_rights("alice", edit).await.unwrap();
    let Standing::Live(session) = standing(&sessions, &old).await else {
        panic!("a change of rights ends nothing");
    };
    assert_eq!(session.permissions, ["more"]);

    sessions
        .kick("alice", Whom::All, Why::Kicked)
        .await
        .unwrap();

    assert!(matches!(
        standing(&sessions, &old).await,
        Standing::Ended(_)
    ));
    assert!(matches!(
        standing(&sessions, &dateless).await,
        Standing::Live(_)
    ));
    assert!(matches!(
        standing(&sessions, &other).await,
        Standing::Live(_)
    ));
    let new = format!(r#"{{"user_id":"alice","iat":{}}}"#, clock::now() / 1000 + 1);
    let new = foreign(&bench, &sessions, "new", &new).await;
    assert!(matches!(standing(&sessions, &new).await, Standing::Live(_)));
    assert!(sessions.logout(&new).await.unwrap().sids.is_empty());
    assert_eq!(standing(&sessions, &new).await, Standing::Unknown);
    // A record of ours without its user is over, under whatever name it lies.
    let mine = enter(&sessions, login("carol", "d", "phone")).await;
    let key = bench.keys().token(mine.access.token());
    let found = sessions.store().get(&[key], Ends::None).await.unwrap();
    let stolen = String::from_utf8(found[0].clone().unwrap().bytes.to_vec()).unwrap();
    let digest = token("copied").sha256_hex();
    let own = mine.access.token().sha256_hex();
    let copied = foreign(&bench, &sessions, "copied", &stolen.replace(&own, &digest)).await;
    assert!(matches!(
        standing(&sessions, &copied).await,
        Standing::Live(_)
    ));
    let whom = Whom::Session(mine.session.sid.clone());
    sessions.kick("carol", whom, Why::Kicked).await.unwrap();
    assert!(matches!(
        standing(&sessions, &copied).await,
        Standing::Ended(_)
    ));
}

async fn what_cannot_be_read_is_an_error_and_not_an_end(bench: Bench) {
    let sessions = bench.gateway().await;
    let grant = enter(&sessions, login("alice", "d", "phone")).await;
    let anchor = drawbridge::token::Anchor::of("main", "alice");
    let user = bench.keys().user(anchor);
    let realm = bench.keys().realm();
    let good = sessions
        .store()
        .get(std::slice::from_ref(&user), Ends::None)
        .await;
    let good = good.unwrap()[0].clone().unwrap().bytes;
    let find = async || sessions.find(grant.access.token()).await;

    for damaged in [&b"{"[..], b"[]", br#"{"v":9,"user_id":"alice","epoch":0}"#] {
        sessions.store().put(&user, damaged, None).await.unwrap();
        assert!(matches!(find().await, Err(StoreError::Record(_))));
        let kick = sessions.kick("alice", Whom::All, Why::Kicked).await;
        assert!(matches!(kick, Err(StoreError::Record(_))), "{kick:?}");
    }
    sessions.store().put(&user, &good, None).await.unwrap();
    assert!(is_live(&sessions, &grant).await);
    sessions.store().put(&realm, b"{", None).await.unwrap();
    assert!(matches!(find().await, Err(StoreError::Record(_))));
    sessions.store().discard(&realm).await.unwrap();
    assert!(is_live(&sessions, &grant).await);
    sessions.store().discard(&user).await.unwrap();
    assert_eq!(why(&sessions, &grant).await, Why::Lost, "fail closed");
}

#[tokio::test]
async fn without_the_table_tokens_are_looked_up_and_nothing_else() {
    let bench = Bench::embedded("").await;
    let sessions = bench.gateway().await;
    let Place::Embedded(dir) = &bench.place else {
        panic!("it is embedded");
    };
    let text = format!("embedded = \"{}\"", dir.path().join("s").display());
    let mut plain = config(&text, "");
    plain.sessions = None;
    let plain = Sessions::new(Arc::clone(sessions.store()), &plain, Arc::default());
    let session = Session {
        user_id: "alice".into(),
        ..Session::default()
    };
    let token = token("foreign");
    plain.store().create(&token, &session).await.unwrap();

    let found: Standing = plain.find(&token).await.unwrap();

    assert!(matches!(found, Standing::Live(found) if found.user_id == "alice"));
    let refused: Result<Grant, _> = plain.login(login("alice", "d", "tv")).await;
    assert!(
        matches!(refused, Err(LoginError::Store(StoreError::NoUsers))),
        "{refused:?}"
    );
    plain.logout(&token).await.unwrap();
    assert_eq!(plain.find(&token).await.unwrap(), Standing::Unknown);
}
