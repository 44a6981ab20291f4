//! What is kept in the folder, and for how long it is good.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::files;
use super::ordered::Held;

const DAY: u64 = 24 * 3600;

/// A key and a certificate for this name, for the ninety days from 2030-01-01T00:00:00Z.
fn pair(name: &str) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2030, 4, 1);
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
}

#[test]
fn a_file_is_there_whole_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.test.pem");
    std::fs::write(&path, "before").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    files::write(&path, b"after").unwrap();

    assert_eq!(std::fs::read(&path).unwrap(), b"after");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let gone = dir.path().join("gone/a.test.pem");
    assert!(files::write(&gone, b"after").is_err());
    assert!(files::read(&gone).unwrap().is_none());
}
