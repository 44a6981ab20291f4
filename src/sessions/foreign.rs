//! Sessions that another framework writes: see [`crate::layout`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Sessions;
use crate::clock::now;
use crate::layout::{Layout, Reading};
use crate::session::{Record, RecordError};
use crate::store::{Key, StoreError};
use crate::token::Token;

/// Whether it has been told that a framework's session could not be read: there may be millions.
static TOLD: AtomicBool = AtomicBool::new(false);

impl Sessions {
    /// The keys that a token's session is made of, as far as they are known.
    pub(super) fn parts(&self, token: &Token, account: Option<&str>) -> Vec<Key> {
        let parts = self.keys.parts(token, account).into_iter();
        parts.map(|(key, _)| key).collect()
    }

    /// What this framework has written about a token; a session that it comes to is live.
    pub(super) async fn read_foreign(
        &self,
        layout: &Layout,
        (token, account): (&Token, Option<&str>),
    ) -> Result<Reading, StoreError> {
        let parts = self.keys.parts(token, account);
        let read = async {
            let found = self.store.find_parts(&parts).await?;
            Ok(layout.read((token, account), &found, now())?)
        };
        let read: Result<Reading, StoreError> = read.await;
        if let Err(StoreError::Record(error)) = &read {
            tell(layout, *error);
        }
        Ok(match read? {
            Reading::Session(record) if !record.session.is_live(now()) => {
                Reading::No("it has ended")
            }
            reading @ (Reading::No(_) | Reading::More(_) | Reading::Session(_)) => reading,
        })
    }

    /// The same with all that it is made of; `None` if it is no session.
    pub(super) async fn whole_foreign(
        &self,
        layout: &Layout,
        token: &Token,
    ) -> Result<Result<Box<Record>, &'static str>, StoreError> {
        let mut account: Option<Arc<str>> = None;
        for _ in 0..2 {
            match self
                .read_foreign(layout, (token, account.as_deref()))
                .await?
            {
                Reading::Session(record) => return Ok(Ok(record)),
                Reading::No(why) => return Ok(Err(why)),
                Reading::More(of) => account = Some(of),
            }
        }
        Err(StoreError::Mismatch)
    }

    /// Why a framework's token has no session, in words for the operator; `None` if it has one, or is not a framework's.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn why_not(&self, token: &Token) -> Result<Option<&'static str>, StoreError> {
        match self.keys.foreign(token) {
            Some(layout) => Ok(self.whole_foreign(layout, token).await?.err()),
            None => Ok(None),
        }
    }

    /// Until when a framework's session lasts, if it is one; for ever if it cannot be read.
    pub(super) async fn foreign_end(
        &self,
        layout: &Layout,
        token: &Token,
    ) -> Result<Option<Option<u64>>, StoreError> {
        match self.whole_foreign(layout, token).await {
            Ok(Ok(record)) => Ok(Some(record.session.expires_at)),
            Ok(Err(_)) => Ok(None),
            Err(StoreError::Record(_)) => Ok(Some(None)),
            Err(error) => Err(error),
        }
    }

    /// Takes away what a token's session is made of.
    pub(super) async fn discard_remains(&self, token: &Token) -> Result<(), StoreError> {
        for key in self.keys.remains(token) {
            self.store.discard(&key).await?;
        }
        Ok(())
    }
}

fn tell(layout: &Layout, error: RecordError) {
    if !TOLD.swap(true, Ordering::Relaxed) {
        tracing::error!(
            layout = layout.name(),
            %error,
            "a session of the framework cannot be read: it is answered 503, as every other such one will be without \
             another word"
        );
    }
}
