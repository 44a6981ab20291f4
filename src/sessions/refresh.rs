//! New tokens for a refresh token. Its children are derived from its own secret and a nonce that the record keeps, so
//! whoever holds it can be given the same ones again, and nobody else can make them: not from the store either.

use super::change::ATTEMPTS;
use super::login::no_randomness;
use super::{Grant, SessionView, Sessions, Users};
use crate::clock::now;
use crate::session::{Ban, OwnRecord, Why};
use crate::store::StoreError;
use crate::token::{MintedToken, RefreshToken, TokenSecret, random_name};
use crate::user::{Entry, Family, Step, Turn, User};

/// Why there are no new tokens. All but the last are `invalid_grant` in the words of RFC 6749 section 5.2.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is no refresh token of ours, or one of a session that ended long ago.
    #[error("there is no such refresh token")]
    Unknown,
    /// Its session is over.
    #[error("the session of this refresh token has ended")]
    Ended(Why),
    /// It was used before, so somebody has stolen it; its session ended just now.
    #[error("this refresh token was used before")]
    Reused,
    /// The user is banned.
    #[error("the user is banned")]
    Disabled(Ban),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a refresh token becomes.
struct Children {
    access: MintedToken,
    refresh: TokenSecret,
}

impl Children {
    fn of(token: &RefreshToken, nonce: &str, users: &Users) -> Self {
        let access = token.secret.child(nonce, "access");
        Self {
            access: MintedToken::access(&users.prefix, token.anchor, &access),
            refresh: token.secret.child(nonce, "refresh"),
        }
    }
}

impl Sessions {
    /// New tokens for a refresh token. Asked again with the same one shortly after, it gives the very same answer.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, refresh: &str) -> Result<Grant, RefreshError> {
        let users = self.users()?;
        let token = RefreshToken::read(refresh).ok_or(RefreshError::Unknown)?;
        let hash = token.secret.sha256_hex();
        let nonce = random_name().map_err(no_randomness)?;
        let children = Children::of(&token, &nonce, users);
        let step = Step {
            hash: children.refresh.sha256_hex(),
            key: self.keys.name(children.access.token()),
            nonce,
        };
        let _turn = users.queues.turn(token.anchor.as_str()).await?;
        let mut held = self.hold(users, token.anchor).await?;
        for attempt in 0..ATTEMPTS {
            let mut user = held.user(users)?.ok_or(RefreshError::Unknown)?;
            let presented = (token.family.as_str(), hash.as_str());
            let turn = user.refresh(presented, step.clone(), &users.rules, held.moment());
            match turn {
                Turn::Unknown => return Err(RefreshError::Unknown),
                Turn::Ended(why) => return Err(RefreshError::Ended(why)),
                Turn::Disabled(ban) => return Err(RefreshError::Disabled(ban)),
                Turn::Again(entry) => {
                    let nonce = entry.family.as_ref().map_or("", |family| &family.nonce);
                    let children = Children::of(&token, nonce, users);
                    return self.give(users, &token, children, (&user, &entry)).await;
                }
                Turn::Taken(entry) => {
                    if self.replace(users, &mut held, &user).await?.is_some() {
                        return self.give(users, &token, children, (&user, &entry)).await;
                    }
                }
                Turn::Reused(entry) => {
                    if self.replace(users, &mut held, &user).await?.is_some() {
                        self.bury_sessions(&user.user_id, std::slice::from_ref(&entry))
                            .await;
                        self.clear_away(&[entry]);
                        return Err(RefreshError::Reused);
                    }
                }
            }
            self.look_again(users, &mut held, token.anchor, attempt)
                .await?;
        }
        Err(StoreError::Busy.into())
    }

    /// Puts the record of the new access token down. If that fails, the client asks again within the grace. A record that
    /// is there is left as it is: its end may have been moved.
    async fn give(
        &self,
        users: &Users,
        token: &RefreshToken,
        children: Children,
        (user, entry): (&User, &Entry),
    ) -> Result<Grant, RefreshError> {
        let family = entry.family.as_ref().ok_or(RefreshError::Unknown)?;
        let access_ends_at = users.access_end(entry, family.rotated_at);
        let record = OwnRecord {
            user_id: user.user_id.clone(),
            permissions: family.permissions.clone(),
            roles: family.roles.clone(),
            device: entry.device.clone(),
            expires_at: access_ends_at,
            issued_at: family.rotated_at,
            token_sha256: children.access.token().sha256_hex(),
            sid: entry.sid.clone(),
            epoch: user.epoch,
            realm_epoch: entry.realm_epoch,
            idle: entry.idle,
            refresh_family: Some(family.id.clone()),
            act: None,
            risk: entry.risk,
        };
        let key = self.keys.token(children.access.token());
        let (bytes, end) = (
            record
                .encode(users.max_record)
                .map_err(StoreError::Record)?,
            users.key_end(&record),
        );
        self.store.put_new(&key, &bytes, Some(end)).await?;
        self.let_previous_go(users, entry, family);
        Ok(Grant {
            access: children.access,
            refresh: Some(MintedToken::refresh(
                token.anchor,
                &family.id,
                &children.refresh,
            )),
            session: SessionView::new(entry, None),
            access_ends_at,
            refresh_ends_at: Some(entry.last()),
            ended: Vec::new(),
        })
    }

    /// Requests that are under way with the access token before may still arrive within the grace.
    fn let_previous_go(&self, users: &Users, entry: &Entry, family: &Family) {
        if let Some(name) = &entry.previous_key {
            let end = family.rotated_at.saturating_add(users.rules.refresh_grace);
            self.end_by(self.keys.named(name), end.max(now()));
            let digest = self.keys.digest_of(name);
            self.bury_then(digest, end, users.access_end(entry, family.rotated_at));
        }
    }
}
