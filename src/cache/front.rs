//! The verdicts that one worker has used lately, where finding them costs one look into memory.
//!
//! The cache behind it finds a verdict over several places that are far apart, and says so to the other workers. Here
//! nothing is decided: whatever is found is put to the same questions, and whatever is to be asked for again, or has been,
//! is left to the cache.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Digest, Entry, Verdict};

/// Rows at most; with four verdicts of 40 bytes each, 1.25 MiB in all.
const ROWS: usize = 1 << 13;
/// So many verdicts share a row before one has to go.
const WIDTH: usize = 4;

/// One worker's. The lock is never waited for.
#[derive(Debug)]
pub(super) struct Front<V>(Mutex<Box<[Row<V>]>>);

/// The latest first.
type Row<V> = [Option<Place<V>>; WIDTH];

#[derive(Debug)]
struct Place<V> {
    digest: Digest,
    entry: Arc<Entry<V>>,
    /// That of the entry, so that both can be fetched at the same time.
    verdict: V,
}

impl<V: Verdict> Front<V> {
    /// With room for this many verdicts of the cache, within reason.
    pub(super) fn new(entries: usize) -> Self {
        let rows = entries.div_ceil(WIDTH).next_power_of_two().min(ROWS);
        Self(Mutex::new((0..rows).map(|_| Row::default()).collect()))
    }

    /// What `look` makes of the verdict about this, if it is here. Without taking it along: to count one more who holds it
    /// is to write to memory that is far away.
    #[inline]
    pub(super) fn get<T>(
        &self,
        digest: &Digest,
        look: impl FnOnce(&Entry<V>) -> Option<T>,
    ) -> Option<T> {
        let rows = self.0.lock();
        let mut row = rows.get(row(digest, rows.len()))?.iter().flatten();
        let found = row.find(|place| place.digest == *digest)?;
        found.verdict.fetch();
        look(&found.entry)
    }

    /// Puts a verdict where it will be looked for, in place of an earlier one, or of the one that was put there first.
    pub(super) fn put(&self, digest: &Digest, entry: &Arc<Entry<V>>) {
        let place = Some(Place {
            digest: *digest,
            entry: Arc::clone(entry),
            verdict: entry.verdict.clone(),
        });
        let mut rows = self.0.lock();
        let number = row(digest, rows.len());
        let Some(row) = rows.get_mut(number) else {
            return;
        };
        let same =
            |place: &Option<Place<V>>| place.as_ref().is_none_or(|place| place.digest == *digest);
        let number = row.iter().position(same).unwrap_or(WIDTH - 1);
        if let Some(moved) = row.get_mut(..=number) {
            moved.rotate_right(1);
        }
        let [first, ..] = row;
        let gone = std::mem::replace(first, place);
        // The last one who holds it takes a session apart.
        drop(rows);
        drop(gone);
    }
}

/// Digests are spread evenly already.
fn row(digest: &Digest, rows: usize) -> usize {
    let [.., low, high] = *digest;
    usize::from(u16::from_le_bytes([low, high])) & (rows - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Answer;
    use crate::cache::{ENDLESS, NEVER};
    use crate::changes::Changes;
    use std::sync::atomic::AtomicU32;

    impl Verdict for u32 {}

    fn entry(verdict: u32) -> Arc<Entry<u32>> {
        let answer = Answer {
            verdict,
            basis: Changes::whole().basis([b"key".as_slice()]),
            lasts: None,
            imprint: None,
            is_miss: false,
        };
        Arc::new(Entry {
            verdict: answer.verdict,
            basis: answer.basis,
            lasts: ENDLESS,
            imprint: None,
            refreshed_at: AtomicU32::new(NEVER),
        })
    }

    fn digest(first: u8) -> Digest {
        let mut digest = [0; 16];
        digest[0] = first;
        digest
    }

    #[test]
    fn the_latest_of_a_row_are_found_and_each_once() {
        let front = Front::new(usize::MAX / 2);
        let found = |number: u8| front.get(&digest(number), |entry| Some(entry.verdict));
        for number in 0..5 {
            front.put(&digest(number), &entry(number.into()));
        }
        front.put(&digest(1), &entry(11));

        assert_eq!(
            (0..5).map(found).collect::<Vec<_>>(),
            [None, Some(11), Some(2), Some(3), Some(4)]
        );

        front.put(&digest(5), &entry(5));
        front.put(&digest(6), &entry(6));

        let left: Vec<_> = (0..7).filter_map(found).collect();
        assert_eq!(left, [11, 4, 5, 6]);
    }

    #[test]
    fn only_what_was_asked_for_is_looked_at() {
        let front = Front::new(1);
        front.put(&digest(1), &entry(1));

        assert_eq!(front.get(&digest(1), |_| None::<()>), None);
        assert_eq!(front.get(&digest(2), |entry| Some(entry.verdict)), None);
    }
}
