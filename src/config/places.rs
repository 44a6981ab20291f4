//! Where each entry of the file stands, by its path: what checks across values point at.

use std::collections::BTreeMap;
use std::ops::Range;

/// Spans by path, such as `limits.max_head`, `routes[2].require` or `upstreams."a b".endpoints[0]`.
///
/// Empty for a configuration that did not come from a text; faults then name no place.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, Place>);

/// One entry: where its name stands and where its value.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Places {
    pub(super) fn note(&mut self, path: String, place: Place) {
        self.0.insert(path, place);
    }

    /// The value at this path, or if the file does not have it the nearest table around it that the file has.
    pub fn value(&self, path: &str) -> Option<Range<usize>> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place.value.clone());
            }
            path = path.rsplit_once(['.', '['])?.0;
        }
    }

    /// The name of the entry at this path, if the file has it.
    pub fn key(&self, path: &str) -> Option<Range<usize>> {
        self.0.get(path).map(|place| place.key.clone())
    }

    /// The names that the file has in the table at this path, as they are written there.
    pub(super) fn names(&self, path: &str) -> Vec<(&str, Range<usize>)> {
        self.0
            .iter()
            .filter_map(|(entry, place)| {
                let name = entry.strip_prefix(path)?.strip_prefix('.')?;
                Some((name.trim_matches('"'), place.key.clone()))
            })
            .collect()
    }
}

/// The path of the entry `key` in the table at `path`.
pub(super) fn child(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path, bare) {
        ("", true) => key.to_owned(),
        ("", false) => format!("{key:?}"),
        (_, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}.{key:?}"),
    }
}

/// The path of an element of the array at `path`.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
