//! Ending sessions: logout, kicks, bans.

use super::bury::TOMBSTONE;
use super::find::is_own;
use super::{Ended, Sessions};
use crate::session::{OwnRecord, Why};
use crate::store::StoreError;
use crate::token::{RefreshToken, Token};
use crate::tombstone::Tombstone;
use crate::user::{Entry, Moment, NewBan, User, Whom};

impl Sessions {
    /// Ends the session of this token, whoever made it. Ends nothing if there is none.
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn logout(&self, token: &Token) -> Result<Ended, StoreError> {
        if self.users.is_none() {
            self.discard_remains(token).await?;
            return Ok(Ended::default());
        }
        if self.keys.foreign(token).is_some() {
            self.end_moved(token).await?;
            return self.end_foreign(token).await;
        }
        let key = self.keys.token(token);
        let Some(kept) = self.token_record(token).await? else {
            return Ok(Ended {
                sids: Vec::new(),
                confirmed: true,
            });
        };
        if !is_own(&kept.bytes) {
            return self.logout_foreign(token, kept.ends_at).await;
        }
        let record = OwnRecord::decode(&kept.bytes)?;
        let whom = Whom::Session(record.sid);
        let ended = self.kick(&record.user_id, whom, Why::LoggedOut).await?;
        self.store.discard(&key).await?;
        Ok(ended)
    }

    /// Ends the session of a framework's token, and nothing else.
    pub(super) async fn end_foreign(&self, token: &Token) -> Result<Ended, StoreError> {
        let Some(layout) = self.keys.foreign(token) else {
            return Ok(nothing());
        };
        match self.foreign_end(layout, token).await? {
            Some(end) => self.logout_foreign(token, end).await,
            None => Ok(nothing()),
        }
    }

    /// The tombstone goes first: from then on it does not matter whether somebody writes the record back.
    async fn logout_foreign(&self, token: &Token, end: Option<u64>) -> Result<Ended, StoreError> {
        let tombstone = Tombstone::Token(token.sha256_hex());
        let of_tombstone = self.keys.tombstone(&tombstone);
        let buried = self.bury_foreign(tombstone, end).await;
        self.discard_remains(token).await?;
        // The tombstone is what a failover must not undo. It was put there before the record was taken away, so whoever
        // has the one has the other.
        Ok(Ended {
            sids: Vec::new(),
            confirmed: buried && self.store.confirm(&of_tombstone, TOMBSTONE).await,
        })
    }

    /// Ends the session of this refresh token, if it is the last or the last but one of its family.
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn logout_family(&self, refresh: &str) -> Result<Ended, StoreError> {
        let users = self.users()?;
        let Some(token) = RefreshToken::read(refresh) else {
            return Ok(nothing());
        };
        let held = self.hold(users, token.anchor).await?;
        let Some(user) = held.user(users)? else {
            return Ok(nothing());
        };
        let hash = token.secret.sha256_hex();
        let own = |entry: &&Entry| {
            entry.family.as_ref().is_some_and(|family| {
                family.id == token.family
                    && (family.hash == hash || family.parent_hash.as_ref() == Some(&hash))
            })
        };
        let Some(entry) = user.sessions.iter().find(own) else {
            return Ok(nothing());
        };
        let whom = Whom::Session(entry.sid.clone());
        self.kick(&user.user_id, whom, Why::LoggedOut).await
    }

    /// Ends sessions of this user. Of all sessions, tokens that somebody else issued before are ended too.
    ///
    /// # Errors
    /// If nobody knows whether they were ended.
    pub async fn kick(&self, user: &str, whom: Whom, why: Why) -> Result<Ended, StoreError> {
        let users = self.users()?;
        let create = whom == Whom::All;
        self.end(user, create, |user, moment| {
            user.kick(&whom, why, &users.rules, moment)
        })
        .await
    }

    /// Ends every session of the realm, with one write. Names none of them.
    ///
    /// # Errors
    /// If nobody knows whether they were ended.
    pub async fn kick_realm(&self, why: Why) -> Result<Ended, StoreError> {
        let changed = self.change_realm(|realm, now| realm.kick(why, now)).await?;
        let epoch = changed.outcome;
        let buried = self.bury(vec![Tombstone::Realm { epoch }]).await;
        Ok(Ended {
            sids: Vec::new(),
            confirmed: buried && self.confirm(&changed).await,
        })
    }

    /// Bans this user, from everything or from one service.
    ///
    /// # Errors
    /// If nobody knows whether the ban was laid.
    pub async fn ban(&self, user: &str, ban: NewBan) -> Result<Ended, StoreError> {
        let users = self.users()?;
        self.end(user, true, |user, moment| {
            user.ban(ban.clone(), &users.rules, moment)
        })
        .await
    }

    /// Lifts a ban, of everything if `service` is `None`; says whether there was one.
    ///
    /// # Errors
    /// If nobody knows whether it was lifted.
    pub async fn unban(&self, user: &str, service: Option<&str>) -> Result<bool, StoreError> {
        let changed = self.change(user, false, |user, moment| user.unban(service, moment));
        Ok(changed.await?.is_some_and(|changed| changed.outcome))
    }

    async fn end(
        &self,
        user: &str,
        create: bool,
        mut deed: impl FnMut(&mut User, Moment) -> Vec<Entry>,
    ) -> Result<Ended, StoreError> {
        let noting_epoch = |user: &mut User, moment: Moment| {
            let before = user.epoch;
            let ended = deed(user, moment);
            (ended, (user.epoch > before).then_some(user.epoch))
        };
        let Some(changed) = self.change(user, create, noting_epoch).await? else {
            return Ok(nothing());
        };
        let (ended, epoch) = &changed.outcome;
        self.clear_away(ended);
        self.end_origins(ended).await;
        let buried = match epoch {
            // It covers every session that there was.
            Some(epoch) => {
                let (user_id, epoch) = (user.to_owned(), *epoch);
                self.bury(vec![Tombstone::User { user_id, epoch }]).await
            }
            None => self.bury_sessions(user, ended).await,
        };
        // Also where nothing was left to end: whoever was told that it is not confirmed asks again.
        let confirmed = buried && self.confirm(&changed).await;
        let sids = changed.outcome.0.into_iter().map(|entry| entry.sid);
        Ok(Ended {
            sids: sids.collect(),
            confirmed,
        })
    }
}

fn nothing() -> Ended {
    Ended {
        sids: Vec::new(),
        confirmed: true,
    }
}
