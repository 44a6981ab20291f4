use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use super::*;
use crate::session::{Act, Extra, Extras};

const NOW: u64 = 1_800_000_000;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn key(&self, name: &str, kind: &'static rcgen::SignatureAlgorithm) {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        std::fs::write(self.0.path().join(name), pair.serialize_pem()).unwrap();
    }

    fn p256(&self, names: &[&str]) {
        for name in names {
            self.key(name, &rcgen::PKCS_ECDSA_P256_SHA256);
        }
    }

    fn config(&self, keys: &[&str]) -> Config {
        let path = |name: &&str| self.0.path().join(name).display().to_string();
        let keys: Vec<_> = keys.iter().map(path).collect();
        let text = format!(
            "listeners = [{{ address = '127.0.0.1:0' }}]\nstore = {{ embedded = 'x' }}\nroutes = []\n\
             assertion = {{ issuer = 'us', lifetime = '60s', max_age = '5m', keys = {keys:?} }}"
        );
        crate::config::load::parse(&text, Path::new("")).unwrap()
    }

    fn build(&self, ring: &Arc<KeyRing>, keys: &[&str]) -> Assertions {
        Assertions::build(&self.config(keys), ring)
            .unwrap()
            .unwrap()
    }
}

fn alice() -> Session {
    Session {
        user_id: "alice".into(),
        permissions: vec!["orders:read".to_owned()].into(),
        sid: "s-1".into(),
        ..Session::default()
    }
}

fn part(text: &HeaderValue, number: usize) -> Value {
    let part = text.to_str().unwrap().split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn claims(text: &HeaderValue) -> Value {
    part(text, 1)
}

fn signer(text: &HeaderValue) -> String {
    part(text, 0)["kid"].as_str().unwrap().to_owned()
}

fn published(assertions: &Assertions, now: u64) -> Vec<String> {
    let set: Value = serde_json::from_str(&assertions.published(now).document).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn say(assertions: &Assertions, now: u64, session: &Session) -> HeaderValue {
    assertions
        .about_at(now, session, None, &"app".into())
        .unwrap()
}

#[test]
fn one_is_used_for_half_its_life_and_only_while_all_that_it_says_is_so() {
    let folder = Folder::new();
    folder.p256(&["a"]);
    let assertions = folder.build(&Arc::default(), &["a"]);

    let first = say(&assertions, NOW, &alice());
    assert_eq!(claims(&first)["iat"], NOW);
    assert_eq!(claims(&first)["exp"], NOW + 60);
    assert_eq!(say(&assertions, NOW + 29, &alice()), first);
    assert_eq!(
        claims(&say(&assertions, NOW + 30, &alice()))["iat"],
        NOW + 30
    );

    let fewer = Session {
        permissions: List::EMPTY,
        ..alice()
    };
    let acted = Session {
        extras: Extras::from(Extra {
            actor: Some(Act {
                user_id: "root".to_owned(),
                by: String::new(),
            }),
            ..Extra::default()
        }),
        ..alice()
    };
    let other = assertions
        .about_at(NOW + 30, &alice(), None, &"billing".into())
        .unwrap();
    assert_eq!(claims(&other)["aud"], "billing");
    for (session, name, value) in [
        (&fewer, "permissions", serde_json::json!([])),
        (&acted, "act", serde_json::json!({"sub": "root"})),
        (&alice(), "permissions", serde_json::json!(["orders:read"])),
    ] {
        assert_eq!(claims(&say(&assertions, NOW + 31, session))[name], value);
    }
}

#[test]
fn none_outlives_its_session_even_if_the_session_is_cut_short() {
    let folder = Folder::new();
    folder.p256(&["a"]);
    let assertions = folder.build(&Arc::default(), &["a"]);
    let until = |end: u64| Session {
        expires_at: Some(end * 1000),
        ..alice()
    };

    assert_eq!(
        claims(&say(&assertions, NOW, &until(NOW + 90)))["exp"],
        NOW + 60
    );
    assert_eq!(
        claims(&say(&assertions, NOW + 1, &until(NOW + 20)))["exp"],
        NOW + 20
    );
    // What lives longer again may be said with what is there.
    assert_eq!(
        claims(&say(&assertions, NOW + 2, &until(NOW + 90)))["exp"],
        NOW + 20
    );
}

#[test]
fn a_session_is_named_by_its_name_or_by_a_hash_but_never_by_its_token() {
    let shape = crate::token::TokenShape::new(&crate::config::Tokens::default());
    let token = shape.check(b"secret-token").unwrap();
    let foreign = Session {
        sid: CompactString::default(),
        ..alice()
    };

    assert_eq!(name(&alice(), Some(&token)), "s-1");
    // printf secret-token | openssl sha256 -binary | head -c 16 | base64 | tr +/ -_
    assert_eq!(name(&foreign, Some(&token)), "kwu9xRtq7VwqVnj9bije5w");
    assert_eq!(name(&foreign, None), "");
}

#[test]
fn a_new_key_is_seen_before_it_signs_and_an_old_one_until_nothing_of_it_is_good() {
    let folder = Folder::new();
    folder.p256(&["old", "new"]);
    let ring = Arc::default();

    let before = folder.build(&ring, &["old"]);
    let old = signer(&say(&before, NOW, &alice()));
    assert_eq!(published(&before, NOW), std::slice::from_ref(&old));

    // The new one first at once, as nobody should do it.
    let between = folder.build(&ring, &["new", "old"]);
    assert_eq!(signer(&say(&between, NOW + 10, &alice())), old);
    let both = published(&between, NOW + 10);
    assert_eq!(both.len(), 2);
    assert_eq!(signer(&say(&between, NOW + 309, &alice())), old);
    let new = signer(&say(&between, NOW + 340, &alice()));
    assert_eq!(both, [new.clone(), old.clone()]);

    let after = folder.build(&ring, &["new"]);
    assert_eq!(signer(&say(&after, NOW + 341, &alice())), new);
    // The last of the old one's was signed at +309 and is good for 60 s.
    assert_eq!(published(&after, NOW + 368), [new.clone(), old]);
    assert_eq!(published(&after, NOW + 369), [new]);
}

#[test]
fn a_key_in_the_place_of_another_signs_at_once_because_the_other_is_gone() {
    let folder = Folder::new();
    folder.p256(&["key"]);
    let ring = Arc::default();
    let before = folder.build(&ring, &["key"]);
    let old = signer(&say(&before, NOW, &alice()));

    folder.p256(&["key"]);
    let after = folder.build(&ring, &["key"]);
    let new = signer(&say(&after, NOW + 1, &alice()));

    assert_ne!(new, old);
    assert_eq!(published(&after, NOW + 1), [new, old]);
}

#[test]
fn workers_have_one_key_even_if_it_is_made() {
    let folder = Folder::new();
    let ring = Arc::default();

    let (one, other) = (folder.build(&ring, &[]), folder.build(&ring, &[]));

    assert_eq!(
        signer(&say(&one, NOW, &alice())),
        signer(&say(&other, NOW, &alice()))
    );
    let elsewhere = folder.build(&Arc::default(), &[]);
    assert_ne!(published(&one, NOW), published(&elsewhere, NOW));
}

#[test]
fn what_signs_nothing_here_is_a_fault_of_its_file() {
    let folder = Folder::new();
    folder.key("ed", &rcgen::PKCS_ED25519);
    folder.key("p384", &rcgen::PKCS_ECDSA_P384_SHA384);
    folder.p256(&["a"]);
    std::fs::write(folder.0.path().join("text"), "no key").unwrap();

    let ed = folder.build(&Arc::default(), &["ed"]);
    assert_eq!(part(&say(&ed, NOW, &alice()), 0)["alg"], "EdDSA");
    for (keys, expected) in [
        (&["p384"][..], "holds no key"),
        (&["text"], "holds no key"),
        (&["none"], "cannot be read"),
        (&["a", "ed", "a"], "twice"),
    ] {
        let faults = Assertions::build(&folder.config(keys), &Arc::default()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].message.contains(expected), "{faults:?}");
    }
}

#[test]
fn one_that_is_too_long_is_none_and_no_more_are_kept_than_there_is_room_for() {
    let folder = Folder::new();
    folder.key("ed", &rcgen::PKCS_ED25519);
    let assertions = folder.build(&Arc::default(), &["ed"]);
    let long = Session {
        user_id: "x".repeat(4000).into(),
        ..alice()
    };

    let said = assertions.about_at(NOW, &long, None, &"app".into());
    assert_eq!(said, Err(AssertionError::TooLong));
    assert_eq!(assertions.kept.capacity(), KEPT as u64);
    assert!(!format!("{assertions:?}").contains("BEGIN"));
}
