//! Sa-Token: whose a token is lies under one key, when it was used under another, and what the account may do under a third.

use std::sync::Arc;

use compact_str::CompactString;
use serde_json::{Map, Value as Json};

use super::jackson::{is_java, plain};
use super::{Form, Found, Framework, Part, Question, Reading, text, until};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{Ban, Device, Picker, Record, RecordError, Usual};
use crate::token::TokenSource;

#[derive(Debug)]
pub(super) struct SaToken {
    key: KeyTemplate,
    /// What its keys have in common: `satoken:login:`.
    base: String,
    /// Milliseconds; `None`: tokens need not be used.
    idle: Option<i64>,
    picker: Picker,
    /// The configuration does not say where the device stands.
    device: bool,
}

impl SaToken {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            permissions: &["dataMap", "PERMISSION_LIST"],
            roles: &["dataMap", "ROLE_LIST"],
            ..Usual::default()
        };
        let key = store.layout_key();
        let (idle, fields) = (store.foreign.idle, &store.fields);
        Self {
            base: key
                .before
                .strip_suffix("token:")
                .unwrap_or(&key.before)
                .to_owned(),
            key,
            idle: idle.map(|idle| i64::try_from(idle.get().as_millis()).unwrap_or(i64::MAX)),
            picker: Picker::new(store, &usual),
            device: fields.device_id.is_none() && fields.device_type.is_none(),
        }
    }

    fn part(&self, kind: &str, name: &str) -> Part {
        Part {
            key: format!("{}{kind}:{name}", self.base),
            form: Form::Text,
        }
    }

    /// When a token that was last used then is over, in Unix milliseconds; `None` if it need not be used.
    fn idle_end(&self, used: Option<&[u8]>) -> Result<Option<i64>, RecordError> {
        let unusable = RecordError::Field("last-active");
        let Some(used) = used else {
            // Sa-Token takes a token for frozen if nobody knows when it was used.
            return Ok(self.idle.map(|_| 0));
        };
        let used = std::str::from_utf8(used).map_err(|_| unusable)?;
        let (used, own) = match used.split_once(',') {
            Some((used, own)) => (used, Some(own)),
            None => (used, None),
        };
        let used: i64 = used.trim().parse().map_err(|_| unusable)?;
        let idle = match own {
            None => self.idle,
            Some(seconds) => {
                let seconds: i64 = seconds.trim().parse().map_err(|_| unusable)?;
                (seconds >= 0).then(|| seconds.saturating_mul(1000))
            }
        };
        Ok(idle.map(|idle| used.saturating_add(idle)))
    }

    /// The account's record; an object without members if there is none.
    fn account(&self, found: Option<&Option<Found>>) -> Result<Json, RecordError> {
        let Some((bytes, _)) = text(found)? else {
            return Ok(Json::Object(Map::new()));
        };
        self.picker.bounded(bytes)?;
        if is_java(bytes) {
            return Err(RecordError::Form("serialized by Java, which is never read"));
        }
        let account = plain(self.picker.json(bytes)?);
        match account.is_object() {
            true => Ok(account),
            false => Err(RecordError::NotJson),
        }
    }

    /// What the account's record says of the device on which this token was given.
    fn add_device(&self, record: &mut Record, account: &Json, token: &str) {
        let lists = [("terminalList", "tokenValue"), ("tokenSignList", "value")];
        let listed = lists.into_iter().find_map(|(list, name)| {
            let mut entries = account[list].as_array()?.iter();
            entries.find(|entry| entry[name].as_str() == Some(token))
        });
        let Some(entry) = listed else { return };
        let text = |name: &str| entry[name].as_str().map(CompactString::from);
        if self.device {
            record.session.device = Device {
                id: text("deviceId").unwrap_or_default(),
                kind: text("deviceType")
                    .or_else(|| text("device"))
                    .unwrap_or_default(),
                name: CompactString::default(),
            };
        }
        if record.issued_at.is_none() {
            record.issued_at = entry["createTime"].as_u64();
        }
    }
}

/// What Sa-Token writes in place of an account when a token is over.
fn marker(account: &str) -> Option<&'static str> {
    Some(match account {
        "-1" => "it is marked -1: no token",
        "-2" => "it is marked -2: invalid",
        "-3" => "it is marked -3: timed out",
        "-4" => "it is marked -4: a login on another device replaced it",
        "-5" => "it is marked -5: kicked out",
        "-6" => "it is marked -6: frozen",
        "-7" => "it is marked -7: without its prefix",
        _ => return None,
    })
}

impl Framework for SaToken {
    fn open(&self, _: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        Some(carried.to_vec())
    }

    fn parts(&self, id: &str, account: Option<&str>) -> Vec<Part> {
        let mut parts = vec![
            Part {
                key: self.key.around(id),
                form: Form::Text,
            },
            self.part("last-active", id),
        ];
        if let Some(account) = account {
            parts.push(self.part("session", account));
            parts.push(self.part("disable:login", account));
        }
        parts
    }

    fn read(
        &self,
        question: &Question<'_>,
        found: &[Option<Found>],
    ) -> Result<Reading, RecordError> {
        let Some((bytes, end)) = text(found.first())? else {
            return Ok(Reading::No("there is no such token"));
        };
        if is_java(bytes) {
            return Err(RecordError::Form("serialized by Java, which is never read"));
        }
        self.picker.bounded(bytes)?;
        let unusable = RecordError::Field("user_id");
        let account = std::str::from_utf8(bytes).map_err(|_| unusable)?;
        if let Some(why) = marker(account.trim()) {
            return Ok(Reading::No(why));
        }
        if account.trim().is_empty() {
            return Err(unusable);
        }
        let used = text(found.get(1))?.map(|(bytes, _)| bytes);
        let idle = self.idle_end(used)?;
        let idle = idle.map(|end| u64::try_from(end).unwrap_or(0));
        if idle.is_some_and(|end| end <= question.now) {
            return Ok(Reading::No("it was not used for too long"));
        }
        if question.account != Some(account) {
            return Ok(Reading::More(Arc::from(account)));
        }
        let data = self.account(found.get(2))?;
        let mut record = self.picker.rest(account.into(), &data)?;
        self.add_device(&mut record, &data, question.id);
        if let Some((level, until)) = text(found.get(3))? {
            let level = String::from_utf8_lossy(level);
            record.session.extras.bans.push((
                "*".to_owned(),
                Ban {
                    until,
                    reason: format!("banned by Sa-Token, level {level}"),
                    at: 0,
                },
            ));
        }
        Ok(until(record, [idle, end]))
    }

    fn leftovers(&self, id: &str) -> Vec<String> {
        vec![
            self.part("last-active", id).key,
            self.part("token-session", id).key,
        ]
    }

    fn prefix(&self) -> String {
        self.base.clone()
    }
}
