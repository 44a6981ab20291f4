//! Who may open one more session, and which others end for it.

use std::collections::HashMap;

use super::rules::HARD_LIMIT;
use super::{EVERYTHING, Entry, Moment, Rules, User};
use crate::config::OnLimit;
use crate::session::{Ban, Why};

/// How many access tokens of other domains a session remembers.
const OTHERS: usize = 8;

/// When the access tokens of sessions were last used, in Unix milliseconds, by the session's name; nothing for one whose
/// token is not there any more. Sessions that are not named are not known about.
pub type Seen = HashMap<String, Option<u64>>;

/// Why a session cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The user is banned.
    Disabled(Ban),
    /// There are as many as there may be.
    TooMany,
}

impl User {
    /// Whether opening this session would end others, or fail, because there are too many: then it is worth knowing when
    /// they were last used.
    pub fn is_crowded(&self, entry: &Entry, rules: &Rules) -> bool {
        let own = || self.sessions.iter().filter(|other| other.act.is_none());
        let kind = &entry.device.kind;
        let most_of_kind = rules.max_per_type.get(kind.as_str()).copied();
        self.sessions.len() >= HARD_LIMIT
            || own().count() >= rules.max_per_user
            || most_of_kind
                .is_some_and(|most| own().filter(|e| e.device.kind == *kind).count() >= most)
    }

    /// Opens a session; says which others it ended. If it is refused the record is of no use any more.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn login(
        &mut self,
        entry: Entry,
        rules: &Rules,
        seen: &Seen,
        moment: Moment,
    ) -> Result<Vec<Entry>, Refused> {
        self.tidy(moment);
        if let Some(ban) = self.bans.get(EVERYTHING) {
            return Err(Refused::Disabled(ban.clone()));
        }
        self.end_unused(seen, moment);
        let mut ended = Vec::new();
        // Somebody who acts as the user takes nothing away from them.
        if entry.act.is_none() {
            ended.extend(self.make_way(&entry, rules, moment));
            ended.extend(self.make_room(&entry, rules, seen, moment)?);
        }
        if self.sessions.len() >= HARD_LIMIT {
            return Err(Refused::TooMany);
        }
        self.sessions.push(entry);
        Ok(ended)
    }

    /// Notes one more access token of this session, which is called this in the store; says whether there is such a
    /// session. Of too many the oldest are forgotten: they are good as long as the session is, but no longer show that
    /// it is in use.
    pub fn carry(&mut self, sid: &str, name: &str, moment: Moment) -> Option<Entry> {
        self.tidy(moment);
        let entry = self.sessions.iter_mut().find(|entry| entry.sid == sid)?;
        entry.others.push(name.to_owned());
        let surplus = entry.others.len().saturating_sub(OTHERS);
        entry.others.drain(..surplus);
        Some(entry.clone())
    }

    /// Sessions whose tokens are all gone take up no room.
    fn end_unused(&mut self, seen: &Seen, moment: Moment) {
        let unused =
            |entry: &Entry| entry.family.is_none() && matches!(seen.get(&entry.sid), Some(None));
        self.end(Why::Idle, None, moment, unused);
    }

    /// The same device, and others of its type where there may be only one.
    fn make_way(&mut self, new: &Entry, rules: &Rules, moment: Moment) -> Vec<Entry> {
        let device = &new.device;
        let exclusive = rules
            .exclusive_types
            .iter()
            .any(|kind| *kind == device.kind);
        let replaced = |old: &Entry| {
            let same = !device.id.is_empty() && old.device.id == device.id;
            old.act.is_none() && (same || (exclusive && old.device.kind == device.kind))
        };
        self.end(Why::Replaced, name(new), moment, replaced)
    }

    fn make_room(
        &mut self,
        new: &Entry,
        rules: &Rules,
        seen: &Seen,
        moment: Moment,
    ) -> Result<Vec<Entry>, Refused> {
        let kind = &new.device.kind;
        let mut ended = Vec::new();
        if let Some(most) = rules.max_per_type.get(kind.as_str()) {
            let of_kind = |old: &Entry| old.device.kind == *kind;
            ended.extend(self.thin_out(*most, of_kind, (new, rules, seen, moment))?);
        }
        ended.extend(self.thin_out(rules.max_per_user, |_| true, (new, rules, seen, moment))?);
        Ok(ended)
    }

    /// Leaves room for one more among those that are meant.
    fn thin_out(
        &mut self,
        most: usize,
        meant: impl Fn(&Entry) -> bool,
        (new, rules, seen, moment): (&Entry, &Rules, &Seen, Moment),
    ) -> Result<Vec<Entry>, Refused> {
        let mut ended = Vec::new();
        loop {
            let own = self.sessions.iter().filter(|old| old.act.is_none());
            let counted: Vec<&Entry> = own.filter(|old| meant(old)).collect();
            if counted.len() < most {
                return Ok(ended);
            }
            let last = |entry: &&&Entry| match rules.on_limit {
                OnLimit::LeastRecentlySeen => (last_seen(entry, seen), entry.issued_at),
                OnLimit::Oldest | OnLimit::Refuse => (entry.issued_at, 0),
            };
            let first = counted.iter().min_by_key(last);
            let Some(sid) = first.map(|entry| entry.sid.clone()) else {
                return Err(Refused::TooMany);
            };
            if rules.on_limit == OnLimit::Refuse {
                return Err(Refused::TooMany);
            }
            ended.extend(self.end(Why::Limit, name(new), moment, |old| old.sid == sid));
        }
    }
}

fn last_seen(entry: &Entry, seen: &Seen) -> u64 {
    let used = seen.get(&entry.sid).copied().flatten();
    let refreshed = entry.family.as_ref().map(|family| family.rotated_at);
    used.max(refreshed).unwrap_or(0).max(entry.issued_at)
}

/// What its owner knows a session by.
fn name(entry: &Entry) -> Option<&str> {
    let names = [
        entry.label.as_str(),
        entry.device.name.as_str(),
        entry.device.kind.as_str(),
    ];
    names.into_iter().find(|n| !n.is_empty())
}
