//! Ending sessions: what is left of them is a note of why, for a short while.

use super::{Entry, Gone, Moment, Rules, User, Whom};
use crate::session::Why;

/// How long it is remembered why a session ended, in milliseconds.
pub const REMEMBERED: u64 = 15 * 60 * 1000;
/// How many such notes are kept.
const NOTES: usize = 32;

impl Entry {
    /// When it will have ended, if it is not refreshed any more.
    pub fn last(&self) -> u64 {
        let idle = self.family.as_ref().map(|family| family.idle_ends_at);
        idle.map_or(self.ends_at, |idle| idle.min(self.ends_at))
    }

    /// Whether it is still live.
    pub fn is_live(&self, moment: Moment) -> bool {
        moment.now < self.last() && self.realm_epoch >= moment.realm_epoch
    }
}

impl User {
    /// Ends the sessions that are meant, and says which. Of all of them at once the epoch takes note, so that no token
    /// is left that is not in the list.
    pub fn kick(&mut self, whom: &Whom, why: Why, rules: &Rules, moment: Moment) -> Vec<Entry> {
        self.tidy(moment);
        let ended = match whom {
            Whom::Session(sid) => self.end(why, None, moment, |entry| entry.sid == *sid),
            Whom::Device(id) => self.end(why, None, moment, |entry| entry.device.id == *id),
            Whom::DeviceType(kind) => self.end(why, None, moment, |e| e.device.kind == *kind),
            Whom::All => self.end(why, None, moment, |_| true),
            Whom::AllBut(sid) => self.end(why, None, moment, |entry| entry.sid != *sid),
        };
        if *whom == Whom::All {
            self.begin_epoch(why, rules, moment);
        }
        ended
    }

    /// Ends what has tombstones: these sessions, and everything that is older than this epoch. Changes nothing where the
    /// record says so itself.
    pub fn bury(
        &mut self,
        epoch: u64,
        has_tombstone: impl Fn(&str) -> bool,
        rules: &Rules,
        moment: Moment,
    ) {
        let older = self.epoch < epoch;
        self.end(Why::Kicked, None, moment, |entry| {
            older || has_tombstone(&entry.sid)
        });
        if older {
            self.epoch = epoch;
            self.why = Some(Why::Kicked);
            self.at = moment.now;
            self.keep(rules, moment);
        }
    }

    pub(super) fn begin_epoch(&mut self, why: Why, rules: &Rules, moment: Moment) {
        self.epoch = moment.now.max(self.epoch.saturating_add(1));
        self.why = Some(why);
        self.at = moment.now;
        self.keep(rules, moment);
    }

    /// What was just decided must outlive every session that it is about.
    pub(super) fn keep(&mut self, rules: &Rules, moment: Moment) {
        let until = moment.now.saturating_add(rules.longest());
        self.kept_until = self.kept_until.max(until);
    }

    /// Takes these sessions out of the list and notes why.
    pub(super) fn end(
        &mut self,
        why: Why,
        by: Option<&str>,
        moment: Moment,
        mut meant: impl FnMut(&Entry) -> bool,
    ) -> Vec<Entry> {
        let ended: Vec<Entry> = self.sessions.extract_if(.., |entry| meant(entry)).collect();
        self.gone.extend(ended.iter().map(|entry| Gone {
            sid: entry.sid.clone(),
            why,
            at: moment.now,
            by: by.map(str::to_owned),
            family: entry.family.as_ref().map(|family| family.id.clone()),
        }));
        let surplus = self.gone.len().saturating_sub(NOTES);
        self.gone.drain(..surplus);
        ended
    }

    /// Takes out what has run out by itself.
    pub(super) fn tidy(&mut self, moment: Moment) {
        let now = moment.now;
        self.bans.retain(|_, ban| ban.holds(now));
        self.gone
            .retain(|gone| now < gone.at.saturating_add(REMEMBERED));
        let old_realm = |entry: &Entry| entry.realm_epoch < moment.realm_epoch;
        self.end(Why::Realm, None, moment, old_realm);
        // Who was not refreshed in time may still come and ask why; who reached the very end knows.
        let unused = |entry: &Entry| entry.last() <= now && now < entry.ends_at;
        self.end(Why::Idle, None, moment, unused);
        self.sessions.retain(|entry| entry.is_live(moment));
    }
}
