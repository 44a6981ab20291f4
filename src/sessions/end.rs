//! Ending sessions: logout, kicks, bans.

use super::find::is_own;
use super::{Ended, Sessions};
use crate::session::{OwnRecord, Why};
use crate::store::StoreError;
use crate::token::{RefreshToken, Token};
use crate::user::{Entry, NewBan, User, Whom};

impl Sessions {
    /// Ends the session of this token, whoever made it. Ends nothing if there is none.
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn logout(&self, token: &Token) -> Result<Ended, StoreError> {
        if self.users.is_none() {
            self.store.remove(token).await?;
            return Ok(Ended::default());
        }
        let key = self.keys.token(token);
        let Some(kept) = self.token_record(token).await? else {
            return Ok(Ended {
                sids: Vec::new(),
                confirmed: true,
            });
        };
        if !is_own(&kept.bytes) {
            self.store.discard(&key).await?;
            let confirmed = self.store.confirm(&key, b"").await;
            return Ok(Ended {
                sids: Vec::new(),
                confirmed,
            });
        }
        let record = OwnRecord::decode(&kept.bytes)?;
        let whom = Whom::Session(record.sid);
        let ended = self.kick(&record.user_id, whom, Why::LoggedOut).await?;
        self.store.discard(&key).await?;
        Ok(ended)
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
        let Some(user) = held.user()? else {
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
        Ok(Ended {
            sids: Vec::new(),
            confirmed: self.confirm(&changed).await,
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
        deed: impl FnMut(&mut User, crate::user::Moment) -> Vec<Entry>,
    ) -> Result<Ended, StoreError> {
        let Some(changed) = self.change(user, create, deed).await? else {
            return Ok(nothing());
        };
        self.clear_away(&changed.outcome);
        // Also where nothing was left to end: whoever was told that it is not confirmed asks again.
        let confirmed = self.confirm(&changed).await;
        let sids = changed.outcome.into_iter().map(|entry| entry.sid);
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
