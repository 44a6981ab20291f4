//! A gateway at work: what is done when its configuration changes, and at its end.

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::upgrade::{self, Successor};
use super::watch::{Changed, Watch};
use super::{Beside, messages, systemd};
use crate::command::check;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::monitor::Readiness;
use crate::server::{self, Crew};

/// What a running gateway is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Come to an end.
    Stop,
    /// Read the configuration anew.
    Reload,
    /// Start the program anew and leave it the clients.
    Upgrade,
}

/// From where a running gateway is told what to do.
pub struct Control {
    /// Its configuration; `None` if it stands in no file.
    pub file: Option<PathBuf>,
    /// What it is told. It stops when nobody is left to tell it.
    pub signals: mpsc::Receiver<Signal>,
    /// It was told to read its configuration anew before it could.
    pub reload_at_once: bool,
    /// Changes what is logged; `None` if that cannot be changed.
    pub set_filter: Option<SetFilter>,
}

/// Logs what this filter lets through from now on.
pub type SetFilter = Box<dyn Fn(&str) -> anyhow::Result<()> + Send>;

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The running gateway.
pub(super) struct Operation {
    crew: Crew<Gateway, anyhow::Error>,
    control: Control,
    standing: Standing,
}

/// What it works with.
pub(super) struct Standing {
    /// What is in use.
    pub(super) config: Config,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// Servers that end when it is over.
    pub(super) beside: Beside,
}

/// What there is to do next.
enum Next {
    Told(Option<Signal>),
    Changed(Changed),
    /// The new program serves, or has ended.
    Succeeded(bool),
    Ended(anyhow::Result<()>),
}

impl Operation {
    /// Waits for the workers to start, serves until told to stop, and drains.
    ///
    /// # Errors
    /// If a worker cannot start or dies.
    pub(super) async fn run(
        starting: impl Future<Output = anyhow::Result<Crew<Gateway, anyhow::Error>>>,
        mut control: Control,
        standing: Standing,
    ) -> anyhow::Result<()> {
        let Some(crew) = unless_stopped(starting, &mut control).await else {
            return standing.beside.finish().await;
        };
        let operation = Self {
            crew: crew?,
            control,
            standing,
        };
        Box::pin(operation.serve()).await
    }

    async fn serve(mut self) -> anyhow::Result<()> {
        let mut watch = self.watch();
        let mut successor = None;
        server::refuse_the_rest();
        systemd::notify(systemd::READY);
        upgrade::tell_predecessor();
        if self.control.reload_at_once {
            self.reload(&mut watch).await;
        }
        loop {
            let next = tokio::select! {
                signal = self.control.signals.recv() => Next::Told(signal),
                changed = changed(&mut watch) => Next::Changed(changed),
                serves = succeeded(&mut successor) => Next::Succeeded(serves),
                ended = self.crew.ended() => Next::Ended(ended),
            };
            match next {
                Next::Ended(ended) => return ended.and(self.standing.beside.finish().await),
                Next::Told(Some(Signal::Stop) | None) => return self.stop().await,
                Next::Told(Some(Signal::Reload)) | Next::Changed(Changed::Text) => {
                    systemd::notify(systemd::RELOADING);
                    self.reload(&mut watch).await;
                    systemd::notify(systemd::READY);
                }
                Next::Changed(Changed::Named) => self.renew().await,
                Next::Told(Some(Signal::Upgrade)) => self.upgrade(&mut successor),
                Next::Succeeded(true) => return self.leave(successor).await,
                Next::Succeeded(false) => {
                    tracing::error!("the new program does not serve; this one goes on");
                    successor = None;
                }
            }
        }
    }

    /// Watches the files, if there are any and they are to be watched.
    fn watch(&self) -> Option<Watch> {
        if self.control.file.is_none() || !self.standing.config.server.watch {
            return None;
        }
        match Watch::new() {
            Ok(mut watch) => {
                watch.follow(&self.standing.config.files);
                Some(watch)
            }
            Err(error) => {
                tracing::warn!(%error, "files cannot be watched; send SIGHUP after a change");
                None
            }
        }
    }

    /// Reads the configuration anew and takes it over whole, or not at all.
    async fn reload(&mut self, watch: &mut Option<Watch>) {
        let Some(file) = &self.control.file else {
            tracing::info!("there is no file to read a configuration from");
            return;
        };
        let config = match check::reload(file) {
            Ok((config, warnings)) => {
                if !warnings.is_empty() {
                    tracing::warn!("the new configuration has warnings:\n{warnings}");
                }
                config
            }
            Err(refused) => {
                self.standing.metrics.process.failed_reloads.one();
                tracing::error!("the new configuration has faults:\n{}", refused.report);
                let (errors, first) = (refused.errors, refused.first);
                tracing::error!(
                    errors,
                    first,
                    "the configuration is not taken over; the one before stays in use"
                );
                return;
            }
        };
        let fixed = config.fixed.changes(&self.standing.config.fixed);
        if !self.take_over(config, "the configuration").await {
            return;
        }
        if let Some(watch) = watch {
            watch.follow(&self.standing.config.files);
        }
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            tracing::warn!(keys, "these settings take a restart; the rest is in use");
        }
    }

    /// Reads the files anew that the configuration in use names. What stands in `gateway.toml` by now does not matter: a
    /// certificate about to expire must not wait for somebody to finish a change.
    async fn renew(&mut self) {
        self.take_over(self.standing.config.clone(), "certificates and authorities")
            .await;
    }

    async fn take_over(&mut self, config: Config, what: &str) -> bool {
        let process = &self.standing.metrics.process;
        match apply(&mut self.crew, &config).await {
            Ok(()) => {
                process.reloads.one();
                process.configured();
                self.standing.metrics.forget_unused();
            }
            Err(error) => {
                process.failed_reloads.one();
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "{what} cannot be taken over; what was before stays in use"
                );
                return false;
            }
        }
        if let Some(set_filter) = &self.control.set_filter
            && config.log.filter != self.standing.config.log.filter
            && let Err(error) = set_filter(&config.log.filter)
        {
            tracing::warn!(%error, "the log filter could not be changed");
        }
        let fixed = std::mem::take(&mut self.standing.config.fixed);
        self.standing.config = Config { fixed, ..config };
        let listeners = self.standing.config.listeners.len();
        let routes = self.standing.config.routes.len();
        tracing::info!(listeners, routes, "{what} taken over");
        true
    }

    /// Starts the program anew, if that can work.
    fn upgrade(&self, successor: &mut Option<Successor>) {
        if successor.is_some() {
            tracing::warn!("a new program is starting already");
            return;
        }
        if self.standing.config.store.get_ref().embedded.is_some() {
            tracing::error!(
                "the embedded store belongs to one process at a time; a second program cannot start"
            );
            return;
        }
        match upgrade::start() {
            Ok(started) => {
                tracing::info!(id = started.id, "a new program is starting");
                *successor = Some(started);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "no new program; this one goes on");
            }
        }
    }

    /// Leaves the clients to the program that serves beside this one.
    async fn leave(self, successor: Option<Successor>) -> anyhow::Result<()> {
        if let Some(Successor { id, .. }) = successor {
            systemd::notify(&format!("MAINPID={id}"));
            tracing::info!(id, "the new program serves; draining");
        }
        // Else half of those who ask whether the new program is ready would hear that the old one is not.
        let beside = self.standing.beside.finish().await;
        self.crew.drain().await.and(beside)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        systemd::notify(systemd::STOPPING);
        self.standing.readiness.drain();
        let delay = self.standing.config.server.drain_delay.get();
        if !delay.is_zero() {
            tracing::info!(?delay, "not ready any more; still serving");
        }
        tokio::select! {
            () = sleep(delay) => {}
            ended = self.crew.ended() => return ended,
        }
        tracing::info!("draining");
        let drained = self.crew.drain().await;
        drained.and(self.standing.beside.finish().await)
    }
}

/// What comes of starting; `None` if it is told to stop before that.
async fn unless_stopped<T>(starting: impl Future<Output = T>, control: &mut Control) -> Option<T> {
    let mut starting = pin!(starting);
    loop {
        tokio::select! {
            started = starting.as_mut() => return Some(started),
            signal = control.signals.recv() => match signal {
                Some(Signal::Reload) => control.reload_at_once = true,
                Some(Signal::Upgrade) => tracing::warn!("this program is still starting itself"),
                Some(Signal::Stop) | None => return None,
            },
        }
    }
}

async fn succeeded(successor: &mut Option<Successor>) -> bool {
    match successor {
        Some(successor) => (&mut successor.serves).await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn changed(watch: &mut Option<Watch>) -> Changed {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Makes everything first and then puts it into use: nothing has changed if this fails.
async fn apply(crew: &mut Crew<Gateway, anyhow::Error>, config: &Config) -> anyhow::Result<()> {
    let change = crew.plan(config)?;
    let mut gateways = Vec::new();
    for (gateway, runtime) in crew.handlers() {
        let _inside = runtime.enter();
        let rebuilt = gateway.rebuild(config);
        let rebuilt = rebuilt.map_err(|faults| anyhow::anyhow!("{}", messages(&faults)));
        gateways.push(rebuilt.context("a worker cannot use it")?);
    }
    crew.change(change, gateways).await;
    for (address, tls) in crew.addresses() {
        tracing::debug!(%address, tls, "still listening");
    }
    Ok(())
}
