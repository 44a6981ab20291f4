//! Coming to an end, and leaving the clients to another program: nobody who behaves loses a request.

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::redis::eventually;
use support::{Call, Connection, Gateway, PATIENCE, Redis, Setup, gateway, soon, upstream, user};

fn public(setup: Setup) -> Setup {
    setup
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"\nupgrades = [\"websocket\"]")
}

#[tokio::test]
async fn it_is_not_ready_first_and_serves_on_for_the_delay() {
    let upstream = upstream();
    let mut gateway = public(gateway().upstream("app", &upstream))
        .server("drain_delay = \"1h\"")
        .start()
        .await;
    let mut kept = Connection::plain(&gateway).await;
    assert_eq!(kept.send(Call::get("/")).await.status, 200);

    gateway.terminate();
    let unready = async {
        loop {
            let ready = gateway.monitor("/ready").await;
            if ready.status == 503 {
                return ready;
            }
        }
    };
    let unready = soon("it to be not ready", unready).await;

    let told = serde_json::json!({"ready": false, "missing": ["draining"]});
    assert_eq!(unready.json(), told);
    assert_eq!(gateway.monitor("/live").await.status, 200);
    assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    let reply = kept.send(Call::get("/")).await;
    assert_eq!((reply.status, reply.header("connection")), (200, None));
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(130));
}

/// Asks, thinks for a moment, and asks again until it is told that the connection ends; says whether it was told so by an answer.
async fn until_told(mut connection: Connection, answers: Arc<AtomicUsize>) -> bool {
    loop {
        let reply = match connection.begin(Call::get("/")).await {
            Ok(reply) => reply,
            // Of HTTP/2 it is known before a request is sent.
            Err(error) => {
                return matches!(connection, Connection::H2(_)) && !error.is_incomplete_message();
            }
        };
        assert_eq!(reply.status(), 200);
        let last = reply
            .headers()
            .get("connection")
            .is_some_and(|value| value == "close");
        support::Reply::read(reply).await;
        answers.fetch_add(1, Ordering::Relaxed);
        if last {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn busy_clients_are_told_of_the_end_before_it_comes() {
    let upstream = upstream();
    let mut gateway = public(gateway().upstream("app", &upstream))
        .tls(&["a.test"])
        .plain()
        .start()
        .await;
    let answers = Arc::<AtomicUsize>::default();
    let mut clients = Vec::new();
    for _ in 0..3 {
        for connection in [
            Connection::plain(&gateway).await,
            Connection::tls(&gateway, "a.test").await,
            Connection::h2(&gateway, "a.test").await,
        ] {
            clients.push(tokio::spawn(until_told(connection, Arc::clone(&answers))));
        }
    }
    let busy = || answers.load(Ordering::Relaxed) > 50;
    eventually("the clients to be busy", PATIENCE, busy).await;

    gateway.terminate();

    for client in clients {
        assert!(soon("a client to be told", client).await.unwrap());
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn whom_the_system_has_let_in_already_is_still_served() {
    let upstream = upstream();
    let mut gateway = gateway()
        .upstream("app", &upstream)
        .route("prefix = \"/\"\nupstream = \"app\"")
        .quiet()
        .start()
        .await;
    // While it cannot look, many come in, and it is told to stop.
    gateway.freeze();
    let mut waiting = Vec::new();
    for _ in 0..300 {
        let mut raw = support::Raw::connect(gateway.plain()).await;
        raw.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        waiting.push(raw);
    }
    gateway.terminate();
    gateway.thaw();

    for mut raw in waiting {
        let reply = raw.reply().await.expect("nobody is sent away");
        assert_eq!(reply.status, 401);
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_tunnel_is_waited_for() {
    let upstream = support::upstream_that(|_| support::Answer::Hold);
    let mut gateway = public(gateway().upstream("app", &upstream)).start().await;
    let mut client = support::Raw::connect(gateway.plain()).await;
    client
        .write(
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    let mut held = upstream.held().await;
    held.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;
    assert_eq!(client.reply().await.unwrap().status, 101);

    gateway.terminate();
    let address = gateway.plain();
    let closed = || std::net::TcpStream::connect(address).is_err();
    eventually("new connections to be refused", PATIENCE, closed).await;
    // Longer than idle connections are kept.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    held.write("ping").await;
    client.write("pong").await;

    assert_eq!(client.until("ping").await.as_deref(), Some("ping"));
    assert!(held.read_until("pong").await.ends_with("pong"));
    drop((held, client));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

/// A program that was started by another one.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        Command::new("kill").args(["-KILL", &self.0]).status().ok();
    }
}

/// The process that takes over once this gateway has been told to start it.
async fn succeeded(gateway: &Gateway) -> Successor {
    gateway.tells("a new program is starting", 1).await;
    let logs = gateway.logs();
    let line = logs
        .lines()
        .find(|line| line.contains("a new program is starting"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    Successor(line["id"].to_string())
}

/// Tells it to start a new program. Right after its start it says that this is too early, and has to be told again.
async fn upgrade(gateway: &Gateway) {
    let answers = [
        "still starting itself",
        "a new program is starting",
        "belongs to one process at a time",
    ];
    let told = || answers.map(|answer| gateway.told(answer));
    loop {
        let before = told();
        gateway.signal("-USR2");
        eventually("it to answer", PATIENCE, || told() != before).await;
        if told()[0] == before[0] {
            return;
        }
    }
}

/// Opens one connection after the other, each for one request, until it is told to stop. Every failure is one.
async fn knock(gateway: Arc<Gateway>, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let call = Call::get("/")
            .bearer("kept-token")
            .header("connection", "close");
        assert_eq!(gateway.send(call).await.status, 200);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_program_takes_over_and_no_connection_is_refused() {
    let redis = Redis::start().await;
    let upstream = upstream();
    let gateway = gateway()
        .redis(&redis)
        .session("kept-token", user("alice", &[]))
        .upstream("app", &upstream)
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .route("prefix = \"/\"\nupstream = \"app\"")
        .workers(2)
        .quiet()
        .start()
        .await;
    let gateway = Arc::new(gateway);
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(knock(
                Arc::clone(&gateway),
                Arc::clone(&stop),
                Arc::clone(&answers),
            ))
        })
        .collect();
    let busy = || answers.load(Ordering::Relaxed) > 50;
    eventually("the clients to be busy", PATIENCE, busy).await;

    upgrade(&gateway).await;
    let successor = succeeded(&gateway).await;
    gateway.tells("the new program serves", 1).await;
    let old = gateway.id().to_string();
    let gone = || !std::path::Path::new(&format!("/proc/{old}/exe")).exists();
    eventually("the old program to end", PATIENCE, gone).await;
    let after = answers.load(Ordering::Relaxed);
    let served = || answers.load(Ordering::Relaxed) > after + 100;
    eventually("the new program to serve", PATIENCE, served).await;
    assert_eq!(gateway.monitor("/ready").await.status, 200);

    stop.store(true, Ordering::Relaxed);
    for client in clients {
        soon("a client's last answer", client).await.unwrap();
    }
    drop(successor);
}

#[tokio::test]
async fn a_new_program_that_does_not_start_leaves_the_old_one_at_work() {
    let redis = Redis::start().await;
    let upstream = upstream();
    let mut gateway = public(gateway().redis(&redis).upstream("app", &upstream))
        .server("drain_delay = \"0s\"\nwatch = false")
        .start()
        .await;

    std::fs::write(gateway.config(), "broken").unwrap();
    upgrade(&gateway).await;
    gateway.tells("this one goes on", 1).await;

    assert_eq!(gateway.send(Call::get("/")).await.status, 200);
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_embedded_store_is_not_opened_twice() {
    let upstream = upstream();
    let gateway = public(gateway().upstream("app", &upstream)).start().await;

    upgrade(&gateway).await;
    gateway.tells("belongs to one process at a time", 1).await;

    assert_eq!(gateway.send(Call::get("/")).await.status, 200);
}
