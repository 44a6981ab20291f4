//! Real Redis servers for tests: single, Sentinel, Cluster. Each has its own directory and free ports on 127.0.0.1,
//! and is killed when its value is dropped, also by a panic.

#![allow(dead_code, reason = "every test program uses another part of it")]

// The path keeps it beside this file, however this file was reached.
#[path = "redis_groups.rs"]
mod groups;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

pub(crate) use self::groups::{Cluster, Sentinel};

/// How long a server may take until it answers; only a broken machine needs it.
const START: Duration = Duration::from_secs(20);

/// A free port below the range that outgoing connections take theirs from, so that a killed server finds its port
/// free again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        let seed = std::process::id()
            .wrapping_mul(7919)
            .wrapping_add(clock / 1000)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(104_729));
        let port = 12_000 + u16::try_from(seed % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `ready` says yes.
pub(crate) async fn eventually(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < limit, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    args: Vec<String>,
    tls: bool,
    password: Option<String>,
    sentinel: Option<String>,
    port: Option<u16>,
    /// What its commands begin with, and where it is, if not here.
    elsewhere: Option<(Vec<String>, String)>,
}

impl Settings {
    /// Elsewhere: what commands begin with that are to run there, and its address.
    pub(crate) fn elsewhere(mut self, prefix: Vec<String>, address: &str) -> Self {
        self.elsewhere = Some((prefix, address.to_owned()));
        self.with("protected-mode", "no")
    }

    /// This program where the server is.
    fn command(&self, program: &str) -> Command {
        let Some((prefix, _)) = &self.elsewhere else {
            return Command::new(program);
        };
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }

    /// Where it is reached from outside.
    fn host(&self) -> &str {
        let elsewhere = self.elsewhere.as_ref();
        elsewhere.map_or("127.0.0.1", |(_, host)| host)
    }

    /// On this port and no other.
    pub(crate) fn on(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// One more setting of `redis.conf`.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("--{name}"));
        self.args.push(value.to_owned());
        self
    }

    /// TLS only, with a certificate for `localhost` and 127.0.0.1 whose authority is in [`Redis::ca`].
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A password for the default user.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.with("requirepass", password)
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(self) -> Redis {
        for _ in 0..5 {
            let mut redis = Redis::new(self.clone());
            redis.spawn();
            if redis.wait().await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }
}

/// One `redis-server`.
#[derive(Debug)]
pub(crate) struct Redis {
    dir: TempDir,
    port: u16,
    settings: Settings,
    process: Option<Child>,
}

impl Redis {
    /// One with default settings.
    pub(crate) async fn start() -> Self {
        Settings::default().start().await
    }

    fn new(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if settings.tls {
            certificates(dir.path());
        }
        Self {
            dir,
            port: settings.port.unwrap_or_else(free_port),
            settings,
            process: None,
        }
    }

    fn spawn(&mut self) {
        let mut command = self.settings.command("redis-server");
        if let Some(lines) = &self.settings.sentinel {
            let file = self.dir.path().join("sentinel.conf");
            if !file.exists() {
                std::fs::write(&file, lines).unwrap();
            }
            command.arg(file).arg("--sentinel");
        }
        let (plain, tls) = if self.settings.tls {
            (0, self.port)
        } else {
            (self.port, 0)
        };
        command
            .args(["--bind", "127.0.0.1"])
            .args(self.settings.elsewhere.iter().map(|(_, host)| host))
            .args(["--port", &plain.to_string()])
            .args(["--dir".as_ref(), self.dir.path().as_os_str()])
            .args([
                "--logfile".as_ref(),
                self.dir.path().join("log").as_os_str(),
            ]);
        if self.settings.sentinel.is_none() {
            command.args(["--save", "", "--appendonly", "no"]);
            // A replica that joins is not kept waiting for others.
            command.args(["--repl-diskless-sync-delay", "0"]);
        }
        if self.settings.tls {
            let file = |name| self.dir.path().join(name).display().to_string();
            command
                .args(["--tls-port", &tls.to_string(), "--tls-auth-clients", "no"])
                .args(["--tls-cert-file", &file("cert.pem")])
                .args(["--tls-key-file", &file("key.pem")])
                .args(["--tls-ca-cert-file", &file("ca.pem")]);
        }
        let child = command
            .args(&self.settings.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(child);
    }

    /// Whether it came up: false if the process ended, as when somebody else took the port.
    async fn wait(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < START {
            if self
                .try_cli(&["PING"])
                .is_some_and(|answer| answer == "PONG")
            {
                return true;
            }
            let process = self.process.as_mut().expect("it was just spawned");
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// `redis://127.0.0.1:PORT`, or `rediss://localhost:PORT` with TLS; the default user's password is in it.
    pub(crate) fn url(&self) -> String {
        let (scheme, host) = if self.settings.tls {
            ("rediss", "localhost")
        } else {
            ("redis", self.settings.host())
        };
        let password = self.settings.password.as_ref();
        let user = password.map_or(String::new(), |password| format!("default:{password}@"));
        format!("{scheme}://{user}{host}:{}", self.port)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// PEM file of the authority that signed its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Its working directory; the log is in `log`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Whether it has not been killed.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it again on the same port after [`Self::kill`] and waits until it answers. It comes back empty.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.wait().await, "redis-server does not come back");
    }

    /// It keeps its connections and answers nothing; it stands still when this returns.
    pub(crate) fn freeze(&self) {
        super::signal::freeze(self.id());
    }

    pub(crate) fn thaw(&self) {
        super::signal::thaw(self.id());
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// What `redis-cli` prints for this command.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.try_cli(args).expect("redis-cli reaches the server")
    }

    fn try_cli(&self, args: &[&str]) -> Option<String> {
        let mut command = self.settings.command("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.settings.tls {
            command.arg("--tls").arg("--cacert").arg(self.ca());
        }
        if let Some(password) = &self.settings.password {
            command.args(["--no-auth-warning", "-a", password]);
        }
        let output = command.args(args).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| text.trim_end().to_owned())
    }

    /// How often it has been sent this command.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let info = self.cli(&["INFO", "commandstats"]);
        let head = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&head));
        let count = line.and_then(|line| line.split(',').next());
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// Every key and every string value that it holds, one after the other.
    pub(crate) fn dump(&self) -> String {
        let keys = self.cli(&["--scan"]);
        let values = keys.lines().map(|key| self.cli(&["GET", key]));
        values.fold(keys.clone(), |all, value| all + "\n" + &value)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// An authority (`ca.pem`) and a certificate for localhost (`cert.pem`, `key.pem`) in this directory.
fn certificates(dir: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "test authority");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).unwrap();
    let cert = leaf.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("ca.pem"), ca_pem).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}
