//! `drawbridge run`: serve until told to stop.

mod admin;
mod duty;
mod memory;
mod operation;
mod systemd;
mod upgrade;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::operation::{Control, SetFilter, Signal};
use self::operation::{Operation, Standing};

use crate::access::{self, AccessLog};
use crate::body::{Body, Incoming};
use crate::config::fault::Fault;
use crate::config::{self, AccessFormat, Config, Limits, Listener};
use crate::gateway::{Gateway, Shared};
use crate::metrics::Metrics;
use crate::monitor::{self, Monitor, Readiness};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::server::{Handler, Server};
use crate::sessions::{self, Memory};
use crate::store::{SessionStore, StoreSource};
use crate::tracer::Tracer;
use crate::upstream::Services;

/// How long a worker waits for Redis before it serves without: its first requests would be 503 for no reason while the
/// connection is being made, but a gateway must also start when Redis is away.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// How long the last lines of the access log may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Clients of the metrics listener at a time: a few scrapers and load balancers.
const MONITOR_CONNECTIONS: u32 = 64;

/// Servers whose addresses are taken and whose certificates are read.
#[derive(Debug)]
pub struct Bound {
    clients: Server,
    /// Tells about the gateway.
    monitor: Option<Server>,
    /// Changes sessions, users and roles.
    admin: Option<Server>,
}

impl Bound {
    /// The addresses, in the order of the file.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.clients.addresses()
    }
}

/// Serves this configuration until it is told to stop, then drains.
///
/// # Errors
/// If an address is taken, a certificate cannot be used, or the embedded store cannot be opened.
pub async fn run(config: &Config, control: Control) -> anyhow::Result<()> {
    upgrade::remember_program();
    let source = StoreSource::open(config.store.get_ref(), &config.tokens)
        .context("the session store cannot be opened")?;
    let bound = bind(config)?;
    serve(config, source, bound, control).await
}

/// Takes the addresses and reads the certificates.
///
/// # Errors
/// If an address is taken or a certificate cannot be used.
pub fn bind(config: &Config) -> anyhow::Result<Bound> {
    let server = Server::bind(config)?;
    for (address, listener) in server.addresses().iter().zip(&config.listeners) {
        let listener = listener.get_ref();
        let tls = listener.tls.is_some();
        match &listener.forward_auth {
            None => tracing::info!(%address, tls, "listening"),
            Some(asks) => {
                tracing::info!(%address, tls, proxy = ?asks.proxy, "answering a proxy");
            }
        }
    }
    Ok(Bound {
        clients: server,
        monitor: bind_monitor(config)?,
        admin: admin::bind(config)?,
    })
}

fn bind_monitor(config: &Config) -> anyhow::Result<Option<Server>> {
    let Some(address) = &config.metrics.listen else {
        return Ok(None);
    };
    let listener = Listener::direct(*address.get_ref(), None);
    let limits = Limits {
        max_connections: MONITOR_CONNECTIONS,
        header_timeout: config.limits.header_timeout,
        ..Limits::default()
    };
    let server = Server::bind_one("monitor", &listener, limits, Duration::ZERO)?;
    for address in server.addresses() {
        tracing::info!(%address, "telling metrics");
    }
    Ok(Some(server))
}

/// Serves on what is bound.
///
/// # Errors
/// If a worker cannot start.
pub async fn serve(
    config: &Config,
    mut source: StoreSource,
    bound: Bound,
    control: Control,
) -> anyhow::Result<()> {
    let metrics = Arc::clone(bound.clients.metrics());
    let (access, writer) = log_access(&config.access_log, &metrics)?.unzip();
    let (tracer, exporter) = Tracer::start(&config.tracing)
        .context("traces cannot be sent")?
        .unzip();
    let shared = Shared {
        access,
        tracer,
        memory: remember(&mut source, config)?,
        services: Arc::new(Services::watched_in(Handle::current())),
        ..Shared::default()
    };
    metrics.process.configured();
    memory::show(&metrics, shared.memory.as_ref(), &source);
    let duty = duty::start(config, &source).await?;
    let readiness = Readiness::new(bound.clients.workers());
    let monitor = Monitor::new(
        &config.metrics,
        Arc::clone(&metrics),
        Arc::clone(&readiness),
    );
    let mut beside = Beside::default();
    if let Some(server) = bound.admin {
        let counts = (Arc::clone(&shared.queues), Arc::clone(&shared.limits));
        let make = admin::maker(config, source.clone(), counts)?;
        beside.start("the admin API", server, make);
    }
    if let Some(server) = bound.monitor {
        let make = move |_| {
            let monitor = monitor.clone();
            async { Ok(monitor) }
        };
        beside.start("the metrics listener", server, make);
    }
    let standing = Standing {
        config: config.clone(),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        beside,
    };
    let config = config.clone();
    let make = move |worker: usize| {
        let (config, source, shared) = (config.clone(), source.clone(), shared.clone());
        let (cells, readiness) = (metrics.worker(worker), Arc::clone(&readiness));
        async move {
            let store = Arc::new(connect(&source).await?);
            let meters = connect_meters(&config).await?;
            let gateway = Gateway::build(&config, Arc::clone(&store), shared, cells)
                .map_err(|faults| anyhow::anyhow!("{}", messages(&faults)))?
                .counting_in(meters);
            if readiness.started(store) {
                tracing::info!("ready");
            }
            Ok(gateway)
        }
    };
    let starting = bound.clients.start(make);
    // Large, and only driven once.
    let served = Box::pin(Operation::run(starting, control, standing)).await;
    duty.finish().await;
    if let Some(writer) = writer {
        writer.finish(LOG_PATIENCE);
    }
    if let Some(exporter) = exporter {
        exporter.finish(LOG_PATIENCE);
    }
    served
}

/// Opens the access log, if there is to be one.
fn log_access(
    config: &config::AccessLog,
    metrics: &Metrics,
) -> anyhow::Result<Option<(AccessLog, access::Writer)>> {
    let format = match config.format {
        AccessFormat::Json => access::Format::Json,
        AccessFormat::Logfmt => access::Format::Logfmt,
    };
    let lost = Arc::clone(&metrics.process.lost_lines);
    let opened = match &config.file {
        Some(file) => Some(AccessLog::in_file(file.get_ref(), format, lost)),
        None => config
            .stdout
            .then(|| AccessLog::start(std::io::stdout(), format, lost)),
    };
    opened
        .transpose()
        .context("the access log cannot be written")
}

/// Servers beside the gateway, which outlive it by a moment.
#[derive(Debug, Default)]
struct Beside {
    ends: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Beside {
    /// Starts one on a thread of its own. What it dies of is logged at once, and does not take the gateway along.
    fn start<H, M, F>(&mut self, name: &'static str, server: Server, make: M)
    where
        H: Handler,
        M: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = anyhow::Result<H>> + 'static,
    {
        let (end, ended) = oneshot::channel();
        self.ends.push(end);
        self.tasks.push(tokio::spawn(async move {
            let served = server.run(make, async {
                ended.await.ok();
            });
            served.await.context(name).inspect_err(|error| {
                tracing::error!(error = %format!("{error:#}"), "a server beside the gateway has ended");
            })
        }));
    }

    /// Ends them.
    async fn finish(self) -> anyhow::Result<()> {
        drop(self.ends);
        let mut outcome = Ok(());
        for task in self.tasks {
            let ended = task.await.context("a server beside the gateway died");
            outcome = outcome.and(ended.flatten());
        }
        outcome
    }
}

/// Where sessions are kept in memory. Without word of every change there can be no such place.
fn remember(source: &mut StoreSource, config: &Config) -> anyhow::Result<Option<Arc<Memory>>> {
    source
        .listen(config)
        .context("the session store cannot be listened to")?;
    let changes = source.changes().cloned();
    Ok(changes.map(|changes| sessions::memory(config, changes)))
}

/// A worker's way to the sessions.
async fn connect(source: &StoreSource) -> anyhow::Result<SessionStore> {
    let store = source.connect().await;
    let store = store.context("the session store cannot be used")?;
    store.settle(STORE_PATIENCE).await;
    match source.unfit() {
        None => Ok(store),
        Some(unfit) => anyhow::bail!("cache.max_staleness cannot be kept: {unfit}"),
    }
}

/// A worker's way to the Redis that only counts, if there is one.
async fn connect_meters(config: &Config) -> anyhow::Result<Option<SessionStore>> {
    let Some(source) = StoreSource::for_limits(config) else {
        return Ok(None);
    };
    let meters = source.connect().await;
    let meters = meters.context("the Redis of the rate limits cannot be used")?;
    meters.settle(STORE_PATIENCE).await;
    Ok(Some(meters))
}

impl Handler for Gateway {
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send {
        Self::handle(self, request, peer)
    }

    fn refuse(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        refusal: Refusal,
    ) -> impl Future<Output = Response<Body>> + Send {
        Self::refuse(self, request, peer, refusal)
    }
}

impl Handler for Monitor {
    async fn handle(&self, request: Request<Incoming>, _: &Peer) -> Response<Body> {
        let answer = self.answer(request.method(), request.uri().path());
        answer.unwrap_or_else(monitor::nothing_here)
    }
}

/// The faults in one line; `drawbridge check` shows them with their places.
fn messages(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(|fault| fault.message.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}
