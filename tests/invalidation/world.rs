//! Two gateways, the load on them, and whoever opens, changes and ends sessions meanwhile. See [`crate::checker`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drawbridge::session::Why;
use drawbridge::sessions::{Login, RightsEdit, Sessions, Target, Whom};
use drawbridge::token::Anchor;
use drawbridge::user::User;
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::own::Desk;
use crate::safeguards::without;
use crate::streams::{echo_server, open};
use crate::support::gateway::now;
use crate::support::{
    Answer, Gateway, PATIENCE, Seen as Arrived, Upstream, gateway, upstream_that,
};
use crate::witness::{Edit, Known, Log, ORACLE, Seen, Tally, Tunnel};

/// The bound of the gateways under test.
pub(crate) const BOUND: Duration = Duration::from_secs(2);
/// Tokens that are asked about at a time, opened within some eight seconds; the older ones are let go.
const IN_USE: usize = 120;
/// A session is ended when so many have been opened after it: it goes on being asked about for longer than the bound.
const ENDED_AFTER: usize = 20;
/// One of so many lives on until almost nobody asks about it any more: it is there to have its rights changed.
const LASTING: usize = 8;
const LASTS: usize = 100;
/// Every so manieth question is about one of all sessions there ever were: what is over stays over.
const OLD: usize = 4;

/// The Redis servers, as they are reached with nothing in between.
pub(crate) struct Servers {
    pub(crate) ports: Vec<u16>,
    /// An end is confirmed when so many of them have it.
    pub(crate) needed: usize,
}

/// All that a task needs.
#[derive(Clone)]
struct Scene {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    /// Counts up when something begins to fail, is repaired or is lost.
    moves: Arc<AtomicU64>,
    servers: Arc<Servers>,
    gateways: Arc<[SocketAddr]>,
    start: Instant,
}

pub(crate) struct World {
    pub(crate) gateways: Vec<Gateway>,
    scene: Scene,
    tasks: JoinSet<()>,
    upstream: Upstream,
}

impl World {
    /// `rule` is taken away, and with any of them the one that ends tunnels.
    pub(crate) async fn start(
        stores: &[String],
        authority: &str,
        servers: Servers,
        rule: Option<&str>,
    ) -> Self {
        let (log, start) = (Arc::<Mutex<Log>>::default(), Instant::now());
        // Nothing is running yet.
        log.lock().faults.push((start, None));
        let upstream = oracle(Arc::clone(&log), start);
        let sockets = echo_server().await;
        let mut gateways = Vec::new();
        for store in stores {
            let setup = gateway()
                .plain()
                .store(&format!("redis = \"{store}\""))
                .access_log("")
                .upstream("app", &upstream)
                .toml(&format!(
                    "[upstreams.sockets]\nendpoints = [\"http://{sockets}\"]"
                ))
                .toml(&format!(
                    "[sessions]\n[cache]\nmax_staleness = \"{}s\"",
                    BOUND.as_secs()
                ))
                .route("prefix = \"/\"\nupstream = \"app\"")
                .route(&format!(
                    "prefix = \"/socket\"\nupgrades = [\"websocket\"]\nupstream = \"sockets\"\nclose_on_revoke = {}",
                    rule.is_none()
                ));
            gateways.push(without(setup, rule).quiet().start().await);
        }
        let desk = Desk::open_within(authority, BOUND).await;
        let scene = Scene {
            log,
            stop: Arc::default(),
            moves: Arc::default(),
            servers: Arc::new(servers),
            gateways: gateways.iter().map(Gateway::plain).collect(),
            start,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(live(Arc::clone(&desk.sessions), scene.clone()));
        for gateway in 0..gateways.len() {
            for step in [1, 7] {
                tasks.spawn(load(gateway, step, scene.clone()));
            }
        }
        let world = Self {
            gateways,
            scene,
            tasks,
            upstream,
        };
        world.repaired();
        world
    }

    /// From now on it may be that what was there before is gone.
    pub(crate) fn loses(&self) {
        self.moves();
        let mut log = self.scene.log.lock();
        for known in &mut log.known {
            known.shaky = true;
        }
        log.losses.push(Instant::now());
    }

    /// Something falls or comes back at this moment.
    pub(crate) fn moves(&self) {
        self.scene.moves.fetch_add(1, Ordering::SeqCst);
    }

    /// Something begins to fail.
    pub(crate) fn fails(&self) {
        self.moves();
        self.scene.log.lock().faults.push((Instant::now(), None));
    }

    /// Whatever failed does not any more.
    pub(crate) fn repaired(&self) {
        self.moves();
        let now = Instant::now();
        for (_, over) in &mut self.scene.log.lock().faults {
            over.get_or_insert(now);
        }
    }

    /// This gateway stands still for so long.
    pub(crate) async fn freeze(&self, gateway: usize, time: Duration) {
        let from = Instant::now();
        self.gateways[gateway].freeze();
        sleep(time).await;
        self.gateways[gateway].thaw();
        let frozen = (gateway, from, Instant::now());
        self.scene.log.lock().frozen.push(frozen);
    }

    /// Checks what was seen since the last time, and tells about it.
    pub(crate) fn settle(&self, what: &str) {
        let mut log = self.scene.log.lock();
        log.settle(BOUND);
        let (at, ends) = (self.scene.start.elapsed().as_secs(), ends(&log));
        let (answers, worst, wrong) = (log.tally.answers, log.tally.worst, log.tally.wrong.len());
        println!(
            "{at:>4} s  {what}: {answers} answers, {ends} ends, worst staleness {worst:?}, {wrong} violations"
        );
        self.upstream.forget();
    }

    /// Ends the load and checks what was seen.
    pub(crate) async fn verdict(mut self) -> Tally {
        self.scene.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let mut log = self.scene.log.lock();
        let (ends, tunnels) = (ends(&log), log.tunnels.len());
        let tally = log.finish(BOUND);
        let (let_in, worst) = (tally.let_in, tally.worst);
        println!("{ends} ends, {tunnels} tunnels, {let_in} let in, worst staleness {worst:?}");
        let load = tally.let_in > 100 && ends > 0 && tunnels > 0;
        assert!(load, "there was no load to speak of");
        tally
    }
}

fn ends(log: &Log) -> usize {
    log.known
        .iter()
        .filter(|known| known.over.is_some())
        .count()
}

/// An upstream that notes itself whom it was told to serve, and tells the client.
fn oracle(log: Arc<Mutex<Log>>, start: Instant) -> Upstream {
    upstream_that(move |arrived| {
        let told = seen_upstream(arrived, start);
        let text = told
            .as_ref()
            .map(|seen| format!("{} {}", seen.user, seen.version));
        log.lock().seen.extend(told);
        let text = text.unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        Answer::Bytes(answer.into_bytes())
    })
}

/// What stands in `/NUMBER/NANOSECONDS/MILLISECONDS` and in what the gateway has added.
fn seen_upstream(arrived: &Arrived, start: Instant) -> Option<Seen> {
    let mut parts = arrived.target().trim_start_matches('/').split('/');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (number, nanos, begun_at) = (next()?, next()?, next()?);
    let rights = arrived.header("x-user-permissions").unwrap_or_default();
    let versions = rights
        .split([',', ' '])
        .filter_map(|right| right.strip_prefix("v:")?.parse().ok());
    Some(Seen {
        number: usize::try_from(number).unwrap(),
        begun: start + Duration::from_nanos(nanos),
        begun_at,
        ended: Instant::now(),
        status: 200,
        user: arrived.header("x-user-id").unwrap_or_default().to_owned(),
        version: versions.max().unwrap_or(0),
        gateway: ORACLE,
    })
}

/// Opens sessions, changes the rights of their users, and ends them, some by kick and some by waiting.
async fn live(sessions: Arc<Sessions>, scene: Scene) {
    let (mut round, mut tasks) = (0, JoinSet::new());
    while !scene.stop.load(Ordering::SeqCst) {
        round += 1;
        sleep(Duration::from_millis(60)).await;
        open_one(&sessions, round, &scene, &mut tasks).await;
        if round.is_multiple_of(3) {
            edit_one(&sessions, round, &scene).await;
        }
        let meant = meant(&mut scene.log.lock());
        if let Some(known) = meant.filter(|known| known.over.is_none()) {
            end_one(&sessions, round, known, &scene, &mut tasks).await;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// One to be ended: it has been in use for a while.
fn meant(log: &mut Log) -> Option<Known> {
    let number = |after| log.known.len().checked_sub(after);
    let lasts = number(LASTS).filter(|number| is_lasting(*number));
    let number = lasts.or_else(|| number(ENDED_AFTER).filter(|number| !is_lasting(*number)))?;
    let known = &mut log.known[number];
    known.shaky = true;
    Some(known.clone())
}

fn is_lasting(number: usize) -> bool {
    number.is_multiple_of(LASTING)
}

async fn open_one(sessions: &Sessions, round: usize, scene: &Scene, tasks: &mut JoinSet<()>) {
    let user = format!("user-{round}");
    let brief = round.is_multiple_of(5);
    let login = Login {
        user_id: user.clone(),
        lifetime: brief.then_some(Duration::from_millis(1500)),
        ..Login::default()
    };
    let Ok(grant) = sessions.login(login).await else {
        return;
    };
    let known = {
        let mut log = scene.log.lock();
        let known = Known {
            number: log.known.len(),
            token: grant.access.expose().to_owned(),
            user,
            sid: grant.session.sid,
            ends_at: grant.access_ends_at,
            over: None,
            everywhere: None,
            shaky: false,
        };
        log.known.push(known.clone());
        known
    };
    if round % 6 == 1 {
        tasks.spawn(tunnel(known, round % scene.gateways.len(), scene.clone()));
    }
}

/// Gives the user of one of the sessions that last another right, and takes the one before.
async fn edit_one(sessions: &Sessions, round: usize, scene: &Scene) {
    let (user, number, version) = {
        let mut log = scene.log.lock();
        let newest = log.known.len().saturating_sub(1) / LASTING;
        let number = newest.saturating_sub(round % (LASTS / LASTING)) * LASTING;
        if log.known.is_empty() {
            return;
        }
        let user = log.known[number].user.clone();
        let edits = log.edits.entry(number).or_default();
        edits.push(Edit {
            started: Instant::now(),
            acked: None,
        });
        (user, number, edits.len())
    };
    let edit = RightsEdit {
        grant: vec![format!("v:{version}")],
        revoke: vec![format!("v:{}", version - 1)],
        ..RightsEdit::default()
    };
    if sessions.edit_rights(&user, edit).await.is_ok() {
        let mut log = scene.log.lock();
        let edits = log.edits.get_mut(&number).expect("it was begun");
        edits[version - 1].acked = Some(Instant::now());
    }
}

async fn end_one(
    sessions: &Arc<Sessions>,
    round: usize,
    known: Known,
    scene: &Scene,
    tasks: &mut JoinSet<()>,
) {
    let moves = scene.moves.load(Ordering::SeqCst);
    let one = !round.is_multiple_of(4);
    let whom = if one {
        Whom::Session(known.sid.clone())
    } else {
        Whom::All
    };
    let ended = sessions.kick(&known.user, whom, Why::Kicked).await;
    if !ended.is_ok_and(|ended| ended.confirmed && ended.sids.contains(&known.sid)) {
        return;
    }
    scene.log.lock().known[known.number].over = Some(Instant::now());
    if round.is_multiple_of(3) {
        tasks.spawn(reach(
            Arc::clone(sessions),
            known.clone(),
            Arc::clone(&scene.log),
        ));
    }
    let has = copies(&scene.servers, &known).await;
    if has < scene.servers.needed && scene.moves.load(Ordering::SeqCst) == moves {
        let hollow = format!("S6: confirmed, and only {has} servers know it: {known:?}");
        scene.log.lock().hollow.push(hollow);
    }
}

/// Asks every gateway whether it has dropped it.
async fn reach(sessions: Arc<Sessions>, known: Known, log: Arc<Mutex<Log>>) {
    let reached = sessions.reach(Target::User(&known.user)).await;
    if reached.is_ok_and(|reached| reached.everywhere) {
        log.lock().known[known.number].everywhere = Some(Instant::now());
    }
}

/// How many of the servers know that this session is over.
async fn copies(servers: &Servers, known: &Known) -> usize {
    let told = join_all(servers.ports.iter().map(|port| knows(*port, known))).await;
    told.into_iter().filter(|knows| *knows).count()
}

/// A connection may be cut for another reason, but not again and again.
async fn knows(port: u16, known: &Known) -> bool {
    for _ in 0..5 {
        let told = timeout(Duration::from_millis(500), record(port, &known.user)).await;
        let Ok(told) = told else {
            return false;
        };
        if let Some(user) = told {
            return user
                .is_some_and(|user| user.sessions.iter().all(|entry| entry.sid != known.sid));
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

/// The user's record as it lies on this server; nothing at all if the server does not answer.
async fn record(port: u16, user: &str) -> Option<Option<User>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut stream = BufReader::new(stream);
    let anchor = Anchor::of("main", user);
    // In a cluster a replica answers only those who do not mind.
    let question = format!("READONLY\r\nGET login:user:main:{}\r\n", anchor.as_str());
    stream.write_all(question.as_bytes()).await.ok()?;
    let mut line = String::new();
    for _ in 0..2 {
        line.clear();
        (stream.read_line(&mut line).await.ok()? > 0).then_some(())?;
    }
    let Some(length) = line
        .trim_end()
        .strip_prefix('$')
        .and_then(|length| length.parse().ok())
    else {
        return Some(None);
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(User::decode(&bytes).ok())
}

/// Sends pieces through a tunnel for as long as they come back.
async fn tunnel(known: Known, gateway: usize, scene: Scene) {
    let opening = open(scene.gateways[gateway], "/socket", &known.token);
    let Ok(Some(mut socket)) = timeout(PATIENCE, opening).await else {
        return;
    };
    let place = {
        let mut log = scene.log.lock();
        let (number, echoed) = (known.number, Instant::now());
        log.tunnels.push(Tunnel {
            number,
            gateway,
            echoed,
            closed: None,
        });
        log.tunnels.len() - 1
    };
    while !scene.stop.load(Ordering::SeqCst) {
        let sent = Instant::now();
        let alive = socket.send(Message::text("x")).await.is_ok()
            && matches!(
                timeout(PATIENCE, socket.next()).await,
                Ok(Some(Ok(Message::Text(_))))
            );
        {
            let tunnel = &mut scene.log.lock().tunnels[place];
            if !alive {
                tunnel.closed = Some(Instant::now());
                return;
            }
            tunnel.echoed = sent;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asks one gateway about the tokens in use, one after the other, and now and then about an old one.
async fn load(gateway: usize, step: usize, scene: Scene) {
    let mut turn = 0;
    while !scene.stop.load(Ordering::SeqCst) {
        turn += step;
        let picked = {
            let log = scene.log.lock();
            let first = match turn / step % OLD {
                0 => 0,
                _ => log.known.len().saturating_sub(IN_USE),
            };
            let used = &log.known[first..];
            (!used.is_empty()).then(|| used[turn % used.len()].clone())
        };
        sleep(Duration::from_millis(3)).await;
        let Some(known) = picked else {
            continue;
        };
        let (begun, begun_at) = (Instant::now(), now());
        let nanos = (begun - scene.start).as_nanos();
        let path = format!("/{}/{nanos}/{begun_at}", known.number);
        let asked = ask(scene.gateways[gateway], &path, &known.token);
        let Ok(Some((status, user, version))) = timeout(PATIENCE, asked).await else {
            continue;
        };
        scene.log.lock().seen.push(Seen {
            number: known.number,
            begun,
            begun_at,
            ended: Instant::now(),
            status,
            user,
            version,
            gateway,
        });
    }
}

/// Status and, as the upstream was told them, user and version of the rights; nothing if there was no whole answer.
async fn ask(address: SocketAddr, path: &str, token: &str) -> Option<(u16, String, usize)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a.test\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let told = body.trim().split_once(' ').filter(|_| status == 200);
    let (user, version) = told.unwrap_or(("", "0"));
    Some((status, user.to_owned(), version.parse().ok()?))
}
