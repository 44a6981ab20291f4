//! Signed identity: what upstreams get can be verified by them, says what is so, and comes from nobody else.

mod support;

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use support::gateway::{log_in, log_out};
use support::redis::eventually;
use support::{
    Answer, Call, Connection, Gateway, PATIENCE, Raw, Redis, Setup, Upstream, gateway, installed,
    upstream, upstream_that, user,
};

const TOKEN: &str = "dbt_alice-0123456789abcdef0123456789abcdef";
const NAME: &str = "x-drawbridge-assertion";
const KEYS: &str = "/.drawbridge/jwks.json";
const ISSUER: &str = "https://gateway.test";
const FORGED: &str = "forged-by-the-client";

/// Private keys in files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(names: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in names {
            folder.write(name, &PKCS_ECDSA_P256_SHA256);
        }
        folder
    }

    /// A new key in this file, the way tools put it there: under another name first.
    fn write(&self, name: &str, kind: &'static rcgen::SignatureAlgorithm) {
        let pair = KeyPair::generate_for(kind).unwrap();
        let new = self.path("new");
        std::fs::write(&new, pair.serialize_pem()).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn list(&self, names: &[&str]) -> String {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        format!("keys = {paths:?}")
    }

    /// A line of each key as it stands in its file: what must not be found anywhere else.
    fn lines(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    }
}

fn signing(upstream: &Upstream, lines: &str) -> Setup {
    gateway()
        .plain()
        .tls(&["a.test"])
        .toml(&format!("[assertion]\nissuer = \"{ISSUER}\"\n{lines}"))
        .upstream("app", upstream)
        .route("prefix = \"/private\"\nupstream = \"app\"")
        .route("prefix = \"/billing\"\naudience = \"billing\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

fn with_alice(setup: Setup) -> Setup {
    setup.session(TOKEN, user("alice", &["orders:read", "orders:write"]))
}

async fn keys(gateway: &Gateway) -> JwkSet {
    let reply = gateway.send(Call::get(KEYS)).await;
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).unwrap()
}

async fn names(gateway: &Gateway) -> HashSet<String> {
    let keys = keys(gateway).await.keys;
    keys.into_iter()
        .filter_map(|key| key.common.key_id)
        .collect()
}

/// As an upstream with the audience `audience` would.
async fn verify(
    gateway: &Gateway,
    text: &str,
    audience: &str,
) -> jsonwebtoken::errors::Result<Value> {
    let header = decode_header(text)?;
    let keys = keys(gateway).await;
    let key = keys
        .find(&header.kid.clone().unwrap())
        .expect("it is published");
    assert_eq!(
        key.common.key_algorithm.map(|one| one.to_string()),
        Some(format!("{:?}", header.alg))
    );
    let mut rules = Validation::new(header.alg);
    assert!(matches!(header.alg, Algorithm::ES256 | Algorithm::EdDSA));
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    decode(text, &DecodingKey::from_jwk(key)?, &rules).map(|token| token.claims)
}

async fn assertion(gateway: &Gateway, upstream: &Upstream, path: &str) -> String {
    let reply = gateway.send(Call::get(path).bearer(TOKEN)).await;
    assert_eq!(reply.status, 200);
    upstream.last().header(NAME).unwrap().to_owned()
}

fn signer(text: &str) -> String {
    decode_header(text).unwrap().kid.unwrap()
}

#[tokio::test]
async fn what_arrives_can_be_verified_and_only_by_whom_it_is_for() {
    let upstream = upstream();
    let folder = Folder::with(&["p256"]);
    folder.write("ed", &PKCS_ED25519);
    for (key, algorithm) in [("p256", Algorithm::ES256), ("ed", Algorithm::EdDSA)] {
        let gateway = with_alice(signing(&upstream, &folder.list(&[key])))
            .secret(&folder.lines(key))
            .start()
            .await;
        let mut h2 = Connection::h2(&gateway, "a.test").await;

        let before = gateway::now() / 1000;
        let text = assertion(&gateway, &upstream, "/private").await;
        let claims = verify(&gateway, &text, "app").await.unwrap();

        assert_eq!(decode_header(&text).unwrap().alg, algorithm);
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["sub"], "alice");
        assert_eq!(
            claims["permissions"],
            json!(["orders:read", "orders:write"])
        );
        assert_eq!(claims["roles"], json!(["clerk"]));
        let (iat, exp) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        assert!(iat >= before && exp == iat + 60, "{claims}");
        // It names the session, but by nothing that opens it.
        let sid = claims["sid"].as_str().unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(sid).unwrap().len(), 16);
        assert!(!claims.to_string().contains("dbt_"), "{claims}");

        h2.send(Call::get("/private").bearer(TOKEN)).await;
        assert_eq!(
            upstream.last().header(NAME),
            Some(text.as_str()),
            "signed once"
        );
        let other = assertion(&gateway, &upstream, "/billing").await;
        assert!(verify(&gateway, &other, "billing").await.is_ok());
        for (text, audience) in [(&text, "billing"), (&other, "app")] {
            let refused = verify(&gateway, text, audience).await.unwrap_err();
            let kind = refused.kind().clone();
            assert_eq!(kind, jsonwebtoken::errors::ErrorKind::InvalidAudience);
        }
        let signature = text.rsplit('.').next().unwrap();
        assert!(
            !gateway.logs().contains(signature),
            "an assertion was logged"
        );
    }
}

#[tokio::test]
async fn the_keys_are_for_everybody_and_may_be_kept() {
    let upstream = upstream();
    let folder = Folder::with(&["a", "b"]);
    let gateway = signing(
        &upstream,
        &(folder.list(&["a", "b"]) + "\nmax_age = \"2m\""),
    )
    .asked_by("traefik", "")
    .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
    .start()
    .await;

    for call in [
        Call::get(KEYS),
        Call::get(KEYS).bearer("nobody").host("b.test"),
    ] {
        let reply = gateway.send(call).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("cache-control"), Some("public, max-age=120"));
        assert_eq!(
            reply.header("content-type"),
            Some("application/jwk-set+json")
        );
        let set = reply.json();
        for key in set["keys"].as_array().unwrap() {
            let mut members: Vec<_> = key.as_object().unwrap().keys().collect();
            members.sort();
            assert_eq!(
                members,
                ["alg", "crv", "kid", "kty", "use", "x", "y"],
                "public parts only"
            );
        }
    }
    assert_eq!(names(&gateway).await.len(), 2);
    let head = gateway.send(Call::new("HEAD", KEYS)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let post = gateway.send(Call::new("POST", KEYS)).await;
    post.refused(405, "method_not_allowed");
    assert_eq!(post.header("allow"), Some("GET"));
    // Whoever asks about the path has nobody to forward it to.
    let mut raw = Raw::connect(gateway.asked("Traefik")).await;
    raw.write(format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-method: GET\r\nx-forwarded-proto: http\r\n\
         x-forwarded-host: a.test\r\nx-forwarded-uri: {KEYS}\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.reply().await.unwrap().status, 404);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_forged_one_never_arrives_and_an_anonymous_request_has_an_empty_one() {
    let upstream = upstream();
    let gateway = with_alice(signing(&upstream, "")).start().await;
    let spellings = [
        "X-Drawbridge-Assertion",
        "x_drawbridge_assertion",
        "X.Drawbridge.Assertion",
        "xdrawbridgeassertion",
    ];

    for path in ["/private", "/optional", "/public"] {
        for spelling in spellings {
            let token = match path {
                "/private" => format!("Authorization: Bearer {TOKEN}\r\n"),
                _ => String::new(),
            };
            let mut raw = Raw::connect(gateway.plain()).await;
            raw.write(format!(
                "POST {path} HTTP/1.1\r\nHost: a.test\r\n{token}{spelling}: {FORGED}\r\nConnection: {NAME}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n{spelling}: {FORGED}\r\n\r\n"
            ))
            .await;
            assert_eq!(raw.reply().await.unwrap().status, 200);

            let seen = upstream.last();
            assert!(!seen.head.contains(FORGED), "{}", seen.head);
            assert!(seen.trailers.is_empty(), "{:?}", seen.trailers);
            let arrived = seen.header(NAME).unwrap();
            assert_eq!(arrived.is_empty(), path != "/private", "{path}: {arrived}");
        }
    }
}

#[tokio::test]
async fn what_an_upstream_sends_back_does_not_reach_the_client() {
    let upstream = upstream_that(|seen| {
        let own = seen.header(NAME).unwrap_or_default();
        Answer::Bytes(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-drawbridge-assertion: {own}\r\n\
                 X_Drawbridge_Assertion: {own}\r\nx-other: stays\r\n\r\n"
            )
            .into_bytes(),
        )
    });
    let gateway = with_alice(signing(&upstream, "")).start().await;

    let reply = gateway.send(Call::get("/private").bearer(TOKEN)).await;

    assert_eq!(reply.header("x-other"), Some("stays"));
    assert_eq!(reply.header(NAME), None);
    assert_eq!(reply.header("x_drawbridge_assertion"), None);
}

#[tokio::test]
async fn a_session_that_has_ended_or_lost_rights_is_asserted_no_more() {
    let upstream = upstream();
    let redis = Redis::start().await;
    log_in(&redis, TOKEN, &user("alice", &["orders:read"]));
    let gateway = signing(&upstream, "")
        .redis(&redis)
        .secret(TOKEN)
        .start()
        .await;
    let first = assertion(&gateway, &upstream, "/private").await;

    log_in(&redis, TOKEN, &user("alice", &[]));
    let loses = async {
        loop {
            let text = assertion(&gateway, &upstream, "/private").await;
            if text != first {
                return verify(&gateway, &text, "app").await.unwrap();
            }
        }
    };
    let claims = support::soon("an assertion without the right", loses).await;
    assert_eq!(claims["permissions"], json!([]));

    log_out(&redis, TOKEN);
    let ends = async {
        while gateway
            .send(Call::get("/optional").bearer(TOKEN))
            .await
            .status
            == 200
            && upstream.last().header(NAME) != Some("")
        {}
    };
    support::soon("the end of the session", ends).await;
    let seen = upstream.seen().len();
    let refused = gateway.send(Call::get("/private").bearer(TOKEN)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(upstream.seen().len(), seen);
}

#[tokio::test]
async fn a_new_key_signs_once_verifiers_know_it_and_every_one_can_be_verified_all_the_while() {
    let upstream = upstream();
    let folder = Folder::with(&["old", "new"]);
    let times = "\nlifetime = \"10s\"\nmax_age = \"10s\"";
    let gateway = with_alice(signing(&upstream, &(folder.list(&["old"]) + times)))
        .workers(2)
        .start()
        .await;
    let old = signer(&assertion(&gateway, &upstream, "/private").await);
    assert_eq!(names(&gateway).await, HashSet::from([old.clone()]));

    gateway.edit(&folder.list(&["old"]), &folder.list(&["new", "old"]));
    gateway.tells("the configuration taken over", 1).await;
    let known = names(&gateway).await;
    assert_eq!(known.len(), 2, "announced at once");
    let begun = signer(&assertion(&gateway, &upstream, "/private").await);
    assert_eq!(begun, old, "but not used at once");
    // A verifier that fetched the keys at the announcement and never again.
    let kept = keys(&gateway).await;
    let turns = async {
        loop {
            let text = assertion(&gateway, &upstream, "/private").await;
            assert!(kept.find(&signer(&text)).is_some());
            assert!(verify(&gateway, &text, "app").await.is_ok());
            if signer(&text) != old {
                return signer(&text);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let new = tokio::time::timeout(3 * PATIENCE, turns).await.unwrap();
    assert!(known.contains(&new));

    // The other worker may not have turned yet: its last one of the old key can be verified after the key is taken off.
    gateway.edit(&folder.list(&["new", "old"]), &folder.list(&["new"]));
    gateway.tells("the configuration taken over", 2).await;
    assert_eq!(
        signer(&assertion(&gateway, &upstream, "/private").await),
        new
    );
    let gone = async {
        while names(&gateway).await != HashSet::from([new.clone()]) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_key_file_that_is_replaced_is_noticed_and_what_the_old_key_signed_stays_good() {
    let upstream = upstream();
    let folder = Folder::with(&["key"]);
    let gateway = with_alice(signing(&upstream, &folder.list(&["key"])))
        .start()
        .await;
    let before = assertion(&gateway, &upstream, "/private").await;

    folder.write("key", &PKCS_ECDSA_P256_SHA256);
    gateway
        .tells("certificates and authorities taken over", 1)
        .await;
    let after = assertion(&gateway, &upstream, "/private").await;

    assert_ne!(signer(&before), signer(&after));
    for text in [before, after] {
        assert!(verify(&gateway, &text, "app").await.is_ok());
    }
    // What is no key changes nothing.
    std::fs::write(folder.path("key"), "no key").unwrap();
    gateway.tells("cannot be taken over", 1).await;
    assert_eq!(
        gateway
            .send(Call::get("/private").bearer(TOKEN))
            .await
            .status,
        200
    );
}

/// What one of `deploy/examples` says of this assertion: that it is good, or what it refuses it for.
fn ask(command: &[String], assertion: &str) -> Result<String, String> {
    let mut process = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = process.stdin.take().unwrap();
    input.write_all(assertion.as_bytes()).unwrap();
    drop(input);
    let output = process.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        Some(1) if told.starts_with("refused: ") => Err(told),
        other => panic!("{command:?} ended with {other:?}: {told}"),
    }
}

/// Each example with its program, where there is one.
fn examples() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |name: &str| {
        root.join("deploy/examples")
            .join(name)
            .display()
            .to_string()
    };
    let python = installed("pyjwt-2.15.1/bin/python");
    let modules = installed("jose-6.2.18/node_modules");
    // Node looks for modules beside the file only.
    let script = modules.parent().unwrap().join("verify.mjs");
    std::fs::copy(file("verify.mjs"), &script).unwrap();
    let mut all = vec![
        vec![python.display().to_string(), file("verify.py")],
        vec!["node".to_owned(), script.display().to_string()],
    ];
    for (program, version, command, name) in [
        ("java", "-version", &["java"][..], "Verify.java"),
        ("go", "version", &["go", "run"], "verify.go"),
        ("php", "--version", &["php"], "verify.php"),
    ] {
        let there = Command::new(program)
            .arg(version)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.is_ok_and(|status| status.success()) {
            let words = command.iter().map(|word| (*word).to_owned());
            all.push(words.chain([file(name)]).collect());
        } else {
            eprintln!("SKIPPED: there is no {program} here, so nothing is proven about {name}");
        }
    }
    all
}

/// The same text with another letter in the middle of one part.
fn spoiled(text: &str, part: usize) -> String {
    let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    let middle = parts[part].len() / 2;
    let other = if parts[part].as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}

/// What a gateway with this key says of a session that has ended by now, even for clocks that differ.
async fn over(upstream: &Upstream, keys: &str) -> String {
    let ending = drawbridge::session::Session {
        expires_at: Some(gateway::now() + 10_000),
        ..user("alice", &[])
    };
    let gateway = signing(upstream, keys).session(TOKEN, ending).start().await;
    let text = assertion(&gateway, upstream, "/private").await;
    let claims = verify(&gateway, &text, "app").await.unwrap();
    let end = claims["exp"].as_u64().unwrap() + 6;
    let passes = || gateway::now() / 1000 >= end;
    eventually("the end of an assertion", 2 * PATIENCE, passes).await;
    text
}

#[tokio::test]
#[ignore = "needs PyJWT and jose: tests/run.sh"]
async fn the_examples_believe_what_is_so_and_nothing_else() {
    let upstream = upstream();
    let folder = Folder::with(&["p256", "stranger"]);
    folder.write("ed", &PKCS_ED25519);
    let stranger = with_alice(signing(&upstream, &folder.list(&["stranger"])));
    let stranger = assertion(&stranger.start().await, &upstream, "/private").await;
    for key in ["p256", "ed"] {
        let over = over(&upstream, &folder.list(&[key])).await;
        let gateway = with_alice(signing(&upstream, &folder.list(&[key])))
            .start()
            .await;
        let good = assertion(&gateway, &upstream, "/private").await;
        let body = good.split('.').nth(1).unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let unsigned = format!("{none}.{body}.");
        let url = format!("http://{}{KEYS}", gateway.plain());
        for example in examples() {
            let with = |issuer: &str, audience: &str| -> Vec<String> {
                let arguments = [url.as_str(), issuer, audience].map(str::to_owned);
                example.iter().cloned().chain(arguments).collect()
            };
            let said = ask(&with(ISSUER, "app"), &good).unwrap();
            assert!(said.contains("alice"), "{said}");
            assert!(said.contains("orders:read"), "{said}");
            for (command, text) in [
                (with("https://other.test", "app"), good.clone()),
                (with(ISSUER, "billing"), good.clone()),
                (with(ISSUER, "app"), over.clone()),
                (with(ISSUER, "app"), stranger.clone()),
                (with(ISSUER, "app"), spoiled(&good, 1)),
                (with(ISSUER, "app"), spoiled(&good, 2)),
                (with(ISSUER, "app"), unsigned.clone()),
                (with(ISSUER, "app"), "nothing".to_owned()),
            ] {
                let refused = ask(&command, &text);
                assert!(refused.is_err(), "{command:?} believes {text}");
            }
        }
    }
}
