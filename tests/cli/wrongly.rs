//! What is asked wrongly, and how that is told.

use crate::{Shell, configure};

#[test]
fn a_question_that_makes_no_sense_is_told_from_a_request_that_would_be_refused() {
    let (folder, config) = configure("embedded = \"s.redb\"");
    let shell = Shell::at(&config);
    for (words, why) in [
        (&["GET", "/orders"][..], "is not a whole URL"),
        (&["GET", "ftp://a.test/"], "is not a scheme"),
        (&["GE T", "http://a.test/"], "is not a request"),
        (
            &["GET", "http://a.test/", "-H", "nonsense"],
            "is not a header",
        ),
    ] {
        shell.fails(&[&["explain"], words].concat(), 2, why);
    }
    let (code, told, _) = shell.run(&["explain", "GET", "http://a.test/"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("401 token_missing"), "{told}");

    // Nobody can open it: it is a folder.
    std::fs::remove_file(folder.path().join("s.redb")).unwrap();
    std::fs::create_dir(folder.path().join("s.redb")).unwrap();
    shell.fails(&["explain", "GET", "http://a.test/"], 3, "cannot be opened");
    let (code, told, _) = shell.run(&["check", "--token", "some-token"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("nobody can tell: the store"), "{told}");
}

#[test]
fn what_a_command_could_not_heed_is_refused() {
    let (folder, config) = configure("embedded = \"s.redb\"");
    let shell = Shell::at(&config);
    let create = ["session", "create", "alice", "--lifetime"];
    for length in ["0s", "999ms", "7parsecs"] {
        let words = [&create[..], &[length]].concat();
        shell.fails(&words, 2, "write a second or more");
    }
    // Without a gateway to show them to.
    let file = folder.path().join("key");
    for option in ["--admin-key-file", "--admin-ca"] {
        let words = ["session", "list", "alice", option, file.to_str().unwrap()];
        shell.fails(&words, 2, "--admin <URL>");
    }
    shell.fails(
        &["user", "ban", "alice", "--for", "0s"],
        2,
        "write a second or more",
    );

    let folder = Shell::at(folder.path());
    let (code, told, _) = folder.run(&["check"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("name the file in it"), "{told}");
}

#[test]
fn a_name_that_is_empty_is_asked_for() {
    let (_folder, config) = configure("embedded = \"s.redb\"");
    let shell = Shell::at(&config);
    for words in [
        &["session", "create", ""][..],
        &["session", "kick", "", "--all"],
        &["user", "ban", ""],
        &["role", "set", "", "orders:read"],
    ] {
        shell.fails(words, 2, "a value is required for");
    }
}
