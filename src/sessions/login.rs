//! Opening a session.

use std::net::IpAddr;
use std::time::Duration;

use super::change::{ATTEMPTS, Held};
use super::{SessionView, Sessions, Users};
use crate::clock::{millis, now};
use crate::session::{Act, Ban, Device, OwnRecord, Session};
use crate::store::{Ends, StoreError};
use crate::token::{MintedToken, TokenError, TokenSecret, random_name};
use crate::user::{Entry, Family, MAX_RISK, Refused, Seen, User, clip};

/// A login that somebody else has found to be right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// Who; 1 to 256 characters.
    pub user_id: String,
    /// Where. A session that is live on a device of the same id is replaced; an empty id is no device. Id and type may
    /// have 256 characters; of the name as many are kept.
    pub device: Device,
    /// What this session may do, besides what its user may.
    pub permissions: Vec<String>,
    /// Roles of this session, besides those of its user.
    pub roles: Vec<String>,
    /// How long the session lasts; at most, and if absent, what `[sessions]` says.
    pub lifetime: Option<Duration>,
    /// Whether it gets a refresh token.
    pub refresh: bool,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
    /// What its user calls it; 256 characters of it are kept.
    pub label: String,
    /// 0 to 100.
    pub risk: u8,
}

/// What a login or a refresh gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access: MintedToken,
    /// The refresh token, if one was asked for.
    pub refresh: Option<MintedToken>,
    /// The session.
    pub session: SessionView,
    /// When the access token ends, in Unix milliseconds.
    pub access_ends_at: u64,
    /// When the refresh token ends if it is not used, in Unix milliseconds.
    pub refresh_ends_at: Option<u64>,
    /// The sessions that this login ended.
    pub ended: Vec<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The user is banned.
    #[error("the user is banned")]
    Disabled(Ban),
    /// The user has as many sessions as they may have.
    #[error("the user has as many sessions as they may have")]
    TooMany,
    /// Something in it cannot be used; the text says what.
    #[error("{0}")]
    Unusable(&'static str),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The longest text of a login in characters, which are what the schema of the admin API counts.
const MAX_TEXT: usize = 256;
/// The longest that somebody may act as somebody else in milliseconds.
const MAX_ACT: u64 = 3_600_000;

/// A session that is about to be opened.
struct Draft {
    user_id: String,
    permissions: Vec<String>,
    roles: Vec<String>,
    entry: Entry,
    access: MintedToken,
    access_ends_at: u64,
    refresh: Option<MintedToken>,
}

impl Sessions {
    /// Opens a session.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(&self, login: Login) -> Result<Grant, LoginError> {
        let users = self.users()?;
        let draft = self.draft(users, login)?;
        self.open(users, draft).await
    }

    /// A session in which `actor` acts as `subject`: with the rights of the subject's last session, no refresh token, an
    /// hour at most, and not by somebody who acts as somebody else already. It ends when the actor's session does.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn act_as(
        &self,
        actor: &Session,
        subject: &str,
        lifetime: Duration,
    ) -> Result<Grant, LoginError> {
        let users = self.users()?;
        if actor.extras.actor.is_some() {
            return Err(LoginError::Unusable(
                "who acts as somebody cannot act as somebody else",
            ));
        }
        if actor.sid.is_empty() {
            return Err(LoginError::Unusable(
                "whoever acts as somebody must have a session that can be ended",
            ));
        }
        if actor.user_id == subject {
            return Err(LoginError::Unusable("nobody acts as themselves"));
        }
        let (permissions, roles) = self.last_rights(users, subject).await?;
        let mut draft = self.draft(
            users,
            Login {
                user_id: subject.to_owned(),
                permissions,
                roles,
                lifetime: Some(lifetime.min(Duration::from_millis(MAX_ACT))),
                risk: actor.extras.risk,
                ..Login::default()
            },
        )?;
        draft.entry.act = Some(Act {
            user_id: actor.user_id.to_string(),
            by: actor.sid.to_string(),
        });
        self.open(users, draft).await
    }

    /// The token's record is put down first: as long as the session is not in the list it is worth nothing, and from the
    /// swap on everything is there.
    async fn open(&self, users: &Users, draft: Draft) -> Result<Grant, LoginError> {
        let anchor = users.anchor(&draft.user_id);
        let _turn = users.queues.turn(anchor.as_str()).await?;
        let mut held = self.hold(users, anchor).await?;
        let mut put = None;
        for attempt in 0..ATTEMPTS {
            let user = held.user_called(users, &draft.user_id)?;
            let mut user = user.unwrap_or_else(|| User::new(&draft.user_id));
            let decided = self.decide(users, &mut user, &draft, &held).await;
            let (ended, entry) = match decided {
                Ok(decided) => decided,
                Err(refused) => {
                    if put.is_some() {
                        self.end_by(self.keys.token(draft.access.token()), now());
                    }
                    return Err(refused);
                }
            };
            let epochs = Some((user.epoch, entry.realm_epoch));
            if put != epochs {
                self.put_record(users, &draft, &entry, user.epoch).await?;
                put = epochs;
            }
            if self.replace(users, &mut held, &user).await?.is_some() {
                self.clear_away(&ended);
                self.end_origins(&ended).await;
                self.bury_sessions(&draft.user_id, &ended).await;
                return Ok(granted(draft, &entry, ended));
            }
            self.look_again(users, &mut held, anchor, attempt).await?;
        }
        Err(StoreError::Busy.into())
    }

    async fn decide(
        &self,
        users: &Users,
        user: &mut User,
        draft: &Draft,
        held: &Held,
    ) -> Result<(Vec<Entry>, Entry), LoginError> {
        let moment = held.moment();
        let entry = Entry {
            realm_epoch: moment.realm_epoch,
            ..draft.entry.clone()
        };
        let seen = match user.is_crowded(&entry, &users.rules) {
            true => self.seen(user).await?,
            false => Seen::new(),
        };
        match user.login(entry.clone(), &users.rules, &seen, moment) {
            Ok(ended) => Ok((ended, entry)),
            Err(Refused::Disabled(ban)) => Err(LoginError::Disabled(ban)),
            Err(Refused::TooMany) => Err(LoginError::TooMany),
        }
    }

    async fn put_record(
        &self,
        users: &Users,
        draft: &Draft,
        entry: &Entry,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let record = OwnRecord {
            user_id: draft.user_id.clone(),
            permissions: draft.permissions.clone(),
            roles: draft.roles.clone(),
            device: entry.device.clone(),
            expires_at: draft.access_ends_at,
            issued_at: entry.issued_at,
            token_sha256: draft.access.token().sha256_hex(),
            sid: entry.sid.clone(),
            epoch,
            realm_epoch: entry.realm_epoch,
            idle: entry.idle,
            refresh_family: entry.family.as_ref().map(|family| family.id.clone()),
            act: entry.act.clone(),
            risk: entry.risk,
        };
        let key = self.keys.token(draft.access.token());
        let end = users.key_end(&record);
        let bytes = record.encode(users.max_record)?;
        self.store.put(&key, &bytes, Some(end)).await
    }

    /// What the last session that this user opened may do.
    async fn last_rights(
        &self,
        users: &Users,
        user_id: &str,
    ) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let held = self.hold(users, users.anchor(user_id)).await?;
        let user = held.user_called(users, user_id)?;
        let own = |entry: &&Entry| entry.act.is_none() && entry.is_live(held.moment());
        let Some(entry) = user
            .iter()
            .flat_map(|user| user.sessions.iter().rev())
            .find(own)
        else {
            return Ok((Vec::new(), Vec::new()));
        };
        if let Some(family) = &entry.family {
            return Ok((family.permissions.clone(), family.roles.clone()));
        }
        let key = self.keys.named(&entry.key);
        let found = self.store.get(&[key], Ends::None).await?.pop().flatten();
        let record = found
            .map(|kept| OwnRecord::decode(&kept.bytes))
            .transpose()?;
        Ok(record
            .map(|record| (record.permissions, record.roles))
            .unwrap_or_default())
    }
}

impl Users {
    /// When the record of a token that was just minted leaves the store.
    pub(super) fn key_end(&self, record: &OwnRecord) -> u64 {
        match record.idle {
            0 => record.expires_at,
            idle => now()
                .saturating_add(idle.saturating_mul(1000))
                .min(record.expires_at),
        }
    }
}

impl Sessions {
    fn draft(&self, users: &Users, login: Login) -> Result<Draft, LoginError> {
        let unusable = |what| Err(LoginError::Unusable(what));
        let long = |text: &str| text.chars().nth(MAX_TEXT).is_some();
        if login.user_id.is_empty() || long(&login.user_id) {
            return unusable("a user id has 1 to 256 characters");
        }
        if long(&login.device.id) || long(&login.device.kind) {
            return unusable("the id and the type of a device have at most 256 characters");
        }
        if login.lifetime.is_some_and(|lifetime| millis(lifetime) == 0) {
            return unusable("a session lasts longer than nothing");
        }
        let (rules, now) = (&users.rules, now());
        let most = match login.refresh {
            true => rules.refresh_lifetime,
            false => rules.lifetime,
        };
        let lasts = login.lifetime.map_or(most, |wish| millis(wish).min(most));
        let anchor = users.anchor(&login.user_id);
        let secret = TokenSecret::random().map_err(no_randomness)?;
        let access = MintedToken::access(&users.prefix, anchor, &secret);
        let (refresh, family) = match login.refresh {
            true => {
                let id = random_name().map_err(no_randomness)?;
                let secret = TokenSecret::random().map_err(no_randomness)?;
                let family = Family {
                    hash: secret.sha256_hex(),
                    parent_hash: None,
                    nonce: String::new(),
                    generation: 0,
                    rotated_at: now,
                    idle_ends_at: now.saturating_add(rules.refresh_idle.min(lasts)),
                    permissions: login.permissions.clone(),
                    roles: login.roles.clone(),
                    id,
                };
                let token = MintedToken::refresh(anchor, &family.id, &secret);
                (Some(token), Some(family))
            }
            false => (None, None),
        };
        let entry = Entry {
            sid: random_name().map_err(no_randomness)?,
            device: Device {
                name: clip(login.device.name.into(), MAX_TEXT).into(),
                ..login.device
            },
            issued_at: now,
            ends_at: now.saturating_add(lasts),
            realm_epoch: 0,
            idle: rules.idle,
            key: self.keys.name(access.token()),
            previous_key: None,
            others: Vec::new(),
            family,
            elevated_at: None,
            elevated_until: None,
            risk: login.risk.min(MAX_RISK),
            act: None,
            ip: login.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            label: clip(login.label, MAX_TEXT),
        };
        Ok(Draft {
            user_id: login.user_id,
            permissions: login.permissions,
            roles: login.roles,
            access_ends_at: users.access_end(&entry, now),
            entry,
            access,
            refresh,
        })
    }
}

impl Users {
    /// When an access token of this session ends that is minted at `at`.
    pub(super) fn access_end(&self, entry: &Entry, at: u64) -> u64 {
        match entry.family {
            Some(_) => at
                .saturating_add(self.rules.access_lifetime)
                .min(entry.last()),
            None => entry.ends_at,
        }
    }
}

fn granted(draft: Draft, entry: &Entry, ended: Vec<Entry>) -> Grant {
    Grant {
        access: draft.access,
        refresh: draft.refresh,
        session: SessionView::new(entry, None),
        access_ends_at: draft.access_ends_at,
        refresh_ends_at: entry.family.as_ref().map(|_| entry.last()),
        ended: ended.into_iter().map(|entry| entry.sid).collect(),
    }
}

/// The system gives no random bytes; that is nobody's fault but ours, and may pass.
pub(super) fn no_randomness(_: TokenError) -> StoreError {
    StoreError::Failed("no random bytes for a new token".to_owned())
}
