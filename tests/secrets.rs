//! The whole life of sessions, and then a look for every secret of it: in what the gateway has printed, noted and told,
//! in what its store holds, and in what its upstream was sent.

mod support;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use support::admin::{form, json as call};
use support::redis::Cluster;
use support::{
    Answer, Call, Connection, Gateway, Redis, Reply, Seen, Setup, Upstream, gateway, upstream_that,
};

/// What a one-time token is good for. The store has it, and nobody else.
const PAYLOAD: &str = "hidden-payload-of-a-mail";

/// `/login?user=alice` logs alice in.
fn speaks(seen: &Seen) -> Answer {
    let announced = match seen.target().split_once("/login?user=") {
        Some((_, name)) => format!("x-login-user: {name}\r\nx-login-permissions: news:read\r\n"),
        None => String::new(),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{announced}content-length: 2\r\n\r\nok");
    Answer::Bytes(head.into_bytes())
}

const HOSTS: [&str; 2] = ["home.test", "shop.test"];

fn doors(setup: Setup, upstream: &Upstream) -> Setup {
    setup
        .tls(&HOSTS)
        .plain()
        .admin()
        .toml("[tokens]\nsources = [\"bearer\", \"cookie:__Host-session\"]\nat_rest = \"sha256\"")
        .toml("[self_service]\nprefix = \"/.d\"\nlimits = []\n[login]\nrefresh = true")
        .toml("[sso]\nhome = \"https://home.test\"\norigins = [\"https://shop.test\"]")
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/login\"\nauth = \"public\"\nlogin = true\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

/// Everything that was ever a secret in this life.
#[derive(Default)]
struct Life {
    secrets: Vec<String>,
}

impl Life {
    fn keep(&mut self, secret: &str) -> String {
        assert!(secret.len() >= 20, "{secret:?} would be found anywhere");
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    fn member(&mut self, told: &Value, name: &str) -> String {
        let secret = told[name].as_str();
        let secret = secret.unwrap_or_else(|| panic!("no {name} in {told}"));
        self.keep(secret)
    }

    /// The cookies that an answer sets, as a browser sends them.
    fn cookies(&mut self, reply: &Reply) -> String {
        let mut sent = Vec::new();
        for line in reply.headers.get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (_, value) = pair.split_once('=').unwrap();
            if !value.is_empty() {
                self.keep(value);
                sent.push(pair.to_owned());
            }
        }
        assert!(!sent.is_empty(), "it sets none: {reply:?}");
        sent.join("; ")
    }
}

async fn browse(gateway: &Gateway, method: &str, url: &str, cookies: &str) -> Reply {
    let rest = url.strip_prefix("https://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let call = Call::new(method, &format!("/{path}"))
        .host(host)
        .header("sec-fetch-site", "none")
        .header("cookie", cookies);
    Connection::tls(gateway, host).await.send(call).await
}

async fn admin(gateway: &Gateway, method: &str, path: &str, body: Value) -> Reply {
    gateway.administer("root", call(method, path, &body)).await
}

/// A browser logs in, goes to another domain, is refreshed and logs out.
async fn browser(life: &mut Life, gateway: &Gateway) {
    let reply = browse(gateway, "POST", "https://home.test/login?user=alice", "a=b").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let home = life.cookies(&reply);
    assert_eq!(
        browse(gateway, "GET", "https://home.test/x", &home)
            .await
            .status,
        200
    );

    let back = utf8_percent_encode("https://shop.test/", NON_ALPHANUMERIC);
    let start = format!("https://shop.test/.d/sso?return={back}");
    let reply = browse(gateway, "GET", &start, "a=b").await;
    let state = life.cookies(&reply);
    let next = reply.header("location").unwrap().to_owned();
    let reply = browse(gateway, "GET", &next, &home).await;
    let next = reply.header("location").unwrap().to_owned();
    let (_, ticket) = next.split_once("ticket=").unwrap();
    life.keep(ticket.split('&').next().unwrap());
    let reply = browse(gateway, "GET", &next, &state).await;
    assert_eq!(reply.status, 302, "{reply:?}");
    let shop = life.cookies(&reply);
    assert_eq!(
        browse(gateway, "GET", "https://shop.test/", &shop)
            .await
            .status,
        200
    );
    // Used up.
    let again = browse(gateway, "GET", &next, &state).await;
    again.refused(401, "ticket_invalid");

    let reply = browse(gateway, "POST", "https://home.test/.d/refresh", &home).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let home = life.cookies(&reply);
    let reply = browse(gateway, "POST", "https://home.test/.d/logout", &home).await;
    assert_eq!(reply.status, 204, "{reply:?}");
    let over = browse(gateway, "GET", "https://shop.test/", &shop).await;
    assert_eq!(over.status, 401);
}

/// An app is given tokens, refreshes them, loses one to a thief, and is kicked.
async fn app(life: &mut Life, gateway: &Gateway) {
    let login = json!({"user_id": "bob", "refresh": true, "permissions": ["a:b"]});
    let first = admin(gateway, "POST", "/v1/sessions", login.clone())
        .await
        .json();
    let access = life.member(&first, "access_token");
    let refresh = life.member(&first, "refresh_token");
    assert_eq!(
        gateway.send(Call::get("/").bearer(&access)).await.status,
        200
    );
    let turn = async |token: &str| {
        let body = json!({ "refresh_token": token });
        gateway.send(call("POST", "/.d/refresh", &body)).await
    };
    let second = turn(&refresh).await.json();
    let child = life.member(&second, "refresh_token");
    life.member(&second, "access_token");
    let third = turn(&child).await.json();
    life.member(&third, "refresh_token");
    let access = life.member(&third, "access_token");
    turn(&refresh).await.refused(401, "refresh_reused");
    assert_eq!(
        gateway.send(Call::get("/").bearer(&access)).await.status,
        401
    );

    let kicked = admin(gateway, "POST", "/v1/sessions", login.clone())
        .await
        .json();
    let kicked = life.member(&kicked, "access_token");
    let told = gateway
        .administer("root", form("/introspect", &format!("token={kicked}")))
        .await;
    assert_eq!(told.json()["active"], true);
    let act = json!({"actor_token": kicked, "subject": "alice", "lifetime": 60});
    let acting = admin(gateway, "POST", "/v1/act-as", act).await.json();
    let acting = life.member(&acting, "access_token");
    assert_eq!(
        gateway.send(Call::get("/").bearer(&acting)).await.status,
        200
    );
    admin(
        gateway,
        "POST",
        "/v1/users/bob/kick",
        json!({"which": "all"}),
    )
    .await;
    for token in [&kicked, &acting] {
        assert_eq!(gateway.send(Call::get("/").bearer(token)).await.status, 401);
    }
    let revoked = admin(gateway, "POST", "/v1/sessions", login).await.json();
    let refresh = life.member(&revoked, "refresh_token");
    life.member(&revoked, "access_token");
    let revoke = form("/revoke", &format!("token={refresh}"));
    assert_eq!(gateway.administer("root", revoke).await.status, 200);
    assert_eq!(turn(&refresh).await.status, 401);
}

/// One-time tokens, and what is no token at all but may be somebody's secret.
async fn once_and_guesses(life: &mut Life, gateway: &Gateway) {
    let once = json!({"purpose": "mail", "audience": "a.test", "lifetime": 60, "payload": PAYLOAD});
    for audience in ["a.test", "b.test"] {
        let minted = admin(gateway, "POST", "/v1/once", once.clone())
            .await
            .json();
        let token = life.member(&minted, "token");
        let body = json!({"token": token, "purpose": "mail", "audience": audience});
        admin(gateway, "POST", "/v1/once/redeem", body).await;
    }
    for guess in [
        "guessed-token-with-a-good-shape-1",
        "guessed token with blanks & signs",
        "dbt_guessed_token_without_a_user",
    ] {
        let guess = life.keep(guess);
        for call in [
            Call::get("/").bearer(&guess),
            Call::get("/public").bearer(&guess),
            Call::get("/").header("cookie", &format!("__Host-session={guess}")),
            Call::get("/.d/sessions").bearer(&guess),
            Call::new("POST", "/.d/logout").bearer(&guess),
            call("POST", "/.d/refresh", &json!({"refresh_token": guess})),
            call("POST", "/.d/redeem", &json!({"ticket": guess})),
        ] {
            let call = call.header("origin", "http://a.test");
            let reply = Connection::plain(gateway).await.send(call).await;
            assert!(reply.status < 500, "{reply:?}");
            let text = String::from_utf8_lossy(&reply.body);
            assert!(!text.contains(guess.as_str()), "{text}");
        }
        gateway
            .administer_as_is(Call::get("/v1/roles").bearer(&guess))
            .await
            .refused(401, "key_invalid");
        let form_text = utf8_percent_encode(&guess, NON_ALPHANUMERIC);
        for path in ["/introspect", "/revoke"] {
            let shown = form(path, &format!("token={form_text}"));
            assert!(gateway.administer("root", shown).await.status < 500);
        }
    }
}

/// Lives it all, and looks for its secrets in everything but what the store holds.
async fn live(gateway: &Gateway, upstream: &Upstream) -> Life {
    let mut life = Life::default();
    browser(&mut life, gateway).await;
    app(&mut life, gateway).await;
    once_and_guesses(&mut life, gateway).await;
    assert!(life.secrets.len() > 20, "{}", life.secrets.len());

    let audit = std::fs::read_to_string(gateway.audit_file()).unwrap();
    let metrics = String::from_utf8(gateway.monitor("/metrics").await.body.to_vec()).unwrap();
    let sent: Vec<String> = upstream.seen().into_iter().map(|seen| seen.head).collect();
    let logs = gateway.logs();
    for (place, text, sign) in [
        ("log", &logs, "\"code\":\"token_invalid\""),
        ("log", &logs, "\"path\":\"/.d/sso/accept\""),
        ("audit", &audit, "session.act_as"),
        ("metrics", &metrics, "drawbridge_requests_total"),
        ("upstream", &sent.join("\n"), "x-user-id: bob"),
    ] {
        assert!(text.contains(sign), "{sign} is not in the {place}:\n{text}");
        hides(&life, place, text);
        assert!(!text.contains(PAYLOAD), "the payload is in the {place}");
    }
    life
}

/// No secret is there, nor what is left of a token of ours without its prefix.
fn hides(life: &Life, place: &str, text: &str) {
    for secret in &life.secrets {
        assert!(
            !text.contains(secret.as_str()),
            "{secret} is in the {place}"
        );
        if secret.starts_with("db") && secret.len() > 47 {
            let bare = &secret[secret.len() - 43..];
            assert!(
                !text.contains(bare),
                "what {secret} ends with is in the {place}"
            );
        }
    }
}

#[tokio::test]
async fn no_secret_is_found_with_the_embedded_store() {
    let upstream = upstream_that(speaks);
    let gateway = doors(gateway(), &upstream).start().await;
    let life = live(&gateway, &upstream).await;

    let file = gateway.config().with_file_name("sessions.redb");
    let held = std::fs::read(file).unwrap();
    let held = String::from_utf8_lossy(&held);
    assert!(held.contains("login:user:main:"), "it is the store");
    hides(&life, "store", &held);
}

#[tokio::test]
async fn no_secret_is_found_with_redis() {
    let (upstream, redis) = (upstream_that(speaks), Redis::start().await);
    let gateway = doors(gateway().redis(&redis), &upstream).start().await;
    let life = live(&gateway, &upstream).await;

    let held = redis.dump();
    assert!(held.contains("login:user:main:"), "it is the store");
    hides(&life, "store", &held);
    let log = std::fs::read_to_string(redis.dir().join("log")).unwrap();
    hides(&life, "log of Redis", &log);
}

#[tokio::test]
async fn no_secret_is_found_with_a_cluster() {
    let (upstream, cluster) = (upstream_that(speaks), Cluster::start(0).await);
    let setup = gateway().store(&format!("redis = \"{}\"", cluster.url()));
    let gateway = doors(setup, &upstream).start().await;
    let life = live(&gateway, &upstream).await;

    let held: Vec<String> = cluster.nodes.iter().map(Redis::dump).collect();
    let held = held.join("\n");
    assert!(held.contains("login:user:main:"), "it is the store");
    hides(&life, "store", &held);
}
