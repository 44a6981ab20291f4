//! Listening sockets that outlive a process: systemd or the gateway before leaves them, the next one takes them.
//!
//! While a socket stays open somewhere the system keeps clients waiting in its queue, so none is refused. Descriptors
//! belong to the process, so what is kept here does, too.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Arc, Weak};

use listenfd::ListenFd;
use parking_lot::Mutex;
use socket2::Socket;

/// Sockets that were left to this process and that nobody has asked for yet.
static LEFT: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// Sockets of all listeners that are open, in the order in which they were opened.
static OPEN: Mutex<Vec<Weak<Vec<TcpListener>>>> = Mutex::new(Vec::new());

/// How often descriptors are asked for until they follow each other: another thread may open a file in between.
const ATTEMPTS: usize = 16;

/// Takes what was left to this process (`LISTEN_FDS`). To be called in `main`, before there is a second thread.
pub fn inherit() {
    let mut left = ListenFd::from_env();
    let mut sockets = LEFT.lock();
    for place in 0..left.len() {
        match left.take_tcp_listener(place) {
            Ok(Some(socket)) => sockets.push(socket),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a socket was left to us that cannot be listened on");
            }
        }
    }
}

/// Closes what was left to this process and what no listener of its configuration has asked for.
pub fn refuse_the_rest() {
    for socket in LEFT.lock().drain(..) {
        if let Ok(address) = socket.local_addr() {
            tracing::warn!(%address, "a socket was left to us that no listener is for; closing it");
        }
    }
}

/// The sockets that were left for this address; port 0 stands for any.
pub(super) fn take(address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let mut left = LEFT.lock();
    let fits = |socket: &TcpListener| {
        let local = socket.local_addr().ok()?;
        let port = address.port() == 0 || address.port() == local.port();
        (port && address.ip() == local.ip()).then_some(local)
    };
    let Some(local) = left.iter().find_map(fits) else {
        return Ok(Vec::new());
    };
    let (taken, others) = std::mem::take(&mut *left)
        .into_iter()
        .partition(|socket| socket.local_addr().is_ok_and(|other| other == local));
    *left = others;
    for socket in &taken {
        socket.set_nonblocking(true)?;
    }
    Ok(taken)
}

/// Keeps these sockets open, and where the next process can get them, for as long as the result lives.
pub(super) fn keep(sockets: &[TcpListener]) -> io::Result<Arc<Vec<TcpListener>>> {
    let kept = sockets.iter().map(TcpListener::try_clone);
    let kept = Arc::new(kept.collect::<io::Result<Vec<_>>>()?);
    let mut open = OPEN.lock();
    open.retain(|sockets| sockets.strong_count() > 0);
    open.push(Arc::downgrade(&kept));
    Ok(kept)
}

/// Copies of all listening sockets that a new process can be started with.
#[derive(Debug)]
pub struct Heritage {
    sockets: Vec<Socket>,
}

impl Heritage {
    /// Of everything that is open now. Whatever this process starts while it lives gets the sockets, too.
    ///
    /// # Errors
    /// If the system gives no more descriptors.
    pub fn prepare() -> io::Result<Self> {
        let open: Vec<_> = OPEN.lock().iter().filter_map(Weak::upgrade).collect();
        let all = || open.iter().flat_map(|sockets| sockets.iter());
        // Kept until the end: they fill the gaps between the descriptors that are open already.
        let mut scattered = Vec::new();
        for _ in 0..ATTEMPTS {
            let copies = all().map(TcpListener::try_clone);
            let copies: Vec<_> = copies.collect::<io::Result<_>>()?;
            let first = copies.first().map_or(0, |socket| socket.as_raw_fd());
            let in_order = copies.iter().zip(first..);
            if in_order
                .clone()
                .all(|(socket, fd)| socket.as_raw_fd() == fd)
            {
                let sockets: Vec<Socket> = copies.into_iter().map(Socket::from).collect();
                for socket in &sockets {
                    socket.set_cloexec(false)?;
                }
                return Ok(Self { sockets });
            }
            scattered.push(copies);
        }
        Err(io::Error::other("no descriptors that follow each other"))
    }

    /// What the new process is told in its environment, name and value.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let first: RawFd = self.sockets.first().map_or(0, |socket| socket.as_raw_fd());
        [
            ("LISTEN_FDS", self.sockets.len().to_string()),
            ("LISTEN_FDS_FIRST_FD", first.to_string()),
        ]
    }
}
