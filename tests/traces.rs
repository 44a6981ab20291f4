//! Traces: what an upstream is told, and what a collector hears. The collector is a socket that decodes what it gets.

mod support;

use std::collections::HashMap;

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use support::{Call, Raw, Setup, gateway, soon, upstream, user};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const TOKEN: &str = "an-ordinary-token-of-alice-0123456789";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A collector, and the batches that it gets.
struct Collector {
    address: std::net::SocketAddr,
    batches: mpsc::Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is the gateway under test that sends"
    )]
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, batches) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let sender = sender.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        let body = request.into_body().collect().await?.to_bytes();
                        sender
                            .send(ExportTraceServiceRequest::decode(body).unwrap())
                            .await
                            .ok();
                        let reply = ExportTraceServiceResponse::default().encode_to_vec();
                        let mut response = http::Response::new(http_body_util::Full::new(
                            bytes::Bytes::from(reply),
                        ));
                        let kind = http::HeaderValue::from_static("application/x-protobuf");
                        response.headers_mut().insert("content-type", kind);
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self { address, batches }
    }

    /// The next spans, and the name of the service that they are of.
    async fn spans(&mut self) -> (String, Vec<Span>) {
        let batch = soon("spans", self.batches.recv()).await.unwrap();
        let resource = &batch.resource_spans[0];
        let names = attributes(&resource.resource.as_ref().unwrap().attributes);
        let spans = resource
            .scope_spans
            .iter()
            .flat_map(|scope| scope.spans.clone());
        (names["service.name"].clone(), spans.collect())
    }
}

fn attributes(all: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match value
        .as_ref()
        .and_then(|value| value.value.as_ref())
    {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    all.iter()
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn setup(upstream: &support::Upstream, tracing: &str) -> Setup {
    gateway()
        .session(TOKEN, user("alice", &["orders:read"]))
        .upstream("app", upstream)
        .toml(&format!("[tracing]\n{tracing}"))
        .route("name = \"orders\"\nprefix = \"/orders\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
}

#[tokio::test]
async fn a_request_goes_on_from_its_parent_and_its_upstream_from_it() {
    let (upstream, mut collector) = (upstream(), Collector::start().await);
    let tracing = format!(
        "otlp = \"http://{}\"\nsample = \"0%\"\nparent = \"anyone\"\nservice = \"door\"",
        collector.address
    );
    let gateway = setup(&upstream, &tracing).start().await;
    let call = Call::get("/orders/1?secret=query-of-alice")
        .bearer(TOKEN)
        .header("traceparent", PARENT)
        .header("tracestate", "vendor=1");
    assert_eq!(gateway.send(call).await.status, 200);

    let (service, spans) = collector.spans().await;
    assert_eq!(service, "door");
    let seen = upstream.last();
    let told: Vec<_> = seen.header("traceparent").unwrap().split('-').collect();
    let [own, lookup, forward] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(
        (told[0], told[1], told[3]),
        ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    );
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert_eq!(
        hex(&forward.span_id),
        told[2],
        "the upstream goes on from the span of asking it"
    );
    assert_eq!(hex(&own.parent_span_id), "b7ad6b7169203331");
    for span in &spans {
        assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert!(span.start_time_unix_nano >= own.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= own.end_time_unix_nano);
    }
    for child in [lookup, forward] {
        assert_eq!(child.parent_span_id, own.span_id);
    }
    let names: Vec<_> = spans
        .iter()
        .map(|span| (span.name.as_str(), span.kind))
        .collect();
    // OTLP: 1 internal, 2 server, 3 client.
    assert_eq!(
        names,
        [
            ("GET orders", 2),
            ("session lookup", 1),
            ("upstream app", 3)
        ]
    );
    let facts = attributes(&own.attributes);
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/orders/1"),
        ("http.route", "orders"),
        ("http.response.status_code", "200"),
        ("user.id", "alice"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(facts[name], expected);
    }
    let all = format!("{spans:?}");
    assert!(!all.contains(TOKEN) && !all.contains("query-of-alice"));
    gateway
        .tells("\"trace\":\"0af7651916cd43dd8448eb211c80319c\"", 1)
        .await;
}

#[tokio::test]
async fn a_stranger_begins_a_trace_whatever_it_says_and_refusals_are_told_too() {
    let (upstream, mut collector) = (upstream(), Collector::start().await);
    let tracing = format!("otlp = \"http://{}\"\nsample = \"100%\"", collector.address);
    let gateway = setup(&upstream, &tracing).start().await;
    let call = Call::get("/public/x")
        .header("traceparent", PARENT)
        .header("tracestate", "vendor=1");
    gateway.send(call).await;
    let seen = upstream.last();
    let told = seen.header("traceparent").unwrap();
    assert!(
        !told.contains("0af7651916cd43dd") && told.ends_with("-01"),
        "{told}"
    );
    assert_eq!(seen.header("tracestate"), None);
    gateway
        .send(Call::get("/orders/1"))
        .await
        .refused(401, "token_missing");

    let mut spans = Vec::new();
    while spans.len() < 3 {
        spans.extend(collector.spans().await.1);
    }
    assert!(spans.iter().all(|span| span.name != "session lookup"));
    let refused = spans.iter().find(|span| span.name == "GET orders").unwrap();
    let facts = attributes(&refused.attributes);
    assert_eq!(facts["drawbridge.refusal"], "token_missing");
    assert!(refused.parent_span_id.is_empty());
    assert!(told.contains(&hex(&spans[0].trace_id)));
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_and_without_a_collector_headers_are_left_alone() {
    let (upstream, mut collector) = (upstream(), Collector::start().await);
    let tracing = format!("otlp = \"http://{}\"\nsample = \"0%\"", collector.address);
    let seldom = setup(&upstream, &tracing).start().await;
    seldom.send(Call::get("/public/x")).await;
    let told = upstream.last();
    assert!(told.header("traceparent").unwrap().ends_with("-00"));
    // A parent has the last word, also where everything else is sampled.
    let tracing = tracing.replace("0%", "100%") + "\nparent = \"anyone\"";
    let always = setup(&upstream, &tracing).start().await;
    let unsampled = PARENT.replace("-01", "-00");
    always
        .send(Call::get("/public/x").header("traceparent", &unsampled))
        .await;
    let told = upstream.last();
    let told = told.header("traceparent").unwrap();
    assert!(
        told.ends_with("-00") && told[..35] == unsampled[..35],
        "{told}"
    );
    // At its end a gateway sends what it still has.
    for mut gateway in [seldom, always] {
        gateway.terminate();
        assert!(gateway.ended().await.success());
    }
    assert!(collector.batches.try_recv().is_err());

    let off = setup(&upstream, "").start().await;
    off.send(
        Call::get("/public/x")
            .header("traceparent", PARENT)
            .header("tracestate", "vendor=1"),
    )
    .await;
    assert_eq!(upstream.last().header("traceparent"), Some(PARENT));
    assert_eq!(upstream.last().header("tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn a_collector_that_is_dead_or_asleep_costs_requests_nothing() {
    let upstream = upstream();
    // It takes connections, and never says anything.
    let asleep = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [asleep.local_addr().unwrap(), dead.local_addr().unwrap()];
    drop(dead);
    for address in addresses {
        let tracing = format!("otlp = \"http://{address}\"\nsample = \"100%\"");
        let mut gateway = setup(&upstream, &tracing).start().await;
        let mut raw = Raw::connect(gateway.plain()).await;
        let asked = "GET /public/x HTTP/1.1\r\nhost: a.test\r\n\r\n".repeat(200);
        raw.write(asked).await;
        for _ in 0..200 {
            assert_eq!(raw.reply().await.unwrap().status, 200);
        }
        gateway.tells("the collector takes no traces", 1).await;
        gateway.still_serves().await;
        gateway.terminate();
        assert!(gateway.ended().await.success());
    }
}
