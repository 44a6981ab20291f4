//! Keeps one worker connected: asks for a sign of life, and replaces a connection that gives none.
//!
//! fred notices a connection that the other side closes, and makes a new one. It does not notice a server that is frozen
//! or a network that swallows packets while commands keep being written.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{Options, Server};
use fred::types::{ConnectHandle, Value};
use tokio::time::{Instant, sleep, timeout};

use super::failure;
use super::link::Link;
use super::master::Master;
use super::setup::Setup;

/// Between two signs of life.
const TICK: Duration = Duration::from_millis(250);
/// So many ticks without one, and the connection is given up.
const MISSES: u32 = 3;
/// So many ticks in a row on which the sentinels name another master: one may be a sentinel that lags behind.
const SIGHTINGS: u32 = 2;
/// How long a new connection may take until it answers. Within it fred dials again and again.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Between two such attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// A client and the task that drives it; both end together.
struct Connection {
    client: Client,
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also ends those who wait for an answer on it.
        self.task.abort();
    }
}

/// Why a connection is no longer good.
#[derive(Debug, Clone, Copy)]
enum Lost {
    /// Nobody answers.
    Silent,
    /// Some nodes of the cluster answer and others do not.
    Partly,
    /// An answer did not fit its question.
    Distrusted,
    /// The sentinels have another master.
    Moved,
}

impl Lost {
    fn reason(self) -> &'static str {
        match self {
            Self::Silent => "no answer",
            Self::Partly => "a cluster node does not answer",
            Self::Distrusted => "an answer belonged to another question",
            Self::Moved => "the sentinels named another master",
        }
    }
}

/// Keeps `link` open for as long as there is a server. Ends only by being aborted.
pub(super) async fn run(setup: Arc<Setup>, link: Arc<Link>) {
    let place = setup.place();
    let mut connection = connect(&setup, &place).await;
    loop {
        link.open(connection.client.clone());
        let lost = watch(&setup, &link, &connection.client).await;
        if let Lost::Partly = lost {
            // The nodes that answer are not given up for the one that does not.
            if let Ok(fresh) = attempt(&setup).await {
                connection = fresh;
            }
            continue;
        }
        link.close();
        tracing::warn!(%place, reason = lost.reason(), "Redis is out of reach");
        drop(connection);
        connection = reconnect(&setup).await;
        tracing::info!(%place, "Redis is back");
    }
}

/// The first connection. A server that is there at once is not worth a line.
async fn connect(setup: &Setup, place: &str) -> Connection {
    match attempt(setup).await {
        Ok(connection) => connection,
        Err(error) => {
            let reason = reason(error.as_ref());
            tracing::warn!(%place, %reason, "Redis is out of reach");
            let connection = reconnect(setup).await;
            tracing::info!(%place, "Redis is there");
            connection
        }
    }
}

async fn reconnect(setup: &Setup) -> Connection {
    loop {
        match attempt(setup).await {
            Ok(connection) => return connection,
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A new connection that has answered.
///
/// # Errors
/// What fred said last, if it said something.
async fn attempt(setup: &Setup) -> Result<Connection, Option<Error>> {
    let client = setup.client();
    let mut errors = client.error_rx();
    let connection = Connection {
        task: client.connect(),
        client,
    };
    let options = Options {
        timeout: Some(ATTEMPT),
        ..Options::default()
    };
    if answers(&connection.client, &options).await {
        return Ok(connection);
    }
    let mut last = None;
    while let Ok((error, _)) = errors.try_recv() {
        last = Some(error);
    }
    Err(last)
}

/// Returns when the connection is no longer good.
async fn watch(setup: &Setup, link: &Link, client: &Client) -> Lost {
    let mut master = Master::new(setup);
    let mut first = None;
    let (mut silent, mut partly, mut moved) = (0, 0, 0);
    let mut pause = TICK;
    loop {
        if timeout(pause, link.distrusted()).await.is_ok() {
            return Lost::Distrusted;
        }
        let asked = Instant::now();
        match signs(setup, client).await {
            Signs::All => (silent, partly) = (0, 0),
            Signs::Some => partly += 1,
            Signs::None => silent += 1,
        }
        if let Some(master) = &mut master {
            let named = master.ask().await;
            let elsewhere = named.is_some_and(|named| has_moved(client, &mut first, named));
            moved = if elsewhere { moved + 1 } else { 0 };
        }
        if silent >= MISSES {
            return Lost::Silent;
        }
        if partly >= MISSES {
            return Lost::Partly;
        }
        if moved >= SIGHTINGS {
            return Lost::Moved;
        }
        pause = TICK.saturating_sub(asked.elapsed());
    }
}

/// How many of the servers give a sign of life.
enum Signs {
    All,
    Some,
    None,
}

async fn signs(setup: &Setup, client: &Client) -> Signs {
    let options = Options {
        timeout: Some(setup.patience()),
        max_attempts: Some(1),
        // While fred is dialling there is nobody to ask, and no need to wait for that.
        fail_fast: true,
        ..Options::default()
    };
    let nodes = client.active_connections();
    if !setup.is_cluster() || nodes.is_empty() {
        return match answers(client, &options).await {
            true => Signs::All,
            false => Signs::None,
        };
    }
    let (mut alive, mut dead) = (0, 0);
    for node in nodes {
        let options = Options {
            cluster_node: Some(node),
            ..options.clone()
        };
        match answers(client, &options).await {
            true => alive += 1,
            false => dead += 1,
        }
    }
    match (alive, dead) {
        (0, _) => Signs::None,
        (_, 0) => Signs::All,
        _ => Signs::Some,
    }
}

/// Whether the server says anything at all. A refusal counts: who may not PING may still be allowed to GET.
async fn answers(client: &Client, options: &Options) -> bool {
    match client.with_options(options).ping::<Value>(None).await {
        Ok(_) => true,
        Err(error) => failure::code(&error).is_some_and(|code| code != "LOADING"),
    }
}

/// Host and port, as the sentinels write them.
type Address = (String, u16);

/// Whether `named` is another server than the one in use. A user who may not run CLIENT ID leaves fred without knowing
/// whom it is connected to; then it is the first server named since that counts.
fn has_moved(client: &Client, first: &mut Option<Address>, named: Address) -> bool {
    let used = client.active_connections();
    if used.is_empty() {
        return *first.get_or_insert_with(|| named.clone()) != named;
    }
    let (host, port) = named;
    !used
        .iter()
        .any(|server: &Server| *server.host == *host && server.port == port)
}

/// Why there is no connection, and what that means more often than not. Of what a server says only its code is told, for
/// the rest may repeat a password.
fn reason(error: Option<&Error>) -> String {
    let Some(error) = error else {
        return SILENT.to_owned();
    };
    let kind = error.kind();
    let Some(code) = failure::code(error) else {
        return if *kind == ErrorKind::Timeout {
            SILENT.to_owned()
        } else if matches!(kind, ErrorKind::IO | ErrorKind::Tls) {
            in_words(error.details()).to_owned()
        } else {
            kind.to_str().to_owned()
        };
    };
    let meaning = match code {
        "NOAUTH" => "it wants a password, and none is set",
        "WRONGPASS" => "the user or the password is wrong",
        "NOPERM" => "its ACL does not let this user do what is needed",
        "ERR" => {
            "it does not know what it was asked: is it a sentinel or a cluster, as the URL says?"
        }
        _ => return code.to_owned(),
    };
    format!("{code}: {meaning}")
}

/// The system's own words in what fred keeps of its errors, which is how a programmer prints them.
fn in_words(details: &str) -> &str {
    let words = details.split_once("message: \"");
    words
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or(details, |(words, _)| words)
}

/// What a server that speaks TLS does when it is not asked in TLS, and the other way round.
const SILENT: &str =
    "no answer: is it frozen, does a firewall swallow packets, or does only one side speak TLS?";
