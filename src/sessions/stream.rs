//! What stays open on the strength of a session, and when that is over.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::sleep;

use crate::cache::{Answer, Digest, Entry, MaxAge, half};
use crate::changes::{Basis, Changes, Worth};
use crate::clock::now;
use crate::session::{Act, Extra, Session};
use crate::store::{Ends, StoreError};
use crate::token::{Anchor, Token};
use crate::until::Until;
use crate::uptime::Uptime;
use crate::user::{EVERYTHING, lives_until};

use super::memory::left;
use super::{Sessions, Standing};

/// Where the store is asked for each request, a stream is looked after this often.
const AT_LEAST: MaxAge = MaxAge::new(Duration::from_secs(1));
/// Between two questions to a store that does not answer, or whose answers are overtaken by changes.
const PAUSE: Duration = Duration::from_millis(100);

/// What a stream rests on.
enum Ground {
    /// The session of this name, whichever token it has by now.
    Session(Named),
    /// This token; its session was made by somebody else and has no name.
    Token(Token),
}

/// A session by its name.
#[derive(Clone)]
struct Named {
    user_id: String,
    sid: String,
    anchor: Anchor,
    /// Whoever acts in it, in which session of theirs, and where their record lies.
    actor: Option<(Act, Anchor)>,
}

impl Sessions {
    /// The moment at which what was opened with this token has to be cut, because its session has ended, or because nobody
    /// could tell for `max_age` (at least a second), or because its user was banned from everything or from this service. A
    /// session that is refreshed goes on. Nothing is noticed where nothing is kept in memory.
    pub fn over(
        self: &Arc<Self>,
        (token, session): (&Token, &Session),
        max_age: MaxAge,
        service: Option<&str>,
    ) -> Until {
        let ground = match (&self.users, session.sid.is_empty()) {
            (Some(users), false) => Ground::Session(Named {
                user_id: session.user_id.to_string(),
                sid: session.sid.to_string(),
                anchor: users.anchor(&session.user_id),
                actor: session
                    .extras
                    .actor
                    .clone()
                    .map(|act| (act.clone(), users.anchor(&act.user_id))),
            }),
            (_, _) => Ground::Token(token.clone()),
        };
        let (sessions, max_age) = (Arc::clone(self), max_age.max(AT_LEAST));
        let service = service.map(str::to_owned);
        Until::new(async move { sessions.watch(&ground, max_age, service.as_deref()).await })
    }

    /// Returns when it is over.
    async fn watch(self: &Arc<Self>, ground: &Ground, max_age: MaxAge, service: Option<&str>) {
        let Some(reader) = &self.reader else {
            return std::future::pending().await;
        };
        let changes = reader.cache().changes();
        let mut good_until = Uptime::now().plus(max_age.get());
        loop {
            let Ok(entry) = self.look(ground, max_age).await else {
                if good_until <= Uptime::now() {
                    return;
                }
                sleep(PAUSE).await;
                continue;
            };
            match entry.verdict() {
                Standing::Live(session) if !is_banned(session, service) => {}
                Standing::Live(_) | Standing::Unknown | Standing::Ended(_) => return,
            }
            good_until = good_until.max(entry.basis().sent_at().plus(max_age.get()));
            let bell = changes.watch(entry.basis());
            if changes.judge(entry.basis(), Uptime::now()) == Worth::Void {
                sleep(PAUSE).await;
                continue;
            }
            let until = good_until.min(entry.ends_at());
            tokio::select! {
                () = bell.changed() => {}
                () = sleep(until.since(Uptime::now())) => {}
            }
        }
    }

    /// What is known of it, no older than `max_age`.
    async fn look(
        self: &Arc<Self>,
        ground: &Ground,
        max_age: MaxAge,
    ) -> Result<Arc<Entry<Standing>>, StoreError> {
        match ground {
            Ground::Token(token) => self.recall_entry(token, max_age).await,
            Ground::Session(named) => {
                let reader = self.reader.as_ref().ok_or(StoreError::Unreachable)?;
                let ask = |_: Option<&Entry<Standing>>| {
                    let (sessions, named) = (Arc::clone(self), named.clone());
                    async move { sessions.ask_named(&named).await }
                };
                let digest = name_digest(&named.user_id, &named.sid);
                reader.find(&digest, max_age, ask).await
            }
        }
    }

    /// Whether this session is in its user's list, and that of whoever acts in it in theirs.
    async fn ask_named(&self, named: &Named) -> Result<Answer<Standing>, StoreError> {
        let changes = self.changes()?;
        let users = self.users()?;
        let Named {
            user_id,
            sid,
            anchor,
            actor,
        } = named;
        let mut keys = vec![self.keys.user(*anchor), self.keys.realm()];
        keys.extend(actor.iter().map(|(_, theirs)| self.keys.user(*theirs)));
        let get = self.store.get(&keys, Ends::None);
        let (found, basis): (_, Basis) = self.store.observe(changes, &keys, get).await?;
        let mut found = found.into_iter();
        let mut next = || found.next().flatten();
        let (user, realm) = users.background(next(), next())?;
        let theirs = next().map(|kept| users.glance(&kept)).transpose()?;
        let now = now();
        let end = lives_until(user_id, sid, user.as_deref(), &realm, now);
        let end = match actor {
            None => end,
            Some((act, _)) => {
                let until = lives_until(&act.user_id, &act.by, theirs.as_deref(), &realm, now);
                end.zip(until).map(|(own, theirs)| own.min(theirs))
            }
        };
        let both = user.iter().chain(&theirs);
        let bans = both.flat_map(|user| &user.bans);
        let extra = Extra {
            bans: bans
                .map(|(service, ban)| (service.clone(), ban.clone()))
                .collect(),
            ..Extra::default()
        };
        let verdict = end.map(|end| Session {
            user_id: user_id.as_str().into(),
            sid: sid.as_str().into(),
            expires_at: Some(end),
            extras: extra.into(),
            ..Session::default()
        });
        Ok(Answer {
            is_miss: verdict.is_none(),
            verdict: verdict.into(),
            basis,
            lasts: end.map(left),
            imprint: None,
        })
    }

    pub(super) fn changes(&self) -> Result<&Arc<Changes>, StoreError> {
        let reader = self.reader.as_ref().ok_or(StoreError::Unreachable)?;
        Ok(reader.cache().changes())
    }
}

/// Whether the user of this session may not be at this service any more.
fn is_banned(session: &Session, service: Option<&str>) -> bool {
    let now = now();
    session
        .extras
        .bans
        .iter()
        .any(|(from, ban)| (from == EVERYTHING || Some(from.as_str()) == service) && ban.holds(now))
}

/// Where the verdict on a session's name is kept, which is no token and has the digest of none.
fn name_digest(user_id: &str, sid: &str) -> Digest {
    let text = format!("session\0{user_id}\0{sid}");
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    half(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}
