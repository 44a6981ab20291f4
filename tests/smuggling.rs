//! Raw bytes that other servers read in two ways, over HTTP/1.1 in the clear and in TLS. Behind each goes a probe that
//! must never reach the upstream; each ends with proof that the gateway still serves.
//!
//! The numbers (B-01 and so on) are those of the research into hostile input.

mod support;

#[path = "smuggling/framing.rs"]
mod framing;
#[path = "smuggling/heads.rs"]
mod heads;
#[path = "smuggling/paths.rs"]
mod paths;
#[path = "smuggling/streams.rs"]
mod streams;

use support::{Gateway, Raw, RawReply, Upstream, gateway, upstream};

/// Smuggled behind each attack. Its route needs a token, so it must never get through, however it is framed.
const PROBE: &str = "GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n";
const HOST: &str = "Host: a.test\r\n";

/// What must come of an attack.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// This status; then the gateway closes by itself. The probe is not answered, and the upstream sees nothing.
    Refused(u16),
    /// As `Refused`, or closed without a word: what the library answers is not ours to choose.
    Dropped,
    /// This status, and the upstream sees nothing. The probe is a request of its own, and is told 401.
    Denied(u16),
    /// The upstream sees exactly one whole request. The probe is a request of its own, and is told 401.
    Served,
    /// The head was good, the body is not: 400 or nothing, then closed. The upstream sees no whole request.
    Cut,
}

use Verdict::{Cut, Denied, Dropped, Refused, Served};

async fn door(upstream: &Upstream) -> Gateway {
    gateway()
        .plain()
        .tls(&["a.test"])
        .upstream("app", upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .route("prefix = \"/public\"\nauth = \"public\"\nupstream = \"app\"")
        .start()
        .await
}

/// Sends the attack and the probe on a fresh connection; all answers until the gateway closes.
async fn attack(gateway: &Gateway, tls: bool, bytes: &[u8], verdict: Verdict) -> Vec<RawReply> {
    let mut raw = match tls {
        false => Raw::connect(gateway.plain()).await,
        true => Raw::tls(gateway, "a.test").await,
    };
    raw.write([bytes, PROBE.as_bytes()].concat()).await;
    let mut replies = Vec::new();
    if let Denied(_) | Served = verdict {
        // Half a connection is none to this gateway, so both answers are awaited first.
        replies.extend(raw.reply().await);
        replies.extend(raw.reply().await);
        raw.shutdown().await;
    }
    replies.extend(raw.replies_until_close().await);
    replies
}

fn judge(verdict: Verdict, statuses: &[u16], requests: usize) -> bool {
    match verdict {
        Refused(status) => statuses == [status] && requests == 0,
        Dropped => matches!(statuses, [] | [400..=499 | 505]) && requests == 0,
        Denied(status) => statuses == [status, 401] && requests == 0,
        Served => statuses == [200, 401] && requests == 1,
        Cut => matches!(statuses, [] | [400 | 408]) && requests == 0,
    }
}

/// Runs a table of attacks.
async fn all(cases: &[(&str, Vec<u8>, Verdict)]) {
    let upstream = upstream();
    let mut gateway = door(&upstream).await;
    let mut wrong = Vec::new();
    for tls in [false, true] {
        for (name, bytes, verdict) in cases {
            let before = upstream.seen().len();
            let replies = attack(&gateway, tls, bytes, *verdict).await;
            let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
            let seen = upstream.seen();
            let requests = seen.len() - before;

            if !judge(*verdict, &statuses, requests) {
                wrong.push(format!(
                    "{name} (tls = {tls}): {statuses:?} and {requests} upstream, not {verdict:?}"
                ));
            }
            assert!(
                !seen.iter().any(|seen| seen.head.contains("SMUG")),
                "{name}: the probe reached the upstream"
            );
            gateway.still_serves().await;
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `/public` with these header lines and this body.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /public HTTP/1.1\r\n{HOST}{fields}\r\n{body}").into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{HOST}\r\n").into_bytes()
}
