//! The rules of the house that no compiler holds: imports point down, foreign names stay in their rooms, files stay short.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each room. A file imports from lower floors and from its own room only.
const FLOORS: &[(&str, u8)] = &[
    ("access", 1),
    ("assertion", 3),
    ("audit", 5),
    ("body", 1),
    ("chunked", 0),
    ("field", 0),
    ("imprint", 0),
    ("upgraded", 0),
    ("clock", 0),
    ("cache", 2),
    ("changes", 1),
    ("config", 1),
    ("cookie", 2),
    ("crowd", 0),
    ("csrf", 2),
    ("deadline", 0),
    ("descriptors", 0),
    ("log_file", 0),
    ("metrics", 0),
    ("pace", 0),
    ("permission", 0),
    ("quota", 0),
    ("peer", 2),
    ("request_id", 1),
    ("session", 2),
    ("slot", 1),
    ("safeguard", 0),
    ("socket", 0),
    ("tombstone", 1),
    ("until", 2),
    ("uptime", 0),
    ("head", 2),
    ("layout", 3),
    ("limit", 3),
    ("token", 2),
    ("tracer", 2),
    ("login", 7),
    ("oidc", 6),
    ("policy", 3),
    ("headers", 4),
    ("store", 4),
    ("monitor", 5),
    ("user", 3),
    ("sessions", 5),
    ("inquiry", 5),
    ("upstream", 5),
    ("route", 6),
    ("refusal", 7),
    ("selfservice", 8),
    ("gateway", 9),
    ("server", 8),
    ("admin", 9),
    ("command", 10),
    ("fuzzing", 10),
    ("lib", 11),
    ("main", 12),
];

const MAX_LINES: usize = 400;
/// Tests are tables, and tables may be long.
const MAX_TEST_LINES: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// `src/store/redis/mod.rs` is in the room `store`.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split(['/', '.']).next().unwrap()
}

fn floor(room: &str) -> u8 {
    let known = FLOORS.iter().find(|(name, _)| *name == room);
    known
        .unwrap_or_else(|| panic!("the room `{room}` has no floor; give it one in tests/house.rs"))
        .1
}

/// Code without its comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

#[test]
fn imports_point_down() {
    for (file, text) in sources("src") {
        let own = room(&file);
        if is_test(&file) || own == "lib" || own == "main" {
            continue;
        }
        for (place, _) in code(&text).match_indices("crate::") {
            let code = code(&text);
            let path = &code[place + "crate::".len()..];
            let imported: String = path
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if imported != own {
                assert!(
                    floor(&imported) < floor(own),
                    "{file}: `{own}` imports from `{imported}`, which is not below it"
                );
            }
        }
    }
}

#[test]
fn foreign_names_stay_in_their_rooms() {
    let homes: [(&str, &[&str]); 5] = [
        ("fred::", &["src/store/redis/"]),
        ("redb::", &["src/store/embedded"]),
        ("instant_acme::", &["src/server/tls/acme"]),
        (
            "rustls::",
            &[
                "src/server/tls",
                "src/upstream/tls.rs",
                "src/store/redis/tls.rs",
            ],
        ),
        (
            "tokio_rustls::",
            &[
                "src/server/tls",
                "src/upstream/tls.rs",
                "src/store/redis/tls.rs",
            ],
        ),
    ];
    for (file, text) in sources("src") {
        for (name, rooms) in homes {
            let at_home = rooms.iter().any(|room| file.starts_with(room));
            let used = code(&text).lines().any(|line| {
                line.match_indices(name).any(|(place, _)| {
                    !line[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                })
            });
            assert!(at_home || is_test(&file) || !used, "{file} names {name}");
        }
    }
}

#[test]
fn proofs_are_made_in_one_place() {
    for (proof, home) in [
        ("Permit {", "src/policy.rs"),
        ("Outbound {", "src/headers/mod.rs"),
    ] {
        for (file, text) in sources("src") {
            let made = code(&text).lines().any(|line| {
                line.contains(proof)
                    && !line.contains("struct ")
                    && !line.contains("impl ")
                    && !line.contains(" for ")
            });
            assert!(file == home || !made, "{file} makes a {proof}");
        }
    }
}

#[test]
fn files_are_short_and_named_for_what_they_are() {
    let vague = [
        "utils", "util", "common", "helpers", "helper", "manager", "misc",
    ];
    for (file, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        let most = match is_test(&file) || file.starts_with("tests/") {
            true => MAX_TEST_LINES,
            false => MAX_LINES,
        };
        assert!(lines <= most, "{file} has {lines} lines");
        let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        assert!(!vague.contains(&stem), "{file} is named for nothing");
    }
}
