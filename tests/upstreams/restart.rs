//! Upstreams that restart in turn under load: no request fails.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::PUBLIC;
use crate::support::{Call, Connection, Gateway, gateway, soon};

/// A server as upstreams are: it closes idle connections when it is told to end, and lets requests finish.
struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, h2: bool) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(accept(listener, stopped, h2));
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it, gracefully, and starts it again at the same address.
    fn restart(&mut self, h2: bool) {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
        *self = Self::start(self.address, h2);
    }
}

async fn accept(listener: std::net::TcpListener, mut stopped: watch::Receiver<bool>, h2: bool) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut inside = Vec::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                inside.push(tokio::spawn(serve(stream, stopped.clone(), h2)));
            }
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    for connection in inside {
        connection.await.ok();
    }
}

async fn serve(stream: TcpStream, mut stopped: watch::Receiver<bool>, h2: bool) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(|_: Request<Incoming>| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    });
    if h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.ok();
        return;
    }
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.ok();
}

/// Requests one after the other until it is over; how many.
async fn ask(gateway: &Gateway, secure: bool, over: &AtomicBool, answers: &AtomicUsize) {
    let mut connection = match secure {
        true => Connection::h2(gateway, "a.test").await,
        false => Connection::plain(gateway).await,
    };
    while !over.load(Ordering::SeqCst) {
        let reply = connection.send(Call::get("/")).await;
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!((reply.status, &*text), (200, "ok"));
        answers.fetch_add(1, Ordering::SeqCst);
    }
}

async fn roll(h2: bool) {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut servers = vec![Server::start(any, h2), Server::start(any, h2)];
    let endpoints = servers.iter().map(|one| format!("http://{}", one.address));
    let endpoints: Vec<_> = endpoints.collect();
    let protocol = if h2 { "h2" } else { "h1" };
    let gateway = gateway()
        .quiet()
        .toml("[metrics]\nlisten = \"127.0.0.1:0\"")
        .toml(&format!(
            "[upstreams.app]\nendpoints = {endpoints:?}\nprotocol = {protocol:?}\nejection = {{ time = \"100ms\" }}"
        ))
        .route(PUBLIC)
        .workers(2)
        .tls(&["a.test"])
        .plain()
        .start()
        .await;
    let (gateway, over) = (Arc::new(gateway), Arc::new(AtomicBool::new(false)));
    let answers = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..12)
        .map(|number| {
            let (gateway, over) = (Arc::clone(&gateway), Arc::clone(&over));
            let answers = Arc::clone(&answers);
            tokio::spawn(async move { ask(&gateway, number % 3 == 0, &over, &answers).await })
        })
        .collect();

    for _ in 0..20 {
        let before = answers.load(Ordering::SeqCst);
        let busy = async {
            while answers.load(Ordering::SeqCst) < before + 50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("the clients to be busy", busy).await;
        let mut server = servers.swap_remove(0);
        let restarted = tokio::task::spawn_blocking(move || {
            server.restart(h2);
            server
        });
        servers.push(soon("a restart", restarted).await.unwrap());
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        soon("a client", client).await.unwrap();
    }

    let answered = "requests_total{route=\"*/*\",outcome=\"forwarded\",reason=\"\"}";
    let counted = gateway.metric(answered).await;
    assert_eq!(counted, answers.load(Ordering::SeqCst) as f64);
    assert!(counted >= 1000.0, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_two_upstreams_restart_in_turn() {
    roll(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_two_http2_upstreams_restart_in_turn() {
    roll(true).await;
}
