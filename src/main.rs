//! Arguments, logging, signals, exit code: the only place that prints or exits.
#![expect(
    clippy::print_stderr,
    reason = "what goes wrong before there is a log is told on standard error"
)]

use std::convert::Infallible;
use std::io::{ErrorKind, IsTerminal, Stdout, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use drawbridge::command::{
    Verdict, admin_key, check, demo, explain, held, role, run, schema, session, user,
};
use drawbridge::config::{Config, LogFormat};
use drawbridge::{descriptors, server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// A reverse-proxy auth gateway whose tokens can be taken back at once.
///
/// For each request it takes an opaque token from a header or cookie, looks its session up in Redis or in an embedded
/// store, judges it against the route's rule, strips and injects identity headers, and forwards.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "New here? `drawbridge demo` shows all of it in a minute."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C, then drain; a second signal ends it at once.
    Run(ConfigFile),
    /// Read a configuration and tell everything that is wrong with it. Exit code 1 if it cannot be served.
    /// With --token also who holds a token: then 1 if nobody does, and 3 if nobody can tell.
    #[command(after_help = "Examples:
  drawbridge check
  drawbridge check --token -          (reads the token from standard input, as a client sends it)")]
    Check(Check),
    /// Tell what would become of a request, step by step. Exit code 1 if it would be refused, 2 if it was asked wrongly, 3 if
    /// the store cannot be opened.
    #[command(
        after_help = "Example: drawbridge explain GET https://shop.example/orders --token dbt_…"
    )]
    Explain(Explain),
    /// Open, look at and end sessions. Exit code 0: done, 1: refused or no such, 2: asked wrongly, 3: nobody can tell.
    #[command(subcommand)]
    Session(session::Session),
    /// Look at users, ban them, and say what they may do. Exit codes as with `session`.
    #[command(subcommand)]
    User(user::User),
    /// Say what whoever has a role may do. Exit codes as with `session`.
    #[command(subcommand)]
    Role(role::Role),
    /// Make a key for the admin API: prints it once, and the line for gateway.toml that lets it in.
    AdminKey(admin_key::AdminKey),
    /// Print the JSON schema of gateway.toml, for editors, or its manual.
    Schema(schema::Form),
    /// Start a gateway with a sample upstream, users and sessions, and print curl lines to try.
    Demo(Demo),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "gateway.toml",
        env = "DRAWBRIDGE_CONFIG"
    )]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// A token, as a client sends it where tokens are looked for first: with a framework's `layout`, the cookie's value. Tells
    /// whose it is, what they may do and until when, or why there is no session. `-` reads it from standard input.
    #[arg(short, long)]
    token: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The method, in capitals.
    method: String,
    /// The URL, with scheme and host.
    url: String,
    /// The token, put where the route looks first. `-` reads it from standard input, so that it stays out of the shell's history.
    #[arg(short, long, env = "DRAWBRIDGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A further header, as "Name: value"; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    headers: Vec<String>,
    /// The address the request comes from.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct Demo {
    /// Where the demo's gateway listens. Port 0 takes a free one.
    #[arg(short, long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match answer(Arguments::parse().command) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("drawbridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for. Whatever there is to say has been printed then.
fn answer(command: Command) -> anyhow::Result<Verdict> {
    server::install_crypto();
    let (mut out, mut err) = (Printer(std::io::stdout()), std::io::stderr());
    match command {
        Command::Check(order) => look(order, &mut out),
        Command::Schema(form) => schema::run(form, &mut out)
            .map(|()| Verdict::Done)
            .context("cannot write the schema"),
        Command::AdminKey(order) => admin_key::run(&order, &mut out).map(|()| Verdict::Done),
        Command::Session(order) => {
            drop(start_log(QUIET, LogFormat::Text)?);
            block_on(session::run(order, &mut out, &mut err))
        }
        Command::User(order) => {
            drop(start_log(QUIET, LogFormat::Text)?);
            block_on(user::run(order, &mut out, &mut err))
        }
        Command::Role(order) => {
            drop(start_log(QUIET, LogFormat::Text)?);
            block_on(role::run(order, &mut out, &mut err))
        }
        Command::Run(file) => {
            let Some(config) = read(&file)? else {
                return Ok(Verdict::No);
            };
            let set_filter = start_log(&config.log.filter, config.log.format)?;
            descriptors::raise();
            server::inherit();
            let control = run::Control {
                file: Some(file.config),
                signals: signals()?,
                reload_at_once: false,
                set_filter: Some(set_filter),
            };
            block_on(run::run(&config, control))?;
            Ok(Verdict::Done)
        }
        Command::Explain(question) => {
            let Some(config) = read(&question.file)? else {
                return Ok(Verdict::No);
            };
            drop(start_log(QUIET, LogFormat::Text)?);
            let question = explain::Question {
                method: question.method,
                url: question.url,
                token: question.token.map(token_or_stdin).transpose()?,
                headers: question.headers,
                from: question.from,
            };
            block_on(explain::run(&config, &question, (&mut out, &mut err)))
        }
        Command::Demo(demo) => {
            drop(start_log("warn", LogFormat::Text)?);
            let control = run::Control {
                file: None,
                signals: signals()?,
                reload_at_once: false,
                set_filter: None,
            };
            block_on(demo::run(demo.listen, &mut out, control))?;
            Ok(Verdict::Done)
        }
    }
}

/// `check`, with or without a token.
fn look(order: Check, out: &mut Printer) -> anyhow::Result<Verdict> {
    let Some(token) = order.token else {
        let color = is_colorful(&out.0);
        return Ok(check::run(&order.file.config, out, color)?.into());
    };
    let Some(config) = read(&order.file)? else {
        return Ok(Verdict::No);
    };
    drop(start_log(QUIET, LogFormat::Text)?);
    let token = token_or_stdin(token)?;
    block_on(held::run(&config, &token, out))
}

/// What commands log that do one thing and end: why the store cannot be asked.
const QUIET: &str = "error,drawbridge::store::redis::watchdog=warn";

/// Standard output. When its reader is gone, as `head` is after some lines, nothing is left to do.
struct Printer(Stdout);

impl Write for Printer {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        end_unread(self.0.write(text))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        end_unread(self.0.flush())
    }
}

/// Ends with the code that shells expect of who writes to a pipe that nobody reads.
fn end_unread<T>(written: std::io::Result<T>) -> std::io::Result<T> {
    if written
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
    {
        std::process::exit(141);
    }
    written
}

/// Whether to write in color: to people, unless they would rather not (<https://no-color.org>).
fn is_colorful(stream: &impl IsTerminal) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !unwanted
}

fn token_or_stdin(token: String) -> anyhow::Result<String> {
    if token != "-" {
        return Ok(token);
    }
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("cannot read the token from standard input")?;
    Ok(line.trim().to_owned())
}

/// The configuration; `None` if it cannot be served and everybody has been told why. Warnings are told too.
fn read(file: &ConfigFile) -> anyhow::Result<Option<Config>> {
    let mut told = Vec::new();
    let config = check::load(&file.config, &mut told, is_colorful(&std::io::stderr()))?;
    std::io::stderr().write_all(&told)?;
    Ok(config)
}

/// Starts to log; the filter can be changed later.
fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<run::SetFilter> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is not a log filter"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_colorful(&std::io::stderr()));
    Ok(match format {
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |filter| Ok(handle.reload(EnvFilter::try_new(filter)?)?))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |filter| Ok(handle.reload(EnvFilter::try_new(filter)?)?))
        }
    })
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(future)
}

/// What the process is told: SIGTERM and SIGINT to stop, SIGHUP to read the configuration anew, SIGUSR2 to leave
/// the clients to a new program. Told to stop a second time
/// it ends with the code that shells expect.
fn signals() -> anyhow::Result<mpsc::Receiver<run::Signal>> {
    let (sender, signals) = mpsc::channel(2);
    let listen = async move {
        let (mut term, mut int, mut hup) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        let mut usr2 = signal(SignalKind::user_defined2())?;
        let mut stopping = false;
        loop {
            let told = tokio::select! {
                _ = term.recv() => run::Signal::Stop,
                _ = int.recv() => run::Signal::Stop,
                _ = hup.recv() => run::Signal::Reload,
                _ = usr2.recv() => run::Signal::Upgrade,
            };
            if told == run::Signal::Stop && stopping {
                std::process::exit(130);
            }
            stopping |= told == run::Signal::Stop;
            // A reload that is still to come will do for this one as well, so there is always room for the word to stop.
            if stopping || sender.capacity() == sender.max_capacity() {
                sender.try_send(told).ok();
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let ended: anyhow::Result<Infallible> = block_on(listen);
            let Err(error) = ended;
            tracing::error!(%error, "signals cannot be caught");
        })?;
    Ok(signals)
}
