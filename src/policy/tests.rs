use super::*;
use crate::session::Device;

fn permission(text: &str) -> Permission {
    Permission::new(&PermissionPattern::try_from(text.to_owned()).unwrap())
}

fn require(toml: &str) -> Require {
    toml::from_str(toml).unwrap()
}

fn session(permissions: &[&str], roles: &[&str], device: &str) -> Session {
    Session {
        user_id: "alice".into(),
        permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
        roles: roles.iter().map(|text| (*text).to_owned()).collect(),
        device: Device {
            kind: device.into(),
            ..Device::default()
        },
        expires_at: None,
        ..Session::default()
    }
}

#[test]
fn wildcards_stand_for_whole_parts_on_either_side() {
    let cases = [
        ("orders:read", "orders:read", true),
        ("orders:read", "orders:write", false),
        ("orders:read", "orders:*", true),
        ("orders:read", "*", true),
        ("orders:read:own", "orders:*", true),
        ("orders:read:own", "orders:*:own", true),
        ("orders:read:own", "orders:*:all", false),
        ("orders:*", "orders:read", true),
        ("orders:*", "orders:read:own", true),
        ("orders:*", "orders", false),
        ("orders", "orders:*", false),
        ("orders:*", "invoices:read", false),
        ("orders:*:own", "orders:read:own", true),
        ("orders:read", "ord*", false),
        ("orders:read", "orders:re*", false),
        ("orders:read", "", false),
        ("*", "anything:at:all", true),
    ];

    for (wanted, held, expected) in cases {
        assert_eq!(
            permission(wanted).meets(held),
            expected,
            "rule {wanted}, session {held}"
        );
    }
}

#[test]
fn every_check_of_a_rule_must_hold() {
    let rule = "all = ['a:1', 'a:2']\nany = ['b:1', 'b:2']\nnone = ['c:*']\nroles = ['staff']\ndevice_types = ['phone']";
    let policy = Policy::new(Auth::Required, &require(rule));
    let cases = [
        (session(&["a:1", "a:2", "b:2"], &["staff"], "phone"), None),
        (
            session(&["a:1", "b:2"], &["staff"], "phone"),
            Some("permission a:2"),
        ),
        (
            session(&["a:*"], &["staff"], "phone"),
            Some("any permission of b:1, b:2"),
        ),
        (
            session(&["a:*", "b:1", "c:9"], &["staff"], "phone"),
            Some("no permission c:*"),
        ),
        (
            session(&["*"], &["staff"], "phone"),
            Some("no permission c:*"),
        ),
        (
            session(&["a:*", "b:1"], &["guest"], "phone"),
            Some("any role of staff"),
        ),
        (
            session(&["a:*", "b:1"], &["staff"], "tv"),
            Some("device type phone"),
        ),
    ];

    for (session, expected) in cases {
        let unmet = match policy.judge(Holder::Session(session.clone().into())) {
            Ok(permit) => permit.session().map(|_| None).unwrap(),
            Err(Denied::Unmet(check)) => Some(check.to_string()),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(unmet.as_deref(), expected, "{session:?}");
    }
}

#[test]
fn without_a_session_only_optional_and_public_pass_and_they_pass_without_identity() {
    let holders = || [Holder::Nobody, Holder::Malformed, Holder::Unknown];
    let reasons = [
        Denied::TokenMissing,
        Denied::TokenMalformed,
        Denied::TokenInvalid,
    ];

    for (holder, reason) in holders().into_iter().zip(reasons) {
        assert_eq!(
            Policy::new(Auth::Required, &Require::default())
                .judge(holder)
                .unwrap_err(),
            reason
        );
    }
    for auth in [Auth::Optional, Auth::Public] {
        for holder in holders() {
            assert!(
                Policy::new(auth, &Require::default())
                    .judge(holder)
                    .unwrap()
                    .session()
                    .is_none()
            );
        }
    }
}

#[test]
fn a_public_route_forgets_a_session_that_it_is_given() {
    let permit = Policy::new(Auth::Public, &Require::default())
        .judge(Holder::Session(session(&[], &[], "").into()))
        .unwrap();

    assert!(permit.session().is_none());
}

fn guarded(guard: Guard) -> Policy {
    Policy::new(Auth::Required, &Require::default()).guarded(guard)
}

fn denied(policy: &Policy, session: Session) -> Option<String> {
    let decision = policy.judge(Holder::Session(session.into()));
    decision.err().map(|denied| denied.to_string())
}

#[test]
fn risk_and_step_up_are_asked_of_the_session() {
    let now = now();
    let risky = |risk| Session {
        extras: Extra {
            risk,
            ..Extra::default()
        }
        .into(),
        ..session(&[], &[], "")
    };
    let policy = guarded(Guard {
        max_risk: Some(50),
        ..Guard::default()
    });
    assert_eq!(denied(&policy, risky(50)), None);
    assert_eq!(
        denied(&policy, risky(51)).unwrap(),
        "the session does not meet the rule: risk of at most 50"
    );

    let policy = guarded(Guard {
        elevated_within: Some(Duration::from_secs(300)),
        ..Guard::default()
    });
    let elevated = |at: Option<u64>, until: Option<u64>| Session {
        extras: Extra {
            elevated_at: at,
            elevated_until: until,
            ..Extra::default()
        }
        .into(),
        ..session(&[], &[], "")
    };
    let (later, minute) = (now + 3_600_000, 60_000);
    for (session, passes) in [
        (elevated(None, None), false),
        (elevated(Some(now - minute), Some(later)), true),
        (elevated(Some(now - 6 * minute), Some(later)), false),
        (elevated(Some(now - minute), Some(now - 1)), false),
        (elevated(Some(now - minute), None), false),
    ] {
        let told = format!("{session:?}");
        assert_eq!(denied(&policy, session).is_none(), passes, "{told}");
    }
}

#[test]
fn bans_count_for_everything_or_for_the_service_of_the_route() {
    let ban = |service: &str, until: Option<u64>| {
        let ban = Ban {
            until,
            reason: String::new(),
            at: 0,
        };
        Session {
            extras: Extra {
                bans: vec![(service.to_owned(), ban)],
                ..Extra::default()
            }
            .into(),
            ..session(&[], &[], "")
        }
    };
    let billing = guarded(Guard {
        service: Some("billing".to_owned()),
        ..Guard::default()
    });
    let other = guarded(Guard::default());
    let judge = |policy: &Policy, session: Session| policy.judge(Holder::Session(session.into()));

    assert!(matches!(
        judge(&billing, ban("*", None)),
        Err(Denied::Disabled(_))
    ));
    assert!(matches!(
        judge(&other, ban("*", None)),
        Err(Denied::Disabled(_))
    ));
    assert!(matches!(
        judge(&billing, ban("billing", None)),
        Err(Denied::ServiceDisabled(_))
    ));
    assert!(judge(&other, ban("billing", None)).is_ok());
    assert!(judge(&billing, ban("stock", None)).is_ok());
    assert!(
        judge(&other, ban("*", Some(now()))).is_ok(),
        "it has run out"
    );
    let optional = Policy::new(Auth::Optional, &Require::default());
    let permit = judge(&optional, ban("*", None)).unwrap();
    assert!(permit.session().is_none(), "nobody is known there");
}

#[test]
fn ended_session_is_refused_with_its_reason_or_is_nobody() {
    let ended = || EndedSession {
        why: crate::session::Why::Replaced,
        at: 1,
        by: None,
    };
    let required = Policy::new(Auth::Required, &Require::default());
    let refused = required.judge(Holder::Ended(ended()));
    assert_eq!(refused.unwrap_err(), Denied::Ended(ended()));
    let optional = Policy::new(Auth::Optional, &Require::default());
    let permit = optional.judge(Holder::Ended(ended())).unwrap();
    assert!(permit.session().is_none());
}

#[test]
fn what_is_denied_in_part_is_denied_where_it_matters() {
    let list = |items: &[&str]| -> Vec<String> { items.iter().map(|i| (*i).to_owned()).collect() };
    let partly = || Session {
        extras: Extra {
            partial: list(&["orders:*"]).into(),
            denied: list(&["orders:write"]).into(),
            ..Extra::default()
        }
        .into(),
        ..session(&[], &[], "")
    };
    for (rule, passes) in [
        ("all = ['orders:read']", true),
        ("all = ['orders:write']", false),
        ("all = ['orders:*']", false),
        ("any = ['orders:write', 'orders:read']", true),
        ("none = ['orders:write']", true),
        ("none = ['orders:read']", false),
        ("none = ['orders:*']", false),
    ] {
        let policy = Policy::new(Auth::Required, &require(rule));
        assert_eq!(denied(&policy, partly()).is_none(), passes, "{rule}");
    }
}
