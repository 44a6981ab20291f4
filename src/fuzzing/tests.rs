//! Bytes that were found once, and those that the search begins with: tests/fuzz/seeds, a folder for each kind.

use std::fs;
use std::path::Path;

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

#[test]
fn what_was_found_once_holds() {
    for (name, holds) in PROPERTIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
        let seeds = fs::read_dir(folder.join(name)).unwrap();
        let mut count = 0;
        for seed in seeds {
            let seed = seed.unwrap().path();
            println!("{}", seed.display());
            holds(&fs::read(seed).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}
