//! Who holds a token.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::migrate::Moved;
use super::record::Found;
use super::{Sessions, Users};
use crate::clock::now;
use crate::config::Foreign;
use crate::imprint::Imprint;
use crate::layout::{Layout, Reading};
use crate::session::{EndedSession, OwnRecord, Record, RecordError, Session};
use crate::store::{Earlier, Ends, Kept, Look, StoreError, belongs};
use crate::token::{Anchor, Token, anchor_of};
use crate::user::{EVERYTHING, Glance, Realm, Verdict, judge_acting, judge_foreign, judge_own};

/// What the look-up of a token came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no such session.
    Unknown,
    /// The token is good.
    Live(Arc<Session>),
    /// The token was good. Boxed: few are, and each of the others would take as much room.
    Ended(Box<EndedSession>),
}

impl From<Option<Session>> for Standing {
    fn from(found: Option<Session>) -> Self {
        found.map_or(Self::Unknown, |session| Self::Live(Arc::new(session)))
    }
}

/// What is known of a token before its user is looked for.
pub(super) enum Clue {
    /// Where the records lie that decide.
    Users(Whose),
    /// It is a framework's, which has written more about this account.
    More(Arc<str>),
    /// All there is to know.
    All(Standing),
    /// The same, and what it was read from, if that can be known again.
    Read(Standing, Option<Imprint>),
}

/// Whose records decide about a token.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) user: Anchor,
    /// What a framework calls the user, if its session is made of more than one key.
    pub(super) account: Option<Arc<str>>,
    /// Whoever acts as the user.
    pub(super) actor: Option<Anchor>,
}

impl From<Anchor> for Whose {
    fn from(user: Anchor) -> Self {
        Self {
            user,
            account: None,
            actor: None,
        }
    }
}

/// What the records came to.
pub(super) enum Judged {
    /// A verdict.
    Known(Standing),
    /// Somebody acts as the user: their record has to be looked at, too.
    Acting(Whose),
}

/// Between two touches of a session at least so many milliseconds, or half of its idle limit if that is less.
const TOUCH_EVERY: u64 = 30_000;

impl Sessions {
    /// Who holds this token, asked of the store.
    ///
    /// # Errors
    /// If nobody could tell within the deadline.
    pub async fn find(&self, token: &Token) -> Result<Standing, StoreError> {
        let mut account = None;
        let whose = loop {
            match self.clue((token, account.as_ref()), None).await? {
                Clue::All(standing) | Clue::Read(standing, _) => return Ok(standing),
                Clue::Users(whose) => break whose,
                Clue::More(_) if account.is_some() => return Err(StoreError::Mismatch),
                Clue::More(of) => account = Some(of),
            }
        };
        let whose = match self.judge(token, &whose).await? {
            Judged::Known(standing) => return Ok(standing),
            Judged::Acting(whose) => whose,
        };
        match self.judge(token, &whose).await? {
            Judged::Known(standing) => Ok(standing),
            Judged::Acting(_) => Err(StoreError::Mismatch),
        }
    }

    /// The session of this token, if it is live and its user is not banned from everything.
    ///
    /// # Errors
    /// If nobody could tell.
    pub async fn introspect(&self, token: &Token) -> Result<Option<Session>, StoreError> {
        let Standing::Live(session) = self.find(token).await? else {
            return Ok(None);
        };
        let now = now();
        let mut bans = session.extras.bans.iter();
        let banned = bans.any(|(service, ban)| service == EVERYTHING && ban.holds(now));
        Ok((!banned).then(|| Session::clone(&session)))
    }

    /// Notes that this session was used, if it is time for that. Never fails the request and never waits for the store:
    /// a later end that does not get through is tried again with the next request. It can only move the end of a record
    /// that is there.
    pub fn touch(&self, token: &Token, session: &Session) {
        let Some(idle) = session.extras.idle else {
            return;
        };
        let now = now();
        let seen = idle.ends_at.saturating_sub(idle.lasts);
        let every = TOUCH_EVERY.max(idle.lasts / 10).min(idle.lasts / 2);
        let end = now.saturating_add(idle.lasts).min(idle.at_most);
        if now.saturating_sub(seen) < every || end <= idle.ends_at {
            return;
        }
        let (store, key) = (Arc::clone(&self.store), self.keys.token(token));
        tokio::spawn(async move {
            if let Err(error) = store.extend(&key, end).await {
                tracing::debug!(%error, "the use of a session could not be noted");
            }
        });
    }

    /// Where to look for the user of this token. A token that we minted says so itself; another one's record does, if
    /// its user is to be looked for at all. `earlier`: what was found before, and has not been heard to change.
    /// `account`: what a framework calls the user, if that is known by now.
    pub(super) async fn clue(
        &self,
        (token, account): (&Token, Option<&Arc<str>>),
        earlier: Option<&(Arc<Session>, Imprint)>,
    ) -> Result<Clue, StoreError> {
        if let Some(layout) = self.keys.foreign(token) {
            return self.foreign_clue(layout, (token, account)).await;
        }
        let Ok(users) = self.users() else {
            let known = earlier.map(|(session, imprint)| Earlier {
                session,
                imprint: *imprint,
            });
            return Ok(match (self.store.look(token, known).await?, earlier) {
                (Look::Found(found, imprint), _) => Clue::Read(found.into(), imprint),
                (Look::Same, Some((session, imprint))) => {
                    Clue::Read(Standing::Live(Arc::clone(session)), Some(*imprint))
                }
                (Look::Same, None) => return Err(StoreError::Mismatch),
            });
        };
        if let Some(anchor) = anchor_of(token, &users.prefix) {
            return Ok(Clue::Users(anchor.into()));
        }
        let Some(kept) = self.token_record(token).await? else {
            return Ok(Clue::All(Standing::Unknown));
        };
        if is_own(&kept.bytes) {
            // We minted it when `tokens.prefix` was another one.
            let record = self.trusted(own(&kept, token))?;
            return Ok(Clue::Users(users.anchor(&record.user_id).into()));
        }
        let record = self.trusted(foreign(users, &kept, token))?;
        let live = record.session.is_live(now());
        Ok(match users.foreign {
            _ if !live => Clue::All(Standing::Unknown),
            Foreign::Trust => Clue::All(Some(record.session).into()),
            Foreign::Check => Clue::Users(users.anchor(&record.session.user_id).into()),
        })
    }

    /// The same of a framework's token.
    async fn foreign_clue(
        &self,
        layout: &Layout,
        (token, account): (&Token, Option<&Arc<str>>),
    ) -> Result<Clue, StoreError> {
        if self.users.is_some() && self.is_buried(token).await? {
            return Ok(Clue::All(Standing::Unknown));
        }
        let named = (token, account.map(AsRef::as_ref));
        let record = match self.read_foreign(layout, named).await? {
            Reading::More(of) => return Ok(Clue::More(of)),
            Reading::No(_) => return Ok(Clue::All(Standing::Unknown)),
            Reading::Session(record) => record,
        };
        Ok(match &self.users {
            Some(users) if users.foreign == Foreign::Check => Clue::Users(Whose {
                account: account.cloned(),
                ..users.anchor(&record.session.user_id).into()
            }),
            Some(_) | None => Clue::All(Some(record.session).into()),
        })
    }

    /// What this token's record, its user's and the realm's come to, and, if somebody acts as the user, theirs.
    pub(super) async fn judge(&self, token: &Token, whose: &Whose) -> Result<Judged, StoreError> {
        let users = self.users()?;
        if let Some(layout) = self.keys.foreign(token) {
            return self.judge_framework(layout, users, (token, whose)).await;
        }
        // A record of ours that has no end for want of use says itself when it ends.
        let minted = anchor_of(token, &users.prefix).is_some();
        let ends = match minted && users.rules.idle == 0 {
            true => Ends::None,
            false => Ends::First,
        };
        let keys = self.grounds(token, whose);
        let Found {
            record,
            user,
            realm,
            actor,
        } = self.records(users, &keys, ends).await?;
        let Some(kept) = record else {
            return Ok(Judged::Known(Standing::Unknown));
        };
        if users.has_tombstone(|| token.sha256_hex()) {
            return Ok(Judged::Known(Standing::Unknown));
        }
        let (user, now) = (user.as_deref(), now());
        let verdict = if minted || is_own(&kept.bytes) {
            let record = self.trusted(own(&kept, token))?;
            judge_own(record, kept.ends_at, user, &realm, now)
        } else {
            let record = self.trusted(foreign(users, &kept, token))?;
            if !record.session.is_live(now) {
                return Ok(Judged::Known(Standing::Unknown));
            }
            users.judge_foreign(record, user, &realm)
        };
        if let Verdict::Live(session) = &verdict
            && let Some(act) = &session.extras.actor
        {
            let theirs = users.anchor(&act.user_id);
            if whose.actor != Some(theirs) {
                return Ok(Judged::Acting(Whose {
                    actor: Some(theirs),
                    ..whose.clone()
                }));
            }
            let verdict = judge_acting(session, act, actor.as_deref(), &realm, now);
            return self.known(verdict, (users, whose.user));
        }
        self.known(verdict, (users, whose.user))
    }

    /// The same of a framework's token, whose own keys are read beside.
    async fn judge_framework(
        &self,
        layout: &Layout,
        users: &Users,
        (token, whose): (&Token, &Whose),
    ) -> Result<Judged, StoreError> {
        let mut keys = vec![self.keys.user(whose.user), self.keys.realm()];
        // Nobody has to hear of this one: what makes it count is a change of the user's record.
        keys.extend(self.migrate.then(|| self.keys.moved(token)));
        let named = (token, whose.account.as_deref());
        let (read, records) = tokio::join!(
            self.read_foreign(layout, named),
            self.store.get(&keys, Ends::None)
        );
        let mut records = records?.into_iter();
        let mut next = || records.next().flatten();
        let (user, realm) = users.background(next(), next())?;
        let moved = next().map(|kept| Moved::read(&kept.bytes)).transpose()?;
        let over = moved.is_some_and(|moved| moved.is_over(user.as_deref()));
        if over || users.has_tombstone(|| token.sha256_hex()) {
            return Ok(Judged::Known(Standing::Unknown));
        }
        let verdict = match read? {
            Reading::More(_) => return Err(StoreError::Mismatch),
            Reading::No(_) => Verdict::Unknown,
            Reading::Session(record) => users.judge_foreign(*record, user.as_deref(), &realm),
        };
        self.known(verdict, (users, whose.user))
    }

    fn known(
        &self,
        verdict: Verdict,
        (users, anchor): (&Users, Anchor),
    ) -> Result<Judged, StoreError> {
        self.trusted(match verdict {
            Verdict::Unknown => Ok(Judged::Known(Standing::Unknown)),
            Verdict::Live(session) if users.anchor(&session.user_id) != anchor => {
                // Its record has become another user's since it was asked for whose it is.
                Err(StoreError::Mismatch)
            }
            Verdict::Live(session) => Ok(Judged::Known(Standing::Live(session))),
            Verdict::Ended(ended) => Ok(Judged::Known(Standing::Ended(Box::new(ended)))),
            Verdict::Mismatch => Err(StoreError::Mismatch),
        })
    }

    /// Leaves a connection whose answers have come apart from the questions.
    fn trusted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(read, Err(StoreError::Mismatch)) {
            self.store.distrust();
        }
        read
    }
}

impl Users {
    /// What a live session comes to that somebody else wrote.
    fn judge_foreign(&self, record: Record, user: Option<&Glance>, realm: &Realm) -> Verdict {
        let unrecorded = match user {
            None => self.without_record(&record.session.user_id),
            Some(_) => None,
        };
        let user = user.or(unrecorded.as_ref());
        judge_foreign(record, user, realm, self.rules.foreign_without_iat, now())
    }
}

/// A record that somebody else wrote. It ends when it says or when it leaves the store, whichever comes first.
fn foreign(users: &Users, kept: &Kept, token: &Token) -> Result<Record, StoreError> {
    let mut record = users.format.decode(&kept.bytes)?;
    if !belongs(record.digest.as_deref(), token) {
        return Err(StoreError::Mismatch);
    }
    let ends = [record.session.expires_at, kept.ends_at];
    record.session.expires_at = ends.into_iter().flatten().min();
    Ok(record)
}

fn own(kept: &Kept, token: &Token) -> Result<OwnRecord, StoreError> {
    let record = OwnRecord::decode(&kept.bytes)?;
    if !belongs(Some(&record.token_sha256), token) {
        return Err(StoreError::Mismatch);
    }
    Ok(record)
}

/// Whether we wrote this record for a session that can be ended. Such a record must never be taken for a foreign one,
/// which needs no user's record, so the marks count even if the rest is damaged.
pub(super) fn is_own(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Marks {
        sid: Option<IgnoredAny>,
        token_sha256: Option<IgnoredAny>,
    }
    if memchr::memmem::find(bytes, b"\"token_sha256\"").is_none() {
        return false;
    }
    let marks: Result<Marks, RecordError> =
        serde_json::from_slice(bytes).map_err(|_| RecordError::NotJson);
    marks.is_ok_and(|marks| marks.sid.is_some() && marks.token_sha256.is_some())
}
