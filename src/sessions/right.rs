//! What users and roles may do, how far they are trusted, and what is known of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{SessionView, Sessions, UserView};
use crate::clock::{millis, now};
use crate::store::{Ends, StoreError};
use crate::user::{Entry, Realm, Rights, RightsEdit, Seen, User};

impl Sessions {
    /// Changes what this user may do, from the next request on; says what it is now.
    ///
    /// # Errors
    /// If nobody knows whether it was changed.
    pub async fn edit_rights(&self, user: &str, edit: RightsEdit) -> Result<Rights, StoreError> {
        let rules = &self.users()?.rules;
        let changed = self
            .change(user, true, |user, moment| {
                user.edit_rights(&edit, rules, moment)
            })
            .await?;
        Ok(changed.map(|changed| changed.outcome).unwrap_or_default())
    }

    /// Sets the risk of this user, or of one session; 100 at most. Says whether there is such a session.
    ///
    /// # Errors
    /// If nobody knows whether it was set.
    pub async fn set_risk(
        &self,
        user: &str,
        sid: Option<&str>,
        level: u8,
    ) -> Result<bool, StoreError> {
        let rules = &self.users()?.rules;
        let changed = self.change(user, sid.is_none(), |user, moment| {
            user.set_risk(sid, level, rules, moment)
        });
        Ok(changed.await?.is_some_and(|changed| changed.outcome))
    }

    /// Notes that the user of this session has just proved again who they are; counts for `lasts` at most. Says whether
    /// there is such a session.
    ///
    /// # Errors
    /// If nobody knows whether it was noted.
    pub async fn elevate(
        &self,
        user: &str,
        sid: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let changed = self.change(user, false, |user, moment| {
            user.elevate(sid, moment.now.saturating_add(millis(lasts)), moment)
        });
        Ok(changed.await?.is_some_and(|changed| changed.outcome))
    }

    /// What is known of this user.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn user(&self, user: &str) -> Result<Option<UserView>, StoreError> {
        let users = self.users()?;
        let held = self.hold(users, users.anchor(user)).await?;
        let Some(user) = held.user_called(users, user)? else {
            return Ok(None);
        };
        let seen = match user.sessions.iter().any(|entry| entry.idle > 0) {
            true => self.seen(&user).await?,
            false => Seen::new(),
        };
        let moment = held.moment();
        let live = user.sessions.iter().filter(|entry| entry.is_live(moment));
        // Who has no refresh token and whose access token is gone cannot come back.
        let live = live
            .filter(|entry| entry.family.is_some() || !matches!(seen.get(&entry.sid), Some(None)));
        let used = |entry: &Entry| seen.get(&entry.sid).copied().flatten();
        Ok(Some(UserView {
            epoch: user.epoch,
            rights: user.rights(),
            risk: user.risk,
            sessions: live
                .map(|entry| SessionView::new(entry, used(entry).filter(|_| entry.idle > 0)))
                .collect(),
            bans: user
                .bans
                .into_iter()
                .filter(|(_, ban)| ban.holds(now()))
                .collect(),
            user_id: user.user_id,
        }))
    }

    /// When any access token of each of these sessions was last used.
    pub(super) async fn seen(&self, user: &User) -> Result<Seen, StoreError> {
        let names = |entry: &Entry| {
            let names: Vec<_> = [&entry.key]
                .into_iter()
                .chain(&entry.others)
                .cloned()
                .collect();
            names
        };
        let all = user.sessions.iter().flat_map(names);
        let keys: Vec<_> = all.map(|name| self.keys.named(&name)).collect();
        let mut found = self.store.get(&keys, Ends::All).await?.into_iter();
        let seen = user.sessions.iter().map(|entry| {
            let tokens = found.by_ref().take(1 + entry.others.len()).flatten();
            let used = tokens.map(|kept| match (entry.idle, kept.ends_at) {
                (1.., Some(end)) => end.saturating_sub(entry.idle.saturating_mul(1000)),
                _ => 0,
            });
            let last = used.max().map(|used| used.max(entry.issued_at));
            (entry.sid.clone(), last)
        });
        Ok(seen.collect())
    }

    /// The live sessions of this user, in the order in which they began.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn list(&self, user: &str) -> Result<Vec<SessionView>, StoreError> {
        let user = self.user(user).await?;
        Ok(user.map(|user| user.sessions).unwrap_or_default())
    }

    /// Says what whoever has this role may do, from the next request on; `None` deletes the role.
    ///
    /// # Errors
    /// If nobody knows whether it was set.
    pub async fn set_role(
        &self,
        role: &str,
        permissions: Option<Vec<String>>,
    ) -> Result<(), StoreError> {
        let set = |realm: &mut Realm, _| realm.set_role(role, permissions.clone());
        self.change_realm(set).await.map(|_| ())
    }

    /// What each role may do.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn roles(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let users = self.users()?;
        let found = self.store.get(&[self.keys.realm()], Ends::None).await?;
        let bytes = found.into_iter().next().flatten().map(|kept| kept.bytes);
        Ok(users.realm(bytes)?.roles.clone())
    }
}
