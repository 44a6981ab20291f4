//! Upstreams that fail, come back, move and restart, and what requests notice of it.

#[path = "upstreams/flat.rs"]
mod flat;
#[path = "upstreams/restart.rs"]
mod restart;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::redis::eventually;
use support::{
    Answer, Authority, Call, Connection, PATIENCE, Setup, Upstream, gateway, soon, upstream,
    upstream_that,
};

const PUBLIC: &str = "prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway before these endpoints, with more lines of their upstream.
fn before(endpoints: &[&Upstream], rest: &str) -> Setup {
    let addresses = endpoints
        .iter()
        .map(|one| format!("http://{}", one.address()));
    let addresses: Vec<_> = addresses.collect();
    gateway()
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .toml(&format!(
            "[upstreams.app]\nendpoints = {addresses:?}\n{rest}"
        ))
        .route(PUBLIC)
}

#[tokio::test]
async fn an_endpoint_that_is_not_well_gets_no_requests_until_it_is_again() {
    let well = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&well);
    let moody = upstream_that(move |seen| {
        let fine = seen.target() != "/health?deep" || says.load(Ordering::SeqCst);
        let unwell = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
        Answer::Bytes(if fine { OK.to_vec() } else { unwell.to_vec() })
    });
    let other = upstream_that(|_| Answer::Bytes(OK.to_vec()));
    let health = "balance = \"round_robin\"\nhealth = { path = \"/health?deep\", interval = \"20ms\", unhealthy_after = 2, healthy_after = 2 }";
    let gateway = before(&[&moody, &other], health).workers(2).start().await;
    let asked = || {
        let seen = moody.seen();
        seen.iter().filter(|seen| seen.target() == "/app").count()
    };
    let all = |count: usize| {
        let gateway = &gateway;
        async move {
            for _ in 0..count {
                assert_eq!(gateway.send(Call::get("/app")).await.status, 200);
            }
        }
    };

    all(10).await;
    assert!(asked() > 0);
    well.store(false, Ordering::SeqCst);
    gateway.tells("an endpoint is not well", 1).await;
    let before = asked();
    all(10).await;
    assert_eq!(asked(), before);

    well.store(true, Ordering::SeqCst);
    gateway.tells("an endpoint is well again", 1).await;
    all(10).await;
    assert!(asked() > before);
    let check = moody
        .seen()
        .into_iter()
        .find(|seen| seen.target() != "/app");
    let check = check.unwrap();
    assert_eq!(check.header("host"), Some(&*moody.address().to_string()));
    assert_eq!(
        gateway.told("an endpoint is not well"),
        1,
        "two workers, one check"
    );
}

#[tokio::test]
async fn one_answer_of_the_other_kind_changes_nothing() {
    const CHECKS: usize = 20;
    // Answers to the health check by number: the odd ones are good while both kinds take turns.
    let (asked, bad, turns) = (
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicBool>::default(),
        Arc::new(AtomicBool::new(true)),
    );
    let (count, is_bad, in_turn) = (Arc::clone(&asked), Arc::clone(&bad), Arc::clone(&turns));
    let moody = upstream_that(move |seen| {
        if seen.target() != "/health" {
            return Answer::Bytes(OK.to_vec());
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        let unwell = match in_turn.load(Ordering::SeqCst) {
            true => number.is_multiple_of(2),
            false => is_bad.load(Ordering::SeqCst),
        };
        match unwell {
            true => Answer::Bytes(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec()),
            false => Answer::Bytes(OK.to_vec()),
        }
    });
    let health = "health = { path = \"/health\", interval = \"5ms\", unhealthy_after = 2, healthy_after = 2 }";
    let gateway = before(&[&moody], health).start().await;
    let many_checks = async || {
        let until = asked.load(Ordering::SeqCst) + CHECKS;
        let done = || asked.load(Ordering::SeqCst) >= until;
        eventually("many checks", PATIENCE, done).await;
    };
    let well_again = || gateway.told("an endpoint is well again");

    many_checks().await;
    assert_eq!(gateway.told("an endpoint is not well"), 0);

    bad.store(true, Ordering::SeqCst);
    turns.store(false, Ordering::SeqCst);
    gateway.tells("an endpoint is not well", 1).await;
    turns.store(true, Ordering::SeqCst);
    many_checks().await;
    assert_eq!(well_again(), 0);

    bad.store(false, Ordering::SeqCst);
    turns.store(false, Ordering::SeqCst);
    gateway.tells("an endpoint is well again", 1).await;
}

#[tokio::test]
async fn well_is_who_answers_in_time_and_with_a_status_that_means_it() {
    let late = upstream_that(|_| Answer::Hold);
    let other = upstream_that(|_| Answer::Bytes(OK.to_vec()));
    let fine = upstream_that(|_| Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    let mut setup = gateway().route("prefix = \"/\"\nauth = \"public\"\nupstream = \"fine\"");
    for (name, upstream, statuses) in [
        ("late", &late, "[]"),
        ("other", &other, "[204]"),
        ("fine", &fine, "[204]"),
    ] {
        setup = setup.toml(&format!(
            "[upstreams.{name}]\nendpoints = [\"http://{}\"]\nhealth = {{ path = \"/\", interval = \"10ms\", timeout = \"500ms\", statuses = {statuses}, unhealthy_after = 1 }}",
            upstream.address()
        ));
    }
    let gateway = setup.start().await;

    gateway.tells("an endpoint is not well", 2).await;
    let checked = || fine.seen().len() > 5;
    eventually("the one that is well to be asked", PATIENCE, checked).await;

    let logs = gateway.logs();
    let why = |name: &str| {
        let named = format!("\"upstream\":\"{name}\"");
        let told = |line: &&str| line.contains("not well") && line.contains(&named);
        logs.lines().find(told).map(str::to_owned)
    };
    assert!(why("late").unwrap().contains("no answer in time"));
    assert!(why("other").unwrap().contains("the answer was 200"));
    assert_eq!(why("fine"), None);
}

#[tokio::test]
async fn failures_are_passed_over_and_counted() {
    let works = upstream();
    let gone = upstream();
    let setup = before(
        &[&works, &gone],
        "balance = \"round_robin\"\nejection = { after = 3, time = \"5m\" }",
    );
    let gateway = setup.start().await;
    drop(gone);

    for _ in 0..20 {
        assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    }

    let of_app = |name: &str| format!("{name}{{upstream=\"app\"}}");
    assert_eq!(
        gateway.metric(&of_app("upstream_ejections_total")).await,
        1.0
    );
    assert_eq!(gateway.metric(&of_app("upstream_retries_total")).await, 3.0);
    // What is sent again goes over a fresh connection; the first request of all may be one of those.
    let idle = gateway.metric(&of_app("upstream_connections_idle")).await;
    let sends = |kind| format!("upstream_sends_total{{upstream=\"app\",connection=\"{kind}\"}}");
    let opened = gateway.metric(&sends("opened")).await;
    assert!([3.0, 4.0].contains(&opened) && idle == opened, "{opened}");
    assert_eq!(gateway.metric(&sends("reused")).await, 20.0 - opened);
    assert_eq!(gateway.told("an endpoint fails and is left out"), 1);
}

#[tokio::test]
async fn one_request_too_many_is_503_with_a_word_on_when_to_come_back() {
    let upstream = upstream_that(|_| Answer::Hold);
    let rest = "max_connections = 1\nmax_pending = 1\nqueue_timeout = \"100ms\"";
    let gateway = before(&[&upstream], rest)
        .plain()
        .tls(&["a.test"])
        .start()
        .await;
    let mut first = Connection::plain(&gateway).await;
    let first = tokio::spawn(async move { first.send(Call::get("/")).await });
    let mut held = upstream.held().await;

    let late = gateway.send(Call::get("/")).await;

    late.refused(503, "upstream_busy");
    assert_eq!(late.header("retry-after"), Some("1"));
    let busy = "upstream_failures_total{upstream=\"app\",reason=\"upstream_busy\"}";
    assert_eq!(gateway.metric(busy).await, 1.0);
    held.write(OK).await;
    assert_eq!(soon("the first", first).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_changes_with_its_file() {
    let authority = Authority::new();
    let leaf = authority.sign(&["inside.test"]);
    let upstream = Upstream::asking_tls(&authority, &leaf);
    let shown = authority.sign(&["gateway.test"]);
    let tls = |shown: &str| {
        format!(
            "[upstreams.app]\nendpoints = [\"https://{}\"]\nmax_idle = 0\ntls = {{ ca = {:?}, server_name = \"inside.test\"{shown} }}",
            upstream.address(),
            authority.file(),
        )
    };
    let stranger = gateway().toml(&tls("")).route(PUBLIC).start().await;
    let reply = stranger.send(Call::get("/")).await;
    assert_eq!(reply.status, 502);

    let pair = format!(", cert = {:?}, key = {:?}", shown.cert, shown.key);
    let gateway = gateway().toml(&tls(&pair)).route(PUBLIC).start().await;
    assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    let first = upstream.last().certificate;
    assert!(first.is_some());

    let next = authority.sign(&["next.test"]);
    std::fs::copy(&next.key, &shown.key).unwrap();
    std::fs::copy(&next.cert, &shown.cert).unwrap();
    gateway.signal("-HUP");
    let changed = async {
        loop {
            let reply = gateway.send(Call::get("/")).await;
            assert_eq!(reply.status, 200);
            if upstream.last().certificate != first {
                break;
            }
        }
    };
    soon("the next certificate", changed).await;
}

/// A name server that a test can change: the file of hosts, for one process alone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_moves_is_followed_and_one_that_is_lost_is_not() {
    let may = std::process::Command::new("unshare")
        .args(["-rm", "true"])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("not run: this machine lets nobody have a file of hosts of their own");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let point =
        |text: &str| std::fs::write(&hosts, format!("127.0.0.1 localhost\n{text}\n")).unwrap();
    let [here, there] = ["127.0.0.2", "127.0.0.3"].map(|address| {
        let counted = Arc::new(AtomicUsize::new(0));
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        (listener, counted)
    });
    let port = here.0.local_addr().unwrap().port();
    let there = (
        std::net::TcpListener::bind(("127.0.0.3", port)).unwrap(),
        there.1,
    );
    let [here, there] = [here, there].map(|(listener, counted)| {
        let count = Arc::clone(&counted);
        std::thread::spawn(move || serve_forever(&listener, &count));
        counted
    });
    point("127.0.0.2 app.moving.test");
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let gateway = gateway()
        .through(&["unshare", "-rm", "sh", "-c", &script, "sh"])
        .toml(&format!(
            "[upstreams.app]\nendpoints = [\"http://app.moving.test:{port}\"]\nresolve = \"50ms\""
        ))
        .route(PUBLIC)
        .start()
        .await;
    let get = || async { gateway.send(Call::get("/")).await.status };
    assert_eq!(get().await, 200);
    assert_eq!(
        (here.load(Ordering::SeqCst), there.load(Ordering::SeqCst)),
        (1, 0)
    );

    point("127.0.0.3 app.moving.test");
    let moved = async {
        while there.load(Ordering::SeqCst) == 0 {
            assert_eq!(get().await, 200);
        }
    };
    soon("the requests to move", moved).await;

    point("");
    gateway.tells("the name cannot be looked up", 1).await;
    let before = there.load(Ordering::SeqCst);
    assert_eq!(get().await, 200);
    assert_eq!(there.load(Ordering::SeqCst), before + 1);

    point("127.0.0.2 app.moving.test\n127.0.0.3 app.moving.test");
    let before = here.load(Ordering::SeqCst);
    let both = async {
        while here.load(Ordering::SeqCst) == before {
            assert_eq!(get().await, 200);
        }
    };
    soon("both addresses to be used", both).await;
}

/// One answer for each connection.
#[cfg(target_os = "linux")]
fn serve_forever(listener: &std::net::TcpListener, count: &AtomicUsize) {
    use std::io::{Read as _, Write as _};
    while let Ok((mut stream, _)) = listener.accept() {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            head.push(byte[0]);
        }
        count.fetch_add(1, Ordering::SeqCst);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .ok();
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_a_warning_at_the_start_and_502_for_a_request() {
    let gateway = gateway()
        .toml("[upstreams.app]\nendpoints = [\"http://nobody.invalid:80\"]")
        .route(PUBLIC)
        .start()
        .await;

    gateway.tells("the name cannot be looked up", 1).await;
    let reply = gateway.send(Call::get("/")).await;

    assert!([502, 504].contains(&reply.status), "{}", reply.status);
    let told = || gateway.told("the name cannot be looked up") == 1;
    eventually("it to be told once", PATIENCE, told).await;
}
