use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn shape(settings: &str) -> TokenShape {
    TokenShape::new(&toml::from_str(settings).unwrap())
}

fn sources(list: &str) -> TokenSources {
    let config: Tokens = toml::from_str(&format!("sources = [{list}]")).unwrap();
    TokenSources::new(&config.sources, TokenShape::new(&config))
}

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    map
}

fn found(list: &str, lines: &[(&'static str, &[u8])]) -> Result<Option<String>, TokenError> {
    let found = sources(list)
        .find(&headers(lines))?
        .map(|(token, _)| token.expose().to_owned());
    Ok(found)
}

const ALL: &str = "\"bearer\", \"header:x-token\", \"cookie:sid\"";

#[test]
fn token_is_its_alphabet_and_its_length_or_nothing() {
    let shape = shape("max_length = \"8B\"");

    assert_eq!(shape.check(b"aZ09-._~").unwrap().expose(), "aZ09-._~");
    assert_eq!(shape.check(b"a+/==").unwrap().expose(), "a+/==");
    assert_eq!(shape.check(b"").err(), Some(TokenError::Length));
    assert_eq!(shape.check(b"123456789").err(), Some(TokenError::Length));
    for wrong in [
        b"a b", b"a\0b", b"a\xffb", b"a%b", b"a:b", b"a{b", b"a*b", b"a;b", b"a\"b",
    ] {
        assert_eq!(
            shape.check(wrong).err(),
            Some(TokenError::Charset),
            "{wrong:?}"
        );
    }
}

#[test]
fn narrower_alphabets_let_less_through() {
    let (base64url, hex) = (shape("charset = \"base64url\""), shape("charset = \"hex\""));

    assert!(base64url.check(b"aZ0-_").is_ok());
    assert!(base64url.check(b"aZ0.").is_err());
    assert!(hex.check(b"0aF-9").is_ok());
    assert!(hex.check(b"0g").is_err());
}

#[test]
fn token_is_found_in_every_source_by_its_exact_spelling() {
    for (lines, token) in [
        (vec![("authorization", &b"Bearer abc"[..])], Some("abc")),
        (vec![("authorization", b"bEARER abc")], Some("abc")),
        (vec![("authorization", b"Basic abc")], None),
        (vec![("authorization", b"Bearerabc")], None),
        (vec![("x-token", b"abc")], Some("abc")),
        (vec![("cookie", b"a=1; sid=abc; b=2")], Some("abc")),
        (vec![("cookie", b"a=1;sid=abc")], Some("abc")),
        (vec![("cookie", b"xsid=abc")], None),
        (vec![("cookie", b"sid2=abc; SID=abc")], None),
        (
            vec![("cookie", b"a=1"), ("cookie", b"sid=abc")],
            Some("abc"),
        ),
        (vec![], None),
    ] {
        assert_eq!(
            found(ALL, &lines),
            Ok(token.map(str::to_owned)),
            "{lines:?}"
        );
    }
}

#[test]
fn what_cannot_be_a_token_is_refused_and_never_repaired() {
    for (lines, error) in [
        (vec![("authorization", &b"Bearer"[..])], TokenError::Length),
        (vec![("authorization", b"Bearer ")], TokenError::Length),
        (vec![("authorization", b"Bearer  abc")], TokenError::Charset),
        (
            vec![("authorization", b"Bearer a, Bearer b")],
            TokenError::Charset,
        ),
        (vec![("cookie", b"sid=\"abc\"")], TokenError::Charset),
        (vec![("cookie", b"sid=")], TokenError::Length),
    ] {
        assert_eq!(found(ALL, &lines), Err(error), "{lines:?}");
    }
}

#[test]
fn two_different_tokens_are_refused_and_the_same_one_twice_is_not() {
    for lines in [
        vec![("authorization", &b"Bearer a"[..]), ("cookie", b"sid=b")],
        vec![
            ("authorization", b"Bearer a"),
            ("authorization", b"Bearer b"),
        ],
        vec![("cookie", b"sid=a; sid=b")],
        vec![("cookie", b"sid=a"), ("cookie", b"sid=b")],
        vec![("x-token", b"a"), ("cookie", b"sid=b")],
    ] {
        assert_eq!(found(ALL, &lines), Err(TokenError::Conflict), "{lines:?}");
    }
    let same = [
        ("authorization", &b"Bearer a"[..]),
        ("cookie", b"sid=a; sid=a"),
    ];
    assert_eq!(found(ALL, &same), Ok(Some("a".to_owned())));
}

#[test]
fn removing_takes_our_tokens_and_leaves_the_rest() {
    for (line, rest) in [
        (&b"a=1; sid=x; b=2"[..], Some(&b"a=1; b=2"[..])),
        (b"sid=x; a=1", Some(b"a=1")),
        (b"a=1; sid=x", Some(b"a=1")),
        (b"sid=x", None),
        (b"sid=x; sid=y", None),
        (
            b"a=\"1;2\"; xsid=3;  b=\xff",
            Some(b"a=\"1;2\"; xsid=3;  b=\xff"),
        ),
    ] {
        let mut map = headers(&[("cookie", line), ("x-token", b"x"), ("accept", b"y")]);
        sources(ALL).remove(&mut map);
        assert_eq!(map.get("cookie").map(HeaderValue::as_bytes), rest);
        assert!(!map.contains_key("x-token"));
        assert!(map.contains_key("accept"));
    }
    let mut map = headers(&[
        ("authorization", b"Bearer x"),
        ("authorization", b"Basic y"),
    ]);
    sources(ALL).remove(&mut map);
    assert_eq!(
        map.get_all("authorization").iter().collect::<Vec<_>>(),
        ["Basic y"]
    );
}

#[test]
fn minted_tokens_differ_and_fit_every_shape_but_hex() {
    let (a, b) = (Token::mint("dbt_").unwrap(), Token::mint("dbt_").unwrap());

    assert_ne!(a.expose(), b.expose());
    assert_eq!(a.expose().len(), 4 + 43);
    assert!(
        shape("charset = \"base64url\"")
            .check(a.expose().as_bytes())
            .is_ok()
    );
}

#[test]
fn token_is_never_printed_and_its_digest_is_sha256() {
    let token = shape("").check(b"abc").unwrap();

    assert_eq!(format!("{token:?}"), "Token(..)");
    assert_eq!(
        token.sha256_hex(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

/// A cookie pair that is not ours, and one that is.
fn pair() -> impl Strategy<Value = (bool, String)> {
    prop_oneof![
        "[ -:<-~]{0,12}".prop_filter_map("it is ours", |text| {
            cookie_value(text.as_bytes(), "sid")
                .is_none()
                .then_some((false, text))
        }),
        "[a-z0-9]{0,6}".prop_map(|value| (true, format!("sid={value}"))),
    ]
}

proptest! {
    #[test]
    fn cookies_of_others_stay_byte_for_byte(pairs in prop::collection::vec(pair(), 1..8)) {
        let line: Vec<_> = pairs.iter().map(|(_, text)| text.as_str()).collect();
        let line = line.join("; ");
        let mut map = headers(&[]);
        map.append("cookie", HeaderValue::from_str(&line).unwrap());

        sources("\"cookie:sid\"").remove(&mut map);

        let kept: Vec<_> = pairs.iter().filter(|(ours, _)| !ours).map(|(_, text)| text.as_str()).collect();
        let rest = map.get("cookie").map_or("", |value| value.to_str().unwrap());
        if kept.len() == pairs.len() {
            prop_assert_eq!(rest, line);
        } else {
            // Only the blank that stood between our cookie and the first one kept may go with it.
            let kept = kept.join("; ");
            prop_assert_eq!(rest.trim_ascii_start(), kept.trim_ascii_start());
        }
    }

    #[test]
    fn finding_and_removing_never_panic(
        name in 0_usize..4, value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let name = ["cookie", "authorization", "x-token", "accept"][name];
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut map = HeaderMap::new();
        map.append(name, value);
        let sources = sources(ALL);

        drop(sources.find(&map));
        sources.remove(&mut map);

        // Whatever was a token, or pretended to be one, is gone.
        prop_assert_eq!(sources.find(&map).map(|found| found.is_some()), Ok(false));
    }
}
