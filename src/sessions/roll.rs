//! Whether every gateway has dropped what was ended, and not only this one.
//!
//! Whoever ends something that must be over everywhere calls the roll afterwards. A gateway that hears the call has heard
//! of the end before, over the same connection from the same server, so its answer says that it no longer believes what it
//! remembers of it. Whoever does not answer is frozen, cut off or dead. Its own clock is what is left to go by: nothing
//! that it has read before is believed for longer than its bound, whatever happens to it, so when that has passed the end
//! has reached it, too. Whoever is not on the roll believes nothing that it remembers at all; see [`super::Duty`].
//!
//! What no call can reach is a request that was let through before, and is still being answered.

use std::time::Duration;

use tokio::time::sleep;

use super::login::no_randomness;
use super::{Sessions, duty};
use crate::store::{Key, Roll, StoreError};
use crate::token::{Token, random_name};
use crate::uptime::Uptime;

/// Longer than this nobody is kept waiting.
const PATIENCE: Duration = Duration::from_secs(15);
/// Two clocks may run at different speeds, and a request takes a moment from being judged to being sent.
const SLACK: Duration = Duration::from_millis(100);
/// Between two looks at the answers: the first, which is most often enough, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// How far an end has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Whether no gateway lets anything through any more on the strength of what was ended.
    pub everywhere: bool,
    /// The gateways that did not say so themselves. Where `everywhere` is true, their bound has passed.
    pub silent: Vec<String>,
}

/// Of what the end is meant.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Whatever was done to this user.
    User(&'a str),
    /// Whatever was done to the realm.
    Realm,
    /// Whatever was done to this token, or to the user whose token it is.
    Token(&'a Token),
}

impl Sessions {
    /// Waits until every gateway has dropped what was ended before this call; 15 seconds at most.
    ///
    /// # Errors
    /// If the gateways could not be asked.
    pub async fn reach(&self, target: Target<'_>) -> Result<Reached, StoreError> {
        // The end is in the store by now: whoever reads it from now on reads of it.
        let ended = Uptime::now();
        let call = random_name().map_err(no_randomness)?;
        let about = self.about(target)?;
        self.store
            .call(&self.keys, (&call, &about), 2 * PATIENCE)
            .await?;
        let roll = self.store.roll(&self.keys).await?;
        let mut pause = PAUSES.0;
        loop {
            // A look that fails is tried again: it is only asked who is still missing.
            let answers = self.store.answers(&self.keys, &call).await;
            let answers = answers.unwrap_or_default();
            let left = self.left(&roll, &answers);
            let since = Uptime::now().since(ended);
            let over = left
                .longest
                .is_none_or(|bound| bound.saturating_add(SLACK) <= since);
            if over || since >= PATIENCE {
                return Ok(Reached {
                    everywhere: over,
                    silent: left.silent,
                });
            }
            sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    fn about(&self, target: Target<'_>) -> Result<Key, StoreError> {
        let users = self.users()?;
        Ok(match target {
            Target::User(user) => self.keys.user(users.anchor(user)),
            Target::Realm => self.keys.realm(),
            Target::Token(token) => match users.anchor_in(token) {
                Some(anchor) => self.keys.user(anchor),
                None => self.keys.token(token),
            },
        })
    }

    fn left(&self, roll: &Roll, answers: &[String]) -> Left {
        let missing = roll
            .gateways
            .iter()
            .filter(|one| !answers.contains(&one.name));
        // A roll that is younger than a lease may lack a gateway which has not heard that the last one was lost.
        let young = (roll.age < duty::lease(self.bound)).then_some(self.bound);
        Left {
            longest: missing.clone().map(|one| one.bound).chain(young).max(),
            silent: missing.map(|one| one.name.clone()).collect(),
        }
    }
}

/// Who has not answered.
struct Left {
    silent: Vec<String>,
    /// The longest that one of them may believe what it has read; nothing if nobody is missing.
    longest: Option<Duration>,
}
