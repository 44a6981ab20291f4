//! What the calls do, on the embedded store and on Redis: seen through the gateway, as clients see it.

use serde_json::{Value, json};

use crate::support::admin::json as call;
use crate::support::gateway::now;
use crate::support::{Call, Gateway, Redis, Reply, Setup, Upstream, gateway, upstream};

/// A gateway with routes that need this and that. The store is kept alive as long as the gateway.
struct World {
    gateway: Gateway,
    _upstream: Upstream,
    _redis: Option<Redis>,
}

impl World {
    async fn on(redis: Option<Redis>) -> Self {
        let upstream = upstream();
        let setup = match &redis {
            Some(redis) => gateway()
                .redis(redis)
                .toml("[tokens]\nat_rest = \"sha256\""),
            None => gateway(),
        };
        let route = |setup: Setup, name: &str, rule: &str| {
            setup.route(&format!(
                "name = \"{name}\"\nprefix = \"/{name}\"\nupstream = \"app\"\n{rule}"
            ))
        };
        let mut setup = setup.admin().upstream("app", &upstream);
        for (name, rule) in [
            ("any", ""),
            ("read", "require = { all = [\"orders:read\"] }"),
            ("clerks", "require = { roles = [\"clerk\"] }"),
        ] {
            setup = route(setup, name, rule);
        }
        Self {
            gateway: setup.start().await,
            _upstream: upstream,
            _redis: redis,
        }
    }

    async fn both() -> [Self; 2] {
        [
            Self::on(None).await,
            Self::on(Some(Redis::start().await)).await,
        ]
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        let request = match body {
            Value::Null => Call::new(method, path),
            body => call(method, path, &body),
        };
        self.gateway.administer("root", request).await
    }

    /// A new session: its answer.
    async fn log_in(&self, body: Value) -> Value {
        let reply = self.ask("POST", "/v1/sessions", body).await;
        assert_eq!(reply.status, 201, "{}", reply.json());
        reply.json()
    }

    /// What the gateway answers to this token at this path.
    async fn visit(&self, path: &str, token: &Value) -> u16 {
        let call = Call::get(path).bearer(token.as_str().unwrap());
        self.gateway.send(call).await.status
    }
}

#[tokio::test]
async fn a_session_lives_from_its_login_to_its_end() {
    for world in World::both().await {
        let login = json!({
            "user_id": "alice@example.com/ä", "permissions": ["orders:read"], "roles": ["clerk"], "refresh": true,
            "device": {"id": "d1", "type": "phone", "name": "Pixel"}, "label": "mine", "ip": "2001:db8::1",
        });
        let granted = world.log_in(login).await;
        let (token, sid) = (
            &granted["access_token"],
            granted["session"]["sid"].as_str().unwrap(),
        );
        assert!(token.as_str().unwrap().starts_with("dbt_"));
        assert!(
            granted["refresh_token"]
                .as_str()
                .unwrap()
                .starts_with("dbr_")
        );
        assert_eq!(granted["token_type"], "Bearer");
        let seconds = granted["expires_in"].as_u64().unwrap();
        assert!((890..=900).contains(&seconds), "{seconds}");
        for path in ["/any", "/read", "/clerks"] {
            assert_eq!(world.visit(path, token).await, 200, "{path}");
        }

        let user = "/v1/users/alice%40example.com%2F%C3%A4";
        let list = world
            .ask("GET", &format!("{user}/sessions"), Value::Null)
            .await;
        let sessions = list.json()["sessions"].clone();
        assert_eq!(sessions.as_array().unwrap().len(), 1);
        assert_eq!(sessions[0]["device"]["type"], "phone");
        assert_eq!(sessions[0]["label"], "mine");
        assert_eq!(sessions[0]["ip"], "2001:db8::1");
        assert!(!list.json().to_string().contains(token.as_str().unwrap()));
        let one = format!("{user}/sessions/{sid}");
        let shown = world.ask("GET", &one, Value::Null).await;
        assert_eq!(shown.json(), sessions[0]);
        let whole = world.ask("GET", user, Value::Null).await.json();
        assert_eq!(whole["user_id"], "alice@example.com/ä");
        assert_eq!(whole["sessions"], sessions);

        let ended = world.ask("DELETE", &one, Value::Null).await;
        assert_eq!((ended.status, &ended.json()["ended"]), (200, &json!([sid])));
        assert_eq!(world.visit("/any", token).await, 401);
        let again = world.ask("DELETE", &one, Value::Null).await;
        again.refused(404, "session_not_found");
        let gone = world.ask("GET", &one, Value::Null).await;
        gone.refused(404, "session_not_found");
        let stranger = world.ask("GET", "/v1/users/nobody", Value::Null).await;
        stranger.refused(404, "user_not_found");
    }
}

#[tokio::test]
async fn a_kick_ends_the_sessions_it_names_and_no_other() {
    for world in World::both().await {
        let open = async |id: &str, kind: &str| {
            let device = json!({"id": id, "type": kind});
            world
                .log_in(json!({"user_id": "bob", "device": device}))
                .await
        };
        let phone = open("p1", "phone").await;
        let tablet = open("t1", "tablet").await;
        let laptops = [open("l1", "laptop").await, open("l2", "laptop").await];
        let kick = async |body: Value| {
            let reply = world.ask("POST", "/v1/users/bob/kick", body).await;
            assert_eq!(reply.status, 200, "{}", reply.json());
            reply.json()["ended"].as_array().unwrap().len()
        };

        assert_eq!(kick(json!({"which": {"device": "p1"}})).await, 1);
        assert_eq!(world.visit("/any", &phone["access_token"]).await, 401);
        assert_eq!(
            kick(json!({"which": {"device_type": "laptop"}, "why": "password_changed"})).await,
            2
        );
        for laptop in &laptops {
            assert_eq!(world.visit("/any", &laptop["access_token"]).await, 401);
        }
        let other = open("p2", "phone").await;
        let spared = &tablet["session"]["sid"];
        assert_eq!(kick(json!({"which": {"all_but": spared}})).await, 1);
        assert_eq!(world.visit("/any", &other["access_token"]).await, 401);
        assert_eq!(world.visit("/any", &tablet["access_token"]).await, 200);
        assert_eq!(kick(json!({"which": "all"})).await, 1);
        assert_eq!(world.visit("/any", &tablet["access_token"]).await, 401);
        assert_eq!(kick(json!({"which": "all"})).await, 0);

        let last = open("p3", "phone").await;
        let carol = world.log_in(json!({"user_id": "carol"})).await;
        let everybody = world
            .ask("POST", "/v1/realm/kick", json!({"everybody": true}))
            .await;
        assert_eq!(everybody.status, 200);
        for session in [last, carol] {
            assert_eq!(world.visit("/any", &session["access_token"]).await, 401);
        }
        let fresh = open("p4", "phone").await;
        assert_eq!(world.visit("/any", &fresh["access_token"]).await, 200);
    }
}

#[tokio::test]
async fn a_ban_holds_for_what_it_names_until_it_is_lifted_or_over() {
    for world in World::both().await {
        let session = world.log_in(json!({"user_id": "eve"})).await;
        let token = &session["access_token"];
        let service = "/v1/users/eve/bans/billing";
        let body = json!({"reason": "unpaid", "keep_sessions": true});
        let laid = world.ask("PUT", service, body.clone()).await;
        assert_eq!((laid.status, &laid.json()["ended"]), (200, &json!([])));
        assert_eq!(world.ask("PUT", service, body).await.status, 200);
        assert_eq!(world.visit("/any", token).await, 200);
        let shown = world.ask("GET", "/v1/users/eve", Value::Null).await.json();
        assert_eq!(shown["bans"]["billing"]["reason"], "unpaid");
        assert_eq!(world.ask("DELETE", service, Value::Null).await.status, 204);
        world
            .ask("DELETE", service, Value::Null)
            .await
            .refused(404, "ban_not_found");
        let shown = world.ask("GET", "/v1/users/eve", Value::Null).await.json();
        assert_eq!(shown["bans"], json!({}));

        let whole = "/v1/users/eve/bans/%2A";
        let laid = world.ask("PUT", whole, json!({})).await;
        assert_eq!(laid.json()["ended"], json!([session["session"]["sid"]]));
        assert_ne!(world.visit("/any", token).await, 200);
        let login = world
            .ask("POST", "/v1/sessions", json!({"user_id": "eve"}))
            .await;
        login.refused(403, "account_disabled");
        assert_eq!(world.ask("DELETE", whole, Value::Null).await.status, 204);
        let over = json!({"until": now() - 1000});
        assert_eq!(world.ask("PUT", whole, over).await.status, 200);
        world.log_in(json!({"user_id": "eve"})).await;
    }
}

#[tokio::test]
async fn rights_and_roles_count_from_the_next_request_on() {
    for world in World::both().await {
        let session = world.log_in(json!({"user_id": "fay"})).await;
        let token = &session["access_token"];
        let edit = async |body: Value| {
            let reply = world.ask("PATCH", "/v1/users/fay/rights", body).await;
            assert_eq!(reply.status, 200, "{}", reply.json());
            reply.json()
        };
        assert_eq!(world.visit("/read", token).await, 403);

        let rights = edit(json!({"grant": ["orders:read"]})).await;
        assert_eq!(
            rights,
            json!({"permissions": ["orders:read"], "roles": [], "denied": []})
        );
        assert_eq!(edit(json!({"grant": ["orders:read"]})).await, rights);
        assert_eq!(world.visit("/read", token).await, 200);
        edit(json!({"revoke": ["orders:read"]})).await;
        assert_eq!(world.visit("/read", token).await, 403);

        let role = json!({"permissions": ["orders:*"]});
        assert_eq!(world.ask("PUT", "/v1/roles/clerk", role).await.status, 204);
        let table = world.ask("GET", "/v1/roles", Value::Null).await.json();
        assert_eq!(table, json!({"roles": {"clerk": ["orders:*"]}}));
        edit(json!({"add_roles": ["clerk"]})).await;
        assert_eq!(world.visit("/read", token).await, 200);
        assert_eq!(world.visit("/clerks", token).await, 200);
        edit(json!({"deny": ["orders:read"]})).await;
        assert_eq!(world.visit("/read", token).await, 403);
        edit(json!({"allow": ["orders:read"]})).await;
        assert_eq!(world.visit("/read", token).await, 200);
        for _ in 0..2 {
            assert_eq!(
                world
                    .ask("DELETE", "/v1/roles/clerk", Value::Null)
                    .await
                    .status,
                204
            );
        }
        assert_eq!(world.visit("/read", token).await, 403);
        edit(json!({"remove_roles": ["clerk"]})).await;
        assert_eq!(world.visit("/clerks", token).await, 403);
    }
}

#[tokio::test]
async fn risk_and_step_up_are_kept_with_the_session_and_the_user() {
    for world in World::both().await {
        let session = world.log_in(json!({"user_id": "gil", "risk": 10})).await;
        let (token, sid) = (
            &session["access_token"],
            session["session"]["sid"].as_str().unwrap(),
        );
        let of_session = |what: &str| format!("/v1/users/gil/sessions/{sid}/{what}");

        let user = async || world.ask("GET", "/v1/users/gil", Value::Null).await.json();
        assert_eq!(
            (&user().await["risk"], &user().await["sessions"][0]["risk"]),
            (&json!(0), &json!(10))
        );
        for path in ["/v1/users/gil/risk".to_owned(), of_session("risk")] {
            let reply = world.ask("PUT", &path, json!({ "level": 51 })).await;
            assert_eq!(reply.status, 204, "{path}");
        }
        assert_eq!(
            (&user().await["risk"], &user().await["sessions"][0]["risk"]),
            (&json!(51), &json!(51))
        );
        assert_eq!(user().await["sessions"][0]["elevated_until"], Value::Null);
        let lifetime = json!({"lifetime": 60});
        let step = world
            .ask("POST", &of_session("step-up"), lifetime.clone())
            .await;
        assert_eq!(step.status, 204);
        let until = user().await["sessions"][0]["elevated_until"]
            .as_u64()
            .unwrap();
        assert!(until.abs_diff(now() + 60_000) < 30_000, "{until}");
        assert_eq!(world.visit("/any", token).await, 200);
        for what in ["step-up", "risk"] {
            let (method, body) = match what {
                "risk" => ("PUT", json!({"level": 1})),
                _ => ("POST", lifetime.clone()),
            };
            let path = format!("/v1/users/gil/sessions/nobodys/{what}");
            world
                .ask(method, &path, body)
                .await
                .refused(404, "session_not_found");
        }
    }
}

#[tokio::test]
async fn a_one_time_token_is_good_once_and_for_what_it_was_issued_for() {
    for world in World::both().await {
        let issue = async || {
            let once = json!({"purpose": "reset", "audience": "shop", "payload": {"user": "hal"}, "lifetime": 60});
            let reply = world.ask("POST", "/v1/once", once).await;
            assert_eq!(reply.status, 201);
            reply.json()["token"].clone()
        };
        let redeem = async |token: &Value, purpose: &str, audience: &str| {
            let body = json!({"token": token, "purpose": purpose, "audience": audience});
            world.ask("POST", "/v1/once/redeem", body).await
        };

        let token = issue().await;
        let redeemed = redeem(&token, "reset", "shop").await;
        assert_eq!(
            (redeemed.status, redeemed.json()),
            (200, json!({"payload": {"user": "hal"}}))
        );
        redeem(&token, "reset", "shop")
            .await
            .refused(404, "token_not_found");
        for (purpose, audience) in [("sso", "shop"), ("reset", "other")] {
            let token = issue().await;
            redeem(&token, purpose, audience)
                .await
                .refused(404, "token_not_found");
            redeem(&token, "reset", "shop")
                .await
                .refused(404, "token_not_found");
        }
        redeem(&json!("dbo_unknown"), "reset", "shop")
            .await
            .refused(404, "token_not_found");
    }
}

#[tokio::test]
async fn somebody_may_act_as_somebody_else_and_both_are_known() {
    for world in World::both().await {
        let helper = world.log_in(json!({"user_id": "helper"})).await;
        let order =
            |token: &Value| json!({"actor_token": token, "subject": "ivy", "lifetime": 600});

        let acting = world
            .ask("POST", "/v1/act-as", order(&helper["access_token"]))
            .await;

        assert_eq!(acting.status, 201, "{}", acting.json());
        let acting = acting.json();
        assert_eq!(acting["session"]["act"]["user_id"], "helper");
        assert!(acting.get("refresh_token").is_none());
        assert_eq!(world.visit("/any", &acting["access_token"]).await, 200);
        let chained = world
            .ask("POST", "/v1/act-as", order(&acting["access_token"]))
            .await;
        chained.refused(400, "bad_request");
        let unknown = world
            .ask("POST", "/v1/act-as", order(&json!("no-such-token")))
            .await;
        unknown.refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn limits_refuse_what_would_be_one_too_many() {
    let upstream = upstream();
    let keys = crate::support::admin::keys();
    let gateway = gateway()
        .toml(&format!(
            "[sessions]\nmax_per_user = 1\non_limit = \"refuse\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{keys}"
        ))
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .start()
        .await;
    let login = || call("POST", "/v1/sessions", &json!({"user_id": "kim"}));

    assert_eq!(gateway.administer("root", login()).await.status, 201);
    let second = gateway.administer("root", login()).await;

    second.refused(409, "too_many_sessions");
    // Without `[audit]` the lines are in the log.
    assert!(
        gateway.logs().contains("session.create"),
        "{}",
        gateway.logs()
    );
}

#[tokio::test]
async fn names_may_be_as_long_as_the_schema_says_in_characters() {
    for world in World::both().await {
        let (longest, longer) = ("\u{1f511}".repeat(256), "\u{e9}".repeat(257));
        let login = |user: &str, device: &str| json!({"user_id": user, "device": {"id": device, "type": "phone", "name": device}});
        let session = world.log_in(login(&longest, &longest)).await;
        assert_eq!(session["session"]["device"]["name"], longest, "whole");
        assert_eq!(world.visit("/any", &session["access_token"]).await, 200);
        for body in [login(&longer, "d"), login("a", &longer)] {
            world
                .ask("POST", "/v1/sessions", body)
                .await
                .refused(400, "bad_request");
        }
    }
}
