//! The admin API and the audit log: who may come in, and what is said about a door that stands open.

use crate::check::expect;
use crate::support::{VALID, rendered};

const KEY: &str = "{ name = \"ci\", sha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", scopes = [\"limits\"] }";
const AUDIT: &str = "[audit]\nfile = \"a.jsonl\"\n";
const SESSIONS: &str = "[sessions]\n";

/// A valid file with this admin table and an audit log.
fn admin(lines: &str) -> String {
    format!("{SESSIONS}{AUDIT}[admin]\n{lines}")
}

#[test]
fn a_way_in_is_needed_and_none_may_stand_open_to_a_network() {
    let open = "unauthenticated_loopback = true";
    for (lines, expected) in [
        (format!("keys = [{KEY}]"), &[][..]),
        (open.to_owned(), &[]),
        (format!("listen = \"[::1]:9\"\n{open}"), &[]),
        (
            String::new(),
            &["error 14:2 nobody may come in: the admin API has neither `keys` nor `clients`"],
        ),
        (
            format!("listen = \"0.0.0.0:9\"\n{open}"),
            &[
                "warning 15:10 admin keys and new tokens travel to and from 0.0.0.0:9 in the clear",
                "error 16:28 the admin API would stand open to everybody on 0.0.0.0:9",
            ],
        ),
        (
            format!("listen = \"10.1.2.3:9\"\nkeys = [{KEY}]"),
            &["warning 15:10 admin keys and new tokens travel"],
        ),
        (
            format!("keys = [{KEY}]\n{open}"),
            &["error 16:28 everybody is let in without a key, and yet there are keys"],
        ),
        (
            "clients = [{ name = \"a\", certificate = \"cn:a\", scopes = [\"limits\"] }]"
                .to_owned(),
            &["error 15:11 clients are known by their certificates, but none is asked for"],
        ),
        (
            format!(
                "keys = [{KEY}]\n[admin.tls.acme]\ndomains = [\"a.test\"]\naccept_terms = true\ncache = \"/tmp/acme\""
            ),
            &["error 16:12 the admin API orders no certificates"],
        ),
    ] {
        expect(&[("", &admin(&lines), expected)]);
    }
}

#[test]
fn callers_are_told_apart() {
    for (lines, expected) in [
        (
            format!("keys = [{KEY}, {KEY}]"),
            &[
                "error 15:133 two callers of the admin API have the same name",
                "error 15:148 two keys have the same digest",
            ][..],
        ),
        (
            format!("keys = [{}]", KEY.replace("\"limits\"", "")),
            &["error 15:110 `ci` may do nothing"],
        ),
        (
            format!("keys = [{}]", KEY.replace("\"ci\"", "\"\"")),
            &["error 15:18 a caller without a name"],
        ),
        (
            format!("keys = [{}]", KEY.replace("limits", "sessions:rite")),
            &["error 15:111 `sessions:rite` is not allowed here"],
        ),
        (
            format!("keys = [{}]", KEY.replace("aaaa", "zzzz")),
            &["error 15:33 this is not the SHA-256 of a key"],
        ),
        (
            "unauthenticated_loopback = true\nmax_body = \"0B\"\nheader_timeout = \"0s\"\nmax_connections = 0".to_owned(),
            &[
                "error 16:12 `max_body` is zero",
                "error 17:18 `header_timeout` is zero",
                "error 18:19 `max_connections` is zero",
            ],
        ),
    ] {
        expect(&[("", &admin(&lines), expected)]);
    }
}

#[test]
fn a_key_that_was_written_in_place_of_its_digest_is_not_printed() {
    let key = format!("dba_{}", "k".repeat(43));
    let lines = format!("keys = [{}]", KEY.replace(&"a".repeat(64), &key));

    let told = rendered(&format!("{VALID}{}\n", admin(&lines)));

    assert!(told.contains("this is not the SHA-256 of a key"), "{told}");
    assert!(!told.contains(&key), "{told}");
}

#[test]
fn the_audit_log_is_one_file_or_one_stream() {
    let redis = "redis = \"redis://127.0.0.1:6379\"";
    expect(&[
        ("", AUDIT, &[]),
        (
            "",
            "[audit]\n",
            &["error 11:1 the audit log is neither `file` nor `stream`"],
        ),
        (
            "",
            "[audit]\nstream = \"s\"",
            &["error 12:10 a stream needs a Redis, and the store is a file"],
        ),
        (
            "embedded = \"s.redb\"",
            &format!("{redis}\n[audit]\nstream = \"s\"\nfile = \"f\""),
            &["error 7:1 the audit log is both `file` and `stream`"],
        ),
        (
            "embedded = \"s.redb\"",
            &format!("{redis}\n[audit]\nstream = \"\"\nmax_entries = 0"),
            &[
                "error 7:10 the stream has no name",
                "error 8:15 `max_entries` is zero",
            ],
        ),
        (
            "",
            "[sessions]\n[admin]\nunauthenticated_loopback = true",
            &["warning 12:2 changes made through the admin API are noted in the log only"],
        ),
        (
            "",
            &format!("{AUDIT}[admin]\nunauthenticated_loopback = true"),
            &["error 13:2 the admin API has nothing to administer: there is no [sessions]"],
        ),
        (
            "address = \"127.0.0.1:0\"",
            &format!(
                "address = \"127.0.0.1:9\"\n{SESSIONS}{AUDIT}[admin]\nlisten = \"127.0.0.1:9\"\nunauthenticated_loopback = true"
            ),
            &["error 8:10 the admin API and a listener have the address 127.0.0.1:9"],
        ),
    ]);
}
