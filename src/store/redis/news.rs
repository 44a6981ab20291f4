//! What the listeners hear besides changes: tombstones, and roll calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::now;
use crate::store::key::Keys;
use crate::tombstone::{Tombstone, Tombstones};

/// Calls that wait to be answered. Whoever calls goes by the clock where no answer comes.
const WAITING: usize = 1024;

/// The names of roll calls that are heard.
pub(in crate::store) type Calls = mpsc::Receiver<String>;

/// Where it is told.
#[derive(Debug)]
pub(super) struct News {
    tombstones: Arc<Tombstones>,
    /// How the keys of tombstones begin.
    of_tombstones: String,
    calls: mpsc::Sender<String>,
    /// How the keys of roll calls begin.
    of_calls: String,
}

impl News {
    pub(super) fn new(keys: &Keys, tombstones: Arc<Tombstones>) -> (Self, Calls) {
        let (calls, heard) = mpsc::channel(WAITING);
        let news = Self {
            tombstones,
            of_tombstones: keys.tombstones(),
            calls,
            of_calls: keys.calls(),
        };
        (news, heard)
    }

    /// This key has changed.
    pub(super) fn hear(&self, key: &[u8]) {
        let Ok(key) = std::str::from_utf8(key) else {
            return;
        };
        if let Some(name) = key.strip_prefix(&self.of_tombstones) {
            self.hear_tombstone(name);
        } else if let Some(rest) = key.strip_prefix(&self.of_calls)
            && let Some((name, _)) = rest.split_once(':')
        {
            self.calls.try_send(name.to_owned()).ok();
        }
    }

    fn hear_tombstone(&self, name: &str) {
        let dated = name.strip_prefix('@').and_then(|rest| rest.split_once(':'));
        let (at, name) = dated.map_or((None, name), |(at, name)| (at.parse::<u64>().ok(), name));
        let Some(tombstone) = Tombstone::read(name) else {
            return;
        };
        // It is heard of again when it leaves the store.
        if self.tombstones.keep(tombstone)
            && let Some(at) = at
        {
            let age = now().saturating_sub(at);
            self.tombstones.ages().took(Duration::from_millis(age));
        }
    }

    /// This server is another one than before, or has another past: what was written to it may be gone.
    pub(super) fn another_past(&self) {
        self.tombstones.lose();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Keys;

    fn keys() -> Keys {
        let text = "routes = []\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\nredis = \"redis://a\"\n[sessions]\nrealm = \"r\"\n[upstreams]";
        Keys::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn tombstones_and_calls_of_the_own_realm_are_told_apart_from_everything_else() {
        let (keys, tombstones) = (keys(), Arc::<Tombstones>::default());
        let (news, mut calls) = News::new(&keys, Arc::clone(&tombstones));

        for key in [
            "login:dead:r:realm:7",
            "login:dead:r:@1700000000000:session:s:u:v",
            "login:dead:r:@1700000000000:session:s:u:v",
            "login:dead:other:realm:9",
            "login:dead:r:nonsense",
            "login:call:r:abc:{login:user:r:x}",
            "login:call:other:def:{x}",
            "login:token:x",
        ] {
            news.hear(key.as_bytes());
        }
        news.hear(b"login:dead:r:\xff");

        assert_eq!(tombstones.realm_epoch(), 7);
        assert!(tombstones.has_session("s"));
        assert_eq!(tombstones.all().len(), 2);
        assert_eq!(calls.try_recv().as_deref(), Ok("abc"));
        assert!(calls.try_recv().is_err());
    }
}
