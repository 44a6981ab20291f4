use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

/// A key of the issuer.
struct Key {
    id: &'static str,
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(&P256, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&P256, private.as_ref()).unwrap();
        Self {
            id,
            private: private.as_ref().to_vec(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.public[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_ec_der(&self.private)).unwrap()
    }
}

fn header(key: &Key) -> Header {
    Header {
        typ: Some("logout+jwt".to_owned()),
        kid: Some(key.id.to_owned()),
        ..Header::new(Algorithm::ES256)
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "shop", "iat": NOW, "exp": NOW + 120, "jti": "j-1",
        "sub": "alice", "sid": "s-1", "events": { EVENT: {} },
    })
}

fn providers(jwks: &str, more: &str) -> Providers {
    let text = format!("issuer = '{ISSUER}'\naudience = 'shop'\njwks = '''{jwks}'''\n{more}");
    Providers::build(&[toml::from_str(&text).unwrap()]).unwrap()
}

fn set(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

fn with(change: impl Fn(&mut Map<String, Value>)) -> Value {
    let mut claims = claims();
    change(claims.as_object_mut().unwrap());
    claims
}

#[tokio::test]
async fn a_token_of_the_issuer_is_believed_and_names_whom_it_is_about() {
    let key = Key::new("k1");
    let providers = providers(&set(&[&key]), "user = 'kc:{sub}'");

    let logout = providers
        .judge(&key.sign(&header(&key), &claims()), NOW)
        .await;

    assert_eq!(
        logout.unwrap(),
        Logout {
            issuer: ISSUER.to_owned(),
            sid: Some("s-1".to_owned()),
            user: Some("kc:alice".to_owned()),
            jti: "j-1".to_owned(),
            believed_until: (NOW + 121) * 1000,
            unknown_sid: UnknownSid::User,
        }
    );
}

#[tokio::test]
async fn claims_that_make_no_logout_token_are_refused_each_by_itself() {
    let key = Key::new("k1");
    let providers = providers(&set(&[&key]), "");
    let put = |name: &'static str, value: Value| {
        with(move |claims| {
            claims.insert(name.to_owned(), value.clone());
        })
    };
    let without = |name: &'static str| {
        with(move |claims| {
            claims.remove(name);
        })
    };
    let nobody = with(|claims| {
        claims.remove("sub");
        claims.remove("sid");
    });
    let lived = |iat: u64, exp: u64| {
        with(move |claims| {
            claims.insert("iat".to_owned(), json!(iat));
            claims.insert("exp".to_owned(), json!(exp));
        })
    };
    let good = [
        claims(),
        without("sub"),
        without("sid"),
        put("aud", json!(["other", "shop"])),
        put("iat", json!(NOW - 120)),
        put("iat", json!(NOW + 30)),
        lived(NOW - 60, NOW - 29),
    ];
    let bad = [
        ("other issuer", put("iss", json!("https://evil.example"))),
        ("issuer as a list", put("iss", json!([ISSUER]))),
        ("no issuer", without("iss")),
        ("other audience", put("aud", json!("other"))),
        ("audiences without ours", put("aud", json!(["other"]))),
        ("no audience", without("aud")),
        ("nonce", put("nonce", json!("n"))),
        ("nonce null", put("nonce", Value::Null)),
        ("no events", without("events")),
        ("another event", put("events", json!({ "x": {} }))),
        ("event no object", put("events", json!({ EVENT: true }))),
        ("too old", put("iat", json!(NOW - 121))),
        ("from the future", put("iat", json!(NOW + 31))),
        ("iat as text", put("iat", json!("1800000000"))),
        ("no iat", without("iat")),
        ("no exp", without("exp")),
        ("expired", lived(NOW - 60, NOW - 30)),
        ("exp before iat", put("exp", json!(NOW - 1))),
        ("nobody", nobody),
        ("empty sid", put("sid", json!(""))),
        ("sub a number", put("sub", json!(7))),
        ("no jti", without("jti")),
        ("empty jti", put("jti", json!(""))),
    ];

    for claims in good {
        let token = key.sign(&header(&key), &claims);
        assert!(providers.judge(&token, NOW).await.is_ok(), "{claims}");
    }
    for (what, claims) in bad {
        let judged = providers
            .judge(&key.sign(&header(&key), &claims), NOW)
            .await;
        assert!(matches!(judged, Err(OidcError::Invalid(_))), "{what}");
    }
}

#[tokio::test]
async fn only_the_issuers_own_keys_and_pinned_algorithms_count() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let restricted = providers(&set(&[&key]), "algorithms = ['RS256']");
    let providers = providers(&set(&[&key]), "");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!(
        "{}.{}.",
        part(&json!({ "alg": "none", "typ": "logout+jwt" })),
        part(&claims())
    );
    // The public key taken for a shared secret.
    let confused = encode(
        &Header {
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::HS256)
        },
        &claims(),
        &EncodingKey::from_secret(&key.public),
    )
    .unwrap();
    let brings_its_own = Header {
        jwk: Some(serde_json::from_value(other.jwk()).unwrap()),
        ..header(&key)
    };
    let good = key.sign(&header(&key), &claims());
    let (start, signature) = good.rsplit_once('.').unwrap();
    let header_of = |change: fn(&mut Header)| {
        let mut header = header(&key);
        change(&mut header);
        key.sign(&header, &claims())
    };
    let bad = [
        ("other key, same id", other.sign(&header(&key), &claims())),
        ("key in the token", other.sign(&brings_its_own, &claims())),
        ("none", unsigned),
        ("shared secret", confused),
        ("no signature", format!("{start}.")),
        ("signature of other claims", {
            let claims = part(&with(|claims| {
                claims.insert("sub".to_owned(), json!("bob"));
            }));
            let head = start.split_once('.').unwrap().0;
            format!("{head}.{claims}.{signature}")
        }),
        (
            "unknown kid",
            header_of(|header| header.kid = Some("k9".to_owned())),
        ),
        (
            "an access token",
            header_of(|header| header.typ = Some("at+jwt".to_owned())),
        ),
        (
            "crit",
            header_of(|header| header.crit = Some(vec!["x".to_owned()])),
        ),
        ("not a token", "a.b.c".to_owned()),
        ("empty", String::new()),
        ("long", "a".repeat(MAX_TOKEN + 1)),
    ];

    for (what, token) in &bad {
        let judged = providers.judge(token, NOW).await;
        assert!(
            matches!(judged, Err(OidcError::Invalid(_))),
            "{what}: {judged:?}"
        );
    }
    for fine in [
        good.clone(),
        header_of(|header| header.typ = None),
        header_of(|header| header.typ = Some("JWT".to_owned())),
        header_of(|header| header.kid = None),
    ] {
        assert!(providers.judge(&fine, NOW).await.is_ok());
    }
    assert!(restricted.judge(&good, NOW).await.is_err(), "not pinned");
}

#[tokio::test]
async fn keys_that_cannot_verify_are_a_fault_of_the_configuration() {
    for jwks in [
        "{}",
        "{\"keys\": []}",
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}",
        "{\"keys\": [{\"kty\": \"new\"}]}",
    ] {
        let text = format!("issuer = 'i'\naudience = 'a'\njwks = '''{jwks}'''");
        assert!(
            Providers::build(&[toml::from_str(&text).unwrap()]).is_err(),
            "{jwks}"
        );
    }
}

/// Serves what `answer` says, and counts how often it is asked.
async fn key_server(
    answer: impl Fn(usize) -> String + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET /keys HTTP/1.1\r\n"));
            let answer = answer(count.fetch_add(1, Ordering::SeqCst));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn fetched_keys_are_kept_and_fetched_again_for_a_key_that_is_new() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let (first, second) = (set(&[&old]), set(&[&old, &new]));
    let (url, asked) = key_server(move |n| ok(if n == 0 { &first } else { &second })).await;
    let providers = providers(&url, "");
    let at = |now: u64| {
        with(move |claims| {
            claims.insert("iat".to_owned(), json!(now));
            claims.insert("exp".to_owned(), json!(now + 60));
        })
    };

    for _ in 0..3 {
        let token = old.sign(&header(&old), &claims());
        providers.judge(&token, NOW).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Strangers' tokens with made-up keys do not make us fetch without end.
    let stranger = Key::new("made-up");
    for _ in 0..3 {
        let token = stranger.sign(&header(&stranger), &claims());
        assert!(providers.judge(&token, NOW + 5).await.is_err());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let token = new.sign(&header(&new), &at(NOW + 20));
    providers.judge(&token, NOW + 20).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let token = old.sign(&header(&old), &at(NOW + 700));
    providers.judge(&token, NOW + 700).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3, "ten minutes are over");
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_not_an_invalid_token() {
    let key = Key::new("k1");
    let token = key.sign(&header(&key), &claims());
    let large = ok(&format!(
        "{{\"keys\":[],\"x\":\"{}\"}}",
        "y".repeat(300 << 10)
    ));
    let answers = [
        "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
        ok("<html>"),
        large,
        "SSH-2.0\r\n".to_owned(),
    ];
    for answer in answers {
        let shown: String = answer.chars().take(20).collect();
        let (url, asked) = key_server(move |_| answer.clone()).await;
        let providers = providers(&url, "");

        for _ in 0..3 {
            let judged = providers.judge(&token, NOW).await;
            assert!(
                matches!(judged, Err(OidcError::Keys(_))),
                "{shown}: {judged:?}"
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{shown}");
    }
}
