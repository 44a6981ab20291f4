//! What is kept in the folder, and for how long it is good.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use instant_acme::Problem;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::files;
use super::order::{self, OrderError};
use super::ordered::Held;
use super::*;

const DAY: u64 = 24 * 3600;

/// A key and a certificate for this name, for the ninety days from 2030-01-01T00:00:00Z.
fn pair(name: &str) -> String {
    pair_of(name, 2030)
}

/// The same, of another year.
fn pair_of(name: &str, year: i32) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year, 4, 1);
    let key = KeyPair::generate().unwrap();
    key.serialize_pem() + &params.self_signed(&key).unwrap().pem()
}

#[test]
fn a_certificate_is_renewed_when_a_third_is_left_or_a_little_more() {
    let begins = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    for _ in 0..50 {
        let key = files::pair(pair("a.test").as_bytes()).unwrap();
        let held = Held::of(key, "a.test").unwrap();
        assert_eq!(held.ends(), 1_893_456_000 + 90 * 24 * 3600);
        let due = |days: u64| held.is_due(begins + Duration::from_secs(days * DAY));
        assert!(!due(56));
        assert!(due(60));
    }
}

#[test]
fn what_is_no_certificate_for_the_name_is_not_shown() {
    let (one, other) = (pair("a.test"), pair("a.test"));
    let held = |text: &str| files::pair(text.as_bytes()).and_then(|key| Held::of(key, "a.test"));
    assert!(held(&one).is_ok());
    let end = one.find("-----BEGIN CERTIFICATE").unwrap();
    let foreign = &other[other.find("-----BEGIN CERTIFICATE").unwrap()..];
    for (text, why) in [
        (String::new(), "no key"),
        (one[..end].to_owned(), "no certificate"),
        (one[end..].to_owned(), "no key"),
        (
            format!("{}{foreign}", &one[..end]),
            "keys may not be consistent",
        ),
        (pair("b.test"), "it is not for `a.test`"),
    ] {
        let found = held(&text).unwrap_err();
        assert!(found.contains(why), "{why}: {found}");
    }
    // What an authority is to see is not for it to believe, but a key and a certificate it is.
    assert!(files::unchecked_pair(one.as_bytes()).is_ok());
    for half in [&one[..end], &one[end..], ""] {
        assert!(files::unchecked_pair(half.as_bytes()).is_err(), "{half}");
    }
}

#[test]
fn a_file_is_there_whole_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.test.pem");
    std::fs::write(&path, "before").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut reader = File::open(&path).unwrap();

    files::write(&path, b"after").unwrap();

    // Whoever is in the middle of reading reads on what there was.
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    assert_eq!(found, "before");

    assert_eq!(std::fs::read(&path).unwrap(), b"after");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let gone = dir.path().join("gone/a.test.pem");
    assert!(files::write(&gone, b"after").is_err());
    assert!(files::read(&gone).unwrap().is_none());
}

fn settings(cache: &Path) -> Acme {
    let text = format!(
        "domains = [\"a.test\"]\naccept_terms = true\ncache = {cache:?}\ndirectory = \"https://127.0.0.1:9/dir\""
    );
    toml::from_str(&text).unwrap()
}

#[test]
fn a_certificate_is_shown_even_if_it_cannot_be_kept_and_not_if_it_has_no_time_left() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::of(&settings(dir.path()));
    let load = || Ordered::load(folder.clone(), "a.test");
    let ordered = load();
    let over = order::keep(&ordered, &pair_of("a.test", 2020));
    assert!(matches!(over, Err(OrderError::Useless(_))), "{over:?}");
    assert!(ordered.key().is_none());

    // Its folder is not there.
    order::keep(&ordered, &pair("a.test")).unwrap();
    assert!(ordered.key().is_some());
    assert!(load().key().is_none());

    drop(folder.turn().unwrap());
    order::keep(&ordered, &pair("a.test")).unwrap();
    let (shown, kept) = (ordered.key().unwrap(), load().key().unwrap());
    assert_eq!(shown.cert, kept.cert);
}

#[test]
fn the_authority_says_when_but_not_at_once_for_a_new_one_and_not_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let ordered = Ordered::load(Folder::of(&settings(dir.path())), "a.test");
    let begins = 1_893_456_000;
    let day = i64::try_from(DAY).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let due = |from: i64, until: i64, rest: u64| {
        let window = (begins + from * day, begins + until * day);
        let due = ordered.until_due_within(window, Duration::from_secs(rest * DAY), now);
        due.as_secs() / DAY
    };
    assert_eq!(due(10, 20, 0), 0, "there is none");
    let mut moments = std::collections::BTreeSet::new();
    for _ in 0..50 {
        order::keep(&ordered, &pair("a.test")).unwrap();
        let moment = due(10, 20, 0);
        assert!((10..=20).contains(&moment), "{moment}");
        assert_eq!(due(10, 20, 0), moment);
        moments.insert(moment);
    }
    assert!(moments.len() > 1, "all would come at once");
    assert_eq!(due(-9, -2, 0), 0);
    assert_eq!(due(-9, -2, 3), 3);
    assert_eq!(due(85, 89, 0), 81);
    assert_eq!(due(100, 400, 0), 81);
    assert_eq!(due(-9, -2, 85), 81);
}

#[tokio::test]
async fn a_name_is_known_once_and_let_go_when_nobody_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let acme = Arc::new(settings(dir.path()));
    let orders = Orders::default();
    let domain = acme.domains[0].get_ref();
    let ordered = orders.of(&acme, domain);
    assert!(Arc::ptr_eq(&ordered, &orders.of(&acme, domain)));
    // There is nothing to be done for years, so it sleeps.
    order::keep(&ordered, &pair("a.test")).unwrap();
    let wanted: Wanted = (ordered, Arc::clone(&acme));
    orders.settle([&wanted]);
    let known = Arc::downgrade(&wanted.0);
    drop(wanted);
    assert!(known.upgrade().is_some(), "nobody orders it");

    orders.settle([]);

    let let_go = async {
        while known.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), let_go).await;
    assert!(waited.is_ok(), "it is ordered on");
}

#[test]
fn what_the_authority_has_heard_and_refused_is_told_from_what_it_could_not_do() {
    let heard = |problem: &str| {
        let problem: Problem = serde_json::from_str(problem).unwrap();
        OrderError::Acme(problem.into()).was_heard()
    };
    assert!(heard(
        r#"{"type": "urn:ietf:params:acme:error:rateLimited", "status": 429}"#
    ));
    assert!(heard(
        r#"{"type": "urn:ietf:params:acme:error:unauthorized", "status": 403}"#
    ));
    assert!(heard(r#"{"type": "urn:ietf:params:acme:error:malformed"}"#));
    assert!(!heard(
        r#"{"type": "urn:ietf:params:acme:error:serverInternal", "status": 500}"#
    ));
    assert!(!heard(
        r#"{"type": "urn:ietf:params:acme:error:badNonce", "status": 400}"#
    ));
}
