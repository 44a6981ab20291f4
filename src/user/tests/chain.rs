//! The chain of refresh tokens.

use super::*;

const GRACE: u64 = 10 * SECOND;

fn step(n: u32) -> Step {
    Step {
        nonce: format!("nonce-{n}"),
        hash: format!("hash-{n}"),
        key: format!("key-{n}"),
    }
}

fn refresh(user: &mut User, hash: &str, next: u32, now: u64) -> Turn {
    user.refresh(("family-s", hash), step(next), &rules(""), at(now))
}

#[test]
fn each_token_takes_one_step() {
    let mut user = user(vec![with_family("s", NOW)]);

    for n in 0..5 {
        let now = NOW + u64::from(n + 1) * HOUR;
        let turn = refresh(&mut user, &format!("hash-{n}"), n + 1, now);

        let Turn::Taken(entry) = turn else {
            panic!("{turn:?}");
        };
        let family = entry.family.clone().unwrap();
        assert_eq!(entry.sid, "s", "the session stays the same");
        assert_eq!(family.hash, format!("hash-{}", n + 1));
        assert_eq!(family.parent_hash, Some(format!("hash-{n}")));
        assert_eq!(family.generation, u64::from(n + 1));
        assert_eq!(
            (family.rotated_at, family.idle_ends_at),
            (now, now + 7 * DAY)
        );
        assert_eq!(entry.key, format!("key-{}", n + 1));
        assert_eq!(user.sessions, [entry]);
    }
    let previous = user.sessions[0].previous_key.clone();
    assert_eq!(previous.as_deref(), Some("key-4"));
}

#[test]
fn parent_gets_the_same_step_within_the_grace_and_is_stolen_after_it() {
    let mut user = user(vec![with_family("s", NOW)]);
    refresh(&mut user, "hash-0", 1, NOW);
    let before = user.clone();

    for now in [NOW, NOW + 1, NOW + GRACE - 1] {
        let turn = refresh(&mut user, "hash-0", 2, now);
        assert_eq!(turn, Turn::Again(before.sessions[0].clone()));
        assert_eq!(user, before, "nothing was changed");
    }

    let turn = refresh(&mut user, "hash-0", 2, NOW + GRACE);
    assert_eq!(turn, Turn::Reused(before.sessions[0].clone()));
    assert!(user.sessions.is_empty());
    assert_eq!(user.gone[0].why, Why::RefreshReused);
    let child = refresh(&mut user, "hash-1", 3, NOW + GRACE);
    assert_eq!(child, Turn::Ended(Why::RefreshReused), "the family is gone");
}

#[test]
fn grandparent_is_stolen_also_within_the_grace() {
    let mut user = user(vec![with_family("s", NOW)]);
    refresh(&mut user, "hash-0", 1, NOW);
    refresh(&mut user, "hash-1", 2, NOW + 1);

    let turn = refresh(&mut user, "hash-0", 3, NOW + 2);

    assert!(matches!(turn, Turn::Reused(_)), "{turn:?}");
    assert!(user.sessions.is_empty());
}

#[test]
fn secret_that_was_never_given_out_is_stolen_and_other_families_go_on() {
    let mut user = user(vec![with_family("s", NOW), with_family("t", NOW)]);

    let turn = refresh(&mut user, "made-up", 1, NOW);

    assert!(matches!(turn, Turn::Reused(_)), "{turn:?}");
    assert_eq!(sids(&user.sessions), ["t"]);
    let unknown = user.refresh(("family-x", "hash-0"), step(1), &rules(""), at(NOW));
    assert_eq!(unknown, Turn::Unknown);
    assert_eq!(sids(&user.sessions), ["t"]);
}

#[test]
fn grace_of_nothing_gives_no_second_try() {
    let rules = rules("refresh_grace = '0s'");
    let mut user = user(vec![with_family("s", NOW)]);
    let mut turn = |n| user.refresh(("family-s", "hash-0"), step(n), &rules, at(NOW));

    assert!(matches!(turn(1), Turn::Taken(_)));
    assert!(matches!(turn(2), Turn::Reused(_)));
}

#[test]
fn kick_ban_and_logout_take_the_family_along_and_say_why() {
    let rules = rules("");
    let ban = NewBan {
        service: None,
        until: None,
        reason: String::new(),
        end_sessions: false,
    };
    let kicks: [(Whom, Why); 3] = [
        (Whom::Session("s".to_owned()), Why::LoggedOut),
        (Whom::All, Why::Kicked),
        (Whom::AllBut("x".to_owned()), Why::PasswordChanged),
    ];
    for (whom, why) in kicks {
        let mut user = user(vec![with_family("s", NOW)]);
        user.kick(&whom, why, &rules, at(NOW));
        assert_eq!(refresh(&mut user, "hash-0", 1, NOW + 1), Turn::Ended(why));
        let forgotten = refresh(&mut user, "hash-0", 1, NOW + 15 * MINUTE);
        assert_eq!(forgotten, Turn::Unknown);
    }
    let mut banned = user(vec![with_family("s", NOW)]);
    banned.ban(ban, &rules, at(NOW));
    let turn = refresh(&mut banned, "hash-0", 1, NOW + 1);
    assert!(matches!(turn, Turn::Disabled(_)), "{turn:?}");
    assert_eq!(banned.sessions[0].key, "key-s", "nothing was changed");
    banned.unban(None, at(NOW + 2));
    let turn = refresh(&mut banned, "hash-0", 1, NOW + 2);
    assert!(matches!(turn, Turn::Taken(_)), "{turn:?}");
}

#[test]
fn family_ends_unused_or_at_its_very_end_or_with_its_realm() {
    let mut idle = user(vec![with_family("s", NOW)]);
    let turn = refresh(&mut idle, "hash-0", 1, NOW + 7 * DAY);
    assert_eq!(turn, Turn::Ended(Why::Idle));

    let mut used = user(vec![with_family("s", NOW)]);
    for n in 0..5 {
        let now = NOW + u64::from(n) * 6 * DAY;
        let turn = refresh(&mut used, &format!("hash-{n}"), n + 1, now);
        assert!(matches!(turn, Turn::Taken(_)), "{turn:?}");
    }
    let family = used.sessions[0].family.clone().unwrap();
    assert_eq!(family.idle_ends_at, NOW + 30 * DAY, "not beyond the end");
    let turn = refresh(&mut used, "hash-5", 6, NOW + 30 * DAY);
    assert_eq!(turn, Turn::Unknown);

    let mut old = user(vec![with_family("s", NOW)]);
    let moment = Moment {
        now: NOW + 1,
        realm_epoch: NOW,
    };
    let turn = old.refresh(("family-s", "hash-0"), step(1), &rules(""), moment);
    assert_eq!(turn, Turn::Ended(Why::Realm));
}
