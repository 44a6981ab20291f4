//! The chain of refresh tokens: one step for each token, the same step again for a while, and never another one.

use super::{EVERYTHING, Entry, Moment, Rules, User};
use crate::session::{Ban, Why};

/// What a refresh token would become: everything that is derived from its secret and a new nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The nonce.
    pub nonce: String,
    /// SHA-256 of the child's secret.
    pub hash: String,
    /// The name in the store of the child's access token.
    pub key: String,
}

/// What a refresh came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The token was the last link of its chain; the step was taken.
    Taken(Entry),
    /// The token was the link before, a moment ago: its child is the one of this session's nonce. Nothing was changed.
    Again(Entry),
    /// The token was used before. Its session was ended.
    Reused(Entry),
    /// There is no such family.
    Unknown,
    /// The session of the family has ended. Nothing was changed.
    Ended(Why),
    /// The user is banned. Nothing was changed.
    Disabled(Ban),
}

impl User {
    /// Takes a step from the refresh token of this family whose secret has this SHA-256.
    pub fn refresh(
        &mut self,
        (family, hash): (&str, &str),
        step: Step,
        rules: &Rules,
        moment: Moment,
    ) -> Turn {
        self.tidy(moment);
        if let Some(ban) = self.bans.get(EVERYTHING) {
            return Turn::Disabled(ban.clone());
        }
        let of_family = |entry: &Entry| entry.family.as_ref().is_some_and(|f| f.id == family);
        let Some(entry) = self.sessions.iter_mut().find(|entry| of_family(entry)) else {
            let noted = |gone: &&super::Gone| gone.family.as_deref() == Some(family);
            return match self.gone.iter().find(noted) {
                Some(gone) => Turn::Ended(gone.why),
                None => Turn::Unknown,
            };
        };
        let Some(chain) = &mut entry.family else {
            return Turn::Unknown;
        };
        if chain.hash == hash {
            chain.parent_hash = Some(std::mem::replace(&mut chain.hash, step.hash));
            chain.nonce = step.nonce;
            chain.generation += 1;
            chain.rotated_at = moment.now;
            let idle_end = moment.now.saturating_add(rules.refresh_idle);
            chain.idle_ends_at = idle_end.min(entry.ends_at);
            entry.previous_key = Some(std::mem::replace(&mut entry.key, step.key));
            return Turn::Taken(entry.clone());
        }
        let grace_ends = chain.rotated_at.saturating_add(rules.refresh_grace);
        if chain.parent_hash.as_deref() == Some(hash) && moment.now < grace_ends {
            return Turn::Again(entry.clone());
        }
        let ended = self.end(Why::RefreshReused, None, moment, of_family);
        ended.into_iter().next().map_or(Turn::Unknown, Turn::Reused)
    }
}
