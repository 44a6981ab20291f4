//! Who comes in: keys, scopes, certificates, web pages; and problem documents for everything that is not done.

use std::process::Command;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::admin::{form, json as call, key, keys};
use crate::support::certs::Leaf;
use crate::support::gateway::PROGRAM;
use crate::support::{Call, Connection, Gateway, Reply, gateway, soon, upstream};
use crate::{every_call, request};

const ROUTE: &str = "prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"";

#[tokio::test]
async fn every_call_needs_a_key_that_may_make_it_and_every_refusal_is_noted() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let mut refusals = 0;

    for one in every_call() {
        let (method, path, _, holder) = &one;
        let nobody = gateway.administer_as_is(request(&one)).await;
        let wrong = request(&one).bearer(&key("reader").replace("reader", "raeder"));
        let wrong = gateway.administer_as_is(wrong).await;
        let others = ["reader", "writer", "rights"].into_iter();
        let other = others.clone().find(|other| other != holder).unwrap();
        let other = gateway.administer(other, request(&one)).await;

        nobody.refused(401, "key_missing");
        assert_eq!(
            nobody.header("www-authenticate"),
            Some("Bearer realm=\"drawbridge admin\"")
        );
        wrong.refused(401, "key_invalid");
        other.refused(403, "scope_missing");
        refusals += 3;
        let lines = gateway.audit();
        assert_eq!(lines.len(), refusals, "{method} {path}: {lines:?}");
        for (line, reply) in lines.iter().rev().zip([other, wrong, nobody]) {
            assert_eq!(line["id"], reply.json()["request_id"]);
            assert_eq!(line["result"], reply.json()["code"]);
            assert_eq!(line["from"], "127.0.0.1");
            assert!(line["what"].as_str().unwrap().starts_with(method), "{line}");
            if path.contains("/alice") {
                assert_eq!(line["whom"], "alice");
            }
        }
    }
    let mut whos: Vec<_> = gateway
        .audit()
        .iter()
        .map(|line| line["who"].to_string())
        .collect();
    whos.sort();
    whos.dedup();
    assert_eq!(whos, ["\"-\"", "\"reader\"", "\"writer\""]);
}

#[tokio::test]
async fn a_key_counts_to_its_last_byte_and_is_shown_once() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let good = key("root");
    let roles = || Call::get("/v1/roles");

    for bad in [
        "",
        "dba_",
        &good[..good.len() - 1],
        &format!("{good}k"),
        &good.to_uppercase(),
    ] {
        let reply = gateway.administer_as_is(roles().bearer(bad)).await;
        reply.refused(401, "key_invalid");
    }
    let twice = roles().bearer(&good).bearer(&good);
    gateway
        .administer_as_is(twice)
        .await
        .refused(401, "key_invalid");
    let basic = roles().header("authorization", &format!("Basic {good}"));
    gateway
        .administer_as_is(basic)
        .await
        .refused(401, "key_invalid");

    let small = roles().header("authorization", &format!("bearer {good}"));
    assert_eq!(gateway.administer_as_is(small).await.status, 200);
}

#[tokio::test]
async fn whatever_is_not_done_is_a_problem_document() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let long = format!("/v1/users/{}", "u".repeat(257));
    let large = json!({"user_id": "a".repeat(70_000)});
    let cases = [
        (Call::get("/v1/nothing"), 404, "not_found"),
        (Call::get("/"), 404, "not_found"),
        (Call::new("DELETE", "/v1/roles"), 405, "method_not_allowed"),
        (
            Call::new("TRACE", "/v1/sessions"),
            405,
            "method_not_allowed",
        ),
        (Call::get("/v1/users/%ff"), 400, "bad_request"),
        (Call::get(&long), 400, "bad_request"),
        (call("POST", "/v1/sessions", &large), 413, "body_too_large"),
        (call("POST", "/v1/sessions", &json!({})), 400, "bad_request"),
        (
            call("POST", "/v1/limits/show", &json!([null, null])),
            400,
            "bad_request",
        ),
        (
            call("POST", "/v1/sessions", &json!({"user_id": ""})),
            400,
            "bad_request",
        ),
        (
            call("POST", "/v1/sessions", &json!({"user_id": "a", "x": 1})),
            400,
            "bad_request",
        ),
        (
            call(
                "POST",
                "/v1/sessions",
                &json!({"user_id": "a", "risk": 101}),
            ),
            400,
            "bad_request",
        ),
        (
            call("POST", "/v1/realm/kick", &json!({"everybody": false})),
            400,
            "bad_request",
        ),
        (
            Call::new("POST", "/v1/sessions").body("{}"),
            415,
            "media_type",
        ),
        (
            Call::new("POST", "/introspect")
                .header("content-type", "text/plain")
                .body("token=a"),
            415,
            "media_type",
        ),
        (form("/introspect", "tokens=a"), 400, "bad_request"),
        (form("/revoke", ""), 400, "bad_request"),
    ];

    for (case, status, code) in cases {
        let shown = format!("{case:?}");
        let reply = gateway.administer("root", case).await;

        assert_eq!(reply.status, status, "{shown}");
        reply.refused(status, code);
        let id = reply.json()["request_id"].clone();
        assert_eq!(reply.header("x-request-id"), id.as_str());
        assert_eq!(gateway.audit().last().unwrap()["id"], id, "{shown}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{shown}");
        let oauth = shown.contains("/introspect") || shown.contains("/revoke");
        let error = reply.json().get("error").cloned();
        assert_eq!(error, oauth.then(|| json!("invalid_request")), "{shown}");
    }
    let unknown = call(
        "POST",
        "/v1/sessions",
        &json!({"user_id": "a", "dba_secret": 1}),
    );
    let told = gateway.administer("root", unknown).await.json();
    assert!(
        told["detail"].as_str().unwrap().contains("unknown field"),
        "{told}"
    );
}

#[tokio::test]
async fn a_secret_in_a_wrong_place_is_in_no_log_and_in_no_answer() {
    let upstream = upstream();
    let secret = "dbt_this-is-a-secret-0123456789";
    let gateway = gateway()
        .admin()
        .secret(secret)
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let calls = [
        Call::get(&format!("/v1/tokens/{secret}")),
        Call::get(&format!("/v1/roles?token={secret}")),
        call("PUT", "/v1/users/alice/risk", &json!({"level": secret})),
        call("POST", "/v1/once/redeem", &json!({"token": [secret]})),
        form("/introspect", &format!("token={secret}&token={secret}")),
        Call::get("/v1/roles").header("authorization", &format!("Bearer {secret}")),
    ];

    for one in calls {
        let reply = gateway.administer_as_is(match format!("{one:?}").contains("uthorization") {
            true => one,
            false => one.bearer(&key("root")),
        });
        let text = String::from_utf8_lossy(&reply.await.body).into_owned();
        assert!(!text.contains(secret), "{text}");
    }

    let noted = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(noted.lines().count() >= 5, "{noted}");
    assert!(!noted.contains(secret), "{noted}");
}

#[tokio::test]
async fn the_document_describes_every_call_and_everybody_may_read_it() {
    let upstream = upstream();
    let gateway = gateway()
        .admin()
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;

    let document = gateway.administer_as_is(Call::get("/openapi.json")).await;

    assert_eq!(document.status, 200);
    let document = document.json();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push((method.to_uppercase(), path.clone()));
        }
    }
    let template = |path: &str| {
        path.replace("/alice", "/{user}")
            .replace("/sid4567890123456", "/{sid}")
            .replace("/*", "/{service}")
            .replace("/clerk", "/{role}")
    };
    let mut known: Vec<(String, String)> = every_call()
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), template(path)))
        .collect();
    for path in ["/live", "/ready", "/openapi.json"] {
        known.push(("GET".to_owned(), path.to_owned()));
    }
    described.sort();
    known.sort();
    assert_eq!(described, known);
    assert_eq!(
        gateway.administer_as_is(Call::get("/live")).await.status,
        204
    );
}

/// Runs it with this `[admin]` table; tells the exit code and what it says.
fn try_to_start(command: &str, admin: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\nembedded = \"s.redb\"\n[sessions]\n[audit]\nfile = \"a\"\n\
         [upstreams.app]\nendpoints = [\"http://127.0.0.1:9\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n\
         [admin]\n{admin}"
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(PROGRAM)
        .args([command, "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

#[test]
fn it_does_not_start_if_it_would_stand_open_to_a_network() {
    for command in ["check", "run"] {
        let open = "listen = \"0.0.0.0:0\"\nunauthenticated_loopback = true";
        let (code, told) = try_to_start(command, open);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("would stand open to everybody on 0.0.0.0:0"),
            "{told}"
        );

        let (code, told) = try_to_start(command, "listen = \"127.0.0.1:0\"");
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("nobody may come in"), "{told}");
        assert!(told.contains("drawbridge admin-key"), "{told}");
    }
}

#[tokio::test]
async fn without_keys_programs_on_this_machine_are_let_in_and_web_pages_are_not() {
    let upstream = upstream();
    let gateway = gateway()
        .admin_with("unauthenticated_loopback = true")
        .toml("[audit]\nfile = \"audit.jsonl\"")
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let roles = |host: &str| Call::get("/v1/roles").host(host);

    for host in [
        "localhost:9090",
        "127.0.0.1:9090",
        "[::1]:9090",
        "localhost",
    ] {
        assert_eq!(
            gateway.administer_as_is(roles(host)).await.status,
            200,
            "{host}"
        );
    }
    for page in [
        roles("127.0.0.1.evil.test"),
        roles("evil.test:9090"),
        roles("localhost").header("origin", "http://evil.test"),
        roles("localhost").header("sec-fetch-site", "cross-site"),
    ] {
        gateway
            .administer_as_is(page)
            .await
            .refused(403, "foreign_page");
    }
    assert_eq!(gateway.audit().len(), 4);
}

/// A call over TLS that shows this certificate, or none; nothing if the handshake fails.
async fn over_tls(gateway: &Gateway, leaf: Option<&Leaf>, call: Call) -> Option<Reply> {
    let client = gateway
        .authority()
        .client(&["http/1.1"], leaf, ALL_VERSIONS);
    let stream = TcpStream::connect(gateway.admin()).await.unwrap();
    let name = ServerName::try_from("admin.test").unwrap();
    let stream = TlsConnector::from(client).connect(name, stream);
    let stream = soon("a TLS handshake", stream).await.ok()?;
    let mut connection = Connection::h1_over(stream).await;
    let response = soon("an answer", connection.begin(call)).await.ok()?;
    Some(Reply::read(response).await)
}

#[tokio::test]
async fn a_client_certificate_opens_what_its_names_are_let_into() {
    for (client_auth, without) in [("optional", Some(401)), ("required", None)] {
        let upstream = upstream();
        let setup = gateway();
        let own = setup.authority().sign(&["admin.test"]);
        let known = setup.authority().sign(&["login.test", "other.test"]);
        let stranger = setup.authority().sign(&["stranger.test"]);
        let ca = setup.authority().file();
        let gateway = setup
            .admin_with(&format!(
                "{}\nclients = [{{ name = \"login\", certificate = \"dns:Login.test\", scopes = [\"sessions:read\"] }}]\n\
                 tls = {{ certificates = [{{ cert = {:?}, key = {:?} }}], client_auth = \"{client_auth}\", client_ca = {ca:?} }}",
                keys(),
                own.cert,
                own.key
            ))
            .toml("[audit]\nfile = \"audit.jsonl\"")
            .upstream("app", &upstream)
            .route(ROUTE)
            .start()
            .await;
        let roles = || Call::get("/v1/roles");

        let read = over_tls(&gateway, Some(&known), roles()).await.unwrap();
        assert_eq!(read.status, 200);
        let write = call("PUT", "/v1/roles/a", &json!({"permissions": []}));
        let write = over_tls(&gateway, Some(&known), write).await.unwrap();
        write.refused(403, "scope_missing");
        let line = gateway.audit().pop().unwrap();
        assert_eq!(
            (&line["who"], &line["by"]),
            (&json!("login"), &json!("certificate"))
        );
        let strange = over_tls(&gateway, Some(&stranger), roles()).await.unwrap();
        strange.refused(401, "certificate_unknown");
        let nobody = over_tls(&gateway, None, roles()).await;
        assert_eq!(nobody.map(|reply| reply.status), without);
        // Whoever shows a key is known by the key.
        let keyed = over_tls(&gateway, Some(&stranger), roles().bearer(&key("root"))).await;
        assert_eq!(keyed.unwrap().status, 200);
        let wrong = over_tls(&gateway, Some(&known), roles().bearer("dba_wrong")).await;
        wrong.unwrap().refused(401, "key_invalid");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let upstream = upstream();
    let gateway = gateway()
        .admin_with(&format!("header_timeout = \"300ms\"\n{}", keys()))
        .toml("[audit]\nfile = \"audit.jsonl\"")
        .upstream("app", &upstream)
        .route(ROUTE)
        .start()
        .await;
    let (slow, pieces) = Call::new("POST", "/v1/sessions")
        .header("content-type", "application/json")
        .bearer(&key("root"))
        .stream();

    let reply = gateway.administer_as_is(slow).await;

    reply.refused(408, "body_too_slow");
    drop(pieces);
    let line: Value = gateway.audit().pop().unwrap();
    assert_eq!(line["result"], "body_too_slow");
}
