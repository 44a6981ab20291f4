//! What is to be written, and how each of it is done inside the one transaction. What has ended counts as not there.

use bytes::Bytes;
use redb::{ReadableTable, StorageError, Table, WriteTransaction};

use super::{ENDS, NEVER, SESSIONS};
use crate::clock::now;
use crate::store::Swapped;

/// One change of one key. Ends are Unix milliseconds, [`NEVER`] for none.
#[derive(Debug)]
pub(super) enum Change {
    /// This value, whatever was there.
    Put {
        key: String,
        end: u64,
        value: Vec<u8>,
    },
    /// This value if there is none.
    PutNew {
        key: String,
        end: u64,
        value: Vec<u8>,
    },
    /// The new value in the place of the expected one; none is no value.
    Swap {
        key: String,
        end: u64,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
    },
    /// No value.
    Remove { key: String },
    /// An earlier end.
    Shorten { key: String, end: u64 },
    /// A later end.
    Extend { key: String, end: u64 },
}

impl Change {
    /// The key that it changes.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { key, .. }
            | Self::PutNew { key, .. }
            | Self::Swap { key, .. }
            | Self::Remove { key }
            | Self::Shorten { key, .. }
            | Self::Extend { key, .. } => key,
        }
    }
}

/// What a change came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Whether it was done.
    Done(bool),
    /// What was there before.
    Was(Option<Bytes>),
    /// See [`Swapped`].
    Swapped(Swapped),
}

/// The two tables, open for writing: values by key, and keys by end.
pub(super) struct Tables<'a> {
    values: Table<'a, &'static str, (u64, &'static [u8])>,
    ends: Table<'a, (u64, &'static str), ()>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            values: transaction.open_table(SESSIONS)?,
            ends: transaction.open_table(ENDS)?,
        })
    }

    pub(super) fn carry_out(&mut self, change: &Change) -> Result<Outcome, StorageError> {
        Ok(match change {
            Change::Put { key, end, value } => {
                let before = self.take(key)?.is_some();
                self.insert(key, *end, value)?;
                Outcome::Done(before)
            }
            Change::PutNew { key, end, value } => {
                let free = self.held(key)?.is_none();
                if free {
                    self.take(key)?;
                    self.insert(key, *end, value)?;
                }
                Outcome::Done(free)
            }
            Change::Swap {
                key,
                end,
                expected,
                new,
            } => Outcome::Swapped(self.swap(key, *end, expected.as_deref(), new.as_deref())?),
            Change::Remove { key } => Outcome::Was(self.take(key)?),
            Change::Shorten { key, end } => self.set_end(key, *end, |old| *end < old)?,
            Change::Extend { key, end } => self.set_end(key, *end, |old| *end > old)?,
        })
    }

    /// Forgets a value that has ended.
    pub(super) fn forget(&mut self, end: u64, key: &str) -> Result<(), StorageError> {
        self.ends.remove((end, key))?;
        self.values.remove(key)?;
        Ok(())
    }

    fn swap(
        &mut self,
        key: &str,
        end: u64,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Swapped, StorageError> {
        let held = self.held(key)?.map(|(_, held)| held);
        if held.as_deref() != expected {
            return Ok(Swapped::Conflict(held));
        }
        self.take(key)?;
        if let Some(new) = new {
            self.insert(key, end, new)?;
        }
        Ok(Swapped::Done)
    }

    fn set_end(
        &mut self,
        key: &str,
        end: u64,
        wanted: impl FnOnce(u64) -> bool,
    ) -> Result<Outcome, StorageError> {
        match self.held(key)? {
            Some((old, value)) if wanted(old) => {
                self.take(key)?;
                self.insert(key, end, &value)?;
                Ok(Outcome::Done(true))
            }
            Some(_) | None => Ok(Outcome::Done(false)),
        }
    }

    /// What is there, with its end.
    fn held(&self, key: &str) -> Result<Option<(u64, Bytes)>, StorageError> {
        let row = self.values.get(key)?;
        Ok(row.and_then(|row| {
            let (end, value) = row.value();
            (end > now()).then(|| (end, Bytes::copy_from_slice(value)))
        }))
    }

    fn insert(&mut self, key: &str, end: u64, value: &[u8]) -> Result<(), StorageError> {
        self.values.insert(key, (end, value))?;
        if end != NEVER {
            self.ends.insert((end, key), ())?;
        }
        Ok(())
    }

    /// Takes it out of both tables; says what was there.
    fn take(&mut self, key: &str) -> Result<Option<Bytes>, StorageError> {
        let Some((end, value)) = self.values.remove(key)?.map(|row| {
            let (end, value) = row.value();
            (end, Bytes::copy_from_slice(value))
        }) else {
            return Ok(None);
        };
        self.ends.remove((end, key))?;
        Ok((end > now()).then_some(value))
    }
}
