//! Rate limits seen and lifted, as their clients see it.

use serde_json::{Value, json};

use crate::support::admin::{json as call, keys};
use crate::support::{Call, Gateway, Redis, Setup, Upstream, gateway, upstream};

fn doors(setup: Setup, upstream: &Upstream) -> Setup {
    let keys = keys();
    setup
        .toml(&format!("[sessions]\n[admin]\nlisten = \"127.0.0.1:0\"\n{keys}"))
        .toml("[guard]\nunknown_tokens = \"2/h\"")
        .upstream("app", upstream)
        .route(
            "name = \"mail\"\nprefix = \"/mail\"\nupstream = \"app\"\nlimits = [\
             { by = \"user\", rate = \"2/h\" },\
             { by = \"device\", rate = \"30/h\", burst = 3, scope = \"shared\", on_error = \"deny\" },\
             { by = \"token\", rate = \"9/h\" }, { by = \"route\", rate = \"100/h\" }]",
        )
        .route(
            "name = \"door\"\nprefix = \"/door\"\nupstream = \"app\"\nlimits = [\
             { by = \"client\", rate = \"5/h\", scope = \"shared\", on_error = \"deny\" }]",
        )
}

async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let reply = gateway.administer("root", call("POST", path, body)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// What is left of each limit: place, name, how many.
async fn left(gateway: &Gateway, body: Value) -> Vec<(String, String, u64)> {
    let told = ask(gateway, "/v1/limits/show", &body).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let limits = told["limits"].as_array().unwrap().iter();
    let mut left: Vec<_> = limits
        .map(|one| {
            assert!(one["full_in"].as_u64() >= one["next_in"].as_u64(), "{one}");
            let left = one["remaining"].as_u64().unwrap();
            assert_eq!(left == 0, one["next_in"] != 0, "{one}");
            (text(&one["place"]), text(&one["name"]), left)
        })
        .collect();
    left.sort();
    left
}

fn named(list: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    let owned =
        |(place, name, left): &(&str, &str, u64)| ((*place).to_owned(), (*name).to_owned(), *left);
    list.iter().map(owned).collect()
}

#[tokio::test]
async fn what_somebody_has_left_is_shown_and_given_back() {
    let (upstream, redis) = (upstream(), Redis::start().await);
    for setup in [gateway(), gateway().redis(&redis)] {
        let gateway = doors(setup, &upstream).start().await;
        let login = json!({"user_id": "alice", "device": {"id": "d1"}});
        let login = call("POST", "/v1/sessions", &login);
        let session = gateway.administer("root", login).await.json();
        let token = session["access_token"].as_str().unwrap();
        let get = async |path: &str, token: &str| {
            gateway.send(Call::get(path).bearer(token)).await.status
        };
        let user = json!({"user": "alice", "device": "d1"});
        let full = named(&[("mail", "device", 3), ("mail", "user", 2)]);
        assert_eq!(left(&gateway, user.clone()).await, full);

        for expected in [200, 200, 429] {
            assert_eq!(get("/mail", token).await, expected);
        }
        let spent = named(&[("mail", "device", 1), ("mail", "user", 0)]);
        assert_eq!(
            left(&gateway, user.clone()).await,
            spent,
            "looking takes nothing"
        );
        assert_eq!(left(&gateway, user.clone()).await, spent);
        let others = json!({"user": "bob", "device": "d1"});
        assert_eq!(left(&gateway, others.clone()).await, full);
        let by_token = json!({"token": token, "everybody": true});
        let expected = named(&[("mail", "route", 98), ("mail", "token", 7)]);
        assert_eq!(left(&gateway, by_token).await, expected);

        let reset = ask(&gateway, "/v1/limits/reset", &others).await;
        assert_eq!(
            (reset, get("/mail", token).await),
            (json!({"reset": 0}), 429)
        );
        let reset = ask(&gateway, "/v1/limits/reset", &user).await;
        assert_eq!(reset, json!({"reset": 2}));
        assert_eq!(left(&gateway, user).await, full);
        assert_eq!(get("/mail", token).await, 200);
        let line = gateway.logs();
        assert!(line.contains("limits.reset") && !line.contains(token));

        // A client: what it may ask, and what it has guessed.
        let client = json!({"client": "127.0.0.1"});
        for guess in ["guess-1", "guess-2", "guess-3"] {
            get("/door", guess).await;
        }
        assert_eq!(get("/door", "guess-4").await, 429);
        let spent = named(&[("[guard]", "unknown_tokens", 0), ("door", "client", 1)]);
        assert_eq!(left(&gateway, client.clone()).await, spent);
        let reset = ask(&gateway, "/v1/limits/reset", &client).await;
        assert_eq!(reset, json!({"reset": 2}));
        let full = named(&[("[guard]", "unknown_tokens", 2), ("door", "client", 5)]);
        assert_eq!(left(&gateway, client).await, full);
        assert_eq!(get("/door", "guess-5").await, 401);
    }
}

#[tokio::test]
async fn the_limits_of_a_reloaded_configuration_are_shown() {
    let upstream = upstream();
    let gateway = doors(gateway(), &upstream).start().await;
    let user = json!({"user": "alice"});
    assert_eq!(
        left(&gateway, user.clone()).await,
        named(&[("mail", "user", 2)])
    );

    gateway.edit("rate = \"2/h\"", "rate = \"7/h\"");
    gateway.signal("-HUP");

    let start = std::time::Instant::now();
    while left(&gateway, user.clone()).await != named(&[("mail", "user", 7)]) {
        assert!(
            start.elapsed() < crate::support::PATIENCE,
            "still the old ones"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
