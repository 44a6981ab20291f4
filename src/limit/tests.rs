use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::config::Tokens;
use crate::session::Device;
use crate::token::TokenShape;

fn list(toml: &str) -> Vec<Spanned<RateLimit>> {
    #[derive(serde::Deserialize)]
    struct File {
        limits: Vec<Spanned<RateLimit>>,
    }
    let file: File = toml::from_str(&format!("limits = [{toml}]")).unwrap();
    file.limits
}

fn limits(place: &str, toml: &str) -> RouteLimits {
    RouteLimits::new(Some(place), &list(toml))
}

fn token(text: &str) -> Token {
    let shape = TokenShape::new(&Tokens::default());
    shape.check(text.as_bytes()).unwrap()
}

fn session(user: &str, device: &str) -> Session {
    Session {
        user_id: user.into(),
        device: Device {
            id: device.into(),
            ..Device::default()
        },
        ..Session::default()
    }
}

fn client(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Senders that differ in one thing each from the first: client, token, device and user.
fn senders() -> Vec<(&'static str, IpAddr, Token, Session)> {
    let (here, there) = (client("192.0.2.1"), client("192.0.2.2"));
    vec![
        ("first", here, token("t1"), session("alice", "d1")),
        ("client", there, token("t1"), session("alice", "d1")),
        ("token", here, token("t2"), session("alice", "d1")),
        ("device", here, token("t3"), session("alice", "d2")),
        ("user", here, token("t4"), session("bob", "d1")),
    ]
}

#[test]
fn each_kind_of_limit_tells_senders_apart_by_what_it_says_and_by_nothing_else() {
    for (by, apart) in [
        ("client", vec!["client"]),
        ("token", vec!["token", "device", "user"]),
        ("user", vec!["user"]),
        ("device", vec!["device", "user"]),
        ("route", vec![]),
    ] {
        let list = limits("r", &format!("{{ by = '{by}', rate = '1/h' }}"));
        let limit = list.iter().next().unwrap();
        let state = Limits::default();
        let mut buckets: Vec<String> = Vec::new();
        for (name, client, token, session) in senders() {
            let who = Who {
                client,
                holder: Some((&token, &session)),
            };
            let fresh = name == "first" || apart.contains(&name);
            let bucket = limit.bucket(&who).unwrap();

            assert_eq!(
                state.take(limit, &who).unwrap().allowed,
                fresh,
                "{by}: {name}"
            );
            assert_eq!(!buckets.contains(&bucket), fresh, "{by}: {name}");
            buckets.push(bucket);
        }
    }
}

#[test]
fn of_ipv6_the_first_64_bits_count() {
    let list = limits("r", "{ by = 'client', rate = '1/h' }");
    let limit = &list.door[0];
    let state = Limits::default();
    let take = |ip| {
        let who = Who {
            client: client(ip),
            holder: None,
        };
        (
            state.take(limit, &who).unwrap().allowed,
            limit.bucket(&who).unwrap(),
        )
    };

    let (first, bucket) = take("2001:db8::1");
    let (same, same_bucket) = take("2001:db8::ffff:2");
    let (other, other_bucket) = take("2001:db8:0:1::1");

    assert_eq!((first, same, other), (true, false, true));
    assert_eq!(bucket, same_bucket);
    assert_ne!(bucket, other_bucket);
}

#[test]
fn places_and_names_have_buckets_of_their_own_and_equal_ones_share() {
    let one = "{ by = 'route', rate = '1/h' }";
    let two = "{ by = 'route', rate = '1/h', name = 'slow' }";
    let who = Who {
        client: client("192.0.2.1"),
        holder: None,
    };
    let state = Limits::default();
    let lists = [
        limits("a", one),
        limits("b", one),
        limits("a", two),
        RouteLimits::new(None, &list(one)),
        RouteLimits::new(Some(""), &list(one)),
    ];

    for list in &lists {
        assert!(state.take(&list.inside[0], &who).unwrap().allowed);
    }
    let again = limits("a", one);
    assert!(!state.take(&again.inside[0], &who).unwrap().allowed);
    let mut names: Vec<_> = lists
        .iter()
        .map(|list| list.inside[0].bucket(&who))
        .collect();
    assert_eq!(names[0], again.inside[0].bucket(&who));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), lists.len());
}

#[test]
fn limits_by_client_are_asked_at_the_door_and_all_others_inside() {
    let list = limits(
        "r",
        "{ by = 'user', rate = '1/s' }, { by = 'client', rate = '1/s' }, { by = 'route', rate = '1/s' },
         { by = 'token', rate = '1/s' }, { by = 'device', rate = '1/s' }",
    );

    let names = |limits: &[Limit]| -> Vec<String> {
        limits
            .iter()
            .map(|limit| limit.name().to_string())
            .collect()
    };
    assert_eq!(names(&list.door), ["client"]);
    assert_eq!(names(&list.inside), ["user", "route", "token", "device"]);
}

#[test]
fn without_a_session_only_client_and_route_count() {
    let who = Who {
        client: client("192.0.2.1"),
        holder: None,
    };
    for (by, counts) in [
        ("client", true),
        ("route", true),
        ("token", false),
        ("user", false),
        ("device", false),
    ] {
        let list = limits("r", &format!("{{ by = '{by}', rate = '1/h' }}"));
        let limit = list.iter().next().unwrap();

        assert_eq!(limit.bucket(&who).is_some(), counts, "{by}");
        assert_eq!(
            Limits::default().take(limit, &who).is_some(),
            counts,
            "{by}"
        );
    }
}

#[test]
fn a_shared_limit_that_does_not_say_what_to_do_on_an_error_denies() {
    let list = limits("r", "{ by = 'route', rate = '1/s', scope = 'shared' }");

    assert_eq!(list.inside[0].scope(), Scope::Shared(OnError::Deny));
}

proptest! {
    #[test]
    fn no_two_users_and_devices_share_a_bucket(
        [a, b, c, d] in prop::array::uniform4("[ab]{0,2}"),
    ) {
        let list = limits("r", "{ by = 'device', rate = '1/h' }");
        let (one, two, token) = (session(&a, &b), session(&c, &d), token("t"));
        let bucket = |session| list.inside[0].bucket(&Who {
            client: IpAddr::V6(Ipv6Addr::LOCALHOST),
            holder: Some((&token, session)),
        });

        prop_assert_eq!(bucket(&one) == bucket(&two), (a, b) == (c, d));
    }
}

mod told {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn state(toml: &str) -> (RouteLimits, Limits, Who<'static>) {
        let who = Who {
            client: client("192.0.2.1"),
            holder: None,
        };
        (limits("r", toml), Limits::default(), who)
    }

    #[test]
    fn an_answer_tells_the_limits_that_want_to_be_told() {
        let (list, limits, who) = state(
            "{ by = 'route', rate = '1/s', burst = 60, headers = true }, { by = 'route', name = 'quiet', rate = '1/s' },
             { by = 'route', name = 'fast.1', rate = '100/s', burst = 10, headers = true }",
        );
        let mut told = Told::default();
        for limit in &list.inside {
            limit
                .judge(limits.take(limit, &who).unwrap(), &mut told)
                .unwrap();
        }

        let mut headers = HeaderMap::new();
        told.write(&mut headers);

        assert_eq!(
            headers["ratelimit"],
            "\"route\";r=59;t=1, \"fast.1\";r=9;t=1"
        );
        assert_eq!(
            headers["ratelimit-policy"],
            "\"route\";q=60;w=60, \"fast.1\";q=10;w=1"
        );
    }

    #[test]
    fn a_refusal_tells_its_limit_always() {
        let (list, limits, who) = state("{ by = 'route', rate = '2/m' }");
        let limit = &list.inside[0];
        let mut told = Told::default();
        for _ in 0..2 {
            limit
                .judge(limits.take(limit, &who).unwrap(), &mut told)
                .unwrap();
        }
        assert_eq!(told, Told::default());

        let refused = limit
            .judge(limits.take(limit, &who).unwrap(), &mut told)
            .unwrap_err();

        assert_eq!(seconds(refused.retry_after), 30);
        let mut headers = HeaderMap::new();
        refused.told.write(&mut headers);
        assert_eq!(headers["ratelimit"], "\"route\";r=0;t=60");
        assert_eq!(headers["ratelimit-policy"], "\"route\";q=2;w=60");
    }

    #[test]
    fn an_upstreams_own_words_stay() {
        let (list, limits, who) = state("{ by = 'route', rate = '2/m', headers = true }");
        for field in ["ratelimit", "ratelimit-policy"] {
            let mut told = Told::default();
            let metered = limits.take(&list.inside[0], &who).unwrap();
            list.inside[0].judge(metered, &mut told).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(field, HeaderValue::from_static("mine"));

            told.write(&mut headers);

            assert_eq!(headers.len(), 1);
            assert_eq!(headers[field], "mine");
        }
    }
}

mod guard {
    use super::*;

    fn meter(count: u32) -> Meter {
        Meter::new("1/h".to_owned().try_into().unwrap(), count)
    }

    fn guess(guard: &Guard, from: IpAddr, number: u32) -> bool {
        let token = token(&format!("guess{number}"));
        let admitted = guard.admit(meter(3), from, Some(&token)).is_ok();
        if admitted {
            guard.learn(meter(3), from, &token, false);
        }
        admitted
    }

    #[test]
    fn after_too_many_unknown_tokens_no_more_are_looked_up() {
        let (guard, from) = (Guard::default(), client("192.0.2.1"));

        let admitted = (0..10)
            .filter(|number| guess(&guard, from, *number))
            .count();
        let junk = guard.admit(meter(3), from, None);

        assert_eq!(admitted, 3);
        assert!(junk.is_err());
        assert_eq!(guard.slowed(), 8);
        let wait = guard.admit(meter(3), from, None).unwrap_err().retry_after;
        assert!((3500..=3600).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn tokens_that_were_good_from_there_pass_and_other_clients_never_notice() {
        let guard = Guard::default();
        let (office, home) = (client("192.0.2.1"), client("192.0.2.2"));
        let (known, fresh) = (token("known"), token("fresh"));
        guard.learn(meter(3), office, &known, true);

        for number in 0..10 {
            guess(&guard, office, number);
        }

        let admit = |from, token| guard.admit(meter(3), from, Some(token)).is_ok();
        assert!(admit(office, &known));
        assert!(!admit(office, &fresh));
        assert!(admit(home, &fresh));
        assert!(admit(home, &known));
        guard.learn(meter(3), office, &known, false);
        assert!(
            !admit(office, &known),
            "it was ended, so it is no longer good"
        );
    }

    #[test]
    fn guesses_that_were_under_way_are_paid_for() {
        let (guard, from) = (Guard::default(), client("192.0.2.1"));
        let tokens: Vec<Token> = (0..20).map(|n| token(&format!("guess{n}"))).collect();

        let admitted = |token: &&Token| guard.admit(meter(3), from, Some(token)).is_ok();
        let under_way: Vec<_> = tokens.iter().filter(admitted).collect();
        assert_eq!(under_way.len(), 20, "nothing was known of any of them");
        for token in under_way {
            guard.learn(meter(3), from, token, false);
        }

        let wait = guard.admit(meter(3), from, None).unwrap_err().retry_after;
        assert!((17..=18).contains(&(wait.as_secs() / 3600)), "{wait:?}");
    }

    #[test]
    fn memory_is_bounded() {
        let (guard, from) = (Guard::default(), client("192.0.2.1"));

        for number in 0..200_000 {
            guard.learn(meter(3), from, &token(&format!("t{number}")), true);
        }

        assert!(guard.remembered() <= 65_536, "{}", guard.remembered());
    }
}
