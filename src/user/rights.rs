//! What a user may do, may not do, and is trusted with.

use super::{EVERYTHING, Entry, Moment, NewBan, Rights, RightsEdit, Rules, User};
use crate::session::{Ban, Why};

/// The highest risk.
pub const MAX_RISK: u8 = 100;
/// The longest reason of a ban in characters.
const MAX_REASON: usize = 256;

impl User {
    /// Lays a ban; says which sessions it ended.
    pub fn ban(&mut self, ban: NewBan, rules: &Rules, moment: Moment) -> Vec<Entry> {
        self.tidy(moment);
        let reason = clip(ban.reason, MAX_REASON);
        let service = ban.service.unwrap_or_else(|| EVERYTHING.to_owned());
        let laid = Ban {
            until: ban.until,
            reason,
            at: moment.now,
        };
        self.bans.insert(service, laid);
        if !ban.end_sessions {
            return Vec::new();
        }
        let ended = self.end(Why::Banned, None, moment, |_| true);
        self.begin_epoch(Why::Banned, rules, moment);
        ended
    }

    /// Lifts a ban; says whether there was one.
    pub fn unban(&mut self, service: Option<&str>, moment: Moment) -> bool {
        self.tidy(moment);
        self.bans.remove(service.unwrap_or(EVERYTHING)).is_some()
    }

    /// Changes the user's rights; says what they are now.
    pub fn edit_rights(&mut self, edit: &RightsEdit, rules: &Rules, moment: Moment) -> Rights {
        self.tidy(moment);
        remove(&mut self.permissions, &edit.revoke);
        remove(&mut self.denied, &edit.allow);
        remove(&mut self.denied, &edit.grant);
        remove(&mut self.roles, &edit.remove_roles);
        add(&mut self.permissions, &edit.grant);
        add(&mut self.denied, &edit.deny);
        add(&mut self.roles, &edit.add_roles);
        self.keep(rules, moment);
        self.rights()
    }

    /// The user's rights.
    pub fn rights(&self) -> Rights {
        Rights {
            permissions: self.permissions.clone(),
            roles: self.roles.clone(),
            denied: self.denied.clone(),
        }
    }

    /// Sets the risk of the user, or of one session; says whether there is one of that name.
    pub fn set_risk(
        &mut self,
        sid: Option<&str>,
        level: u8,
        rules: &Rules,
        moment: Moment,
    ) -> bool {
        self.tidy(moment);
        let level = level.min(MAX_RISK);
        let Some(sid) = sid else {
            self.risk = level;
            self.keep(rules, moment);
            return true;
        };
        let session = self.sessions.iter_mut().find(|entry| entry.sid == sid);
        session.map(|entry| entry.risk = level).is_some()
    }

    /// Notes a step-up of this session that counts until then; says whether there is one of that name. Somebody who acts
    /// as the user has not proved to be them.
    pub fn elevate(&mut self, sid: &str, until: u64, moment: Moment) -> bool {
        self.tidy(moment);
        let meant = |entry: &&mut Entry| entry.sid == sid && entry.act.is_none();
        let session = self.sessions.iter_mut().find(meant);
        let noted = session.map(|entry| {
            entry.elevated_at = Some(moment.now);
            entry.elevated_until = Some(until.min(entry.ends_at));
        });
        noted.is_some()
    }
}

/// The first `most` characters of a text.
pub fn clip(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

/// Adds what is not there yet.
pub(super) fn add(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn remove(list: &mut Vec<String>, less: &[String]) {
    list.retain(|item| !less.contains(item));
}
