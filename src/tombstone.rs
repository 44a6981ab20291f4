//! What was ended, remembered apart from the record that says so.
//!
//! The record of a user is the truth about whose sessions are live. What it cannot do is outlive its own loss: a replica
//! that becomes master without the last write, a Redis that comes back with an older dump, a login service that writes
//! back a record that it has read before. So whoever ends something also leaves a tombstone, a key of its own whose name
//! says it all. Every gateway hears that name the moment it is written, over the link that tells of all changes, and keeps
//! it in memory: so it survives the store that it was written to, and whichever gateway is left can say it again.
//!
//! A tombstone is never wrong: names of sessions and tokens are never used twice, and epochs only grow. It needs no order
//! among others, may be heard twice, and stays right when a server that was cut off comes back with it.
//!
//! What can be taken back has none: a ban that a failover loses is gone, and its `confirmed` was false. The sessions and
//! tokens that it ended stay ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::Timing;
use crate::safeguard::Safeguard;
use crate::uptime::Uptime;

/// So long one is kept in memory: twice the longest that a Redis with its own defaults goes without a snapshot.
pub const KEPT: Duration = Duration::from_secs(2 * 3600);
/// As many are kept in memory; then the oldest go. About 20 MiB.
const MOST: usize = 100_000;

/// What was ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tombstone {
    /// The token with this SHA-256, in lower-case hex.
    Token(String),
    /// The same of a token of ours that was refreshed: by itself it ends soon.
    Refreshed(String),
    /// A session that we made.
    Session {
        /// Its name.
        sid: String,
        /// Whose it was.
        user_id: String,
    },
    /// Everything of this user that is older than this epoch.
    User {
        /// Who.
        user_id: String,
        /// Unix milliseconds.
        epoch: u64,
    },
    /// Everything of the realm that is older than this epoch.
    Realm {
        /// Unix milliseconds.
        epoch: u64,
    },
}

impl Tombstone {
    /// What its key ends with.
    pub fn name(&self) -> String {
        match self {
            Self::Token(digest) => format!("token:{digest}"),
            Self::Refreshed(digest) => format!("refreshed:{digest}"),
            Self::Session { sid, user_id } => format!("session:{sid}:{user_id}"),
            Self::User { user_id, epoch } => format!("user:{epoch}:{user_id}"),
            Self::Realm { epoch } => format!("realm:{epoch}"),
        }
    }

    /// The tombstone of this name; nothing if it is none.
    pub fn read(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once(':')?;
        let epoch = |text: &str| text.parse::<u64>().ok();
        match kind {
            "token" => Some(Self::Token(rest.to_owned())),
            "refreshed" => Some(Self::Refreshed(rest.to_owned())),
            "session" => rest.split_once(':').map(|(sid, user_id)| Self::Session {
                sid: sid.to_owned(),
                user_id: user_id.to_owned(),
            }),
            "user" => {
                let (number, user_id) = rest.split_once(':')?;
                Some(Self::User {
                    user_id: user_id.to_owned(),
                    epoch: epoch(number)?,
                })
            }
            "realm" => Some(Self::Realm {
                epoch: epoch(rest)?,
            }),
            _ => None,
        }
    }
}

/// Those that this process knows of.
#[derive(Debug, Default)]
pub struct Tombstones {
    kept: Mutex<Kept>,
    realm: AtomicU64,
    /// How many are kept, so that nobody waits for the lock where there are none.
    count: AtomicU64,
    lost: Notify,
    /// How old they were when they were heard of.
    ages: Timing,
}

#[derive(Debug, Default)]
struct Kept {
    tokens: HashSet<String>,
    sessions: HashSet<String>,
    users: HashMap<String, u64>,
    order: VecDeque<(Uptime, Tombstone)>,
}

impl Tombstones {
    /// Keeps it for [`KEPT`]; says whether it is new.
    pub fn keep(&self, tombstone: Tombstone) -> bool {
        self.keep_at(tombstone, Uptime::now())
    }

    fn keep_at(&self, tombstone: Tombstone, now: Uptime) -> bool {
        if let Tombstone::Realm { epoch } = tombstone {
            // One number needs no end.
            return self.realm.fetch_max(epoch, Ordering::AcqRel) < epoch;
        }
        let mut kept = self.kept.lock();
        let is_new = kept.add(&tombstone);
        if is_new {
            kept.order.push_back((now.plus(KEPT), tombstone));
        }
        kept.tidy(now);
        let count = u64::try_from(kept.order.len()).unwrap_or(u64::MAX);
        self.count.store(count, Ordering::Release);
        is_new
    }

    /// How old they were when they were heard of.
    pub fn ages(&self) -> &Timing {
        &self.ages
    }

    /// Whether this session has ended, whatever its user's record says.
    pub fn has_session(&self, sid: &str) -> bool {
        self.any() && self.kept.lock().sessions.contains(sid)
    }

    /// Whether the token with this SHA-256 (lower-case hex) has ended, whatever its record says.
    pub fn has_token(&self, digest: impl FnOnce() -> String) -> bool {
        self.any() && self.kept.lock().tokens.contains(&digest())
    }

    /// Everything of this user that is older has ended; 0 if nothing is known.
    pub fn user_epoch(&self, user_id: &str) -> u64 {
        if !self.any() {
            return 0;
        }
        self.kept.lock().users.get(user_id).copied().unwrap_or(0)
    }

    /// Everything of the realm that is older has ended; 0 if nothing is known.
    pub fn realm_epoch(&self) -> u64 {
        match Safeguard::Tombstone.holds() {
            true => self.realm.load(Ordering::Acquire),
            false => 0,
        }
    }

    fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0 && Safeguard::Tombstone.holds()
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Tombstone> {
        let realm = self.realm_epoch();
        let realm = (realm > 0).then_some(Tombstone::Realm { epoch: realm });
        let kept = self.kept.lock();
        let others = kept.order.iter().map(|(_, tombstone)| tombstone.clone());
        realm.into_iter().chain(others).collect()
    }

    /// The store may have lost some.
    pub fn lose(&self) {
        self.lost.notify_one();
    }

    /// Waits until the store may have lost some.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Kept {
    /// Says whether it is new.
    fn add(&mut self, tombstone: &Tombstone) -> bool {
        match tombstone {
            Tombstone::Token(digest) | Tombstone::Refreshed(digest) => {
                self.tokens.insert(digest.clone())
            }
            Tombstone::Session { sid, .. } => self.sessions.insert(sid.clone()),
            Tombstone::User { user_id, epoch } => {
                let known = self.users.entry(user_id.clone()).or_insert(0);
                let newer = *epoch > *known;
                *known = (*known).max(*epoch);
                newer
            }
            Tombstone::Realm { .. } => false,
        }
    }

    fn tidy(&mut self, now: Uptime) {
        while let Some((until, tombstone)) = self.order.front() {
            if now < *until && self.order.len() <= MOST {
                return;
            }
            match tombstone {
                Tombstone::Token(digest) | Tombstone::Refreshed(digest) => {
                    self.tokens.remove(digest);
                }
                Tombstone::Session { sid, .. } => {
                    self.sessions.remove(sid);
                }
                Tombstone::User { user_id, epoch } => {
                    // A newer one of the same user stands further back.
                    if self.users.get(user_id) == Some(epoch) {
                        self.users.remove(user_id);
                    }
                }
                Tombstone::Realm { .. } => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(sid: &str) -> Tombstone {
        Tombstone::Session {
            sid: sid.to_owned(),
            user_id: "a:b".to_owned(),
        }
    }

    fn user(epoch: u64) -> Tombstone {
        Tombstone::User {
            user_id: "a:b".to_owned(),
            epoch,
        }
    }

    #[test]
    fn name_says_it_all() {
        let all = [
            Tombstone::Token("ab12".to_owned()),
            Tombstone::Refreshed("ab12".to_owned()),
            session("sid"),
            user(7),
            Tombstone::Realm { epoch: 9 },
        ];
        for tombstone in all {
            assert_eq!(Tombstone::read(&tombstone.name()), Some(tombstone));
        }
        for none in ["", "token", "user:x:a", "user:7", "realm:-1", "other:1"] {
            assert_eq!(Tombstone::read(none), None, "{none}");
        }
    }

    #[test]
    fn each_is_known_for_what_it_ended_and_for_nothing_else() {
        let tombstones = Tombstones::default();
        assert!(!tombstones.has_session("s"));
        for one in [
            session("s"),
            user(5),
            user(3),
            Tombstone::Token("d".to_owned()),
            Tombstone::Realm { epoch: 4 },
            Tombstone::Realm { epoch: 2 },
        ] {
            tombstones.keep(one);
        }

        assert!(tombstones.has_session("s") && !tombstones.has_session("t"));
        assert!(tombstones.has_token(|| "d".to_owned()));
        assert!(!tombstones.has_token(|| "e".to_owned()));
        assert_eq!(
            (tombstones.user_epoch("a:b"), tombstones.user_epoch("c")),
            (5, 0)
        );
        assert_eq!(tombstones.realm_epoch(), 4);
        assert_eq!(tombstones.all().len(), 4, "each once");
    }

    #[test]
    fn old_ones_and_surplus_ones_go() {
        let tombstones = Tombstones::default();
        let start = Uptime::now();
        tombstones.keep_at(session("old"), start);
        tombstones.keep_at(user(1), start);
        tombstones.keep_at(user(2), start.plus(KEPT / 2));

        tombstones.keep_at(session("new"), start.plus(KEPT));

        assert!(!tombstones.has_session("old") && tombstones.has_session("new"));
        assert_eq!(tombstones.user_epoch("a:b"), 2);
        for n in 0..MOST {
            tombstones.keep_at(Tombstone::Token(n.to_string()), start.plus(KEPT));
        }
        assert_eq!(tombstones.all().len(), MOST);
        assert!(!tombstones.has_session("new"));
    }

    #[tokio::test]
    async fn loss_is_heard_also_by_whoever_listens_only_then() {
        let tombstones = Tombstones::default();
        tombstones.lose();
        tombstones.lose();
        tombstones.lost().await;
        let quiet = tokio::time::timeout(Duration::from_millis(20), tombstones.lost()).await;
        assert!(quiet.is_err());
    }
}
