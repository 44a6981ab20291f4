//! Files: `gateway.toml`, and records of sessions.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::render::Source;
use crate::config::{Fields, Store, Surroundings, check, load};
use crate::session::RecordFormat;

/// Whatever stands in the file, every fault can be told with its place.
pub fn gateway_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Certificates and the like are looked at where they are, and some files have no end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let surroundings = Surroundings {
        folder: Path::new("/nonexistent"),
        variable: &|name| (name == "KNOWN").then(|| "value".to_owned()),
        open: &open,
    };
    let faults = match load::parse_in(text, surroundings) {
        Ok(config) => check::run(&config),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a word");
            faults
        }
    };
    let source = Source {
        path: PathBuf::from("gateway.toml"),
        text: text.to_owned(),
    };
    let told = source.render(&faults, false);
    assert!(faults.is_empty() || !told.is_empty());
}

/// The files that become values: one of each kind.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    match path.file_name().and_then(OsStr::to_str) {
        Some("known") => Ok(Box::new(&b"value\n"[..])),
        Some("keys.json") => Ok(Box::new(&b"{\"keys\":[]}"[..])),
        Some("odd") => Ok(Box::new(&b"\xff"[..])),
        Some("endless") => Ok(Box::new(io::repeat(b'x'))),
        Some(_) | None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A record is a session with a user, or it is refused.
pub fn session_record(bytes: &[u8]) {
    let store: Store = toml::from_str("embedded = 'x'").expect("it is a store");
    if let Ok(record) = RecordFormat::new(&store).decode(bytes) {
        assert!(!record.session.user_id.is_empty());
        let format = RecordFormat::new(&Store {
            fields: Fields::default(),
            ..store
        });
        let digest = "0".repeat(64);
        let written = format
            .encode(&record.session, &digest)
            .expect("it can be written");
        let again = format
            .decode(&written)
            .expect("what is written can be read");
        assert_eq!(again.session.user_id, record.session.user_id);
        assert_eq!(*again.session.permissions, *record.session.permissions);
        assert_eq!(*again.session.roles, *record.session.roles);
    }
}
