//! Logins, cookies, single sign-on and providers: what browsers would refuse, and what would lead nowhere.

use crate::check;

/// Each text has exactly these lines said about it; all of them keep records of users.
fn expect(cases: &[(&str, &str, &[&str])]) {
    for (old, new, expected) in cases {
        check::expect(&[(*old, &format!("{new}\n[sessions]\n"), *expected)]);
    }
}

const LOGIN: &str =
    "\n[[routes]]\nexact = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"\n";
const COOKIE: &str = "[tokens]\nsources = [\"cookie:__Host-session\"]\n";
const PLAIN: &str = "the cookie `__Host-session` carries a token, but no listener has TLS";

#[test]
fn a_cookie_that_browsers_refuse_is_an_error() {
    for (lines, expected) in [
        ("", &[][..]),
        ("name = \"__Secure-s\"\ndomain = \"example.com\"", &[]),
        ("name = \"s\"\npath = \"/app\"", &[]),
        (
            "domain = \"example.com\"",
            &["error 12:10 browsers refuse the cookie `__Host-session` with a domain"],
        ),
        (
            "name = \"__host-S\"\npath = \"/app\"",
            &["error 13:8 browsers refuse the cookie `__host-S` with a path"],
        ),
        (
            "refresh_name = \"__Host-r\"",
            &["error 12:16 browsers refuse the cookie `__Host-r`: it is sent below one path only"],
        ),
        (
            "name = \"s\"\nrefresh_name = \"s\"",
            &["error 13:16 the session and the refresh token have one cookie, `s`"],
        ),
        (
            "domain = \".example.com\"",
            &["error 12:10 `.example.com` is not a domain for cookies"],
        ),
    ] {
        expect(&[("", &format!("[login.cookie]\n{lines}\n"), expected)]);
    }
}

#[test]
fn a_login_that_nobody_could_use_is_an_error() {
    let warned = format!("warning 12:12 {PLAIN}");
    expect(&[
        ("", &format!("[login]\nanswer = \"tokens\"{LOGIN}"), &[]),
        ("", &format!("{COOKIE}{LOGIN}"), &[&warned]),
        (
            "",
            LOGIN,
            &[
                "error 15:1 a login here sets the cookie `__Host-session`, but tokens are never looked for there",
            ],
        ),
        (
            "",
            &format!("[login]\nanswer = \"tokens\"\nrefresh = true{LOGIN}"),
            &["error 13:11 logins give a refresh token, but there is no endpoint that takes one"],
        ),
        (
            "",
            &format!(
                "[self_service]\nprefix = \"/.d\"\n[login]\nanswer = \"tokens\"\nrefresh = true{LOGIN}"
            ),
            &[],
        ),
        (
            "",
            &format!("[login]\nanswer = \"tokens\"{LOGIN}logout = true"),
            &["error 18:1 this route logs users in and out at once"],
        ),
        (
            "",
            "[login.headers]\nuser = \"X-Who\"\nroles = \"x_who\"\n",
            &["error 13:9 `roles` and `user` have the same header `x_who`"],
        ),
        (
            "",
            &format!("{COOKIE}[csrf]\nenabled = false\n"),
            &[
                &warned,
                "warning 14:11 cookies carry tokens, and requests that other sites forge are not refused",
            ],
        ),
    ]);
}

#[test]
fn a_route_below_our_own_endpoints_is_told_of() {
    let service = "[self_service]\nprefix = \"/.d\"\n";
    let route = |path: &str| format!("{service}[[routes]]\n{path}\nupstream = \"app\"\n");
    let never = &[
        "warning 14:10 this route never matches: the gateway's own endpoints are below `/.d`",
    ][..];
    expect(&[
        ("", &route("prefix = \"/.d\""), never),
        ("", &route("prefix = \"/.d/sessions\""), never),
        (
            "",
            &route("exact = \"/.d\"").replace("exact =", "exact  ="),
            never,
        ),
        ("", &route("prefix = \"/.dx\""), &[]),
        (
            "",
            "[self_service]\nprefix = \"/\"\n",
            &["error 12:10 the prefix `/` ends with `/`"],
        ),
    ]);
}

#[test]
fn single_sign_on_needs_a_cookie_that_comes_along() {
    let sso = "[sso]\nhome = \"https://a.test\"\norigins = [\"https://b.test\"]\n";
    let service = "[self_service]\nprefix = \"/.d\"\n";
    let warned = format!("warning 12:12 {PLAIN}");
    expect(&[
        ("", &format!("{COOKIE}{service}{sso}"), &[&warned]),
        (
            "",
            &format!("{COOKIE}{sso}"),
            &[
                &warned,
                "error 13:1 single sign-on has no endpoints without `[self_service]`",
            ],
        ),
        (
            "",
            &format!("{service}{sso}"),
            &["error 13:1 single sign-on needs the session in a cookie"],
        ),
        (
            "",
            &format!("{COOKIE}{service}{sso}[login.cookie]\nsame_site = \"strict\"\n"),
            &[
                &warned,
                "error 19:13 with `strict` no browser shows its session when another site sends it here",
            ],
        ),
        (
            "",
            &format!("{COOKIE}{service}{sso}ticket_lifetime = \"6m\"\n"),
            &[&warned, "error 18:19 a ticket is good for 1 s to 5 min"],
        ),
        (
            "",
            &format!("{COOKIE}{service}{}", sso.replace("https://b", "http://b")),
            &[
                &warned,
                "error 17:12 http://b.test is in the clear, so no browser keeps its session cookie",
            ],
        ),
        (
            "",
            &format!(
                "{COOKIE}{service}{}",
                sso.replace("https://b.test", "https://b.test/x")
            ),
            &["error 17:12 `https://b.test/x` is not the origin of a page"],
        ),
    ]);
}

#[test]
fn a_provider_is_complete_and_its_keys_do_not_travel_in_the_clear() {
    let service = "[self_service]\nprefix = \"/.d\"\n";
    let oidc = "[[oidc]]\nissuer = \"i\"\naudience = \"a\"\njwks = \"https://i.test/keys\"\n";
    expect(&[
        ("", &format!("{service}{oidc}"), &[]),
        (
            "",
            oidc,
            &["error 12:10 back-channel logout has no endpoint without `[self_service]`"],
        ),
        (
            "",
            &format!("{service}{}", oidc.replace("https", "http")),
            &[
                "error 16:8 the keys of `i` travel in the clear: anybody on the way could put in their own",
            ],
        ),
        (
            "",
            &format!(
                "{service}{}",
                oidc.replace("https://i.test", "http://127.0.0.1:8")
            ),
            &[],
        ),
        (
            "",
            &format!("{service}{oidc}{oidc}"),
            &["error 18:10 the issuer `i` is there twice"],
        ),
        (
            "",
            &format!("{service}{oidc}algorithms = []"),
            &["error 17:14 no token could be verified"],
        ),
        (
            "",
            &format!("{service}{oidc}algorithms = [\"HS256\"]"),
            &["error 17:15 `HS256` is not allowed here"],
        ),
        (
            "",
            &format!("{service}{oidc}user = \"x\""),
            &["error 17:8 `x` makes no user id"],
        ),
        (
            "",
            &format!(
                "{service}{}",
                oidc.replace("https://i.test/keys", "i.test/keys")
            ),
            &["error 16:8 `i.test/keys` is no set of keys"],
        ),
    ]);
}

#[test]
fn sessions_that_nobody_could_keep_are_an_error() {
    check::expect(&[
        (
            "",
            &format!("[login]\nanswer = \"tokens\"{LOGIN}"),
            &["error 13:1 this route logs users in or out, but there is no `[sessions]`"],
        ),
        (
            "",
            "[self_service]\nprefix = \"/.d\"\n",
            &["error 11:1 these endpoints are about users' sessions, but there is no `[sessions]`"],
        ),
    ]);
}
