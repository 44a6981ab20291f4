//! Whether a token is good.

use super::*;
use crate::config::WithoutIat;
use crate::session::{Act, EndedSession, Idle, OwnRecord, Record, Session};

fn record() -> OwnRecord {
    OwnRecord {
        user_id: "alice".to_owned(),
        permissions: vec!["orders:read".to_owned()],
        roles: vec!["clerk".to_owned()],
        device: device("d", "phone"),
        expires_at: NOW + HOUR,
        issued_at: NOW,
        token_sha256: String::new(),
        sid: "s".to_owned(),
        epoch: 5,
        realm_epoch: 7,
        idle: 0,
        refresh_family: None,
        act: None,
        risk: 0,
    }
}

fn alice() -> User {
    User {
        epoch: 5,
        sessions: vec![entry("s", device("d", "phone"), NOW)],
        ..User::new("alice")
    }
}

fn glance(user: &User) -> Glance {
    Glance::decode(&user.encode().unwrap()).unwrap()
}

fn realm() -> Realm {
    Realm {
        epoch: 7,
        ..Realm::new("main")
    }
}

fn judge(record: OwnRecord, user: &User) -> Verdict {
    judge_own(record, None, Some(&glance(user)), &realm(), NOW)
}

fn live(verdict: Verdict) -> Session {
    match verdict {
        Verdict::Live(session) => Session::clone(&session),
        other => panic!("{other:?}"),
    }
}

fn ended(verdict: Verdict) -> Why {
    match verdict {
        Verdict::Ended(ended) => ended.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn session_is_live_only_if_every_condition_holds() {
    let session = live(judge(record(), &alice()));
    let expected = Session {
        user_id: "alice".into(),
        permissions: vec!["orders:read".to_owned()].into(),
        roles: vec!["clerk".to_owned()].into(),
        device: device("d", "phone"),
        expires_at: Some(NOW + HOUR),
        sid: "s".into(),
        ..Session::default()
    };
    assert_eq!(session, expected);

    let spoiled: [(&str, OwnRecord, User); 3] = [
        (
            "not in the list",
            record(),
            User {
                sessions: vec![entry("t", device("d", "phone"), NOW)],
                ..alice()
            },
        ),
        (
            "an older epoch",
            OwnRecord {
                epoch: 4,
                ..record()
            },
            alice(),
        ),
        (
            "an older epoch of the realm",
            OwnRecord {
                realm_epoch: 6,
                ..record()
            },
            alice(),
        ),
    ];
    for (what, record, user) in spoiled {
        let verdict = judge(record, &user);
        assert!(matches!(verdict, Verdict::Ended(_)), "{what}: {verdict:?}");
    }
    let over = OwnRecord {
        expires_at: NOW,
        ..record()
    };
    assert_eq!(judge(over, &alice()), Verdict::Unknown);
    let no_user = judge_own(record(), None, None, &realm(), NOW);
    assert_eq!(ended(no_user), Why::Lost);
    let other = User {
        user_id: "bob".to_owned(),
        ..alice()
    };
    assert_eq!(judge(record(), &other), Verdict::Mismatch);
    let later = OwnRecord {
        epoch: 6,
        realm_epoch: 8,
        ..record()
    };
    live(judge(later, &alice()));
}

#[test]
fn ended_session_says_why() {
    let mut kicked = alice();
    kicked.gone.push(Gone {
        sid: "s".to_owned(),
        why: Why::Replaced,
        at: NOW - 1,
        by: Some("a new phone".to_owned()),
        family: None,
    });
    kicked.sessions.clear();
    assert_eq!(
        judge(record(), &kicked),
        Verdict::Ended(EndedSession {
            why: Why::Replaced,
            at: NOW - 1,
            by: Some("a new phone".to_owned()),
        })
    );

    let mut all = alice();
    all.kick(&Whom::All, Why::PasswordChanged, &rules(""), at(NOW));
    all.gone.clear();
    assert_eq!(ended(judge(record(), &all)), Why::PasswordChanged);

    let kicked_realm = Realm {
        epoch: 8,
        why: Some(Why::Realm),
        ..realm()
    };
    let verdict = judge_own(record(), None, Some(&glance(&alice())), &kicked_realm, NOW);
    assert_eq!(ended(verdict), Why::Realm);

    let mut banned = alice();
    let ban = NewBan {
        service: None,
        until: Some(NOW + HOUR),
        reason: String::new(),
        end_sessions: true,
    };
    banned.ban(ban, &rules(""), at(NOW));
    assert_eq!(ended(judge(record(), &banned)), Why::Banned);
    banned.unban(None, at(NOW));
    assert_eq!(
        ended(judge(record(), &banned)),
        Why::Kicked,
        "whose ban is over is no longer told of it"
    );
}

#[test]
fn rights_come_from_record_user_and_roles_without_what_is_denied() {
    let text = |items: &[&str]| -> Vec<String> { items.iter().map(|i| (*i).to_owned()).collect() };
    let roles = |entries: &[(&str, &[&str])]| Realm {
        roles: entries
            .iter()
            .map(|(role, may)| ((*role).to_owned(), text(may)))
            .collect(),
        ..realm()
    };
    let user = User {
        permissions: text(&["orders:read", "invoices:*"]),
        roles: text(&["auditor"]),
        denied: text(&["invoices:delete", "stock:*", "orders:write"]),
        ..alice()
    };
    let table = roles(&[
        ("clerk", &["orders:write", "stock:read"]),
        ("auditor", &["reports:read", "orders:read"]),
        ("nobody", &["root"]),
    ]);

    let session = live(judge_own(record(), None, Some(&glance(&user)), &table, NOW));

    assert_eq!(*session.permissions, ["orders:read", "reports:read"]);
    assert_eq!(*session.extras.partial, ["invoices:*"]);
    assert_eq!(*session.extras.denied, *user.denied);
    assert_eq!(*session.roles, ["clerk", "auditor"]);
}

#[test]
fn step_up_risk_bans_and_idle_end_go_into_the_session() {
    let mut user = alice();
    user.risk = 20;
    user.sessions[0].risk = 40;
    user.elevate("s", NOW + MINUTE, at(NOW - 1));
    for (service, until) in [("a", Some(NOW)), ("b", Some(NOW + 1)), ("c", None)] {
        let ban = Ban {
            until,
            reason: String::new(),
            at: 0,
        };
        user.bans.insert(service.to_owned(), ban);
    }
    let record = OwnRecord {
        idle: 600,
        act: Some(Act {
            user_id: "admin".to_owned(),
            by: String::new(),
        }),
        ..record()
    };
    let judge = |key_end, now| {
        let user = Some(glance(&user));
        live(judge_own(
            record.clone(),
            Some(key_end),
            user.as_ref(),
            &realm(),
            now,
        ))
    };

    let session = judge(NOW + 5 * MINUTE, NOW);

    assert_eq!(
        (session.extras.risk, session.extras.elevated_at),
        (40, Some(NOW - 1))
    );
    let banned: Vec<_> = session
        .extras
        .bans
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(banned, ["b", "c"]);
    assert_eq!(
        session
            .extras
            .actor
            .as_ref()
            .map(|act| act.user_id.as_str()),
        Some("admin")
    );
    let idle = Idle {
        lasts: 600_000,
        ends_at: NOW + 5 * MINUTE,
        at_most: NOW + HOUR,
    };
    assert_eq!(session.extras.idle, Some(idle));
    assert_eq!(session.expires_at, Some(NOW + 5 * MINUTE));
    let later = judge(NOW + 2 * HOUR, NOW + MINUTE);
    assert_eq!(later.extras.elevated_at, None, "it has run out");
    assert_eq!(later.expires_at, Some(NOW + HOUR));
}

#[test]
fn foreign_session_is_checked_against_its_user() {
    let foreign = |issued_at| Record {
        session: Session {
            user_id: "alice".into(),
            permissions: vec!["orders:read".to_owned()].into(),
            ..Session::default()
        },
        digest: None,
        issued_at,
    };
    let judge = |issued_at, user: Option<&User>, without| {
        let user = user.map(glance);
        judge_foreign(
            foreign(issued_at),
            user.as_ref(),
            &Realm::new("main"),
            without,
            NOW,
        )
    };
    let (allow, refuse) = (WithoutIat::Allow, WithoutIat::Refuse);

    live(judge(None, None, refuse));
    let calm = User {
        permissions: vec!["more".to_owned()],
        ..User::new("alice")
    };
    let session = live(judge(None, Some(&calm), refuse));
    assert_eq!(*session.permissions, ["orders:read", "more"]);

    let mut kicked = User::new("alice");
    kicked.kick(&Whom::All, Why::Kicked, &rules(""), at(NOW - HOUR));
    assert_eq!(
        ended(judge(Some(NOW - HOUR - 1), Some(&kicked), allow)),
        Why::Kicked
    );
    live(judge(Some(NOW - HOUR), Some(&kicked), allow));
    live(judge(None, Some(&kicked), allow));
    assert_eq!(ended(judge(None, Some(&kicked), refuse)), Why::Kicked);
    let other = User::new("bob");
    assert_eq!(judge(None, Some(&other), allow), Verdict::Mismatch);

    let mut realm = Realm::new("main");
    realm.kick(Why::Realm, NOW);
    let verdict = judge_foreign(foreign(Some(NOW - 1)), None, &realm, allow, NOW);
    assert_eq!(ended(verdict), Why::Realm);
    live(judge_foreign(foreign(Some(NOW)), None, &realm, allow, NOW));
}

#[test]
fn record_of_a_newer_program_cannot_be_read() {
    let newer = User {
        v: 2,
        ..User::new("alice")
    };
    let bytes = newer.encode().unwrap();
    assert_eq!(User::decode(&bytes), Err(RecordError::Field("v")));
    assert_eq!(Glance::decode(&bytes), Err(RecordError::Field("v")));
    for bytes in [&b""[..], b"{}", b"[]", b"\xff"] {
        assert!(Glance::decode(bytes).is_err());
        assert!(User::decode(bytes).is_err());
        assert!(Realm::decode(bytes).is_err());
        assert!(OwnRecord::decode(bytes).is_err());
    }
}
