//! The few things that both backends can do with one key, each in a single step.

use bytes::Bytes;

use super::{Key, SessionStore, StoreError};
use crate::layout::{Form, Found};

/// A value as it lay in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The value.
    pub bytes: Bytes,
    /// When it ends, in Unix milliseconds; `None` if it never does, or if nobody asked.
    pub ends_at: Option<u64>,
}

/// Of which values the ends are wanted: each one costs the store a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Of all.
    All,
    /// Of the first one.
    First,
    /// Of none.
    None,
}

/// What a swap came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// The new value is there.
    Done,
    /// Another value was there than the expected one: this. Nothing was changed.
    Conflict(Option<Bytes>),
}

impl SessionStore {
    /// The values of these keys, in their order; `None` where there is none. One write, however many keys.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn get(&self, keys: &[Key], ends: Ends) -> Result<Vec<Option<Kept>>, StoreError> {
        match self {
            Self::Embedded(store) => store.get(keys),
            Self::Redis(store) => store.get(keys, ends).await,
        }
    }

    /// What lies at these keys, each of its form, with its end; in their order, `None` where there is nothing. Only hashes
    /// that are asked for as such are found; the embedded store has none.
    ///
    /// # Errors
    /// If nobody could tell within the deadline; [`crate::session::RecordError::Type`] if another form lies there.
    pub async fn find_parts(
        &self,
        parts: &[(Key, Form)],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        match self {
            Self::Embedded(_) => Err(StoreError::Failed("a file has no hashes".to_owned())),
            Self::Redis(store) => store.find_parts(parts).await,
        }
    }

    /// Puts `new` in the place of `expected`, if that is what is there; `None` is no value. It will end at `ends_at`,
    /// in Unix milliseconds; `None` is never.
    ///
    /// # Errors
    /// If it was not swapped, or nobody knows.
    pub async fn swap(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        ends_at: Option<u64>,
    ) -> Result<Swapped, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.swap(key, expected, new, ends_at).await,
            Self::Redis(store) => store.swap(key, expected, new, ends_at).await,
        };
        self.note(key);
        done
    }

    /// Puts a value there, whatever was there before.
    ///
    /// # Errors
    /// If it was not put there, or nobody knows.
    pub async fn put(
        &self,
        key: &Key,
        bytes: &[u8],
        ends_at: Option<u64>,
    ) -> Result<(), StoreError> {
        let put = match self {
            Self::Embedded(store) => store.put(key, bytes, ends_at, false).await,
            Self::Redis(store) => store.put(key, bytes, ends_at, false).await,
        };
        self.note(key);
        put.map(|_| ())
    }

    /// Puts a value there if there is none; says whether it did.
    ///
    /// # Errors
    /// If it was not put there, or nobody knows.
    pub async fn put_new(
        &self,
        key: &Key,
        bytes: &[u8],
        ends_at: Option<u64>,
    ) -> Result<bool, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.put(key, bytes, ends_at, true).await,
            Self::Redis(store) => store.put(key, bytes, ends_at, true).await,
        };
        self.note(key);
        done
    }

    /// Takes the value out; of several who ask at once only one gets it.
    ///
    /// # Errors
    /// If nobody knows; it may be gone.
    pub async fn take(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.take(key).await,
            Self::Redis(store) => store.take(key).await,
        };
        self.note(key);
        done
    }

    /// Makes the value end at `ends_at` (Unix milliseconds) if it would end later or never; says whether it did. Makes
    /// no key.
    ///
    /// # Errors
    /// If nobody knows.
    pub async fn shorten(&self, key: &Key, ends_at: u64) -> Result<bool, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.shorten(key, ends_at).await,
            Self::Redis(store) => store.shorten(key, ends_at).await,
        };
        self.note(key);
        done
    }

    /// Makes the value end at `ends_at` (Unix milliseconds) if it would end earlier; says whether it did. Makes no key,
    /// and leaves alone what never ends.
    ///
    /// # Errors
    /// If nobody knows.
    pub async fn extend(&self, key: &Key, ends_at: u64) -> Result<bool, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.extend(key, ends_at).await,
            Self::Redis(store) => store.extend(key, ends_at).await,
        };
        self.note(key);
        done
    }

    /// Takes the value away; says whether there was one.
    ///
    /// # Errors
    /// If nobody knows.
    pub async fn discard(&self, key: &Key) -> Result<bool, StoreError> {
        let done = match self {
            Self::Embedded(store) => store.take(key).await.map(|before| before.is_some()),
            Self::Redis(store) => store.discard(key).await,
        };
        self.note(key);
        done
    }

    /// Whoever is told of a change of ours finds nothing older in this process's memory, even if nobody tells us of it.
    /// Also if it failed: then it may have been done all the same.
    fn note(&self, key: &Key) {
        if let Self::Redis(store) = self {
            store.note(key);
        }
    }

    /// Whether this value of this key would survive the loss of the server that holds it: the embedded store has it on
    /// disk; a Redis has it on every replica that is connected, and waits for them for a tenth of a second. With no
    /// replica it is true for a single server, which nobody can take over from, and false behind sentinels and in a
    /// cluster, where one may just be away. False as well if the value is another one by now, and if nobody knows.
    pub async fn confirm(&self, key: &Key, bytes: &[u8]) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Redis(store) => store.confirm(key, bytes).await,
        }
    }
}
