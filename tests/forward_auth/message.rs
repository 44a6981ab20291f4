//! Envoy's questions over gRPC, asked by a client of another library than Envoy's own.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind as Value;

use crate::support::redis::Redis;
use crate::support::{Gateway, Raw, upstream, user};
use crate::table::{ALICE, Asked, IDENTITY, TABLE, Verdict, in_redis, inline, setup};

fn question((line, host, headers): Asked<'_>, client: &str) -> CheckRequest {
    let (method, path) = line.split_once(' ').unwrap();
    let fields = headers.iter().map(|(name, value)| HeaderValue {
        key: name.to_lowercase(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    });
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: host.to_owned(),
        scheme: "http".to_owned(),
        header_map: Some(HeaderMap {
            headers: fields.collect(),
        }),
        ..HttpRequest::default()
    };
    let address = SocketAddress {
        address: client.to_owned(),
        ..SocketAddress::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(Address {
                    address: Some(Kind::SocketAddress(address)),
                }),
                ..Peer::default()
            }),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

async fn client(gateway: &Gateway) -> AuthorizationClient<tonic::transport::Channel> {
    let address = format!("http://{}", gateway.asked("EnvoyGrpc"));
    AuthorizationClient::connect(address).await.unwrap()
}

/// What Envoy would make of it.
fn verdict(answer: &CheckResponse) -> (Verdict, i32) {
    let code = answer.status.as_ref().unwrap().code;
    let fields = |list: &[envoy_types::pb::envoy::config::core::v3::HeaderValueOption]| {
        let named = list.iter().map(|option| {
            let header = option.header.clone().unwrap();
            assert!(
                option.keep_empty_value,
                "an empty header must not be dropped"
            );
            (header.key, header.value)
        });
        named.collect::<BTreeMap<_, _>>()
    };
    let verdict = match answer.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(passed) => {
            let told = fields(&passed.headers);
            let of = |name: &&str| {
                told.get(*name)
                    .cloned()
                    .unwrap_or_else(|| "absent".to_owned())
            };
            Verdict {
                status: 200,
                code: String::new(),
                challenge: None,
                allow: None,
                identity: IDENTITY
                    .iter()
                    .map(|name| ((*name).to_owned(), of(name)))
                    .collect(),
            }
        }
        HttpResponse::DeniedResponse(refused) | HttpResponse::ErrorResponse(refused) => {
            let problem: serde_json::Value =
                serde_json::from_str(&refused.body).unwrap_or_default();
            let told = fields(&refused.headers);
            Verdict {
                status: u16::try_from(refused.status.unwrap().code).unwrap(),
                code: problem["code"].as_str().unwrap_or_default().to_owned(),
                challenge: told.get("www-authenticate").cloned(),
                allow: told.get("allow").cloned(),
                identity: BTreeMap::new(),
            }
        }
    };
    (verdict, code)
}

fn metadata(answer: &CheckResponse, name: &str) -> String {
    let facts = &answer.dynamic_metadata.as_ref().unwrap().fields;
    match facts.get(name).and_then(|value| value.kind.clone()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_judged_like_the_request_it_tells_of() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let mut client = client(&gateway).await;

    for asked in TABLE {
        let expected = inline(&gateway, &upstream, *asked).await;
        let answer = client
            .check(question(*asked, "127.0.0.1"))
            .await
            .unwrap()
            .into_inner();

        let (told, code) = verdict(&answer);
        assert_eq!(told, expected, "{asked:?}");
        let codes = match expected.status {
            200 => 0,
            401 => 16,
            403 => 7,
            404 => 5,
            _ => 3,
        };
        assert_eq!(code, codes, "{asked:?}");
        let verdict = if expected.status == 200 {
            "allowed"
        } else {
            "refused"
        };
        assert_eq!(metadata(&answer, "verdict"), verdict);
        assert_ne!(metadata(&answer, "request_id"), "", "{asked:?}");
        if expected.status == 200 {
            assert_ne!(metadata(&answer, "route"), "", "{asked:?}");
        } else {
            assert_eq!(metadata(&answer, "code"), expected.code, "{asked:?}");
        }
        let denied = matches!(answer.http_response, Some(HttpResponse::DeniedResponse(_)));
        assert_eq!(denied, expected.status != 200, "{asked:?}");
    }
}

#[tokio::test]
async fn tokens_and_made_up_identity_are_taken_off_and_other_cookies_stay() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let mut client = client(&gateway).await;
    const SENT: &[(&str, &str)] = &[
        (
            "cookie",
            "a=b; session=dbt_alice-0123456789abcdef0123456789abcdef; c=d",
        ),
        ("x_user_id", "root"),
        ("x-original-url", "/x"),
        ("x-forwarded-for", "6.6.6.6"),
        ("accept", "*/*"),
    ];

    let answer = client
        .check(question(("GET /private", "a.test", SENT), "127.0.0.1"))
        .await;
    let answer = answer.unwrap().into_inner();
    let Some(HttpResponse::OkResponse(passed)) = &answer.http_response else {
        panic!("{answer:?}");
    };

    let mut removed = passed.headers_to_remove.clone();
    removed.sort();
    assert_eq!(removed, ["x-original-url", "x_user_id"]);
    let cookie = passed
        .headers
        .iter()
        .filter_map(|option| option.header.as_ref());
    let cookie: Vec<_> = cookie.filter(|header| header.key == "cookie").collect();
    assert_eq!(cookie.len(), 1);
    assert_eq!(cookie[0].value, "a=b; c=d");
    assert_eq!(metadata(&answer, "user"), "alice");
    assert_eq!(metadata(&answer, "route"), "*/private*");

    let only = [(
        "cookie",
        "session=dbt_alice-0123456789abcdef0123456789abcdef",
    )];
    let answer = client
        .check(question(("GET /private", "a.test", &only), "127.0.0.1"))
        .await;
    let Some(HttpResponse::OkResponse(passed)) = answer.unwrap().into_inner().http_response else {
        panic!("refused");
    };
    assert_eq!(passed.headers_to_remove, ["cookie"]);
}

#[tokio::test]
async fn what_cannot_be_told_is_an_error_and_no_denial() {
    let upstream = upstream();
    let mut redis = Redis::start().await;
    crate::support::gateway::log_in(&redis, ALICE, &user("alice", &[]));
    let gateway = in_redis(&redis, &upstream).start().await;
    let mut client = client(&gateway).await;
    const ASKED: Asked<'static> = (
        "GET /private",
        "a.test",
        &[(
            "authorization",
            "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
        )],
    );
    let answer = client
        .check(question(ASKED, "127.0.0.1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(verdict(&answer).0.status, 200);

    redis.kill();
    let answer = client
        .check(question(ASKED, "127.0.0.1"))
        .await
        .unwrap()
        .into_inner();

    let (told, code) = verdict(&answer);
    assert_eq!((told.status, code), (503, 14));
    assert_eq!(told.code, "session_store_unavailable");
    let Some(HttpResponse::ErrorResponse(error)) = &answer.http_response else {
        panic!("{answer:?}");
    };
    let retry = error
        .headers
        .iter()
        .filter_map(|option| option.header.as_ref());
    assert!(retry.into_iter().any(|header| header.key == "retry-after"));
}

#[tokio::test]
async fn a_message_that_tells_of_no_request_is_denied_and_nothing_breaks() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let mut client = client(&gateway).await;
    let spoiled = |spoil: fn(&mut HttpRequest)| {
        let mut question = question(("GET /public", "a.test", &[]), "127.0.0.1");
        let attributes = question.attributes.as_mut().unwrap();
        spoil(attributes.request.as_mut().unwrap().http.as_mut().unwrap());
        question
    };
    let cases: [(CheckRequest, u16); 9] = [
        (CheckRequest::default(), 400),
        (
            CheckRequest {
                attributes: Some(AttributeContext::default()),
            },
            400,
        ),
        (spoiled(|http| http.path.clear()), 400),
        (
            spoiled(|http| http.path = "/public#/../private".to_owned()),
            400,
        ),
        (spoiled(|http| http.host.clear()), 400),
        (spoiled(|http| http.host = "a b".to_owned()), 400),
        (spoiled(|http| http.method.clear()), 400),
        (
            spoiled(|http| {
                http.method = "CONNECT".to_owned();
                http.path.clear();
            }),
            400,
        ),
        (spoiled(|http| http.method = "CONNECT".to_owned()), 405),
    ];

    for (question, status) in cases {
        let shown = format!("{question:?}");
        let answer = client.check(question).await.unwrap().into_inner();
        let (told, code) = verdict(&answer);
        assert_eq!((told.status, code), (status, 3), "{shown}");
    }
    let fine = client.check(spoiled(|_| {})).await.unwrap().into_inner();
    assert_eq!(verdict(&fine).0.status, 200);
}

#[tokio::test]
async fn the_client_is_the_one_that_envoy_believes_and_counts_as_itself() {
    let upstream = upstream();
    let gateway = crate::support::gateway()
        .asked_by("envoy-grpc", "")
        .upstream("app", &upstream)
        .route(
            "prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"\n\
             limits = [{ by = \"client\", rate = \"2/h\" }]",
        )
        .start()
        .await;
    let mut client = client(&gateway).await;
    const FORGED: Asked<'static> = ("GET /", "a.test", &[("x-forwarded-for", "198.51.100.1")]);

    let mut statuses = Vec::new();
    for from in ["203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.2"] {
        let answer = client
            .check(question(FORGED, from))
            .await
            .unwrap()
            .into_inner();
        statuses.push(verdict(&answer).0.status);
    }

    assert_eq!(statuses, [200, 200, 429, 200]);
}

#[tokio::test]
async fn another_method_is_unimplemented_and_a_stranger_is_refused() {
    let upstream = upstream();
    let gateway = setup(&upstream).start().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.asked("EnvoyGrpc")))
            .unwrap()
            .connect()
            .await
            .unwrap();
    let mut health = envoy_types::pb::envoy::service::health::v3::health_discovery_service_client::HealthDiscoveryServiceClient::new(channel);
    let refused = health.fetch_health_check(envoy_types::pb::envoy::service::health::v3::HealthCheckRequestOrEndpointHealthResponse::default()).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unimplemented);

    // Whoever speaks HTTP/1.1 there gets nothing but the end of the connection.
    let mut raw = Raw::connect(gateway.asked("EnvoyGrpc")).await;
    raw.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert!(raw.reply().await.is_none());

    let elsewhere = crate::support::gateway()
        .asked_by("envoy-grpc", "trusted = [\"203.0.113.1\"]")
        .route("prefix = \"/\"")
        .start()
        .await;
    let mut client = client(&elsewhere).await;
    let refused = client
        .check(question(("GET /", "a.test", &[]), "127.0.0.1"))
        .await;
    assert!(refused.is_err());
    elsewhere
        .tells("\"status\":403,\"refusal\":\"inquiry_refused\"", 1)
        .await;
    assert_eq!(elsewhere.told("somebody asks who may not"), 1);
}
