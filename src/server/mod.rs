//! Workers, listeners, connections.
//!
//! Each worker is a thread with a runtime, a socket per listener and a handler of its own: a request never leaves the
//! core it arrived on, and nothing on its path is shared with another one.

mod connection;
mod crew;
mod drain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod heritage;
mod http1;
mod http2;
mod introduction;
mod listener;
mod span;
mod tls;
mod transport;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use toml::Spanned;

pub use self::crew::{Change, Crew};
pub use self::heritage::{Heritage, inherit, refuse_the_rest};
use self::listener::Planned;
use self::tls::{Orders, Tls};
use crate::body::{Body, Incoming};
use crate::config::fault::Fault;
use crate::config::{Config, Limits, Listener, Network};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::refusal::{Form, Refusal};

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, whatever happens: a refusal is an answer too.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Answers a request that the server itself refuses, because it cannot be read in one way only.
    fn refuse(
        &self,
        _request: Request<Incoming>,
        _peer: &Peer,
        refusal: Refusal,
    ) -> impl Future<Output = Response<Body>> + Send {
        let nameless = HeaderValue::from_static("");
        std::future::ready(refusal.into_response(Form::Problem, &nameless))
    }
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
    listeners: Vec<Planned>,
    /// Certificates that are ordered for them.
    orders: Orders,
    workers: usize,
    terms: Terms,
    drain_timeout: Duration,
    metrics: Arc<Metrics>,
}

/// What clients are held to.
#[derive(Debug, Clone)]
struct Terms {
    limits: Limits,
    /// Proxies in front of the gateway: each is many clients.
    trusted: Vec<Network>,
}

impl Terms {
    fn new(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            trusted: config.forwarded.trusted_proxies.clone(),
        }
    }
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
        let metrics = Metrics::new(workers);
        let orders = Orders::new(Arc::clone(&metrics.process.certificate_orders));
        Ok(Self {
            name: "worker",
            listeners: listener::plan(listeners, workers, &[], &orders)?,
            orders,
            workers,
            terms: Terms::new(config),
            drain_timeout: config.server.drain_timeout.get(),
            metrics,
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
        let orders = Orders::default();
        Ok(Self {
            name,
            listeners: listener::plan([listener], 1, &[], &orders)?,
            orders,
            workers: 1,
            terms: Terms {
                limits,
                trusted: Vec::new(),
            },
            drain_timeout,
            metrics: Metrics::new(1),
        })
    }

    /// What is wrong with the certificates, and which end soon, that the listeners and the admin API name. No address is taken.
    pub fn check(config: &Config) -> Vec<Fault> {
        let secured = config
            .listeners
            .iter()
            .filter_map(|listener| listener.get_ref().tls.as_ref());
        let of_admin = config.admin.iter().filter_map(|admin| admin.tls.as_ref());
        secured
            .chain(of_admin)
            .flat_map(|tls| Tls::load(tls).map_or_else(|faults| faults, |tls| tls.warnings()))
            .collect()
    }

    /// Where clients can connect, in the order of the configuration; port 0 has become the port that was found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.listeners.iter();
        listeners.map(|planned| planned.open.address).collect()
    }

    /// How many workers there will be.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What its workers count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
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
        let mut shutdown = pin!(shutdown);
        let mut crew = tokio::select! {
            crew = self.start(make) => crew?,
            () = shutdown.as_mut() => return Ok(()),
        };
        tokio::select! {
            () = shutdown => crew.drain().await,
            ended = crew.ended() => ended,
        }
    }

    /// Starts the workers; returns once all of them serve.
    ///
    /// # Errors
    /// The first error of a worker that cannot start; the others are stopped then.
    pub async fn start<H, M, F, E>(self, make: M) -> Result<Crew<H, E>, E>
    where
        H: Handler,
        M: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = Result<H, E>>,
        E: From<ServeError> + Send + 'static,
    {
        Crew::start(self, make).await
    }
}
