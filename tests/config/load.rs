//! From text to values: every fault at once, each where it stands, none with a secret in it.

use drawbridge::config::value::TokenSource;
use proptest::prelude::*;

use crate::support::{VALID, faults, lines, read, read_in, rendered};

/// The valid file with one part replaced.
fn with(old: &str, new: &str) -> String {
    assert!(VALID.contains(old), "{old}");
    VALID.replacen(old, new, 1)
}

/// Each text has exactly one error, which begins like this.
fn expect<const N: usize>(cases: [(String, &str); N]) {
    for (text, expected) in cases {
        let found = lines(&text);
        assert_eq!(found.len(), 1, "{expected}: {found:?}");
        assert!(
            found.concat().starts_with(&format!("error {expected}")),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn a_wrong_value_is_reported_where_it_stands() {
    expect([
        (
            with("127.0.0.1:0", "localhost:80"),
            "3:11 `localhost:80` is not an address with a port",
        ),
        (
            with("\"127.0.0.1:0\"", "8080"),
            "3:11 invalid type: integer `8080`",
        ),
        (
            with("[store]", "[store]\nlookup_deadline = \"250\""),
            "5:19 `250` is not a duration",
        ),
        (
            with("[store]", "[store]\nlookup_deadline = 250"),
            "5:19 invalid type: integer `250`",
        ),
        (
            with("[store]", "[store]\nmax_record = \"64\""),
            "5:14 `64` is not a size",
        ),
        (
            with("[store]", "[store]\nmax_depth = 300"),
            "5:13 invalid value: integer `300`",
        ),
        (
            with("[store]", "[store]\nkey = \"login\""),
            "5:7 `login` is not a key",
        ),
        (
            with("[store]", "[store]\nfields.user_id = \"a..b\""),
            "5:18 `a..b` is not a field path",
        ),
        (
            with("embedded = \"s.redb\"", "redis = \"http://x\""),
            "5:9 this is not a Redis URL",
        ),
        (
            with("http://127.0.0.1:9000", "http://u:p@h"),
            "7:14 an endpoint has no user and no password",
        ),
        (
            with("http://127.0.0.1:9000", "127.0.0.1:9000"),
            "7:14 `127.0.0.1:9000` is not an endpoint",
        ),
    ]);
}

#[test]
fn a_wrong_value_of_a_route_is_reported_where_it_stands() {
    expect([
        (
            with("prefix = \"/\"", "prefix = \"a\""),
            "9:10 `a` is not a path",
        ),
        (
            with("prefix = \"/\"", "prefix = \"/\"\nhost = \"a/b\""),
            "10:8 `a/b` is not a host",
        ),
        (
            with("prefix = \"/\"", "prefix = \"/\"\nmethods = [\"get\"]"),
            "10:12 `get` is not a method",
        ),
        (
            with("prefix = \"/\"", "prefix = \"/\"\nauth = \"requird\""),
            "10:8 `requird` is not allowed here",
        ),
        (
            with("prefix = \"/\"", "prefix = \"/\"\nupgrades = [\"h2c\"]"),
            "10:13 `h2c` cannot be upgraded to",
        ),
        (
            with(
                "prefix = \"/\"",
                "prefix = \"/\"\nlimits = [{ by = \"user\", rate = \"9\" }]",
            ),
            "10:33 `9` is not a rate",
        ),
        (
            with(
                "prefix = \"/\"",
                "prefix = \"/\"\nlimits = [{ by = \"usr\", rate = \"9/s\" }]",
            ),
            "10:18 `usr` is not allowed here",
        ),
        (
            with(
                "prefix = \"/\"",
                "prefix = \"/\"\nlimits = [{ by = \"user\", rate = \"9/s\", name = \"a b\" }]",
            ),
            "10:47 `a b` is not a name for a limit",
        ),
        (
            with(
                "prefix = \"/\"",
                "prefix = \"/\"\nlimits = [{ by = \"user\" }]",
            ),
            "10:11 the key `rate` is missing",
        ),
        (
            format!("{VALID}[guard]\nunknown_tokens = \"0/m\""),
            "12:18 `0/m` is not a rate",
        ),
        (
            with("prefix = \"/\"", "prefix = \"/\"\nrequire.all = [\"a*\"]"),
            "10:16 `a*` is not a permission",
        ),
        (
            with(
                "prefix = \"/\"",
                "prefix = \"/\"\nheaders = { host = \"user_id\" }",
            ),
            "10:13 `host` carries the message itself",
        ),
        (
            format!("{VALID}[tokens]\nsources = [\"baerer\"]"),
            "12:12 `baerer` is not a token source",
        ),
        (
            format!("{VALID}[tokens]\nprefix = \"-\""),
            "12:10 `-` is not a token prefix",
        ),
        (
            format!("{VALID}[forwarded]\ntrusted_proxies = [\"x\"]"),
            "12:20 `x` is not a network",
        ),
        (
            with("address = \"127.0.0.1:0\"\n", ""),
            "2:1 the key `address` is missing",
        ),
        (
            with("endpoints = [\"http://127.0.0.1:9000\"]\n", ""),
            "6:1 the key `endpoints` is missing",
        ),
        (
            with("[store]\nembedded = \"s.redb\"\n", ""),
            "1:1 the key `store` is missing",
        ),
    ]);
}

#[test]
fn an_unknown_key_comes_with_what_was_probably_meant() {
    let cases = [
        (
            "upstraem = \"app\"",
            "unknown key `upstraem`",
            "did you mean `upstream`? allowed here: `name`, `host`",
        ),
        (
            "auht = \"public\"",
            "unknown key `auht`",
            "did you mean `auth`?",
        ),
        (
            "zzzzzzzz = 1",
            "unknown key `zzzzzzzz`",
            "allowed here: `name`, `host`",
        ),
        (
            "auth = \"pubilc\"",
            "`pubilc` is not allowed here",
            "did you mean `public`? allowed here: `required`",
        ),
    ];
    for (line, message, help) in cases {
        let found = faults(&with("prefix = \"/\"", &format!("prefix = \"/\"\n{line}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, message);
        assert!(
            found[0].help.as_ref().unwrap().starts_with(help),
            "{found:?}"
        );
    }
}

#[test]
fn all_faults_are_reported_together_in_the_order_of_the_file() {
    let text = r#"
[sever]
workers = 1
[[listeners]]
adress = "127.0.0.1:0"
[[listeners]]
address = "x"
tls = { certificates = [{}], min_version = "1.1" }
[tokens]
max_length = 512
sources = ["bearer", "bogus", "header:Host"]
[upstreams.app]
[upstreams.other]
endpoints = ["http://ok:1", "ftp://no:1", 5]
[[routes]]
prefix = "/"
methods = ["get", "POST", "put"]
[[routes]]
"#;

    let found = lines(text);

    let expected = [
        "1:1 the key `store` is missing",
        "2:2 unknown key `sever`",
        "4:1 the key `address` is missing",
        "5:1 unknown key `adress`",
        "7:11 `x` is not an address",
        "8:25 the key `cert` is missing",
        "8:25 the key `key` is missing",
        "8:44 `1.1` is not allowed here",
        "10:14 invalid type: integer `512`",
        "11:22 `bogus` is not a token source",
        "11:31 `Host` carries the message itself",
        "12:1 the key `endpoints` is missing",
        "14:29 `ftp://no:1` is not an endpoint",
        "14:43 invalid type: integer `5`",
        "17:12 `get` is not a method",
        "17:27 `put` is not a method",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(&format!("error {expected}")),
            "{expected}: {found}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_list_where_a_text_belongs_is_one_fault() {
    let found = lines(&format!("{VALID}[tokens]\nsources = [[\"a\", \"b\"]]"));

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found.concat().starts_with("error 12:12 invalid type"),
        "{found:?}"
    );
}

#[test]
fn a_required_key_with_a_wrong_value_is_not_called_missing_too() {
    let found = lines(&with("upstream = \"app\"", "upstream = 5"));

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("invalid type"), "{found:?}");
}

#[test]
fn text_that_is_not_toml_is_reported_line_by_line() {
    let found = lines("[server\n[log]\nformat = \naccess = maybe\n");

    assert_eq!(found.len(), 3, "{found:?}");
    let starts: Vec<_> = found.iter().filter_map(|line| line.get(..8)).collect();
    assert_eq!(starts, ["error 1:", "error 3:", "error 4:"]);
}

#[test]
fn variables_and_files_are_expanded_in_values() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("word"), "from-file\n").unwrap();
    std::fs::write(folder.path().join("crlf"), "from-file\r\n").unwrap();
    std::fs::write(folder.path().join("two"), "from-file\n\n").unwrap();
    let cases = [
        ("${PORT}", "8080"),
        ("a-${PORT}-${PORT}", "a-8080-8080"),
        ("${UNSET:-other}", "other"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("$${PORT}", "${PORT}"),
        ("$PORT {PORT} $", "$PORT {PORT} $"),
        ("file:word", "from-file"),
        ("file:crlf", "from-file"),
        ("file:two", "from-file\n"),
        ("file:${UNSET:-word}", "from-file"),
        ("a file:word", "a file:word"),
        // What a variable holds is text, never a file to open.
        ("${LINK}", "file:/etc/hostname"),
    ];
    for (written, expected) in cases {
        let text = format!("{VALID}name = \"{written}\"\n");
        let config = read_in(&text, folder.path()).unwrap();
        assert_eq!(
            config.routes[0].get_ref().name.as_deref(),
            Some(expected),
            "{written}"
        );
    }
}

#[test]
fn names_of_keys_are_never_expanded() {
    let found = lines(&format!("{VALID}\"${{PORT}}\" = 1\n"));

    assert_eq!(found, ["error 11:1 unknown key `${PORT}`"]);
}

#[test]
fn what_cannot_be_expanded_is_reported_once_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 65 * 1024]).unwrap();
    let cases = [
        ("${UNSET}", "the environment variable `UNSET` is not set"),
        ("${}", "`${` without a name"),
        ("${1A}", "`${` without a name"),
        ("${PORT", "`${` without a name"),
        (
            "file:absent",
            "`file:absent`: the file cannot be read: there is no such file",
        ),
        (
            "file:large",
            "`file:large`: the file is larger than 65536 bytes",
        ),
    ];
    for (written, expected) in cases {
        let text = with("127.0.0.1:0", written);
        let faults = read_in(&text, folder.path()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].message.contains(expected), "{faults:?}");
        assert_eq!(
            text.get(faults[0].span.clone().unwrap()).unwrap(),
            format!("\"{written}\"")
        );
    }
}

#[test]
fn secrets_are_never_printed() {
    let redis = |line: &str| with("embedded = \"s.redb\"", line);
    let cases = [
        // What a variable holds, in whatever value it was put.
        with("127.0.0.1:0", "${SECRET}"),
        with("http://127.0.0.1:9000", "http://${SECRET}@h"),
        with("http://127.0.0.1:9000", "${SECRET}; it is"),
        with("prefix = \"/\"", "prefix = \"${SECRET}\""),
        with("prefix = \"/\"", "prefix = \"/\"\nauth = \"${SECRET}\""),
        with("prefix = \"/\"", "prefix = \"/\"\nrequire = \"${SECRET}\""),
        redis("redis = \"${SECRET}:6379\""),
        // What the file itself holds, on the line that is shown.
        redis("redis = \"reddis://u:hunter2@h\""),
        redis("redis = \"redis://u:hunter2@example.com\""),
        redis("embedded = 1\npassword = [\"hunter2\"]"),
        redis("embedded = 1\npasword = \"hunter2\""),
        redis("embedded = { password = \"hunter2\" }"),
        redis("password = \"hunter2"),
        redis("password = \"\"\"\nhunter2\"\"\"\nredis = 5"),
        redis("embedded = \"s\"\npassword = \"hunter2\" oops"),
        with("http://127.0.0.1:9000", "http://u:hunter2@h"),
        // Where the parser has lost the thread.
        redis("embedded = \"s\"\npassword = \"${SECRET}\"\npassword = \"hunter2\""),
        redis("password = hunter2"),
        redis("redis = redis://:hunter2@h"),
        redis("password = \"\"\"hunter2"),
    ];
    for text in cases {
        let shown = rendered(&text);
        assert!(
            shown.contains("gateway.toml:"),
            "nothing was wrong with {text}"
        );
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
    assert!(!rendered(&redis("embedded = \"s\"\npassword = 24601")).contains("24601"));
}

#[test]
fn a_fault_is_shown_with_its_line_and_what_to_do() {
    let shown = rendered(&with(
        "upstream = \"app\"",
        "upstraem = \"app\"\nupstream = \"app\"",
    ));

    assert!(
        shown.starts_with("error: unknown key `upstraem`\n"),
        "{shown}"
    );
    assert!(shown.contains("--> gateway.toml:10:1\n"), "{shown}");
    assert!(shown.contains("10 | upstraem = \"app\"\n"), "{shown}");
    assert!(shown.contains("| ^^^^^^^^\n"), "{shown}");
    assert!(shown.contains("help: did you mean `upstream`?"), "{shown}");
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = read(&format!(
        "{VALID}[upstreams.app.tls]\nca = \"ca.pem\"\n[store.fields]\n"
    ))
    .unwrap();

    let embedded = config.store.get_ref().embedded.as_ref().unwrap().get_ref();
    assert_eq!(embedded.to_str(), Some("/nowhere/s.redb"));
    let ca = config.upstreams["app"].get_ref().tls.ca.as_ref().unwrap();
    assert_eq!(ca.get_ref().to_str(), Some("/nowhere/ca.pem"));
}

#[test]
fn a_file_that_says_little_has_every_default() {
    let config = read(VALID).unwrap();

    assert_eq!(config.tokens.sources, [TokenSource::Bearer]);
    assert_eq!(
        config.store.get_ref().lookup_deadline.get().as_millis(),
        250
    );
    assert_eq!(config.identity.plan().len(), 7);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = rendered(&text);
    }

    #[test]
    fn no_damage_to_a_valid_file_makes_it_panic(at in 0..VALID.len(), len in 0usize..40, put in "[\\[\\]{}\"'=.,#$:\\n a-z0-9]{0,12}") {
        let end = (at + len).min(VALID.len());
        let mut text = VALID.to_owned();
        text.replace_range(at..end, &put);
        let _ = rendered(&text);
    }
}
