//! One table of requests, and what the gateway makes of each of them in whatever way it hears of it.

use std::collections::BTreeMap;

use crate::support::{Gateway, Raw, RawReply, Redis, Setup, Upstream, gateway, user};

pub(crate) const ALICE: &str = "dbt_alice-0123456789abcdef0123456789abcdef";
pub(crate) const BOB: &str = "dbt_bob-fedcba9876543210fedcba9876543210";
pub(crate) const UNKNOWN: &str = "dbt_nobody-00000000000000000000000000000";

/// Every proxy that asks over HTTP: as configured, and as printed.
pub(crate) const PROXIES: [(&str, &str); 7] = [
    ("nginx", "Nginx"),
    ("ingress-nginx", "IngressNginx"),
    ("traefik", "Traefik"),
    ("caddy", "Caddy"),
    ("haproxy", "Haproxy"),
    ("envoy", "Envoy"),
    ("gateway-api", "GatewayApi"),
];

/// Identity headers of every route of [`setup`].
pub(crate) const IDENTITY: [&str; 7] = [
    "x-user-id",
    "x-user-permissions",
    "x-user-roles",
    "x-device-id",
    "x-device-type",
    "x-staff",
    "x-drawbridge-assertion",
];

/// Clients send here, and every proxy asks here, each at a listener of its own.
pub(crate) fn asked_by_all() -> Setup {
    let mut setup = gateway().plain();
    for (proxy, _) in PROXIES {
        let prefix = proxy == "envoy" || proxy == "gateway-api";
        setup = setup.asked_by(proxy, if prefix { "path_prefix = \"/ask\"" } else { "" });
    }
    setup.asked_by("envoy-grpc", "")
}

/// Routes of every kind to one upstream.
pub(crate) fn setup(upstream: &Upstream) -> Setup {
    let setup = asked_by_all()
        .session(ALICE, user("alice", &["orders:read", "files:*"]))
        .session(BOB, user("b\u{f6}b, the builder", &[]))
        .secret(UNKNOWN);
    routes(setup, upstream)
}

/// The same, with sessions in Redis.
pub(crate) fn in_redis(redis: &Redis, upstream: &Upstream) -> Setup {
    let strict = "[cache]\nmax_staleness = \"0s\"";
    routes(
        asked_by_all().redis(redis).secret(ALICE).toml(strict),
        upstream,
    )
}

fn routes(setup: Setup, upstream: &Upstream) -> Setup {
    setup
        .toml("[tokens]\nsources = [\"bearer\", \"cookie:session\"]")
        // Long enough for one to serve a whole test: what is signed anew is another text.
        .toml("[assertion]\nissuer = \"gateway\"\nlifetime = \"10m\"")
        .upstream("app", upstream)
        .route("prefix = \"/private\"\nupgrades = [\"websocket\"]\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .route("prefix = \"/optional\"\nauth = \"optional\"\nupstream = \"app\"")
        .route("exact = \"/read\"\nmethods = [\"GET\"]\nupstream = \"app\"")
        .route(
            "prefix = \"/orders\"\nupstream = \"app\"\nheaders = { x-staff = \"user_id\" }\n\
             require = { all = [\"orders:read\"] }",
        )
        .route("prefix = \"/\"\nhost = \"b.test\"\nupstream = \"app\"")
}

/// One request: its line without the version, its host, further headers.
pub(crate) type Asked<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

const OF_ALICE: (&str, &str) = (
    "authorization",
    "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
);
const OF_BOB: (&str, &str) = (
    "Authorization",
    "bearer dbt_bob-fedcba9876543210fedcba9876543210",
);
const OF_NOBODY: (&str, &str) = (
    "authorization",
    "Bearer dbt_nobody-00000000000000000000000000000",
);
const IN_COOKIE: (&str, &str) = (
    "cookie",
    "a=b; session=dbt_alice-0123456789abcdef0123456789abcdef; c=d",
);

/// The table. What a client pretends to be stands in it too.
pub(crate) const TABLE: &[Asked<'static>] = &[
    ("GET /private/x?q=1", "a.test", &[]),
    ("GET /private/x?q=1", "a.test", &[OF_ALICE]),
    ("POST /private", "A.TEST:80", &[OF_ALICE]),
    ("GET /private", "a.test", &[OF_BOB]),
    ("GET /private", "a.test", &[OF_NOBODY]),
    ("GET /private", "a.test", &[("authorization", "Bearer a b")]),
    ("GET /private", "a.test", &[("authorization", "Basic YTpi")]),
    ("GET /private", "a.test", &[OF_ALICE, OF_BOB]),
    ("GET /private", "a.test", &[IN_COOKIE]),
    ("GET /private", "a.test", &[IN_COOKIE, OF_BOB]),
    ("GET /optional", "a.test", &[]),
    ("GET /optional", "a.test", &[OF_NOBODY]),
    ("DELETE /optional/", "a.test", &[OF_ALICE]),
    ("GET /public", "a.test", &[OF_ALICE]),
    ("GET /orders/7", "a.test", &[OF_ALICE]),
    ("GET /orders/7", "a.test", &[OF_BOB]),
    ("GET /orders/7", "a.test", &[]),
    ("GET /read", "a.test", &[OF_ALICE]),
    ("POST /read", "a.test", &[OF_ALICE]),
    ("GET /read/", "a.test", &[OF_ALICE]),
    ("GET /nowhere", "a.test", &[OF_ALICE]),
    ("GET /nowhere", "b.test", &[OF_ALICE]),
    ("GET /privateer", "a.test", &[OF_ALICE]),
    ("TRACE /public", "a.test", &[]),
    // Identity that a client makes up, in several spellings.
    (
        "GET /private",
        "a.test",
        &[
            OF_ALICE,
            ("x-user-id", "root"),
            ("X_User_Id", "root"),
            ("x-staff", "root"),
            ("X-Drawbridge-Assertion", "root"),
        ],
    ),
    (
        "GET /optional",
        "a.test",
        &[
            ("X-User-Roles", "admin"),
            ("x.staff", "root"),
            ("x-drawbridge-assertion", "root"),
            ("x_drawbridge_assertion", "root"),
        ],
    ),
    (
        "GET /public",
        "a.test",
        &[("x-user-id", "root"), ("x-staff", "root")],
    ),
    // Paths that two programs read in two ways.
    ("GET /public/../private", "a.test", &[]),
    ("GET /public/%2e%2e/private", "a.test", &[]),
    ("GET /public/..%2fprivate", "a.test", &[]),
    ("GET /public/..;/private", "a.test", &[]),
    ("GET //private", "a.test", &[]),
    ("GET /public//../private", "a.test", &[]),
    ("GET /%70ublic", "a.test", &[]),
    ("GET /%70rivate", "a.test", &[]),
    ("GET /PUBLIC", "a.test", &[]),
    ("GET /public%00", "a.test", &[]),
    ("GET /private?x=/public", "a.test", &[]),
    ("GET /public?x=/../private", "a.test", &[]),
    ("GET /public", "a..test", &[]),
    // Requests that another site makes a browser send.
    ("POST /private", "a.test", &[IN_COOKIE]),
    (
        "POST /private",
        "a.test",
        &[IN_COOKIE, ("origin", "http://a.test")],
    ),
    (
        "POST /private",
        "a.test",
        &[IN_COOKIE, ("origin", "https://a.test")],
    ),
    (
        "POST /private",
        "a.test",
        &[IN_COOKIE, ("sec-fetch-site", "same-origin")],
    ),
    (
        "POST /private",
        "a.test",
        &[IN_COOKIE, ("sec-fetch-site", "cross-site")],
    ),
];

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: u16,
    /// Reason code of a refusal.
    pub(crate) code: String,
    pub(crate) challenge: Option<String>,
    pub(crate) allow: Option<String>,
    /// What the upstream is told, if it passes.
    pub(crate) identity: BTreeMap<String, String>,
}

impl Verdict {
    /// Of a refusal, or of what is told to whoever lets it pass.
    pub(crate) fn of(reply: &RawReply) -> Self {
        let passed = reply.status == 200;
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let header = |name| reply.header(name).map(str::to_owned);
        let identity = IDENTITY.iter().filter(|_| passed);
        Self {
            status: reply.status,
            code: problem["code"].as_str().unwrap_or_default().to_owned(),
            challenge: header("www-authenticate"),
            allow: header("allow"),
            identity: identity
                .map(|name| {
                    (
                        (*name).to_owned(),
                        header(name).unwrap_or_else(|| "absent".to_owned()),
                    )
                })
                .collect(),
        }
    }
}

/// As a client would send it.
pub(crate) fn text(line: &str, host: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}

/// As this proxy would ask.
pub(crate) fn question(proxy: &str, (line, host, headers): Asked<'_>) -> String {
    let (method, target) = line.split_once(' ').unwrap();
    let url = format!("http://{host}{target}");
    let mut all = headers.to_vec();
    let (asked, by): (String, &str) = match proxy {
        "nginx" | "ingress-nginx" => {
            all.extend([
                ("x-original-url", url.as_str()),
                ("x-original-method", method),
            ]);
            ("GET /ask".to_owned(), "asked.test")
        }
        "traefik" | "caddy" | "haproxy" => {
            all.extend([
                ("x-forwarded-method", method),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", host),
                ("x-forwarded-uri", target),
            ]);
            ("GET /".to_owned(), "asked.test")
        }
        _ => {
            all.push(("x-forwarded-proto", "http"));
            (format!("{method} /ask{target}"), host)
        }
    };
    text(&asked, by, &all)
}

/// What becomes of a request that a client sends to the gateway itself.
pub(crate) async fn inline(gateway: &Gateway, upstream: &Upstream, asked: Asked<'_>) -> Verdict {
    let (line, host, headers) = asked;
    let before = upstream.seen().len();
    let mut raw = Raw::connect(gateway.plain()).await;
    raw.write(text(line, host, headers)).await;
    let reply = raw.reply().await.unwrap();
    let mut verdict = Verdict::of(&reply);
    let seen = upstream.seen();
    if reply.status == 200 {
        assert_eq!(seen.len(), before + 1, "{asked:?}");
        let seen = seen.last().unwrap();
        // What a route does not say is not there, and to a proxy it is told to be empty.
        verdict.identity = IDENTITY
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    seen.header(name).unwrap_or_default().to_owned(),
                )
            })
            .collect();
    } else {
        assert_eq!(seen.len(), before, "{asked:?}");
    }
    verdict
}

/// What this proxy is told.
pub(crate) async fn through(gateway: &Gateway, proxy: (&str, &str), asked: Asked<'_>) -> RawReply {
    let mut raw = Raw::connect(gateway.asked(proxy.1)).await;
    raw.write(question(proxy.0, asked)).await;
    raw.reply().await.unwrap()
}
