//! The real program with a configuration of its own, on free ports, until the value is dropped.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drawbridge::config::{Store, Tokens, load};
use drawbridge::session::{Device, Session};
use drawbridge::store::StoreSource;
use drawbridge::token::TokenShape;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::certs::{Authority, Leaf};
use super::client::{Call, Connection, Reply};
use super::redis::Redis;
use super::upstream::Upstream;
use super::{PATIENCE, soon};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_drawbridge");

/// A live session of this user with these permissions.
pub(crate) fn user(id: &str, permissions: &[&str]) -> Session {
    Session {
        user_id: id.into(),
        permissions: permissions.iter().map(|one| (*one).to_owned()).collect(),
        roles: vec!["clerk".to_owned()].into(),
        device: Device {
            id: format!("{id}-device").into(),
            kind: "phone".into(),
            name: "Pixel 12".into(),
        },
        expires_at: Some(now() + 3_600_000),
        ..Session::default()
    }
}

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(time.as_millis()).unwrap()
}

/// The record of a session as a login service writes it.
pub(crate) fn record(session: &Session) -> String {
    json!({
        "user_id": session.user_id,
        "permissions": *session.permissions,
        "roles": *session.roles,
        "device": {"id": session.device.id, "type": session.device.kind, "name": session.device.name},
        "expires_at": session.expires_at,
    })
    .to_string()
}

/// Puts a session into Redis as a login service does.
pub(crate) fn log_in(redis: &Redis, token: &str, session: &Session) {
    let key = format!("login:token:{token}");
    let answer = redis.cli(&["SET", &key, &record(session), "PX", "3600000"]);
    assert_eq!(answer, "OK");
}

/// Takes a session back.
pub(crate) fn log_out(redis: &Redis, token: &str) {
    redis.cli(&["DEL", &format!("login:token:{token}")]);
}

/// A gateway in the making. Without further word it listens in the clear and keeps sessions in the embedded store.
pub(crate) struct Setup {
    dir: TempDir,
    authority: Authority,
    listeners: String,
    store: Option<String>,
    rest: String,
    workers: u16,
    server: String,
    filter: &'static str,
    access_log: String,
    sessions: Vec<(String, Session)>,
    secrets: Vec<String>,
    env: Vec<(&'static str, String)>,
    before: Vec<String>,
}

/// Begins one.
pub(crate) fn gateway() -> Setup {
    Setup {
        dir: tempfile::tempdir().unwrap(),
        authority: Authority::new(),
        listeners: String::new(),
        store: None,
        rest: String::new(),
        workers: 1,
        server: "drain_delay = \"0s\"".to_owned(),
        filter: "info,drawbridge=trace",
        access_log: "stdout = true".to_owned(),
        sessions: Vec::new(),
        secrets: Vec::new(),
        env: Vec::new(),
        before: Vec::new(),
    }
}

impl Setup {
    /// One more listener, in the clear.
    pub(crate) fn plain(mut self) -> Self {
        self.listeners += "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
        self
    }

    /// One more listener in the clear, or if there is one with TLS already, that one, with these further settings.
    pub(crate) fn listening(mut self, settings: &str) -> Self {
        let address = "address = \"127.0.0.1:0\"\n";
        match self.listeners.rfind("[listeners.tls]\n") {
            Some(place) => self.listeners.insert_str(place, settings),
            None => self.listeners += &format!("[[listeners]]\n{address}{settings}"),
        }
        self
    }

    /// One more listener, where this proxy asks from this machine, with these further settings.
    pub(crate) fn asked_by(mut self, proxy: &str, settings: &str) -> Self {
        write!(
            self.listeners,
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.forward_auth]\nproxy = \"{proxy}\"\n{settings}\n"
        )
        .unwrap();
        if !settings.contains("trusted") {
            self.listeners += "trusted = [\"127.0.0.1\"]\n";
        }
        self
    }

    /// One more listener, with a certificate for these names.
    pub(crate) fn tls(self, names: &[&str]) -> Self {
        let leaf = self.authority.sign(names);
        self.tls_with(&[leaf], "")
    }

    /// One more listener, with these certificates and these further settings of its `tls` table.
    pub(crate) fn tls_with(mut self, leaves: &[Leaf], settings: &str) -> Self {
        self.listeners += "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.tls]\n";
        let pairs: Vec<_> = leaves
            .iter()
            .map(|leaf| format!("{{ cert = {:?}, key = {:?} }}", leaf.cert, leaf.key))
            .collect();
        writeln!(self.listeners, "certificates = [{}]", pairs.join(", ")).unwrap();
        self.listeners += settings;
        self.listeners.push('\n');
        self
    }

    /// Its last listener so far gets this port.
    pub(crate) fn at(mut self, port: u16) -> Self {
        let place = self.listeners.rfind("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1:{port}");
        self.listeners
            .replace_range(place..place + "127.0.0.1:0".len(), &address);
        self
    }

    /// Signs what clients and upstreams of this test believe.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sessions in Redis.
    pub(crate) fn redis(self, redis: &Redis) -> Self {
        let url = redis.url();
        self.store(&format!("redis = \"{url}\""))
    }

    /// The `[store]` table, written out.
    pub(crate) fn store(mut self, lines: &str) -> Self {
        self.store = Some(lines.to_owned());
        self
    }

    /// A session in the embedded store.
    pub(crate) fn session(mut self, token: &str, session: Session) -> Self {
        self.secrets.push(token.to_owned());
        self.sessions.push((token.to_owned(), session));
        self
    }

    /// A text that must not appear in any log.
    pub(crate) fn secret(mut self, text: &str) -> Self {
        self.secrets.push(text.to_owned());
        self
    }

    /// One of its environment variables.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// A command that starts the program, whose command line comes behind.
    pub(crate) fn through(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    pub(crate) fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// The rest of the `[server]` table, in place of `drain_delay = "0s"`.
    pub(crate) fn server(mut self, lines: &str) -> Self {
        self.server = lines.to_owned();
        self
    }

    /// Logs only what an operator sees by default.
    pub(crate) fn quiet(mut self) -> Self {
        self.filter = "info";
        self
    }

    /// The `[access_log]` table, in place of `stdout = true`.
    pub(crate) fn access_log(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.access_log);
        self
    }

    /// More of `gateway.toml`.
    pub(crate) fn toml(mut self, text: &str) -> Self {
        self.rest += text;
        self.rest.push('\n');
        self
    }

    /// A service of this name.
    pub(crate) fn upstream(self, name: &str, upstream: &Upstream) -> Self {
        let address = upstream.address();
        self.toml(&format!(
            "[upstreams.{name}]\nendpoints = [\"http://{address}\"]"
        ))
    }

    /// One more `[[routes]]` table with these lines.
    pub(crate) fn route(self, lines: &str) -> Self {
        self.toml(&format!("[[routes]]\n{lines}"))
    }

    fn write(&self) -> PathBuf {
        let listeners = if self.listeners.is_empty() {
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n"
        } else {
            &self.listeners
        };
        let text = format!(
            "[server]\nworkers = {}\n{}\n[log]\nformat = \"json\"\nfilter = \"{}\"\n[access_log]\n{}\n\
             {listeners}\n[store]\n{}\n{}",
            self.workers,
            self.server,
            self.filter,
            self.access_log,
            self.store
                .as_deref()
                .unwrap_or("embedded = \"sessions.redb\""),
            self.rest,
        );
        let path = self.dir.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Opens the store through the library, as a login service in Rust would, and closes it again.
    async fn keep_sessions(&self, path: &Path) {
        if self.sessions.is_empty() {
            return;
        }
        let loaded = match load::read(path) {
            Ok(loaded) => loaded,
            Err(error) => panic!("the configuration of this test: {error:?}"),
        };
        let (store, tokens): (&Store, &Tokens) =
            (loaded.config.store.get_ref(), &loaded.config.tokens);
        let shape = TokenShape::new(tokens);
        let store = StoreSource::open(store, tokens)
            .unwrap()
            .connect()
            .await
            .unwrap();
        store.settle(PATIENCE).await;
        for (token, session) in &self.sessions {
            let token = shape.check(token.as_bytes()).unwrap();
            store.create(&token, session).await.unwrap();
        }
    }

    fn spawn(&self, path: &Path, logs: &Arc<Mutex<String>>) -> (Child, [JoinHandle<()>; 2]) {
        let mut command = self.before.clone();
        command.extend([PROGRAM, "run", "--config"].map(str::to_owned));
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .arg(path)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let readers = [
            collect(process.stderr.take().expect("it is piped"), logs),
            collect(process.stdout.take().expect("it is piped"), logs),
        ];
        (process, readers)
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Gateway {
        let path = self.write();
        self.keep_sessions(&path).await;
        let logs = Arc::new(Mutex::new(String::new()));
        let (process, readers) = self.spawn(&path, &logs);
        let mut gateway = Gateway {
            process,
            starts: 1,
            config: path,
            addresses: Vec::new(),
            logs,
            readers: readers.into(),
            setup: self,
        };
        gateway.wait().await;
        gateway
    }
}

fn collect(from: impl Read + Send + 'static, logs: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let logs = Arc::clone(logs);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut logs = logs.lock();
            logs.push_str(&String::from_utf8_lossy(&line));
            logs.push('\n');
        }
    })
}

/// The running program.
pub(crate) struct Gateway {
    process: Child,
    /// How often it was started.
    starts: usize,
    config: PathBuf,
    addresses: Vec<(SocketAddr, bool)>,
    logs: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    setup: Setup,
}

impl Gateway {
    async fn wait(&mut self) {
        let start = Instant::now();
        loop {
            let events = self.events();
            let ready = events.iter().filter(|event| message(event) == "ready");
            if ready.count() >= self.starts {
                self.addresses = events.iter().filter_map(listening).collect();
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "the gateway does not start:\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn events(&self) -> Vec<Value> {
        let logs = self.logs();
        let lines = logs.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Everything it has printed so far.
    pub(crate) fn logs(&self) -> String {
        self.logs.lock().clone()
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.setup.authority
    }

    /// Address of its first listener in the clear.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.find(false)
    }

    /// Where this proxy asks; as `AskingProxy` is printed.
    pub(crate) fn asked(&self, proxy: &str) -> SocketAddr {
        let events = self.events();
        let mut told = events.iter().filter(|event| {
            message(event) == "answering a proxy" && field(event, "proxy") == proxy
        });
        let event = told
            .next()
            .unwrap_or_else(|| panic!("{proxy} cannot ask anywhere"));
        field(event, "address").as_str().unwrap().parse().unwrap()
    }

    /// This field of the first line of the log with this message.
    pub(crate) fn said(&self, wanted: &str, name: &str) -> Value {
        let events = self.events();
        let mut told = events.iter().filter(|event| message(event) == wanted);
        let event = told.next();
        field(
            event.unwrap_or_else(|| panic!("it never said `{wanted}`")),
            name,
        )
        .clone()
    }

    /// What its metrics listener answers at this path.
    pub(crate) async fn monitor(&self, path: &str) -> Reply {
        let stream = tokio::net::TcpStream::connect(self.monitored())
            .await
            .unwrap();
        Connection::h1_over(stream)
            .await
            .send(Call::get(path))
            .await
    }

    /// The number of this series in its metrics, such as `requests_total{route="a"}`; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.monitor("/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| {
            line.strip_prefix("drawbridge_")?
                .strip_prefix(series)?
                .strip_prefix(' ')
        });
        line.map_or(0.0, |number| number.parse().unwrap())
    }

    /// Address at which it tells metrics, and whether it is ready.
    pub(crate) fn monitored(&self) -> SocketAddr {
        let address = self.said("telling metrics", "address");
        address.as_str().unwrap().parse().unwrap()
    }

    /// Address of its first listener with TLS.
    pub(crate) fn secure(&self) -> SocketAddr {
        self.find(true)
    }

    fn find(&self, tls: bool) -> SocketAddr {
        let mut addresses = self.addresses.iter();
        let found = addresses.find(|(_, with)| *with == tls);
        found
            .unwrap_or_else(|| panic!("no listener with tls = {tls}"))
            .0
    }

    /// One call over a connection of its own, HTTP/1.1 in the clear.
    pub(crate) async fn send(&self, call: Call) -> Reply {
        Connection::plain(self).await.send(call).await
    }

    /// One call over a connection of its own, HTTP/2.
    pub(crate) async fn send_h2(&self, call: Call) -> Reply {
        Connection::h2(self, "a.test").await.send(call).await
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal, such as `-HUP`.
    pub(crate) fn signal(&self, signal: &str) {
        super::signal::send(self.process.id(), signal);
    }

    /// It stands still when this returns.
    pub(crate) fn freeze(&self) {
        super::signal::freeze(self.process.id());
    }

    pub(crate) fn thaw(&self) {
        super::signal::thaw(self.process.id());
    }

    /// Puts another text in place of a part of its configuration, the way editors do: a new file takes the old one's name.
    pub(crate) fn edit(&self, part: &str, by: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(part), "{part:?} is not in {text}");
        let new = self.config.with_extension("new");
        std::fs::write(&new, text.replacen(part, by, 1)).unwrap();
        std::fs::rename(new, &self.config).unwrap();
    }

    /// How many log lines have this text.
    pub(crate) fn told(&self, what: &str) -> usize {
        let logs = self.logs.lock();
        logs.lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until so many log lines have this text.
    pub(crate) async fn tells(&self, what: &str, times: usize) {
        let told = || self.told(what) >= times;
        super::redis::eventually(what, PATIENCE, told).await;
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let wait = async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the gateway's end", wait).await
    }

    /// Writes the ports that it was given into its configuration, so that it has them again after a restart.
    pub(crate) fn keep_addresses(&mut self) {
        for address in self
            .addresses
            .iter()
            .map(|(address, _)| address.to_string())
        {
            self.edit(
                "address = \"127.0.0.1:0\"",
                &format!("address = \"{address}\""),
            );
        }
        let monitored = format!("listen = \"{}\"", self.monitored());
        self.edit("listen = \"127.0.0.1:0\"", &monitored);
    }

    /// Waits for its end, which somebody has asked for, and starts it again.
    pub(crate) async fn restart(&mut self) {
        assert_eq!(self.ended().await.code(), Some(0));
        let (process, readers) = self.setup.spawn(&self.config, &self.logs);
        self.process = process;
        self.readers.extend(readers);
        self.starts += 1;
        self.wait().await;
    }

    /// Whether it still answers, as it must after every attack.
    pub(crate) async fn still_serves(&mut self) {
        assert!(self.process.try_wait().unwrap().is_none(), "it has ended");
        let reply = self.send(Call::get("/public/alive")).await;
        assert_eq!(reply.status, 200, "it does not serve any more");
        assert!(!self.logs().contains("panicked"), "{}", self.logs());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
        let logs = self.logs();
        if std::thread::panicking() {
            let tail: Vec<_> = logs.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("the gateway's last lines:\n{}", tail.join("\n"));
            return;
        }
        for secret in &self.setup.secrets {
            assert!(
                !logs.contains(secret.as_str()),
                "a secret was logged: {secret}"
            );
        }
        assert!(!logs.contains("panicked"), "the gateway panicked:\n{logs}");
    }
}

fn message(event: &Value) -> &str {
    field(event, "message").as_str().unwrap_or_default()
}

fn field<'a>(event: &'a Value, name: &str) -> &'a Value {
    match &event[name] {
        Value::Null => &event["fields"][name],
        value => value,
    }
}

fn listening(event: &Value) -> Option<(SocketAddr, bool)> {
    if message(event) != "listening" {
        return None;
    }
    let address = field(event, "address").as_str()?.parse().ok()?;
    Some((address, field(event, "tls").as_bool()?))
}
