//! Listens for changes in the store, so that what is kept in memory is known to be right or known to be doubtful.
//!
//! fred's own client tracking loses what matters here: the push that says that everything was dropped, pushes that come
//! faster than they are taken, and all of them after a reconnect. So each master is listened to over a connection that
//! nothing else uses, with a sign of life several times in the time that anything may be kept. It takes a thread of its
//! own, so that a worker that is busy does not make it deaf.
//!
//! It makes an end *quick* to take effect. What makes it *certain* is the age of what is kept; see [`crate::cache`].

mod ear;
mod frame;
mod nodes;
mod sentinels;
mod slots;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;

use self::ear::Ear;
use self::nodes::Nodes;
pub(super) use self::sentinels::Sentinels;
pub(super) use self::wire::{Address, Door};
use super::news::News;
use crate::changes::Changes;
use crate::uptime::Uptime;

/// A sign of life is due at least this often.
const BEAT: Duration = Duration::from_millis(500);

/// Which servers there are.
#[derive(Debug)]
pub(super) enum Topology {
    /// One, for ever.
    Single(Address),
    /// One of several, as these say.
    Sentinel(Sentinels),
    /// Several at once; these know them all.
    Cluster(Vec<Address>),
}

/// What is listened for, and how well.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) topology: Topology,
    pub(super) door: Door,
    /// How the keys begin whose changes are wanted.
    pub(super) prefixes: Vec<String>,
    /// Who is told of what else is heard.
    pub(super) news: News,
    /// How old anything may get that is kept.
    pub(super) max_age: Duration,
    /// The cluster's node timeout, if it does not say so itself.
    pub(super) node_timeout: Option<Duration>,
}

/// Why nothing can be kept in memory with these servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The cluster takes too long to notice that a master is cut off.
    TimeoutTooLong {
        /// Its node timeout.
        timeout: Duration,
        /// The longest that would do.
        most: Duration,
    },
    /// Nobody says how long it takes.
    TimeoutUnknown,
    /// A master that is cut off would go on answering.
    ReadsWhenDown,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeoutTooLong { timeout, most } => write!(
                f,
                "the cluster's cluster-node-timeout is {timeout:?}: a master that is cut off answers for that long and a \
                 second more, which is beyond cache.max_staleness. It would have to be below {most:?}, or \
                 cache.max_staleness longer"
            ),
            Self::TimeoutUnknown => f.write_str(
                "the cluster does not say what its cluster-node-timeout is: allow +config|get, or set \
                 cache.cluster_node_timeout to what its nodes have",
            ),
            Self::ReadsWhenDown => f.write_str(
                "the cluster has cluster-allow-reads-when-down: a master that is cut off would answer for ever",
            ),
        }
    }
}

/// What the listeners of one store have in common.
#[derive(Debug)]
struct Shared {
    changes: Arc<Changes>,
    nodes: Arc<Nodes>,
    news: Arc<News>,
    door: Arc<Door>,
    prefixes: Arc<[String]>,
    beat: Duration,
    max_age: Duration,
    node_timeout: Option<Duration>,
    /// Whom the sentinels call the master.
    master: ArcSwapOption<Address>,
    unfit: ArcSwapOption<Unfit>,
}

impl Shared {
    fn ear(&self, address: Address) -> Ear {
        Ear {
            address,
            door: Arc::clone(&self.door),
            prefixes: Arc::clone(&self.prefixes),
            beat: self.beat,
            nodes: Arc::clone(&self.nodes),
            news: Arc::clone(&self.news),
        }
    }
}

/// The thread that listens. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Tracking {
    shared: Arc<Shared>,
    /// Dropped to end the thread.
    _alive: oneshot::Sender<()>,
}

impl Tracking {
    /// Starts to listen.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(wanted: Wanted) -> std::io::Result<Self> {
        let changes = Arc::new(match &wanted.topology {
            Topology::Single(_) | Topology::Sentinel(_) => Changes::whole(),
            Topology::Cluster(_) => Changes::new(slots::SLOTS, slot_of),
        });
        match &wanted.topology {
            Topology::Single(_) => {}
            Topology::Sentinel(_) => {
                changes.prove(Uptime::START);
                changes.set_margin(sentinels::FENCE);
            }
            Topology::Cluster(_) => changes.set_margin(Duration::MAX),
        }
        let shared = Arc::new(Shared {
            nodes: Nodes::new(Arc::clone(&changes)),
            changes,
            news: Arc::new(wanted.news),
            door: Arc::new(wanted.door),
            prefixes: apart(wanted.prefixes).into(),
            beat: BEAT.min(wanted.max_age / 10).max(Duration::from_millis(20)),
            max_age: wanted.max_age,
            node_timeout: wanted.node_timeout,
            master: ArcSwapOption::empty(),
            unfit: ArcSwapOption::empty(),
        });
        let (alive, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listening = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("tracking".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = listen(wanted.topology, listening) => {}
                        _ = ended => {}
                    }
                });
            })?;
        Ok(Self {
            shared,
            _alive: alive,
        })
    }

    /// What has been heard.
    pub(super) fn changes(&self) -> &Arc<Changes> {
        &self.shared.changes
    }

    /// Whom the sentinels call the master; nothing without sentinels.
    pub(super) fn master(&self) -> Option<Arc<Address>> {
        self.shared.master.load_full()
    }

    /// Why nothing can be kept, if that is so.
    pub(super) fn unfit(&self) -> Option<Arc<Unfit>> {
        self.shared.unfit.load_full()
    }
}

async fn listen(topology: Topology, shared: Arc<Shared>) {
    match topology {
        Topology::Single(address) => {
            shared.nodes.assign_all(&address);
            shared.ear(address).listen().await;
        }
        Topology::Sentinel(sentinels) => sentinels::run(sentinels, shared).await,
        Topology::Cluster(known) => slots::run(known, shared).await,
    }
}

/// A key's slot.
fn slot_of(key: &[u8]) -> usize {
    usize::from(fred::util::redis_keyslot(key))
}

/// Redis refuses prefixes of which one begins with another; the shorter one covers both.
fn apart(mut prefixes: Vec<String>) -> Vec<String> {
    prefixes.sort_unstable();
    let mut kept: Vec<String> = Vec::new();
    for prefix in prefixes {
        if !kept.last().is_some_and(|last| prefix.starts_with(last)) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_begins_with_another() {
        let all = |prefixes: &[&str]| apart(prefixes.iter().map(|one| (*one).to_owned()).collect());

        assert_eq!(
            all(&["login:user:", "login:token:", "login:token:a"]),
            ["login:token:", "login:user:"]
        );
        assert_eq!(all(&["login:", "login:user:", "x"]), ["login:", "x"]);
        assert_eq!(all(&["b", ""]), [""]);
        assert_eq!(all(&["a", "a"]), ["a"]);
    }
}
