//! Two routes against each other: doubles, shadows, openings.

use crate::support::{VALID, lines};

/// Host, path, and the rest of one route.
type Written<'a> = (&'a str, &'a str, &'a str);

/// Two routes and the beginnings of what is said about them.
type Case = (Written<'static>, Written<'static>, &'static [&'static str]);

const PUBLIC: &str = "auth = \"public\"";
const ROOT: &str = "prefix = \"/\"";
const A: &str = "prefix = \"/a\"";
const AB: &str = "prefix = \"/a/b\"";

/// What is said about two routes, each given as its host, its path, and the rest.
fn two(first: Written<'_>, second: Written<'_>) -> Vec<String> {
    let route = |(host, path, rest): Written<'_>| {
        let host = match host {
            "" => String::new(),
            _ => format!("host = \"{host}\"\n"),
        };
        format!("[[routes]]\nupstream = \"app\"\n{path}\n{host}{rest}\n")
    };
    let (before, _) = VALID
        .split_once("[[routes]]")
        .expect("the valid file has a route");
    lines(&format!("{before}{}{}", route(first), route(second)))
}

/// Each pair has exactly these lines said about it.
fn expect(cases: &[Case]) {
    for (first, second, expected) in cases {
        let found = two(*first, *second);
        assert_eq!(
            found.len(),
            expected.len(),
            "{first:?} {second:?}: {found:#?}"
        );
        for (found, expected) in found.iter().zip(*expected) {
            assert!(
                found.starts_with(expected),
                "{first:?} {second:?}\nexpected {expected}\nfound    {found}"
            );
        }
    }
}

#[test]
fn doubles_are_errors() {
    expect(&[
        (
            ("", A, ""),
            ("", A, ""),
            &["error 14:10 two routes answer to every method for prefix `/a`"],
        ),
        (
            ("h", A, "methods = [\"GET\", \"PUT\"]"),
            ("H", A, "methods = [\"PUT\"]"),
            &["error 15:10 two routes answer to PUT for prefix `/a` on `h`"],
        ),
        (
            ("", A, "methods = [\"GET\"]"),
            ("", A, ""),
            &["error 14:10 two routes answer to GET for prefix `/a`"],
        ),
        (
            ("", A, "methods = [\"GET\"]"),
            ("", A, "methods = [\"PUT\"]"),
            &[],
        ),
        (("", A, ""), ("", "exact = \"/a\"", ""), &[]),
        (("", A, ""), ("h", A, ""), &[]),
    ]);
}

#[test]
fn a_longer_path_that_loses_to_a_host_is_a_warning() {
    expect(&[
        (
            ("", A, ""),
            ("h.x", ROOT, ""),
            &[
                "warning 10:10 the route for prefix `/a` never matches on `h.x`: prefix `/` on `h.x` takes everything there",
            ],
        ),
        (
            ("*.x", A, ""),
            ("h.x", ROOT, ""),
            &["warning 10:10 the route for prefix `/a` on `*.x` never matches on `h.x`"],
        ),
        (("*.x", A, ""), ("a.b.x", ROOT, ""), &[]),
        (("", ROOT, ""), ("h.x", ROOT, ""), &[]),
        (("", ROOT, ""), ("h.x", A, ""), &[]),
        (("", "prefix = \"/ab\"", ""), ("h.x", A, ""), &[]),
    ]);
}

#[test]
fn a_public_route_around_or_inside_a_protected_one_is_a_warning() {
    expect(&[
        (
            ("", ROOT, ""),
            ("", A, PUBLIC),
            &["warning 14:10 prefix `/a` is public, inside prefix `/` which needs a session"],
        ),
        (
            ("", ROOT, ""),
            ("", A, "auth = \"optional\""),
            &["warning 14:10 prefix `/a` needs no session, inside prefix `/`"],
        ),
        (("", ROOT, ""), ("", "exact = \"/a\"", PUBLIC), &[]),
        (
            ("", A, ""),
            ("", ROOT, PUBLIC),
            &["warning 14:10 prefix `/` is public, around prefix `/a` which needs a session"],
        ),
        (
            ("", A, ""),
            ("h", ROOT, PUBLIC),
            &[
                "warning 14:10 prefix `/` on `h` is public and takes what prefix `/a` should protect there",
            ],
        ),
        (("", AB, ""), ("", "prefix = \"/a/c\"", PUBLIC), &[]),
        (("h", A, ""), ("i", AB, PUBLIC), &[]),
        (
            ("h", ROOT, ""),
            ("", A, PUBLIC),
            &["warning 15:10 the route for prefix `/a` never matches on `h`"],
        ),
        (("", "prefix = \"/ab\"", ""), ("", A, PUBLIC), &[]),
        (
            ("", A, "methods = [\"PUT\"]"),
            ("", A, "methods = [\"GET\"]\nauth = \"public\""),
            &[],
        ),
    ]);
}

#[test]
fn names_that_were_given_twice() {
    expect(&[
        (
            ("", A, "name = \"orders\""),
            ("", "prefix = \"/b\"", "name = \"orders\""),
            &["warning 15:8 two routes have the name `orders`"],
        ),
        (
            ("", A, "name = \"orders\""),
            ("", "prefix = \"/b\"", "name = \"Orders\""),
            &[],
        ),
    ]);
}
