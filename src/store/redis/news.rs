//! What the listeners hear besides changes: tombstones, and roll calls.

use std::sync::Arc;

use tokio::sync::mpsc;

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
            if let Some(tombstone) = Tombstone::read(name) {
                self.tombstones.keep(tombstone);
            }
        } else if let Some(rest) = key.strip_prefix(&self.of_calls)
            && let Some((name, _)) = rest.split_once(':')
        {
            self.calls.try_send(name.to_owned()).ok();
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
        assert_eq!(tombstones.all().len(), 1);
        assert_eq!(calls.try_recv().as_deref(), Ok("abc"));
        assert!(calls.try_recv().is_err());
    }
}
