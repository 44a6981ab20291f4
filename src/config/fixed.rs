//! What a running process cannot change, and whether it was changed in the file.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Spanned, Table, Value};

/// Keys and tables that are looked at when the process starts and never again: connections and threads are made of them.
const FIXED: [&str; 14] = [
    "access_log",
    "admin",
    "audit",
    "cache",
    "limits.redis",
    "limits.redis_ca",
    "limits.redis_deadline",
    "log.format",
    "metrics",
    "server.watch",
    "server.workers",
    "store",
    "tokens.at_rest",
    "tracing",
];

/// What the file says there; of the values, which may be secret, only hashes are kept.
#[derive(Debug, Clone, Default)]
pub struct Fixed(BTreeMap<&'static str, u64>);

impl Fixed {
    /// Of a document whose values have been expanded.
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let document = toml::Deserializer::from(Spanned::new(0..0, root.clone()));
        let Ok(table) = Table::deserialize(document) else {
            return Self::default();
        };
        let mut hashes = BTreeMap::new();
        for key in FIXED {
            let mut steps = key.split('.');
            let first = steps.next().and_then(|step| table.get(step));
            let value = steps.fold(first, |value, step| value.and_then(|value| value.get(step)));
            if let Some(value) = value {
                hashes.insert(key, hash(value));
            }
        }
        Self(hashes)
    }

    /// The keys at which the two files differ.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        let differs = |key: &&str| self.0.get(*key) != other.0.get(*key);
        FIXED.into_iter().filter(differs).collect()
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
