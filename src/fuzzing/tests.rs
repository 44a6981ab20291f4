//! Bytes that were found once, those that the search begins with (tests/fuzz/seeds, a folder for each kind), and bytes
//! that are not far from these.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

type Property = fn(&[u8]);

const PROPERTIES: [(&str, Property); 10] = [
    ("chunks", chunks),
    ("cookie", cookie),
    ("gateway_toml", gateway_toml),
    ("head", head),
    ("introduction", introduction),
    ("layout", layout),
    ("outbound", outbound),
    ("path", path),
    ("session_record", session_record),
    ("token", token),
];

/// What is put into a seed: texts that mean something to some reader.
const PIECES: [&str; 28] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "=",
    "\"",
    "#",
    "?",
    "/",
    "//",
    "\\",
    "%2e",
    "%2F",
    "%3b",
    "..",
    "[::1]",
    "0",
    "5",
    "ä",
    "session=x",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X_User-Id: root\r\n",
];

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let files = fs::read_dir(folder.join(name)).unwrap();
    let seeds = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let mut seeds: Vec<_> = seeds.collect();
    if name == "gateway_toml" {
        let shipped = include_str!("../../gateway.toml");
        seeds.extend([shipped.into(), shipped.replace("\n#: ", "\n").into()]);
    }
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds
}

#[test]
fn what_was_found_once_holds() {
    for (name, holds) in PROPERTIES {
        for seed in seeds(name) {
            println!("{name}: {}", seed.escape_ascii());
            holds(&seed);
        }
    }
}

#[test]
fn what_is_near_to_it_holds_too() {
    for (name, holds) in PROPERTIES {
        let change = (
            any::<prop::sample::Index>(),
            0..4_u8,
            0..PIECES.len(),
            any::<u8>(),
        );
        let changes = prop::collection::vec(change, 1..6);
        let near = (prop::sample::select(seeds(name)), changes).prop_map(|(mut bytes, changes)| {
            for (place, how, piece, byte) in changes {
                let at = place.index(bytes.len() + 1);
                let one = at..(at + 1).min(bytes.len());
                match how {
                    0 => drop(bytes.splice(at..at, PIECES[piece].bytes())),
                    1 => drop(bytes.splice(one, [byte])),
                    2 => drop(bytes.splice(one, PIECES[piece].bytes())),
                    _ => drop(bytes.drain(at..(at + usize::from(byte % 8)).min(bytes.len()))),
                }
            }
            bytes
        });
        let outcome = TestRunner::default().run(&near, |bytes| {
            holds(&bytes);
            Ok(())
        });
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}
