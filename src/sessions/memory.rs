//! Who holds a token, from memory where that is known to be right.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Answer, Cache, Entry, Limits, MaxAge, Verdict, half};
use crate::changes::{Basis, Changes};
use crate::clock::now;
use crate::config::Config;
use crate::imprint::Imprint;
use crate::session::Session;
use crate::store::StoreError;
use crate::token::Token;
use crate::uptime::Uptime;

use super::find::{Clue, Judged, Whose};
use super::{Sessions, Standing};

/// The verdicts on tokens that are kept in this process.
pub type Memory = Cache<Standing>;

impl Verdict for Standing {
    fn fetch(&self) {
        if let Self::Live(session) = self {
            session.fetch();
        }
    }
}

/// An empty memory, as large as the configuration wants it.
pub fn memory(config: &Config, changes: Arc<Changes>) -> Arc<Memory> {
    let cache = &config.cache;
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let limits = Limits {
        entries: count(cache.max_sessions),
        misses: count(cache.max_misses),
        misses_live: MaxAge::new(cache.misses.get()),
    };
    Arc::new(Cache::new(limits, changes))
}

impl Sessions {
    /// Who holds this token, if that can be told at `now` without asking the store.
    pub fn remembered(
        self: &Arc<Self>,
        token: &Token,
        max_age: MaxAge,
        now: Uptime,
    ) -> Option<Standing> {
        let reader = self.reader.as_ref().filter(|_| max_age != MaxAge::STRICT)?;
        let ask = |earlier: Option<&Entry<Standing>>| self.question(token, max_age, earlier);
        reader.remembered(&half(&token.digest()), (now, max_age), ask)
    }

    /// Who holds this token, as it stood in the store no longer ago than `max_age`.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn recall(
        self: &Arc<Self>,
        token: &Token,
        max_age: MaxAge,
    ) -> Result<Standing, StoreError> {
        if self.reader.is_none() {
            // Large: kept out of the future that every request carries, whether it looks up or not.
            return Box::pin(self.find(token)).await;
        }
        let entry = self.recall_entry(token, max_age).await?;
        Ok(entry.verdict().clone())
    }

    /// The same with what it rests on.
    pub(super) async fn recall_entry(
        self: &Arc<Self>,
        token: &Token,
        max_age: MaxAge,
    ) -> Result<Arc<Entry<Standing>>, StoreError> {
        let reader = self.reader.as_ref().ok_or(StoreError::Unreachable)?;
        let ask = |earlier: Option<&Entry<Standing>>| self.question(token, max_age, earlier);
        reader.find(&half(&token.digest()), max_age, ask).await
    }

    /// The question to the store, for a task of its own, given what was found earlier.
    fn question(
        self: &Arc<Self>,
        token: &Token,
        max_age: MaxAge,
        earlier: Option<&Entry<Standing>>,
    ) -> impl Future<Output = Result<Answer<Standing>, StoreError>> + Send + use<> {
        let is_kept = max_age != MaxAge::STRICT;
        let (sessions, token) = (Arc::clone(self), token.clone());
        let earlier = earlier.and_then(|entry| match entry.verdict() {
            Standing::Live(session) => Some((Arc::clone(session), entry.imprint()?)),
            Standing::Unknown | Standing::Ended(_) => None,
        });
        async move {
            // Large, and most of these wait for their turn first; made where it will be, because a move costs as much.
            let asking = sessions.ask(&token, is_kept, earlier.as_ref());
            Box::into_pin(Box::write(Box::new_uninit(), asking)).await
        }
    }

    /// What the store says about this token, and what that rests on.
    async fn ask(
        &self,
        token: &Token,
        is_kept: bool,
        earlier: Option<&(Arc<Session>, Imprint)>,
    ) -> Result<Answer<Standing>, StoreError> {
        let changes = self.changes()?;
        let mut account = None;
        let (verdict, basis, imprint) = loop {
            let keys = self.parts(token, account.as_deref());
            let clue = self.clue((token, account.as_ref()), earlier);
            match self.store.observe(changes, &keys, clue).await? {
                (Clue::All(standing), basis) => break (standing, basis, None),
                (Clue::Read(standing, imprint), basis) => break (standing, basis, imprint),
                (Clue::Users(whose), _) => {
                    let (standing, basis) = self.ask_users(token, whose).await?;
                    break (standing, basis, None);
                }
                (Clue::More(_), _) if account.is_some() => return Err(StoreError::Mismatch),
                (Clue::More(of), _) => account = Some(of),
            }
        };
        let is_kept_already =
            |session: &Arc<Session>| earlier.is_some_and(|(it, _)| Arc::ptr_eq(it, session));
        let verdict = match verdict {
            Standing::Live(session) if is_kept && !is_kept_already(&session) => {
                let session = Arc::unwrap_or_clone(session).with_lists_in_common();
                Standing::Live(Arc::new(session))
            }
            Standing::Live(_) | Standing::Unknown | Standing::Ended(_) => verdict,
        };
        let ends_at = match &verdict {
            Standing::Live(session) => session.expires_at,
            Standing::Unknown | Standing::Ended(_) => None,
        };
        Ok(Answer {
            is_miss: !matches!(verdict, Standing::Live(_)),
            lasts: ends_at.map(left),
            verdict,
            basis,
            imprint,
        })
    }
}

impl Sessions {
    /// What the records come to that decide about this token. If somebody acts as its user they are all read again,
    /// so that the verdict and what it rests on go together.
    async fn ask_users(
        &self,
        token: &Token,
        whose: Whose,
    ) -> Result<(Standing, Basis), StoreError> {
        let mut whose = whose;
        for _ in 0..2 {
            let keys = self.grounds(token, &whose);
            let judge = self.judge(token, &whose);
            match self.store.observe(self.changes()?, &keys, judge).await? {
                (Judged::Known(standing), basis) => return Ok((standing, basis)),
                (Judged::Acting(both), _) => whose = both,
            }
        }
        Err(StoreError::Mismatch)
    }
}

/// From now until then, in Unix milliseconds.
pub(super) fn left(end: u64) -> Duration {
    Duration::from_millis(end.saturating_sub(now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_verdict_is_small() {
        // A million of them lie in memory; with the counts of its `Arc` it is 128 bytes, a size that allocators have.
        assert!(size_of::<Entry<Standing>>() <= 112);
    }
}
