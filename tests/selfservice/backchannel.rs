//! A provider says that a user has logged out, and it is so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::support::admin::form;
use super::support::{Answer, Call, Gateway, Redis, Reply, Seen, Upstream, gateway, upstream_that};
use super::{alive, doors};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

struct Provider {
    key: EncodingKey,
    jwks: String,
}

impl Provider {
    fn new() -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(&P256, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&P256, private.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": x, "y": y});
        Self {
            key: EncodingKey::from_ec_der(private.as_ref()),
            jwks: json!({"keys": [key]}).to_string(),
        }
    }

    fn settings(&self, more: &str) -> String {
        let jwks = &self.jwks;
        format!(
            "[[oidc]]\nissuer = \"https://op.test\"\naudience = \"shop\"\njwks = '{jwks}'\n{more}"
        )
    }

    /// A logout token with these claims besides the usual.
    fn token(&self, claims: &Value) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut all = json!({
            "iss": "https://op.test", "aud": "shop", "iat": now, "exp": now + 60,
            "jti": format!("j-{}", NEXT.fetch_add(1, Ordering::SeqCst)), "events": { EVENT: {} },
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let header = Header {
            typ: Some("logout+jwt".to_owned()),
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, &all, &self.key).unwrap()
    }
}

/// Logs in whomever the query names, at the provider's session that it names.
fn speaks(seen: &Seen) -> Answer {
    let query = seen.target().split_once('?').map_or("", |(_, query)| query);
    let head: String = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    Answer::Bytes(format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\nok").into_bytes())
}

const LOGIN: &str =
    "[[routes]]\nexact = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"";

async fn on_both(upstream: &Upstream, settings: &str) -> Vec<(Gateway, Option<Redis>)> {
    let redis = Redis::start().await;
    let settings = format!("{settings}\n[login]\nanswer = \"tokens\"\n{LOGIN}");
    let embedded = doors(gateway(), upstream, &settings).start().await;
    let shared = doors(gateway().redis(&redis), upstream, &settings)
        .start()
        .await;
    vec![(embedded, None), (shared, Some(redis))]
}

async fn log_in(gateway: &Gateway, user: &str, sid: &str) -> Value {
    let target = format!("/login?x-login-user={user}&x-login-oidc-sid={sid}");
    let reply = gateway.send(Call::new("POST", &target)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn log_out(gateway: &Gateway, token: &str) -> Reply {
    gateway
        .send(form(
            "/.d/backchannel-logout",
            &format!("logout_token={token}"),
        ))
        .await
}

#[tokio::test]
async fn a_sid_ends_the_sessions_that_came_out_of_it_and_no_others() {
    let (upstream, provider) = (upstream_that(speaks), Provider::new());
    for (gateway, _) in on_both(&upstream, &provider.settings("")).await {
        let web = log_in(&gateway, "alice", "s1").await;
        let again = log_in(&gateway, "alice", "s1").await;
        let phone = log_in(&gateway, "alice", "s2").await;
        let bob = log_in(&gateway, "bob", "s3").await;

        let reply = log_out(
            &gateway,
            &provider.token(&json!({"sid": "s1", "sub": "alice"})),
        )
        .await;

        assert_eq!(
            (reply.status, reply.header("cache-control")),
            (200, Some("no-store"))
        );
        let mut codes = Vec::new();
        for granted in [&web, &again, &phone, &bob] {
            codes.push(alive(&gateway, granted).await);
        }
        assert_eq!(codes, [401, 401, 200, 200]);
    }
}

#[tokio::test]
async fn a_sub_alone_ends_all_sessions_of_its_user() {
    let (upstream, provider) = (upstream_that(speaks), Provider::new());
    for (gateway, _) in on_both(&upstream, &provider.settings("user = \"op:{sub}\"")).await {
        let one = log_in(&gateway, "op:alice", "s1").await;
        let two = log_in(&gateway, "op:alice", "s2").await;
        let other = log_in(&gateway, "alice", "s3").await;

        assert_eq!(
            log_out(&gateway, &provider.token(&json!({"sub": "alice"})))
                .await
                .status,
            200
        );

        let mut codes = Vec::new();
        for granted in [&one, &two, &other] {
            codes.push(alive(&gateway, granted).await);
        }
        assert_eq!(codes, [401, 401, 200]);
    }
}

#[tokio::test]
async fn a_sid_that_no_login_has_named_ends_what_the_settings_say() {
    let (upstream, provider) = (upstream_that(speaks), Provider::new());
    for (setting, expected) in [("", 401), ("unknown_sid = \"ignore\"", 200)] {
        for (gateway, _) in on_both(&upstream, &provider.settings(setting)).await {
            let alice = log_in(&gateway, "alice", "s1").await;
            let claims = json!({"sid": "other", "sub": "alice"});
            assert_eq!(
                log_out(&gateway, &provider.token(&claims)).await.status,
                200
            );
            assert_eq!(alive(&gateway, &alice).await, expected, "{setting}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_believed_ends_nothing_and_none_is_good_twice() {
    let (upstream, provider) = (upstream_that(speaks), Provider::new());
    let stranger = Provider::new();
    for (gateway, _) in on_both(&upstream, &provider.settings("")).await {
        let alice = log_in(&gateway, "alice", "s1").await;
        for token in [
            stranger.token(&json!({"sub": "alice"})),
            provider.token(&json!({"sub": "alice", "aud": "other"})),
            provider.token(&json!({"sub": "alice", "iss": "https://evil.test"})),
            provider.token(&json!({"sub": "alice", "nonce": "n"})),
            provider.token(&json!({"sub": "alice", "events": {}})),
            provider.token(&json!({"sub": "alice", "iat": 1})),
            provider.token(&json!({"sub": "alice", "exp": 1})),
            provider.token(&json!({})),
            "x.y.z".to_owned(),
            String::new(),
        ] {
            log_out(&gateway, &token)
                .await
                .refused(400, "logout_token_invalid");
        }
        gateway
            .send(Call::new("POST", "/.d/backchannel-logout"))
            .await
            .refused(400, "logout_token_invalid");
        assert_eq!(alive(&gateway, &alice).await, 200);

        let token = provider.token(&json!({"sub": "alice"}));
        assert_eq!(log_out(&gateway, &token).await.status, 200);
        assert_eq!(alive(&gateway, &alice).await, 401);
        let back = log_in(&gateway, "alice", "s2").await;
        log_out(&gateway, &token)
            .await
            .refused(400, "logout_token_invalid");
        assert_eq!(
            alive(&gateway, &back).await,
            200,
            "a token that was heard before ends nothing"
        );
        assert!(!gateway.logs().contains(&token));
    }
}

#[tokio::test]
async fn while_the_store_is_away_a_logout_is_503_and_the_same_token_may_be_sent_again() {
    let (upstream, provider) = (upstream_that(speaks), Provider::new());
    let mut both = on_both(&upstream, &provider.settings("")).await;
    let (gateway, redis) = both.pop().unwrap();
    let redis = redis.unwrap();
    let alice = log_in(&gateway, "alice", "s1").await;
    let token = provider.token(&json!({"sid": "s1"}));

    redis.freeze();
    let reply = log_out(&gateway, &token).await;
    reply.refused(503, "session_store_unavailable");
    redis.thaw();

    let heard = async {
        loop {
            match log_out(&gateway, &token).await.status {
                200 => return,
                503 => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                other => panic!("{other}: the logout is lost"),
            }
        }
    };
    super::support::soon("the store", heard).await;
    assert_eq!(alive(&gateway, &alice).await, 401);
    log_out(&gateway, &token)
        .await
        .refused(400, "logout_token_invalid");
}
