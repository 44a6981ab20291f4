//! A path with `#`: h2 cuts it off, with what follows, before anybody sees it, and tells nobody. What makes that harmless
//! is that everybody is left with the same text, and this is what is tried here.

use serde_json::Value;

use super::*;
use crate::support::user;

const TOKEN: &str = "a-token-of-alice";

/// Status, and what the upstream and the access log have as the path.
async fn ask(gateway: &Gateway, upstream: &Upstream, path: &str) -> (u16, Vec<String>, Value) {
    let (seen, lines) = (upstream.seen().len(), lines(gateway).len());
    let mut raw = RawH2::connect(gateway, &[]).await;
    let token = format!("Bearer {TOKEN}");
    let fields = fields(&[(":path", path), ("authorization", &token)]);
    raw.write(request(1, &fields)).await;
    let event = raw.news().await;
    let Event::Status(1, status) = event else {
        panic!("{path}: {event:?}");
    };
    gateway.tells("{\"time\"", lines + 1).await;
    let targets = upstream.seen().split_off(seen);
    let targets = targets.iter().map(|seen| seen.target().to_owned());
    let line: Value = serde_json::from_str(&self::lines(gateway)[lines]).unwrap();
    (status, targets.collect(), line)
}

fn lines(gateway: &Gateway) -> Vec<String> {
    let logs = gateway.logs();
    let lines = logs.lines().filter(|line| line.starts_with("{\"time\""));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn all_judge_log_and_send_what_stands_before_a_fragment() {
    let upstream = upstream();
    let gateway = setup(&upstream)
        .session(TOKEN, user("alice", &["read"]))
        .route("name = \"read\"\nprefix = \"/read\"\nrequire = { all = [\"read\"] }\nupstream = \"app\"")
        .route("name = \"write\"\nprefix = \"/write\"\nrequire = { all = [\"write\"] }\nupstream = \"app\"")
        .route("name = \"exact\"\nexact = \"/read/exact\"\nrequire = { all = [\"write\"] }\nupstream = \"app\"")
        .start()
        .await;

    for (path, status, seen, route) in [
        ("/read/a#/../../write", 200, Some("/read/a"), "read"),
        ("/read/a?b=1#c?d", 200, Some("/read/a?b=1"), "read"),
        ("/read/a?b=#/write", 200, Some("/read/a?b="), "read"),
        ("/read/exac#t", 200, Some("/read/exac"), "read"),
        ("/read/exact#/more", 403, None, "exact"),
        ("/write#/../read", 403, None, "write"),
        ("/write/#?/read", 403, None, "write"),
        ("/read/%23/../a", 400, None, ""),
        ("/read/%23", 200, Some("/read/%23"), "read"),
        ("/read/../write#", 400, None, ""),
    ] {
        let (told, targets, line) = ask(&gateway, &upstream, path).await;
        assert_eq!(told, status, "{path}");
        assert_eq!(targets, Vec::from_iter(seen), "{path}");
        let before = path.split(['#', '?']).next();
        assert_eq!(line["path"].as_str(), before, "{path}: {line}");
        assert_eq!(line["route"].as_str().unwrap_or_default(), route, "{path}");
    }
}
