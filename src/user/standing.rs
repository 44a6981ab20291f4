//! Whether a token is good: every one of these conditions must hold, and what cannot be known does not hold.

use std::sync::Arc;

use super::rights::add;
use super::{EVERYTHING, Glance, Listed, Realm};
use crate::config::WithoutIat;
use crate::permission;
use crate::session::{Act, EndedSession, Extra, Idle, OwnRecord, Record, Session, Why};

/// What a token's record, its user's and its realm's come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is no such session any more.
    Unknown,
    /// The session is live.
    Live(Arc<Session>),
    /// The session has ended.
    Ended(EndedSession),
    /// The records are of different users: they do not belong together.
    Mismatch,
}

/// Judges a token that we minted. `key_ends_at` is when its record leaves the store, if that was asked. Without its
/// user's record a session is over: all that might stand against it is lost.
pub fn judge_own(
    record: OwnRecord,
    key_ends_at: Option<u64>,
    user: Option<&Glance>,
    realm: &Realm,
    now: u64,
) -> Verdict {
    if record.expires_at <= now {
        return Verdict::Unknown;
    }
    let Some(user) = user else {
        return lost();
    };
    if user.user_id != record.user_id {
        return Verdict::Mismatch;
    }
    let listed = user.sessions.iter().find(|listed| listed.sid == record.sid);
    let (Some(listed), true) = (listed, record.epoch >= user.epoch) else {
        return ended(&record, user, realm, now);
    };
    if record.realm_epoch < realm.epoch {
        return by_realm(realm);
    }
    let session = live((record, key_ends_at), listed, user, (realm, now));
    Verdict::Live(Arc::new(session))
}

/// Judges a token that somebody else minted. Without a record of its user there is nothing against it.
pub fn judge_foreign(
    record: Record,
    user: Option<&Glance>,
    realm: &Realm,
    without_iat: WithoutIat,
    now: u64,
) -> Verdict {
    let mut session = record.session;
    let older = |epoch: u64| match record.issued_at {
        Some(issued_at) => issued_at < epoch,
        None => epoch > 0 && without_iat == WithoutIat::Refuse,
    };
    if older(realm.epoch) {
        return by_realm(realm);
    }
    if let Some(user) = user {
        if user.user_id != session.user_id {
            return Verdict::Mismatch;
        }
        if older(user.epoch) {
            return Verdict::Ended(by_epoch(user, now));
        }
        if user.risk > 0 {
            session.extras.risk = user.risk;
        }
        give_bans(&mut session, user, now);
        give_rights(&mut session, user, realm);
    } else {
        give_role_permissions(&mut session, realm);
    }
    Verdict::Live(Arc::new(session))
}

/// Judges a live session in which somebody acts as its user: it is over when theirs is, and what they are banned from
/// they may not do as somebody else either. Without their record nobody knows of a session of theirs.
pub fn judge_acting(
    session: &Session,
    act: &Act,
    actor: Option<&Glance>,
    realm: &Realm,
    now: u64,
) -> Verdict {
    let Some(actor) = actor else {
        return lost();
    };
    if actor.user_id != act.user_id {
        return Verdict::Mismatch;
    }
    let Some(end) = lives_until(&act.user_id, &act.by, Some(actor), realm, now) else {
        return actor_ended(act, actor, realm, now);
    };
    let mut session = session.clone();
    session.expires_at = Some(session.expires_at.map_or(end, |own| own.min(end)));
    give_bans(&mut session, actor, now);
    Verdict::Live(Arc::new(session))
}

/// Why the session in which somebody began to act as somebody else is over.
fn actor_ended(act: &Act, actor: &Glance, realm: &Realm, now: u64) -> Verdict {
    if let Some(gone) = actor.gone.iter().find(|gone| gone.sid == act.by) {
        return Verdict::Ended(EndedSession {
            why: while_banned(gone.why, actor, now),
            at: gone.at,
            by: gone.by.clone(),
        });
    }
    if let Some(ban) = actor.bans.get(EVERYTHING).filter(|ban| ban.holds(now)) {
        return Verdict::Ended(EndedSession {
            why: Why::Banned,
            at: ban.at,
            by: None,
        });
    }
    let listed = actor.sessions.iter().find(|listed| listed.sid == act.by);
    match listed.is_some_and(|listed| listed.realm_epoch < realm.epoch) {
        true => by_realm(realm),
        false => lost(),
    }
}

/// When the session of this name ends, used or not, if it is live: whichever of its tokens is good by now. Nobody who is
/// banned from everything has one.
pub fn lives_until(
    user_id: &str,
    sid: &str,
    user: Option<&Glance>,
    realm: &Realm,
    now: u64,
) -> Option<u64> {
    let user = user.filter(|user| user.user_id == user_id)?;
    let banned = user.bans.get(EVERYTHING).is_some_and(|ban| ban.holds(now));
    let listed = user.sessions.iter().find(|listed| listed.sid == sid)?;
    let live = !banned && realm.epoch <= listed.realm_epoch && now < listed.ends_at;
    live.then_some(listed.ends_at)
}

fn live(
    (record, key_ends_at): (OwnRecord, Option<u64>),
    listed: &Listed,
    user: &Glance,
    (realm, now): (&Realm, u64),
) -> Session {
    let end = record.expires_at;
    let key_end = key_ends_at.map_or(end, |key_end| key_end.min(end));
    let elevated = listed.elevated_until.is_some_and(|until| now < until);
    let extra = Extra {
        elevated_at: listed.elevated_at.filter(|_| elevated),
        elevated_until: listed.elevated_until.filter(|_| elevated),
        risk: user.risk.max(listed.risk),
        actor: record.act,
        idle: (record.idle > 0).then(|| Idle {
            lasts: record.idle.saturating_mul(1000),
            ends_at: key_end,
            at_most: end,
        }),
        ..Extra::default()
    };
    let mut session = Session {
        user_id: record.user_id.into(),
        permissions: record.permissions.into(),
        roles: record.roles.into(),
        device: record.device,
        expires_at: Some(key_end),
        sid: record.sid.into(),
        extras: extra.into(),
    };
    give_bans(&mut session, user, now);
    give_rights(&mut session, user, realm);
    session
}

fn give_bans(session: &mut Session, user: &Glance, now: u64) {
    let bans = user.bans.iter().filter(|(_, ban)| ban.holds(now));
    for (service, ban) in bans {
        session.extras.bans.push((service.clone(), ban.clone()));
    }
}

/// What the record gave, what the user has, and what the roles of either may do, without what the user is denied.
fn give_rights(session: &mut Session, user: &Glance, realm: &Realm) {
    if !user.roles.is_empty() {
        let mut roles = session.roles.to_vec();
        add(&mut roles, &user.roles);
        session.roles = roles.into();
    }
    if !user.permissions.is_empty() {
        let mut permissions = session.permissions.to_vec();
        add(&mut permissions, &user.permissions);
        session.permissions = permissions.into();
    }
    give_role_permissions(session, realm);
    if user.denied.is_empty() {
        return;
    }
    let denied = &user.denied;
    let touched = |held: &str| {
        denied
            .iter()
            .any(|denied| permission::overlap(denied, held))
    };
    let covered = |held: &str| denied.iter().any(|denied| permission::covers(denied, held));
    let (touched, whole): (Vec<_>, Vec<_>) = session
        .permissions
        .iter()
        .cloned()
        .partition(|held| touched(held));
    session.permissions = whole.into();
    session.extras.partial = touched.into_iter().filter(|held| !covered(held)).collect();
    session.extras.denied = denied.clone().into();
}

fn give_role_permissions(session: &mut Session, realm: &Realm) {
    let more: Vec<_> = session
        .roles
        .iter()
        .filter_map(|role| realm.roles.get(role))
        .collect();
    if more.is_empty() {
        return;
    }
    let mut permissions = session.permissions.to_vec();
    for more in more {
        add(&mut permissions, more);
    }
    session.permissions = permissions.into();
}

/// Why a session is not in its user's list, or older than the epoch.
fn ended(record: &OwnRecord, user: &Glance, realm: &Realm, now: u64) -> Verdict {
    if let Some(gone) = user.gone.iter().find(|gone| gone.sid == record.sid) {
        return Verdict::Ended(EndedSession {
            why: while_banned(gone.why, user, now),
            at: gone.at,
            by: gone.by.clone(),
        });
    }
    if record.epoch < user.epoch {
        return Verdict::Ended(by_epoch(user, now));
    }
    if record.realm_epoch < realm.epoch {
        return by_realm(realm);
    }
    lost()
}

fn by_epoch(user: &Glance, now: u64) -> EndedSession {
    EndedSession {
        why: while_banned(user.why.unwrap_or(Why::Lost), user, now),
        at: user.at,
        by: None,
    }
}

/// Whose ban is over was ended by it all the same, and may log in again.
fn while_banned(why: Why, user: &Glance, now: u64) -> Why {
    let banned = user.bans.get(EVERYTHING).is_some_and(|ban| ban.holds(now));
    if why == Why::Banned && !banned {
        return Why::Kicked;
    }
    why
}

fn by_realm(realm: &Realm) -> Verdict {
    Verdict::Ended(EndedSession {
        why: realm.why.unwrap_or(Why::Realm),
        at: realm.at,
        by: None,
    })
}

fn lost() -> Verdict {
    Verdict::Ended(EndedSession {
        why: Why::Lost,
        at: 0,
        by: None,
    })
}
