//! Who is the master, and since when that is certain: the majority of the sentinels says so, or nobody does.
//!
//! A master that is cut off together with this gateway goes on answering as if nothing had happened, while the sentinels
//! on the other side have made another one, where sessions are ended. It cannot be told apart by asking it. But whoever
//! is on its side of the cut cannot reach the majority of the sentinels, so without them its word does not count.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::ear::Ear;
use super::frame::Frame;
use super::wire::{Address, Broken, Door, Wire, accepted};
use crate::uptime::Uptime;

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(500);
/// So long the word of the majority counts: three rounds.
pub(super) const FENCE: Duration = Duration::from_millis(1500);

/// How to ask.
#[derive(Debug)]
pub(in crate::store::redis) struct Sentinels {
    pub(in crate::store::redis) name: String,
    pub(in crate::store::redis) known: Vec<Address>,
    pub(in crate::store::redis) door: Door,
}

/// What one sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    /// Its own name: an address may lead to another one each time.
    id: String,
    master: Address,
    /// Counts failovers.
    config_epoch: i64,
    /// Whether it sees a master and nothing wrong with it.
    clean: bool,
    /// How many sentinels there are, with itself.
    sentinels: usize,
}

/// One sentinel, with the connection to it while there is one.
struct Sentinel {
    address: Address,
    wire: Option<Wire>,
    /// Whether the configuration names it; the others were told by one of those.
    configured: bool,
}

/// Asks for ever, and listens to whoever is the master.
pub(super) async fn run(sentinels: Sentinels, shared: Arc<Shared>) {
    let sentinels = Arc::new(sentinels);
    let mut asked: Vec<Sentinel> = sentinels
        .known
        .iter()
        .map(|address| Sentinel::new(address, true))
        .collect();
    let mut listening: Option<(Address, Listener)> = None;
    let mut was_certain = false;
    loop {
        let began = Uptime::now();
        let next = Instant::now() + ROUND;
        let views = round(&sentinels, &mut asked).await;
        let agreed = agreed(&views, asked.iter().filter(|one| one.configured).count());
        if let Some(view) = agreed {
            if listening.as_ref().is_none_or(|(at, _)| *at != view.master) {
                tracing::info!(master = %view.master, "the sentinels agree on a master");
                shared.nodes.assign_all(&view.master);
                let ear = shared.ear(view.master.clone());
                listening = Some((view.master.clone(), Listener::start(ear)));
            }
            shared.master.store(Some(Arc::new(view.master.clone())));
            shared.changes.prove(began.plus(FENCE));
        }
        tell(&mut was_certain, agreed.is_some());
        if views.len() < majority(most_sentinels(&views, asked.len())) {
            learn(&sentinels, &mut asked).await;
        }
        sleep_until(next).await;
    }
}

fn tell(was_certain: &mut bool, is_certain: bool) {
    if *was_certain && !is_certain {
        tracing::warn!(
            "the sentinels do not agree on a sound master; what is not certain soon is answered 503"
        );
    } else if !*was_certain && is_certain {
        tracing::info!("the majority of the sentinels vouches for the master");
    }
    *was_certain = is_certain;
}

/// A listener's task; dropped, it ends.
struct Listener(JoinHandle<()>);

impl Listener {
    fn start(ear: Ear) -> Self {
        Self(tokio::spawn(ear.listen()))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What they say, in no order; nothing from those that do not answer.
async fn round(sentinels: &Arc<Sentinels>, asked: &mut [Sentinel]) -> Vec<View> {
    let mut questions = JoinSet::new();
    for (index, sentinel) in asked.iter_mut().enumerate() {
        let (sentinels, address) = (Arc::clone(sentinels), sentinel.address.clone());
        let wire = sentinel.wire.take();
        questions.spawn(async move {
            let asking = ask(&sentinels, &address, wire);
            let answer = tokio::time::timeout(ROUND, asking).await;
            (index, answer.unwrap_or(Err(Broken::Silent)))
        });
    }
    let mut views = Vec::new();
    while let Some(answer) = questions.join_next().await {
        match answer {
            Ok((index, Ok((wire, view)))) => {
                if let Some(sentinel) = asked.get_mut(index) {
                    sentinel.wire = Some(wire);
                }
                if !views.iter().any(|other: &View| other.id == view.id) {
                    views.push(view);
                }
            }
            Ok((_, Err(broken))) => tracing::debug!(%broken, "a sentinel does not answer"),
            Err(error) => tracing::error!(%error, "a question to a sentinel broke off"),
        }
    }
    views
}

async fn ask(
    sentinels: &Sentinels,
    address: &Address,
    wire: Option<Wire>,
) -> Result<(Wire, View), Broken> {
    let mut wire = open(sentinels, address, wire).await?;
    let questions = [
        vec!["SENTINEL", "MASTER", &sentinels.name],
        vec!["SENTINEL", "MYID"],
    ];
    let answers = wire.ask(&questions).await?;
    let [master, id] = answers.as_slice() else {
        return Err(Broken::Silent);
    };
    accepted(std::slice::from_ref(master))?;
    // Before 6.2 it cannot say.
    let id = id.text().map_or_else(|| address.to_string(), str::to_owned);
    let view = view(master, id).ok_or(Broken::NoMaster)?;
    Ok((wire, view))
}

async fn open(
    sentinels: &Sentinels,
    address: &Address,
    wire: Option<Wire>,
) -> Result<Wire, Broken> {
    if let Some(wire) = wire {
        return Ok(wire);
    }
    let mut wire = Wire::dial(address, &sentinels.door).await?;
    wire.sign_in(&sentinels.door).await?;
    Ok(wire)
}

/// The answer to `SENTINEL MASTER`: names and values in turn.
fn view(answer: &Frame, id: String) -> Option<View> {
    let value = |name: &str| {
        let mut pairs = answer.list().chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [found, value] if found.text() == Some(name) => Some(value),
            _ => None,
        })
    };
    let others = value("num-other-sentinels")?.number()?;
    Some(View {
        id,
        master: Address {
            host: value("ip")?.text()?.into(),
            port: u16::try_from(value("port")?.number()?).ok()?,
        },
        config_epoch: value("config-epoch")?.number()?,
        clean: value("flags")?.text()? == "master",
        sentinels: usize::try_from(others).ok()?.saturating_add(1),
    })
}

/// What the majority says, if it says the same and nothing is wrong. Sentinels that the configuration names count even
/// if no other has heard of them.
fn agreed(views: &[View], configured: usize) -> Option<&View> {
    let needed = majority(most_sentinels(views, configured));
    views.iter().find(|view| {
        let same = views.iter().filter(|other| {
            other.clean && other.master == view.master && other.config_epoch == view.config_epoch
        });
        view.clean && same.count() >= needed
    })
}

fn most_sentinels(views: &[View], configured: usize) -> usize {
    let told = views.iter().map(|view| view.sentinels).max();
    told.unwrap_or(0).max(configured)
}

fn majority(of: usize) -> usize {
    of / 2 + 1
}

/// Asks one that answers for the others: the configuration may name a few of many.
async fn learn(sentinels: &Arc<Sentinels>, asked: &mut Vec<Sentinel>) {
    let question = vec!["SENTINEL", "SENTINELS", &sentinels.name];
    let mut told = Vec::new();
    for sentinel in asked.iter_mut() {
        let Some(mut wire) = sentinel.wire.take() else {
            continue;
        };
        let Ok(answers) = wire.ask(std::slice::from_ref(&question)).await else {
            continue;
        };
        sentinel.wire = Some(wire);
        for answer in answers.iter().flat_map(Frame::list) {
            told.extend(address(answer));
        }
        break;
    }
    asked.retain(|sentinel| sentinel.configured || told.contains(&sentinel.address));
    for address in told {
        if !asked.iter().any(|sentinel| sentinel.address == address) {
            asked.push(Sentinel::new(&address, false));
        }
    }
}

fn address(sentinel: &Frame) -> Option<Address> {
    let mut pairs = sentinel.list().chunks_exact(2);
    let mut found = (None, None);
    for pair in &mut pairs {
        match pair {
            [name, value] if name.text() == Some("ip") => found.0 = value.text(),
            [name, value] if name.text() == Some("port") => found.1 = value.number(),
            _ => {}
        }
    }
    Some(Address {
        host: found.0?.into(),
        port: u16::try_from(found.1?).ok()?,
    })
}

impl Sentinel {
    fn new(address: &Address, configured: bool) -> Self {
        Self {
            address: address.clone(),
            wire: None,
            configured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: &str, port: u16, config_epoch: i64, clean: bool) -> View {
        View {
            id: id.to_owned(),
            master: Address {
                host: "h".into(),
                port,
            },
            config_epoch,
            clean,
            sentinels: 3,
        }
    }

    #[test]
    fn only_a_majority_that_sees_the_same_sound_master_counts() {
        let (a, b, c) = (
            view("a", 1, 0, true),
            view("b", 1, 0, true),
            view("c", 1, 0, true),
        );
        let (down, moved, later) = (
            view("d", 1, 0, false),
            view("e", 2, 1, true),
            view("f", 1, 1, true),
        );
        let master = |views: &[&View], configured| {
            let views: Vec<View> = views.iter().copied().cloned().collect();
            agreed(&views, configured).map(|view| view.master.port)
        };

        assert_eq!(master(&[&a, &b, &c], 3), Some(1));
        assert_eq!(master(&[&a, &b], 1), Some(1), "two of three");
        assert_eq!(master(&[&a], 1), None, "there are three, says the one");
        assert_eq!(master(&[&a, &b], 5), None, "five are configured");
        assert_eq!(master(&[&a, &down, &c], 3), Some(1));
        assert_eq!(master(&[&a, &down], 3), None);
        assert_eq!(master(&[&down, &down, &down], 3), None);
        assert_eq!(master(&[&a, &moved], 3), None);
        assert_eq!(master(&[&a, &later], 3), None, "another failover");
        assert_eq!(master(&[], 3), None);
    }
}
