//! Who may open a session, and which others end for it.

use super::*;
use crate::session::{Act, Why};

/// Logs in; what it ended, or why not.
fn log_in(user: &mut User, new: Entry, rules: &Rules, now: u64) -> Result<Vec<String>, Refused> {
    let ended = user.login(new, rules, &Seen::new(), at(now))?;
    Ok(ended.into_iter().map(|entry| entry.sid).collect())
}

fn why(user: &User, sid: &str) -> Option<Why> {
    let gone = user.gone.iter().find(|gone| gone.sid == sid);
    gone.map(|gone| gone.why)
}

#[test]
fn same_device_is_replaced_and_is_told_by_what() {
    let mut user = user(vec![
        entry("a", device("d1", "phone"), NOW),
        entry("b", device("d2", "phone"), NOW),
        entry("c", device("", "phone"), NOW),
    ]);
    let new = Entry {
        label: "my new phone".to_owned(),
        ..entry("d", device("d1", "tablet"), NOW + 1)
    };

    assert_eq!(
        log_in(&mut user, new, &rules(""), NOW + 1),
        Ok(vec!["a".to_owned()])
    );

    assert_eq!(sids(&user.sessions), ["b", "c", "d"]);
    assert_eq!(user.gone.len(), 1);
    assert_eq!(user.gone[0].why, Why::Replaced);
    assert_eq!(user.gone[0].by.as_deref(), Some("my new phone"));
    let unnamed = entry("e", device("", "phone"), NOW + 2);
    assert_eq!(
        log_in(&mut user, unnamed, &rules(""), NOW + 2),
        Ok(vec![]),
        "no id is no device"
    );
}

#[test]
fn exclusive_type_has_one_session_and_leaves_other_types_alone() {
    let rules = rules("exclusive_types = ['tv']\non_limit = 'refuse'");
    let mut user = user(vec![
        entry("a", device("d1", "tv"), NOW),
        entry("b", device("d2", "phone"), NOW),
        entry("c", device("d3", "tv"), NOW),
    ]);

    let new = entry("d", device("d4", "tv"), NOW);
    assert_eq!(
        log_in(&mut user, new, &rules, NOW),
        Ok(vec!["a".to_owned(), "c".to_owned()])
    );

    assert_eq!(sids(&user.sessions), ["b", "d"]);
    assert_eq!(why(&user, "a"), Some(Why::Replaced));
}

#[test]
fn limits_end_the_oldest_or_refuse() {
    let three = || {
        vec![
            entry("a", device("d1", "phone"), NOW),
            entry("b", device("d2", "desktop"), NOW + 1),
            entry("c", device("d3", "phone"), NOW + 2),
        ]
    };
    for (settings, expected, left) in [
        (
            "max_per_user = 3",
            Ok(vec!["a".to_owned()]),
            vec!["b", "c", "new"],
        ),
        (
            "max_per_user = 2",
            Ok(vec!["a".to_owned(), "b".to_owned()]),
            vec!["c", "new"],
        ),
        ("max_per_user = 4", Ok(vec![]), vec!["a", "b", "c", "new"]),
        (
            "max_per_type = { phone = 2 }",
            Ok(vec!["a".to_owned()]),
            vec!["b", "c", "new"],
        ),
        (
            "max_per_type = { phone = 1 }",
            Ok(vec!["a".to_owned(), "c".to_owned()]),
            vec!["b", "new"],
        ),
        (
            "max_per_type = { desktop = 1 }",
            Ok(vec![]),
            vec!["a", "b", "c", "new"],
        ),
        (
            "max_per_user = 3\non_limit = 'refuse'",
            Err(Refused::TooMany),
            vec![],
        ),
        (
            "max_per_type = { phone = 2 }\non_limit = 'refuse'",
            Err(Refused::TooMany),
            vec![],
        ),
        (
            "max_per_user = 4\non_limit = 'refuse'",
            Ok(vec![]),
            vec!["a", "b", "c", "new"],
        ),
    ] {
        let mut user = user(three());
        let new = entry("new", device("d9", "phone"), NOW + 3);

        let came_to = log_in(&mut user, new, &rules(settings), NOW + 3);

        assert_eq!(came_to, expected, "{settings}");
        if came_to.is_ok() {
            assert_eq!(sids(&user.sessions), left, "{settings}");
            assert!(user.gone.iter().all(|gone| gone.why == Why::Limit));
        }
    }
}

#[test]
fn least_recently_seen_goes_first_and_refreshing_is_being_seen() {
    let rules = rules("max_per_user = 3\non_limit = 'least_recently_seen'\nidle = '30m'");
    let mut refreshed = with_family("c", NOW + 2);
    refreshed.family.as_mut().unwrap().rotated_at = NOW + 90;
    let mut user = user(vec![
        entry("a", device("d1", "phone"), NOW),
        entry("b", device("d2", "phone"), NOW + 1),
        refreshed,
    ]);
    let seen = Seen::from([
        ("a".to_owned(), Some(NOW + 100)),
        ("b".to_owned(), Some(NOW + 80)),
    ]);

    let new = entry("d", device("d4", "phone"), NOW + 200);
    assert!(user.is_crowded(&new, &rules));
    let ended = user.login(new, &rules, &seen, at(NOW + 200)).unwrap();

    assert_eq!(sids(&ended), ["b"]);
}

#[test]
fn sessions_that_ran_out_take_up_no_room() {
    let strict = rules("max_per_user = 3\non_limit = 'refuse'");
    let mut idle_family = with_family("idle", NOW);
    idle_family.family.as_mut().unwrap().idle_ends_at = NOW + HOUR;
    let short = Entry {
        ends_at: NOW + HOUR,
        ..entry("short", device("d2", "phone"), NOW)
    };
    let mut user = user(vec![
        idle_family,
        short,
        entry("unused", device("d3", "phone"), NOW),
    ]);
    let seen = Seen::from([("unused".to_owned(), None)]);

    let new = entry("new", device("d4", "phone"), NOW + HOUR);
    user.login(new, &strict, &seen, at(NOW + HOUR)).unwrap();

    assert_eq!(sids(&user.sessions), ["new"]);
    assert_eq!(why(&user, "idle"), Some(Why::Idle));
    assert_eq!(why(&user, "unused"), Some(Why::Idle));
    assert_eq!(why(&user, "short"), None, "its time was known to all");
}

#[test]
fn who_acts_as_the_user_is_not_counted_and_ends_nothing() {
    let rules = rules("max_per_user = 1\nexclusive_types = ['phone']\non_limit = 'refuse'");
    let acting = |sid: &str| Entry {
        act: Some(Act {
            user_id: "admin".to_owned(),
            by: "s".to_owned(),
        }),
        ..entry(sid, device("d1", "phone"), NOW)
    };
    let mut user = user(vec![acting("x"), acting("y")]);

    let own = entry("own", device("d1", "phone"), NOW);
    assert_eq!(log_in(&mut user, own, &rules, NOW), Ok(vec![]));
    assert_eq!(log_in(&mut user, acting("z"), &rules, NOW), Ok(vec![]));
    assert_eq!(sids(&user.sessions), ["x", "y", "own", "z"]);
    assert!(!user.elevate("x", NOW + HOUR, at(NOW)));
    assert!(user.elevate("own", NOW + HOUR, at(NOW)));
}

#[test]
fn nobody_has_more_than_the_hard_limit() {
    let act = |n: usize| Entry {
        act: Some(Act {
            user_id: "admin".to_owned(),
            by: String::new(),
        }),
        ..entry(&format!("s{n}"), Device::default(), NOW)
    };
    let mut user = user((0..HARD_LIMIT).map(act).collect());
    let new = entry("new", Device::default(), NOW);

    assert!(user.is_crowded(&new, &rules("")));
    assert_eq!(
        log_in(&mut user, new, &rules(""), NOW),
        Err(Refused::TooMany)
    );
}

#[test]
fn ban_ends_sessions_and_keeps_out_until_it_is_over() {
    let rules = rules("");
    let mut user = user(vec![
        with_family("a", NOW),
        entry("b", device("d", "tv"), NOW),
    ]);
    let ban = NewBan {
        service: None,
        until: Some(NOW + HOUR),
        reason: "x".repeat(1000),
        end_sessions: true,
    };

    let ended = user.ban(ban, &rules, at(NOW));

    assert_eq!(sids(&ended), ["a", "b"]);
    assert_eq!(why(&user, "a"), Some(Why::Banned));
    assert_eq!((user.epoch, user.why), (NOW, Some(Why::Banned)));
    assert_eq!(user.bans[EVERYTHING].reason.len(), 256);
    let again = |user: &mut User, now| {
        let new = entry("c", device("d", "tv"), now);
        user.clone().login(new, &rules, &Seen::new(), at(now))
    };
    assert!(matches!(
        again(&mut user, NOW + HOUR - 1),
        Err(Refused::Disabled(_))
    ));
    assert!(again(&mut user, NOW + HOUR).is_ok());
    assert!(user.clone().unban(None, at(NOW)));
    assert!(!user.clone().unban(Some("billing"), at(NOW)));
    assert!(
        !user.unban(None, at(NOW + HOUR)),
        "it has run out by itself"
    );
}

#[test]
fn ban_of_a_service_may_leave_sessions_and_lets_in() {
    let rules = rules("");
    let mut user = user(vec![entry("a", device("d", "tv"), NOW)]);
    let ban = NewBan {
        service: Some("billing".to_owned()),
        until: None,
        reason: "unpaid".to_owned(),
        end_sessions: false,
    };

    assert!(user.ban(ban, &rules, at(NOW)).is_empty());

    assert_eq!((user.sessions.len(), user.epoch), (1, 0));
    let new = entry("b", device("d2", "tv"), NOW);
    assert_eq!(log_in(&mut user, new, &rules, NOW), Ok(vec![]));
    assert_eq!(user.ends_at(&rules), None, "a ban without an end is kept");
    assert!(user.unban(Some("billing"), at(NOW)));
    assert!(user.ends_at(&rules).is_some());
}

#[test]
fn kicks_end_who_is_meant_and_only_all_begins_an_epoch() {
    let whole = || {
        user(vec![
            entry("a", device("d1", "phone"), NOW),
            entry("b", device("d2", "phone"), NOW),
            entry("c", device("d3", "tv"), NOW),
        ])
    };
    for (whom, expected, epoch) in [
        (Whom::Session("b".to_owned()), vec!["b"], 0),
        (Whom::Session("x".to_owned()), vec![], 0),
        (Whom::Device("d3".to_owned()), vec!["c"], 0),
        (Whom::DeviceType("phone".to_owned()), vec!["a", "b"], 0),
        (Whom::AllBut("b".to_owned()), vec!["a", "c"], 0),
        (Whom::All, vec!["a", "b", "c"], NOW + 5),
    ] {
        let mut user = whole();

        let ended = user.kick(&whom, Why::PasswordChanged, &rules(""), at(NOW + 5));

        assert_eq!(sids(&ended), expected, "{whom:?}");
        assert_eq!(user.epoch, epoch, "{whom:?}");
        let noted: Vec<_> = user.gone.iter().map(|gone| gone.sid.as_str()).collect();
        assert_eq!(noted, expected);
        assert!(user.gone.iter().all(|g| g.why == Why::PasswordChanged));
    }
}

#[test]
fn epochs_never_go_back_nor_stand_still() {
    let mut user = user(vec![]);
    let mut last = user.epoch;
    for now in [NOW, NOW, NOW - DAY, 0, NOW + 1] {
        user.kick(&Whom::All, Why::Kicked, &rules(""), at(now));
        assert!(user.epoch > last, "at {now}");
        last = user.epoch;
    }
}

#[test]
fn notes_are_few_and_short_lived() {
    let many = (0..100).map(|n| entry(&format!("s{n}"), Device::default(), NOW));
    let mut user = user(many.collect());
    user.kick(
        &Whom::AllBut("s0".to_owned()),
        Why::Kicked,
        &rules(""),
        at(NOW),
    );
    assert_eq!(user.gone.len(), 32);
    assert_eq!(user.gone.last().unwrap().sid, "s99");

    let later = at(NOW + 15 * MINUTE);
    user.kick(
        &Whom::Device("x".to_owned()),
        Why::Kicked,
        &rules(""),
        later,
    );
    assert!(user.gone.is_empty());
}

#[test]
fn record_is_remembered_a_day_longer_than_anything_in_it() {
    let rules = rules("");
    assert_eq!(user(vec![]).ends_at(&rules), Some(DAY));
    let short = entry("a", Device::default(), NOW);
    assert_eq!(
        user(vec![short]).ends_at(&rules),
        Some(NOW + 12 * HOUR + DAY)
    );
    assert_eq!(
        user(vec![with_family("a", NOW)]).ends_at(&rules),
        Some(NOW + 7 * DAY + DAY)
    );
    let mut kicked = user(vec![]);
    kicked.kick(&Whom::All, Why::Kicked, &rules, at(NOW));
    assert_eq!(
        kicked.ends_at(&rules),
        Some(NOW + 30 * DAY + DAY),
        "longer than any token that it ended"
    );
    let mut one = user(vec![entry("a", Device::default(), NOW)]);
    one.kick(&Whom::Session("a".to_owned()), Why::Kicked, &rules, at(NOW));
    assert_eq!(one.ends_at(&rules), Some(NOW + 15 * MINUTE + DAY));
}

#[test]
fn rights_are_given_taken_and_denied() {
    let mut user = user(vec![]);
    let list = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    for (edit, permissions, roles, denied) in [
        (
            RightsEdit {
                grant: list("a b a"),
                add_roles: list("r"),
                ..RightsEdit::default()
            },
            "a b",
            "r",
            "",
        ),
        (
            RightsEdit {
                deny: list("b c"),
                revoke: list("a"),
                ..RightsEdit::default()
            },
            "b",
            "r",
            "b c",
        ),
        (
            RightsEdit {
                grant: list("c"),
                allow: list("b x"),
                remove_roles: list("r"),
                ..RightsEdit::default()
            },
            "b c",
            "",
            "",
        ),
    ] {
        let rights = user.edit_rights(&edit, &rules(""), at(NOW));

        let expected = Rights {
            permissions: list(permissions),
            roles: list(roles),
            denied: list(denied),
        };
        assert_eq!(rights, expected);
    }
    assert!(user.ends_at(&rules("")).unwrap() > NOW + 30 * DAY);
}

#[test]
fn risk_is_set_on_user_or_session() {
    let mut user = user(vec![entry("a", Device::default(), NOW)]);
    assert!(user.set_risk(None, 30, &rules(""), at(NOW)));
    assert!(user.set_risk(Some("a"), 200, &rules(""), at(NOW)));
    assert!(!user.set_risk(Some("x"), 1, &rules(""), at(NOW)));
    assert_eq!((user.risk, user.sessions[0].risk), (30, 100));
}
