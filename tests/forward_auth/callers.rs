//! Real proxies with the configurations that are shipped for them in `deploy/companions`; only ports are others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::gateway::log_in;
use crate::support::redis::{eventually, free_port};
use crate::support::{
    Answer, Gateway, PATIENCE, Raw, RawReply, Redis, Upstream, upstream_that, user,
};
use crate::table::{ALICE, Asked, BOB, IDENTITY, TABLE, Verdict, in_redis, inline, text};

/// A proxy, and what is shipped for it.
struct Kind {
    program: &'static str,
    /// As the listener is printed where it asks.
    asks: &'static str,
    /// The file, and what goes with it.
    files: &'static [&'static str],
    /// What is in the files.
    port: &'static str,
    arguments: fn(&Path) -> Vec<String>,
    /// Where the file names identity headers, and how it names one more: of a route that has a header of its own.
    naming: (&'static str, &'static str),
    /// Whether a client sees the body of a refusal.
    relays: bool,
    /// The status of a request that it refuses itself, without asking.
    own: fn(Asked<'_>) -> Option<u16>,
}

const NGINX: Kind = Kind {
    program: "nginx",
    asks: "Nginx",
    files: &["nginx.conf"],
    port: "9191",
    arguments: |dir| {
        let dir = dir.display();
        vec![
            "-p".to_owned(),
            format!("{dir}/"),
            "-c".to_owned(),
            format!("{dir}/nginx.conf"),
        ]
    },
    naming: (
        "proxy_set_header Authorization \"\";",
        "proxy_set_header Authorization \"\";\nauth_request_set $staff $upstream_http_x_staff;\nproxy_set_header X-Staff $staff;",
    ),
    relays: false,
    // Two fields of a name that may be there once: nginx does not even ask.
    own: |(_, _, headers)| {
        let named = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        (named.count() > 1).then_some(400)
    },
};
const CADDY: Kind = Kind {
    program: "caddy",
    asks: "Caddy",
    files: &["Caddyfile"],
    port: "9193",
    arguments: |dir| {
        let file = dir.join("Caddyfile").display().to_string();
        ["run", "--adapter", "caddyfile", "--config", &file]
            .map(str::to_owned)
            .to_vec()
    },
    naming: (
        "X-Request-Id\n\t}\n\n\treverse_proxy 127.0.0.1:3000 {",
        "X-Request-Id X-Staff\n\t}\n\n\treverse_proxy 127.0.0.1:3000 {\nheader_up -X.Staff",
    ),
    relays: true,
    own: |_| None,
};
const HAPROXY: Kind = Kind {
    program: "haproxy",
    asks: "Haproxy",
    files: &["haproxy.cfg", "drawbridge.lua"],
    port: "9194",
    arguments: |dir| {
        let file = dir.join("haproxy.cfg").display().to_string();
        ["-db", "-f", &file].map(str::to_owned).to_vec()
    },
    naming: (
        "\"x-request-id\",\n}\n-- What of",
        "\"x-request-id\", \"x-staff\",\n}\n-- What of",
    ),
    relays: true,
    own: |_| None,
};
const ENVOY_HTTP: Kind = Kind {
    program: "envoy",
    asks: "Envoy",
    files: &["envoy-http.yaml"],
    port: "9195",
    arguments: |dir| envoy(dir, "envoy-http.yaml"),
    naming: (
        "- exact: x-actor-id",
        "- exact: x-actor-id\n                              - exact: x-staff",
    ),
    relays: true,
    own: |_| None,
};
const ENVOY_GRPC: Kind = Kind {
    program: "envoy",
    asks: "EnvoyGrpc",
    files: &["envoy-grpc.yaml"],
    port: "9196",
    arguments: |dir| envoy(dir, "envoy-grpc.yaml"),
    naming: ("", ""),
    relays: true,
    own: |_| None,
};

fn envoy(dir: &Path, file: &str) -> Vec<String> {
    let file = dir.join(file).display().to_string();
    [
        "-c",
        &file,
        "-l",
        "error",
        "--disable-hot-restart",
        "--concurrency",
        "1",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Where a program is: Envoy where `tests/run.sh` puts it, others on the path. `None` where no system that we know of has
/// it; on Debian it has to be there.
fn find(program: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = std::fs::read_dir(root.join("target/envoy/lib"))
        .into_iter()
        .flatten();
    let envoys = libraries
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .collect();
    let found = envoys
        .filter(|_| program == "envoy")
        .chain(folders.into_iter().map(|folder| folder.join(program)))
        .find(|place| place.is_file());
    let debian = Path::new("/etc/debian_version").exists();
    assert!(
        found.is_some() || !debian,
        "{program} is missing: run `bash tests/run.sh` once"
    );
    if found.is_none() {
        eprintln!("SKIPPED: there is no {program} here, so nothing is proven about it");
    }
    found
}

/// A running proxy.
struct Proxy {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Proxy {
    async fn start(kind: &Kind, program: &Path, gateway: &Gateway, upstream: &Upstream) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/companions");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut names = 0;
        for file in kind.files {
            let text = std::fs::read_to_string(shipped.join(file)).unwrap();
            names += text.matches(kind.naming.0).count();
            let text = text
                .replacen(kind.naming.0, kind.naming.1, 1)
                .replace("/check", "/ask")
                .replace("deploy/companions", &dir.path().display().to_string())
                .replace("8080", &address.port().to_string())
                .replace(kind.port, &gateway.asked(kind.asks).port().to_string())
                .replace("3000", &upstream.address().port().to_string());
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        assert!(
            names > 0,
            "{:?} is in none of {:?}",
            kind.naming.0,
            kind.files
        );
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(program)
            .args((kind.arguments)(dir.path()))
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let proxy = Self {
            process,
            address,
            dir,
        };
        let serves = || std::net::TcpStream::connect(address).is_ok();
        eventually(kind.program, PATIENCE, serves).await;
        proxy
    }

    async fn send(&self, (line, host, headers): Asked<'_>) -> RawReply {
        let mut raw = Raw::connect(self.address).await;
        raw.write(text(line, host, headers)).await;
        raw.reply()
            .await
            .unwrap_or_else(|| panic!("no answer to {line}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM, so that one with several processes takes them along.
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().ok();
        let start = std::time::Instant::now();
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if start.elapsed() > PATIENCE {
                self.process.kill().ok();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}

/// What a client and the upstream see of a request through this proxy.
async fn verdict(proxy: &Proxy, upstream: &Upstream, asked: Asked<'_>) -> Verdict {
    let before = upstream.seen().len();
    let reply = proxy.send(asked).await;
    let mut verdict = Verdict::of(&reply);
    let seen = upstream.seen();
    if reply.status == 200 {
        assert_eq!(seen.len(), before + 1, "{asked:?}");
        let seen = seen.last().unwrap();
        assert_eq!(
            seen.line(),
            format!("{} HTTP/1.1", asked.0),
            "what was judged is what is sent"
        );
        let of = |name: &str| seen.header(name).unwrap_or_default().to_owned();
        verdict.identity = IDENTITY
            .iter()
            .map(|name| ((*name).to_owned(), of(name)))
            .collect();
        let made_up = seen.headers().into_iter().map(|(_, value)| value);
        assert!(
            !made_up.into_iter().any(|value| value == "root"),
            "{}",
            seen.head
        );
        let tokens = seen.all("authorization");
        assert!(
            tokens.iter().all(|token| !token.contains("dbt_")),
            "{}",
            seen.head
        );
    } else {
        assert_eq!(
            seen.len(),
            before,
            "refused, and still forwarded: {asked:?}"
        );
    }
    verdict
}

async fn proven(kind: Kind) {
    let Some(program) = find(kind.program) else {
        return;
    };
    let upstream = upstream_that(|_| Answer::Echo);
    let mut redis = Redis::start().await;
    log_in(&redis, ALICE, &user("alice", &["orders:read", "files:*"]));
    log_in(&redis, BOB, &user("b\u{f6}b, the builder", &[]));
    let gateway = in_redis(&redis, &upstream)
        .toml("[login]\nsignin = \"https://login.test/in?rd={url}\"")
        .start()
        .await;
    let proxy = Proxy::start(&kind, &program, &gateway, &upstream).await;

    the_table(&kind, &proxy, (&gateway, &upstream)).await;
    claims(&proxy, &upstream).await;
    signing_in(&proxy, &upstream).await;

    redis.kill();
    const KNOWN: Asked<'static> = (
        "GET /private",
        "a.test",
        &[(
            "authorization",
            "Bearer dbt_alice-0123456789abcdef0123456789abcdef",
        )],
    );
    let seen = upstream.seen().len();
    let reply = proxy.send(KNOWN).await;
    assert_eq!(reply.status, 503, "{}", reply.head);
    drop(gateway);
    let reply = proxy.send(KNOWN).await;
    assert!(reply.status >= 500, "{}", reply.head);
    let public = proxy.send(("GET /public", "a.test", &[])).await;
    assert!(
        public.status >= 500,
        "nobody can tell that this is public: {}",
        public.head
    );
    assert_eq!(upstream.seen().len(), seen);
    if kind.asks == "EnvoyGrpc" {
        let told = || {
            proxy
                .log()
                .contains("200 user=alice route=*/private* code=-")
        };
        eventually("Envoy's access log", PATIENCE, told).await;
        assert!(
            proxy
                .log()
                .contains("401 user=- route=- code=token_missing")
        );
        assert!(!proxy.log().contains("dbt_"), "a token was logged");
    }
}

/// The whole table: the same status, the same identity at the upstream, and the same words where the proxy relays them.
async fn the_table(kind: &Kind, proxy: &Proxy, (gateway, upstream): (&Gateway, &Upstream)) {
    let mut wrong = Vec::new();
    for asked in TABLE {
        let mut expected = inline(gateway, upstream, *asked).await;
        let mut found = verdict(proxy, upstream, *asked).await;
        if let Some(status) = (kind.own)(*asked) {
            assert_eq!(found.status, status, "{asked:?}");
            assert_ne!(found.status, 200);
            continue;
        }
        if !kind.relays {
            expected.code.clear();
            expected.allow = None;
        }
        // Who relays them may spell them otherwise, and that of 401 is all that RFC 9110 asks for.
        if expected.status != 401 {
            expected.challenge = None;
            found.challenge = None;
        }
        if found != expected {
            wrong.push(format!(
                "{asked:?}\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a client says about itself in the way of each proxy, this one's included.
async fn claims(proxy: &Proxy, upstream: &Upstream) {
    const CLAIMS: &[(&str, &str)] = &[
        ("x-original-url", "http://a.test/public"),
        ("x-original-uri", "/public"),
        ("x-original-method", "GET"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.test"),
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-prefix", "/public"),
        ("x-auth-request-redirect", "/public"),
        ("x-envoy-original-path", "/public"),
        ("x-rewrite-url", "/public"),
    ];
    let all = verdict(proxy, upstream, ("GET /private", "a.test", CLAIMS)).await;
    assert_eq!(all.status, 401);
    for claim in CLAIMS {
        let one = verdict(proxy, upstream, ("GET /private", "a.test", &[*claim])).await;
        assert_eq!(one.status, 401, "{claim:?}");
    }
    // What a framework would believe over the request line does not arrive, whatever the rule is.
    let public = verdict(proxy, upstream, ("GET /public", "a.test", CLAIMS)).await;
    assert_eq!(public.status, 200);
    for name in ["x-original-url", "x-original-uri", "x-rewrite-url"] {
        assert_eq!(upstream.last().header(name), None, "{name}");
    }
}

async fn signing_in(proxy: &Proxy, upstream: &Upstream) {
    let page = "https://login.test/in?rd=http%3A%2F%2Fa.test%2Fprivate%3Fa%3Db%26c";
    let browser = [("accept", "text/html")];
    let seen = upstream.seen().len();

    let sent = proxy.send(("GET /private?a=b&c", "a.test", &browser)).await;
    assert_eq!(sent.status, 302, "{}", sent.head);
    assert_eq!(sent.header("location"), Some(page));
    let program = [("accept", "application/json")];
    let told = proxy.send(("GET /private?a=b&c", "a.test", &program)).await;
    assert_eq!(told.status, 401, "{}", told.head);
    assert_eq!(told.header("location"), None);
    assert_eq!(upstream.seen().len(), seen);
}

#[tokio::test]
async fn nginx_asks_and_forwards() {
    proven(NGINX).await;
}

#[tokio::test]
async fn caddy_asks_and_forwards() {
    proven(CADDY).await;
}

#[tokio::test]
async fn haproxy_asks_and_forwards() {
    proven(HAPROXY).await;
}

#[tokio::test]
async fn envoy_asks_over_http_and_forwards() {
    proven(ENVOY_HTTP).await;
}

#[tokio::test]
async fn envoy_asks_over_grpc_and_forwards() {
    proven(ENVOY_GRPC).await;
}

#[tokio::test]
async fn the_gateway_s_own_file_beside_them_serves_every_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/companions/gateway.toml");
    let loaded = drawbridge::config::load::read(&path).unwrap();
    let errors = drawbridge::config::check::run(&loaded.config)
        .into_iter()
        .filter(drawbridge::config::fault::Fault::is_error);
    assert_eq!(errors.count(), 0);
    for kind in [NGINX, CADDY, HAPROXY, ENVOY_HTTP, ENVOY_GRPC] {
        let listener = loaded.config.listeners.iter().find(|listener| {
            let listener = listener.get_ref();
            let asks = listener.forward_auth.as_ref().unwrap();
            listener.address.port().to_string() == kind.port
                && format!("{:?}", asks.proxy) == kind.asks
        });
        assert!(listener.is_some(), "{}", kind.program);
    }
}
