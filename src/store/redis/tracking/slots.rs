//! Which master answers for which slot of a cluster, and a listener at each of them.
//!
//! A cluster fences itself: a master that cannot see the majority of the others stops answering after the cluster's node
//! timeout, and only later a replica takes its place. So for that long, and a second for its own clockwork, what a
//! master says may be outdated. How long that is has to be known before anything may be kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Shared;
use super::frame::Frame;
use super::wire::{Address, Broken, Door, Wire, accepted};
use crate::store::redis::tracking::Unfit;

/// Between two looks at the cluster.
const ROUND: Duration = Duration::from_millis(500);
/// What a node adds to its timeout until it refuses to answer.
const CLOCKWORK: Duration = Duration::from_secs(1);
/// Slots of a cluster; fixed by its protocol.
pub(super) const SLOTS: usize = 16_384;

/// The cluster as one of its nodes sees it.
struct Map {
    owners: Vec<Option<Address>>,
    /// Counts changes of who owns what.
    epoch: i64,
}

/// Looks for ever.
pub(super) async fn run(known: Vec<Address>, shared: Arc<Shared>) {
    let mut listeners: HashMap<Address, JoinHandle<()>> = HashMap::new();
    let mut nodes = known.clone();
    let (mut turn, mut newest) = (0, i64::MIN);
    let mut wire: Option<Wire> = None;
    loop {
        let Some(node) = nodes.get(turn % nodes.len().max(1)).cloned() else {
            return;
        };
        match look(&node, &mut wire, &shared).await {
            // A node that lags behind does not undo what another has told.
            Ok(map) if map.epoch >= newest => {
                newest = map.epoch;
                let masters = masters(&map);
                listeners.retain(|address, task| {
                    let stays = masters.contains(address);
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                shared.nodes.assign(map.owners);
                for address in &masters {
                    listeners.entry(address.clone()).or_insert_with(|| {
                        tracing::info!(%address, "listening to a master of the cluster");
                        tokio::spawn(shared.ear(address.clone()).listen())
                    });
                }
                nodes.clone_from(&known);
                nodes.extend(masters);
            }
            Ok(_) => (turn, wire) = (turn + 1, None),
            Err(broken) => {
                tracing::debug!(%node, %broken, "a cluster node does not tell the slots");
                (turn, wire) = (turn + 1, None);
            }
        }
        sleep(ROUND).await;
    }
}

fn masters(map: &Map) -> Vec<Address> {
    let mut masters: Vec<Address> = Vec::new();
    for owner in map.owners.iter().flatten() {
        // Slots of one master mostly lie side by side.
        if masters.last() != Some(owner) && !masters.contains(owner) {
            masters.push(owner.clone());
        }
    }
    masters
}

/// Asks one node; the connection is kept for the next time.
async fn look(node: &Address, wire: &mut Option<Wire>, shared: &Shared) -> Result<Map, Broken> {
    let mut open = match wire.take() {
        Some(open) => open,
        None => open_anew(node, shared).await?,
    };
    let answers = open
        .ask(&[vec!["CLUSTER", "INFO"], vec!["CLUSTER", "SLOTS"]])
        .await?;
    accepted(&answers)?;
    let [info, slots] = answers.as_slice() else {
        return Err(Broken::Silent);
    };
    let info = info.text().unwrap_or_default();
    if value(info, "cluster_state") != Some("ok") {
        // It is on the wrong side of a cut, or the cluster is down.
        return Err(Broken::NoMaster);
    }
    let epoch = value(info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    let map = Map {
        owners: owners(slots, node),
        epoch: epoch.ok_or(Broken::NoMaster)?,
    };
    *wire = Some(open);
    Ok(map)
}

async fn open_anew(node: &Address, shared: &Shared) -> Result<Wire, Broken> {
    let door: &Door = &shared.door;
    let mut wire = Wire::dial(node, door).await?;
    wire.sign_in(door).await?;
    let questions = ["cluster-node-timeout", "cluster-allow-reads-when-down"];
    let answers = wire
        .ask(&questions.map(|name| vec!["CONFIG", "GET", name]))
        .await?;
    let setting = |answer: Option<&Frame>| {
        let pair = answer.map(Frame::list).unwrap_or_default();
        pair.get(1).and_then(Frame::text).map(str::to_owned)
    };
    let timeout = setting(answers.first()).and_then(|text| text.parse().ok());
    let timeout = timeout.map(Duration::from_millis);
    let reads_when_down = setting(answers.get(1)).as_deref() == Some("yes");
    bound(shared, timeout, reads_when_down);
    Ok(wire)
}

/// Sets how much older than it looks an answer may be, or says why nothing can be kept.
fn bound(shared: &Shared, told: Option<Duration>, reads_when_down: bool) {
    let timeout = told.or(shared.node_timeout);
    let unfit = match timeout {
        _ if reads_when_down => Some(Unfit::ReadsWhenDown),
        None => Some(Unfit::TimeoutUnknown),
        Some(timeout) if timeout + CLOCKWORK >= shared.max_age => Some(Unfit::TimeoutTooLong {
            timeout,
            most: shared.max_age.saturating_sub(CLOCKWORK),
        }),
        Some(_) => None,
    };
    let margin = match (&unfit, timeout) {
        (None, Some(timeout)) => timeout + CLOCKWORK,
        (_, _) => Duration::MAX,
    };
    shared.changes.set_margin(margin);
    let before = shared.unfit.swap(unfit.clone().map(Arc::new));
    if let Some(unfit) = unfit
        && before.as_deref() != Some(&unfit)
    {
        tracing::error!(%unfit, "nothing is kept in memory");
    }
}

/// `CLUSTER SLOTS`: first slot, last slot, master, replicas. A node that does not know its own host leaves it empty.
fn owners(slots: &Frame, asked: &Address) -> Vec<Option<Address>> {
    let mut owners = vec![None; SLOTS];
    for range in slots.list() {
        let [first, last, master, ..] = range.list() else {
            continue;
        };
        let (Some(first), Some(last), [host, port, ..]) = (slot(first), slot(last), master.list())
        else {
            continue;
        };
        let Some(port) = port.number().and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        let host = match host.text() {
            Some(host) if !host.is_empty() => Arc::from(host),
            Some(_) | None => Arc::clone(&asked.host),
        };
        let owner = Address { host, port };
        for place in owners.iter_mut().take(last + 1).skip(first) {
            *place = Some(owner.clone());
        }
    }
    owners
}

fn slot(frame: &Frame) -> Option<usize> {
    let number = usize::try_from(frame.number()?).ok()?;
    (number < SLOTS).then_some(number)
}

fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.trim())
}
