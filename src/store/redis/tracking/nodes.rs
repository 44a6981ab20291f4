//! Which keys each server answers for, and which servers are being listened to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::wire::Address;
use crate::changes::Changes;

/// All servers that are listened to.
#[derive(Debug)]
pub(super) struct Nodes {
    changes: Arc<Changes>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Who answers for each part of the keys.
    owners: Vec<Option<Address>>,
    hearing: HashSet<Address>,
    /// What each server is a continuation of.
    histories: HashMap<Address, History>,
}

/// One start of a server and one line of replication: what was written under another one may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct History {
    pub(super) run: String,
    pub(super) replication: String,
}

/// What a server's past is to the one that it had when it was last listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// The same.
    Same,
    /// It was never listened to before.
    New,
    /// Another one: what was written to it may be gone.
    Other,
}

impl Nodes {
    pub(super) fn new(changes: Arc<Changes>) -> Arc<Self> {
        let state = State {
            owners: vec![None; changes.parts()],
            hearing: HashSet::new(),
            histories: HashMap::new(),
        };
        Arc::new(Self {
            changes,
            state: Mutex::new(state),
        })
    }

    /// From now on these servers answer for these parts, and nobody for the rest. What was read of a part that moves
    /// is doubted.
    pub(super) fn assign(&self, owners: Vec<Option<Address>>) {
        let mut state = self.state.lock();
        for (part, owner) in owners.iter().enumerate() {
            if state.owners.get(part) == Some(owner) {
                continue;
            }
            let heard = owner
                .as_ref()
                .is_some_and(|owner| state.hearing.contains(owner));
            if heard {
                self.changes.hear([part]);
            } else {
                self.changes.lose([part]);
            }
        }
        state.owners = owners;
    }

    /// One server answers for everything.
    pub(super) fn assign_all(&self, owner: &Address) {
        self.assign(vec![Some(owner.clone()); self.changes.parts()]);
    }

    /// Every change of this server's keys is heard of from now on. Says whether it goes on where it was.
    pub(super) fn hear(&self, node: &Address, history: &History) -> Past {
        let mut state = self.state.lock();
        let parts = state.parts(node);
        let known = state.histories.insert(node.clone(), history.clone());
        let past = match known {
            None => Past::New,
            Some(known) if known == *history => Past::Same,
            Some(_) => Past::Other,
        };
        if past == Past::Other {
            self.changes.empty(parts.iter().copied());
        }
        state.hearing.insert(node.clone());
        self.changes.hear(parts);
        past
    }

    /// Nothing is heard of this server's keys any more.
    pub(super) fn lose(&self, node: &Address) {
        let mut state = self.state.lock();
        state.hearing.remove(node);
        self.changes.lose(state.parts(node));
    }

    /// This server has dropped all its keys.
    pub(super) fn empty(&self, node: &Address) {
        self.changes.empty(self.state.lock().parts(node));
    }

    /// This key has changed.
    pub(super) fn change(&self, key: &[u8]) {
        self.changes.change(key);
    }
}

impl State {
    fn parts(&self, node: &Address) -> Vec<usize> {
        let owners = self.owners.iter().enumerate();
        owners
            .filter(|(_, owner)| owner.as_ref() == Some(node))
            .map(|(part, _)| part)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Worth;
    use crate::uptime::Uptime;

    fn node(port: u16) -> Address {
        Address {
            host: "h".into(),
            port,
        }
    }

    fn history(run: &str) -> History {
        History {
            run: run.to_owned(),
            replication: String::new(),
        }
    }

    /// Two parts: keys that begin with `b`, and all others.
    fn two() -> (Arc<Changes>, Arc<Nodes>) {
        let by_first = |key: &[u8]| usize::from(key.first() == Some(&b'b'));
        let changes = Arc::new(Changes::new(2, by_first));
        let nodes = Nodes::new(Arc::clone(&changes));
        nodes.assign(vec![Some(node(1)), Some(node(2))]);
        nodes.hear(&node(1), &history("x"));
        nodes.hear(&node(2), &history("y"));
        (changes, nodes)
    }

    #[test]
    fn each_server_speaks_for_its_own_keys() {
        let (changes, nodes) = two();
        let (a, b) = (
            changes.basis([b"a".as_slice()]),
            changes.basis([b"b".as_slice()]),
        );
        let judge = |basis| changes.judge(basis, Uptime::now());
        assert_eq!((judge(&a), judge(&b)), (Worth::Firm, Worth::Firm));

        nodes.lose(&node(2));
        assert_eq!((judge(&a), judge(&b)), (Worth::Firm, Worth::Doubted));
        nodes.empty(&node(1));

        assert_eq!((judge(&a), judge(&b)), (Worth::Void, Worth::Doubted));
    }

    #[test]
    fn key_that_moves_to_another_server_is_doubted_and_the_others_are_not() {
        let (changes, nodes) = two();
        let (a, b) = (
            changes.basis([b"a".as_slice()]),
            changes.basis([b"b".as_slice()]),
        );

        nodes.assign(vec![Some(node(1)), Some(node(1))]);

        assert_eq!(changes.judge(&a, Uptime::now()), Worth::Firm);
        assert_eq!(changes.judge(&b, Uptime::now()), Worth::Doubted);
        let moved = changes.basis([b"b".as_slice()]);
        assert_eq!(
            changes.judge(&moved, Uptime::now()),
            Worth::Firm,
            "it is listened to"
        );
        nodes.assign(vec![Some(node(1)), Some(node(3))]);
        let moved = changes.basis([b"b".as_slice()]);
        assert_eq!(
            changes.judge(&moved, Uptime::now()),
            Worth::Doubted,
            "nobody listens"
        );
    }

    #[test]
    fn server_that_was_started_anew_has_nothing_of_what_was_read() {
        let (changes, nodes) = two();
        let early = changes.basis([b"a".as_slice()]);

        nodes.lose(&node(1));
        assert_eq!(nodes.hear(&node(1), &history("x")), Past::Same);
        assert_eq!(changes.judge(&early, Uptime::now()), Worth::Doubted);
        nodes.lose(&node(1));
        assert_eq!(nodes.hear(&node(1), &history("z")), Past::Other);
        assert_eq!(nodes.hear(&node(9), &history("z")), Past::New);

        assert_eq!(changes.judge(&early, Uptime::now()), Worth::Void);
    }
}
