//! Workers, listeners, connections.
//!
//! Each worker is a thread with a runtime, a socket per listener and a handler of its own: a request never leaves the
//! core it arrived on, and nothing on its path is shared with another one.

mod connection;
mod drain;
mod listener;
mod tls;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use toml::Spanned;

use self::drain::Drain;
use self::tls::Tls;
use self::worker::Worker;
use crate::body::Body;
use crate::config::fault::Fault;
use crate::config::{Config, Limits, Listener};
use crate::peer::Peer;

/// After so many steps of tasks the system is asked for new events, unless there is nothing left to do before. Four
/// times tokio's default: larger batches wake the other ends less often, which is 3 % of a request's CPU.
const TASKS_PER_POLL: u32 = 255;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, whatever happens: a refusal is an answer too.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Makes aws-lc-rs the process's one provider of cryptography. To be called first thing in `main`.
pub fn install_crypto() {
    tls::install();
}

/// Addresses taken and certificates read, ready to run.
#[derive(Debug)]
pub struct Server {
    /// What its threads are called.
    name: &'static str,
    listeners: Vec<Bound>,
    workers: usize,
    limits: Limits,
    drain_timeout: Duration,
}

/// One listener: a socket for each worker.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    tls: Option<Tls>,
}

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificates or keys cannot be used.
    #[error("the certificates cannot be used: {}", messages(.0))]
    Tls(Vec<Fault>),
    /// An address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system gives no thread, no runtime or no socket.
    #[error("a worker cannot start")]
    Worker(#[source] io::Error),
    /// A worker ended although nobody told it to.
    #[error("a worker died")]
    Died,
}

fn messages(faults: &[Fault]) -> String {
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    messages.join("; ")
}

impl Server {
    /// Takes all addresses and reads all certificates.
    ///
    /// # Errors
    /// If an address cannot be taken, or with every fault found in the certificates.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let workers = match config.server.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => usize::from(workers),
        };
        let listeners = config.listeners.iter().map(Spanned::get_ref);
        Ok(Self {
            name: "worker",
            listeners: bind(listeners, workers)?,
            workers,
            limits: config.limits.clone(),
            drain_timeout: config.server.drain_timeout.get(),
        })
    }

    /// Takes one address for one worker, whose thread has this name, and reads its certificates.
    ///
    /// # Errors
    /// If the address cannot be taken, or with every fault found in the certificates.
    pub fn bind_one(
        name: &'static str,
        listener: &Listener,
        limits: Limits,
        drain_timeout: Duration,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            name,
            listeners: bind([listener], 1)?,
            workers: 1,
            limits,
            drain_timeout,
        })
    }

    /// What is wrong with the certificates that the listeners and the admin API name. No address is taken.
    pub fn check(config: &Config) -> Vec<Fault> {
        let secured = config
            .listeners
            .iter()
            .filter_map(|listener| listener.get_ref().tls.as_ref());
        let of_admin = config.admin.iter().filter_map(|admin| admin.tls.as_ref());
        secured
            .chain(of_admin)
            .filter_map(|tls| Tls::load(tls).err())
            .flatten()
            .collect()
    }

    /// Where clients can connect, in the order of the configuration; port 0 has become the port that was found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }

    /// How many workers there will be.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Serves until `shutdown` resolves, then lets open requests finish for as long as the drain may take.
    ///
    /// `make` is called once on each worker's thread, inside its runtime, with the worker's number.
    ///
    /// # Errors
    /// The first error of a worker that cannot start or that dies; the others are stopped then.
    pub async fn run<H, M, F, E>(self, make: M, shutdown: impl Future<Output = ()>) -> Result<(), E>
    where
        H: Handler,
        M: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = Result<H, E>>,
        E: From<ServeError> + Send + 'static,
    {
        let make = Arc::new(make);
        let (ended, mut endings) = mpsc::channel(self.workers);
        let mut crew = Crew::default();
        let name = self.name;
        for (index, worker) in self.into_workers().into_iter().enumerate() {
            let ended = Ended(Some(ended.clone()));
            let make = Arc::clone(&make);
            crew.drains.push(Arc::clone(&worker.drain));
            let thread = thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || ended.with(work(worker, index, &*make)))
                .map_err(ServeError::Worker)?;
            crew.threads.push(thread);
        }
        drop(ended);
        let early = tokio::select! {
            () = shutdown => None,
            early = endings.recv() => early,
        };
        crew.stop();
        let mut outcome = early.unwrap_or(Ok(()));
        while let Some(ending) = endings.recv().await {
            outcome = outcome.and(ending);
        }
        outcome
    }

    fn into_workers(self) -> Vec<Worker> {
        let mut workers: Vec<_> = (0..self.workers)
            .map(|_| Worker {
                sockets: Vec::with_capacity(self.listeners.len()),
                limits: self.limits.clone(),
                drain_timeout: self.drain_timeout,
                drain: Arc::default(),
            })
            .collect();
        for bound in self.listeners {
            for (worker, socket) in workers.iter_mut().zip(bound.sockets) {
                worker.sockets.push((socket, bound.tls.clone()));
            }
        }
        workers
    }
}

/// Reads the certificates of all listeners, then takes their addresses for so many workers.
fn bind<'a>(
    listeners: impl IntoIterator<Item = &'a Listener>,
    workers: usize,
) -> Result<Vec<Bound>, ServeError> {
    let mut faults = Vec::new();
    let mut secured = Vec::new();
    for listener in listeners {
        match listener.tls.as_ref().map(Tls::load).transpose() {
            Ok(tls) => secured.push((listener.address, tls)),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(ServeError::Tls(faults));
    }
    let mut bound = Vec::with_capacity(secured.len());
    for (address, tls) in secured {
        let bind = |source| ServeError::Bind { address, source };
        let sockets = listener::bind(address, workers).map_err(bind)?;
        let local = sockets.first().map_or(Ok(address), TcpListener::local_addr);
        bound.push(Bound {
            address: local.map_err(bind)?,
            sockets,
            tls,
        });
    }
    Ok(bound)
}

/// The threads of a running server. Dropped, it stops them and waits for none.
#[derive(Debug, Default)]
struct Crew {
    drains: Vec<Arc<Drain>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crew {
    fn stop(&self) {
        for drain in &self.drains {
            drain.close();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells how a worker ended, even if it panicked.
#[derive(Debug)]
struct Ended<E: From<ServeError>>(Option<mpsc::Sender<Result<(), E>>>);

impl<E: From<ServeError>> Ended<E> {
    fn with(mut self, outcome: Result<(), E>) {
        if let Some(ended) = self.0.take() {
            // There is room for one message of each worker; nobody listens any more only if the server was dropped.
            ended.try_send(outcome).ok();
        }
    }
}

impl<E: From<ServeError>> Drop for Ended<E> {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended.try_send(Err(ServeError::Died.into())).ok();
        }
    }
}

/// The life of a worker's thread.
fn work<H, F, E>(worker: Worker, index: usize, make: &impl Fn(usize) -> F) -> Result<(), E>
where
    H: Handler,
    F: Future<Output = Result<H, E>>,
    E: From<ServeError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_POLL)
        .build()
        .map_err(ServeError::Worker)?;
    let outcome = runtime.block_on(async {
        let handler = Arc::new(make(index).await?);
        worker.run(handler).await.map_err(ServeError::Worker)?;
        Ok(())
    });
    // Not waiting for name look-ups that nobody wants the answer of any more.
    runtime.shutdown_background();
    outcome
}
