//! A TCP proxy that makes the network misbehave: it holds bytes back either way, delays them, cuts connections.
//!
//! A packet that a network drops is sent again until it arrives or the connection is given up, so what is held back is
//! not lost but late.

#![allow(dead_code, reason = "every test program uses another part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    There,
    /// To the client.
    Back,
}

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those over which changes are told: they have asked for `BCAST`.
    Listeners,
    /// All the others.
    Others,
}

/// What is wrong with the network.
#[derive(Debug, Clone, Default)]
struct Faults {
    held: Vec<(Which, Way)>,
    delay: Duration,
    /// Connections made before this number of cuts are closed.
    cuts: u64,
    refuses: bool,
    rewrite: Option<(Vec<u8>, Vec<u8>)>,
}

/// A running proxy, with a thread of its own.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// One before the server on this port of 127.0.0.1.
    pub(crate) fn to(port: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(watch::Sender::new(Faults::default()));
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&faults);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let accepting = accept(listener, port, theirs);
                tokio::select! { () = accepting => {}, _ = stopped => {} }
            });
        });
        Self {
            address,
            faults,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets no byte of these connections through that way; new connections are made, and stay as silent.
    pub(crate) fn hold(&self, which: Which, way: Way) {
        self.faults
            .send_modify(|faults| faults.held.push((which, way)));
    }

    /// Lets nothing through at all.
    pub(crate) fn silence(&self) {
        for which in [Which::Listeners, Which::Others] {
            self.hold(which, Way::There);
            self.hold(which, Way::Back);
        }
    }

    /// Lets through again what was held that way.
    pub(crate) fn release(&self, which: Which, way: Way) {
        let one = (which, way);
        self.faults
            .send_modify(|faults| faults.held.retain(|held| *held != one));
    }

    /// Everything takes so much longer each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Closes every connection; new ones are let in.
    pub(crate) fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Closes every connection, and each new one at once.
    pub(crate) fn refuse(&self) {
        self.faults.send_modify(|faults| {
            faults.cuts += 1;
            faults.refuses = true;
        });
    }

    /// Puts one text in the place of another of the same length in what servers say.
    pub(crate) fn rewrite(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len(), "lengths stand in the protocol");
        let pair = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
        self.faults
            .send_modify(|faults| faults.rewrite = Some(pair));
    }

    /// Nothing is wrong any more.
    pub(crate) fn mend(&self) {
        self.faults.send_modify(|faults| {
            faults.held.clear();
            faults.delay = Duration::ZERO;
            faults.refuses = false;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: TcpListener, port: u16, faults: Arc<watch::Sender<Faults>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if faults.borrow().refuses {
            client.set_zero_linger().ok();
            continue;
        }
        tokio::spawn(join(client, port, faults.subscribe()));
    }
}

async fn join(client: TcpStream, port: u16, mut faults: watch::Receiver<Faults>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        client.set_zero_linger().ok();
        return;
    };
    for side in [&client, &server] {
        side.set_nodelay(true).ok();
        side.set_zero_linger().ok();
    }
    let listens = Arc::new(AtomicBool::new(false));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = Pump {
        way: Way::There,
        listens: Arc::clone(&listens),
        faults: faults.clone(),
    };
    let back = Pump {
        way: Way::Back,
        listens,
        faults: faults.clone(),
    };
    let before = faults.borrow().cuts;
    let cut = faults.wait_for(|faults| faults.cuts > before);
    tokio::select! {
        () = there.run(from_client, to_server) => {}
        () = back.run(from_server, to_client) => {}
        _ = cut => {}
    }
}

/// One way of one connection.
struct Pump {
    way: Way,
    listens: Arc<AtomicBool>,
    faults: watch::Receiver<Faults>,
}

impl Pump {
    /// Ends when either side does.
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut piece = vec![0; 65_536];
        loop {
            let Ok(length @ 1..) = from.read(&mut piece).await else {
                return;
            };
            let mut bytes = piece[..length].to_vec();
            if self.way == Way::There && find(&bytes, b"BCAST").is_some() {
                self.listens.store(true, Ordering::SeqCst);
            }
            let delay = self.faults.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let which = match self.listens.load(Ordering::SeqCst) {
                true => Which::Listeners,
                false => Which::Others,
            };
            let one = (which, self.way);
            let passable = |faults: &Faults| !faults.held.contains(&one);
            if self.faults.wait_for(passable).await.is_err() {
                return;
            }
            let rewrite = self.faults.borrow().rewrite.clone();
            if let (Way::Back, Some((old, new))) = (self.way, &rewrite) {
                while let Some(place) = find(&bytes, old) {
                    bytes[place..place + old.len()].copy_from_slice(new);
                }
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|part| part == text)
}
