//! The roll: which gateways there are, and a way to ask all of them whether they have heard of a change.
//!
//! A gateway is on the roll for as long as its lease says, which it renews all the time; once that has run out it does not
//! believe its own memory any more. So whoever is not on the roll has nothing that would have to be dropped.

use std::time::Duration;

use super::{Key, Keys, SessionStore, StoreError};

/// Who is on the roll.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// For how long it has been there. A roll that was lost begins anew, and those who have not heard of that yet are
    /// missing from it.
    pub age: Duration,
    /// Who.
    pub gateways: Vec<Enrolled>,
}

/// A gateway on the roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its name.
    pub name: String,
    /// Nothing that it has read is believed for longer than this.
    pub bound: Duration,
}

impl SessionStore {
    /// Puts a gateway on the roll for so long.
    ///
    /// # Errors
    /// If it is not there, or nobody knows.
    pub async fn enroll(
        &self,
        keys: &Keys,
        gateway: &Enrolled,
        lease: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(store) => store.enroll(&keys.roll(), gateway, lease).await,
        }
    }

    /// Strikes a gateway off the roll.
    ///
    /// # Errors
    /// If nobody knows; its lease runs out.
    pub async fn strike(&self, keys: &Keys, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(store) => store.strike(&keys.roll(), name).await,
        }
    }

    /// Who is on the roll. The embedded store has one gateway, which knows at once: nobody has to be asked.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn roll(&self, keys: &Keys) -> Result<Roll, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Roll {
                age: Duration::MAX,
                gateways: Vec::new(),
            }),
            Self::Redis(store) => store.roll(&keys.roll()).await,
        }
    }

    /// Asks all gateways, by this name, whether they have heard of what was done to this key before.
    ///
    /// # Errors
    /// If they were not asked, or nobody knows.
    pub async fn call(
        &self,
        keys: &Keys,
        (name, about): (&str, &Key),
        lasts: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(store) => store.call(&keys.call(name, about), lasts).await,
        }
    }

    /// Answers the call of this name for a gateway. The answer lies there for so long.
    ///
    /// # Errors
    /// If it was not answered, or nobody knows.
    pub async fn answer(
        &self,
        keys: &Keys,
        (name, gateway): (&str, &str),
        lasts: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(store) => store.answer(&keys.answers(name), gateway, lasts).await,
        }
    }

    /// Who has answered the call of this name.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn answers(&self, keys: &Keys, name: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Redis(store) => store.answers(&keys.answers(name)).await,
        }
    }
}
