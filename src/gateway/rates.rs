//! Asking the limits of a route, in this process and in the store.

use std::sync::Arc;
use std::time::Instant;

use super::Gateway;
use super::record::{Record, lap};
use crate::config::OnError;
use crate::limit::{Limit, Metered, Scope, Slowed, Told, TooMany, Who};
use crate::refusal::Refusal;
use crate::store::{Key, SessionStore, StoreError};
use crate::token::Token;

impl Gateway {
    /// With a Redis of its own for shared limits, in place of the store's.
    #[must_use]
    pub fn counting_in(self, meters: Option<SessionStore>) -> Self {
        Self {
            meters: meters.map(Arc::new),
            ..self
        }
    }

    /// Takes one request out of the sender's bucket of each limit: first those of this process, then, if they all had
    /// one, those of the store. What an earlier limit has counted stays counted when a later one refuses. Says whether the
    /// store was waited for.
    pub(super) async fn take(
        &self,
        limits: &[Limit],
        who: &Who<'_>,
        told: &mut Told,
        record: &mut Record<'_>,
    ) -> Result<bool, Refusal> {
        let mut shared = false;
        for limit in limits {
            if limit.scope() != Scope::Local {
                shared = true;
            } else if let Some(metered) = self.shared.limits.take(limit, who) {
                limit.judge(metered, told)?;
            }
        }
        if shared {
            // Boxed, so that requests without shared limits do not carry the room for it.
            let asked = Instant::now();
            let taken = Box::pin(self.take_shared(limits, who, told)).await;
            let before = record.spent.limits;
            record.spent.limits =
                Some(before.map_or_else(|| lap(asked), |before| before.and(lap(asked))));
            taken?;
        }
        Ok(shared)
    }

    async fn take_shared(
        &self,
        limits: &[Limit],
        who: &Who<'_>,
        told: &mut Told,
    ) -> Result<(), Refusal> {
        let mut asked = Vec::new();
        let mut questions = Vec::new();
        for limit in limits {
            if let (Scope::Shared(on_error), Some(bucket)) = (limit.scope(), limit.bucket(who)) {
                asked.push((limit, on_error));
                questions.push((Key::limit(&bucket), limit.meter()));
            }
        }
        let store = self.meters.as_ref().unwrap_or(&self.store);
        let answers = store.meter(&questions, self.meter_deadline).await;
        weigh(asked.into_iter().zip(answers), told)
    }

    /// Whether a look-up may be spent on what this client sends as a token; `None` is what cannot be one.
    pub(super) fn admit(
        &self,
        client: std::net::IpAddr,
        token: Option<&Token>,
    ) -> Result<(), Slowed> {
        self.guard.map_or(Ok(()), |meter| {
            self.shared.limits.guard.admit(meter, client, token)
        })
    }

    /// Tells the guard what a look-up came to.
    pub(super) fn learn(&self, client: std::net::IpAddr, token: &Token, good: bool) {
        if let Some(meter) = self.guard {
            self.shared.limits.guard.learn(meter, client, token, good);
        }
    }
}

/// What is certain goes first: one limit that says no is 429, whatever the others could not tell.
fn weigh<'a>(
    answers: impl Iterator<Item = ((&'a Limit, OnError), Result<Metered, StoreError>)>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let mut too_many: Option<TooMany> = None;
    let mut unknown = None;
    for ((limit, on_error), answer) in answers {
        match (answer, on_error) {
            (Ok(metered), _) => {
                if let Err(more) = limit.judge(metered, told) {
                    let longest = too_many.as_ref().map(|found| found.retry_after);
                    if longest.is_none_or(|longest| more.retry_after > longest) {
                        too_many = Some(more);
                    }
                }
            }
            (Err(error), OnError::Deny) => unknown = Some(error),
            (Err(error), OnError::Allow) => {
                tracing::debug!(limit = %limit.name(), %error, "a request passes uncounted");
            }
        }
    }
    match (too_many, unknown) {
        (Some(too_many), _) => Err(too_many.into()),
        (None, Some(error)) => Err(Refusal::Uncounted(error)),
        (None, None) => Ok(()),
    }
}
