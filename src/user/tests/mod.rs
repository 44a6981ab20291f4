use super::*;
use crate::config;
use crate::session::Device;

mod chain;
mod policy;
mod property;
mod standing;

const NOW: u64 = 1_800_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn rules(toml: &str) -> Rules {
    Rules::new(&toml::from_str::<config::Sessions>(toml).unwrap())
}

fn at(now: u64) -> Moment {
    Moment {
        now,
        realm_epoch: 0,
    }
}

fn device(id: &str, kind: &str) -> Device {
    Device {
        id: id.into(),
        kind: kind.into(),
        name: format!("{kind} of {id}").into(),
    }
}

/// A session of twelve hours that begins at `now`.
fn entry(sid: &str, device: Device, now: u64) -> Entry {
    Entry {
        sid: sid.to_owned(),
        device,
        issued_at: now,
        ends_at: now + 12 * HOUR,
        realm_epoch: 0,
        idle: 0,
        key: format!("key-{sid}"),
        previous_key: None,
        others: Vec::new(),
        family: None,
        elevated_at: None,
        elevated_until: None,
        risk: 0,
        act: None,
        ip: String::new(),
        label: String::new(),
    }
}

/// The same with refresh tokens: thirty days, seven without use.
fn with_family(sid: &str, now: u64) -> Entry {
    Entry {
        ends_at: now + 30 * DAY,
        family: Some(Family {
            id: format!("family-{sid}"),
            hash: "hash-0".to_owned(),
            parent_hash: None,
            nonce: String::new(),
            generation: 0,
            rotated_at: now,
            idle_ends_at: now + 7 * DAY,
            permissions: Vec::new(),
            roles: Vec::new(),
        }),
        ..entry(sid, device(sid, "phone"), now)
    }
}

fn sids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.sid.as_str()).collect()
}

/// The user of this name with these sessions.
fn user(entries: Vec<Entry>) -> User {
    User {
        sessions: entries,
        ..User::new("alice")
    }
}
