//! Spring Session with a JSON serializer: one hash.
//!
//! That there is a hash says nothing: the indexed repository leaves it there for five minutes after a logout, with a
//! `maxInactiveInterval` of 0, and after a session has run out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::jackson::{is_java, plain};
use super::{Form, Found, Framework, NOBODY, NONE, Part, Question, Reading, Value, until};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{List, Picker, Record, RecordError, Usual};
use crate::token::TokenSource;

/// What stands before the name of an attribute.
const ATTRIBUTE: &[u8] = b"sessionAttr:";
/// Where Spring Security keeps who is logged in.
const CONTEXT: &str = "SPRING_SECURITY_CONTEXT";
/// Where an application may put a user's name so that sessions can be found by it.
const PRINCIPAL: &str =
    "org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME";
/// What Spring Security puts before the name of a role.
const ROLE: &str = "ROLE_";

#[derive(Debug)]
pub(super) struct Spring {
    key: KeyTemplate,
    picker: Picker,
    /// Permissions and roles are what Spring Security calls authorities.
    authorities: (bool, bool),
}

impl Spring {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            user_id: &[
                &[PRINCIPAL],
                &[CONTEXT, "authentication", "principal", "username"],
                &[CONTEXT, "authentication", "name"],
            ],
            issued_at: &["creationTime"],
            ..Usual::default()
        };
        let fields = &store.fields;
        Self {
            key: store.layout_key(),
            picker: Picker::new(store, &usual),
            authorities: (fields.permissions.is_none(), fields.roles.is_none()),
        }
    }

    /// Attributes by their names, beside what Spring itself notes.
    fn record(&self, hash: &[(bytes::Bytes, bytes::Bytes)]) -> Result<Json, RecordError> {
        let mut record = Map::new();
        for (name, value) in hash {
            self.picker.bounded(value)?;
            if is_java(value) {
                return Err(RecordError::Form(
                    "serialized by Java, which is never read; give Spring Session a JSON serializer",
                ));
            }
            // An attribute that was taken away.
            if value.is_empty() {
                continue;
            }
            let name = name.strip_prefix(ATTRIBUTE).unwrap_or(name);
            let name = std::str::from_utf8(name).map_err(|_| RecordError::NotJson)?;
            record.insert(name.to_owned(), plain(self.picker.json(value)?));
        }
        Ok(Json::Object(record))
    }

    fn add_authorities(&self, record: &mut Record, context: &Json) {
        let listed = context.pointer("/authentication/authorities");
        let listed = listed.and_then(Json::as_array).into_iter().flatten();
        let names = listed.filter_map(|one| one.get("authority").unwrap_or(one).as_str());
        let (roles, permissions): (Vec<&str>, Vec<&str>) =
            names.partition(|name| name.starts_with(ROLE));
        if self.authorities.0 && record.session.permissions.is_empty() {
            record.session.permissions = permissions.into_iter().map(str::to_owned).collect();
        }
        if self.authorities.1 && record.session.roles.is_empty() {
            let roles = roles.into_iter().filter_map(|name| name.strip_prefix(ROLE));
            record.session.roles = roles.map(str::to_owned).collect::<List>();
        }
    }
}

impl Framework for Spring {
    /// The id as base64, or, from WebFlux and in a header, as it is: no base64 has the hyphens of a UUID.
    fn open(&self, source: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        if !matches!(source, TokenSource::Cookie(_)) || carried.contains(&b'-') {
            return Some(without_route(carried).to_vec());
        }
        let id = STANDARD.decode(carried).ok()?;
        Some(without_route(&id).to_vec())
    }

    fn parts(&self, id: &str, _: Option<&str>) -> Vec<Part> {
        Part::only(&self.key, id, Form::Hash)
    }

    fn read(
        &self,
        question: &Question<'_>,
        found: &[Option<Found>],
    ) -> Result<Reading, RecordError> {
        let Some(Some(Found { value, ends_at })) = found.first() else {
            return Ok(NONE);
        };
        let Value::Hash(hash) = value else {
            return Err(RecordError::Type);
        };
        let record = self.record(hash)?;
        let number = |name: &'static str| {
            let found = record.get(name).and_then(Json::as_i64);
            found.ok_or(RecordError::Field(name))
        };
        let (interval, used) = (number("maxInactiveInterval")?, number("lastAccessedTime")?);
        if interval == 0 {
            return Ok(Reading::No("it was logged out"));
        }
        // Below zero it need not be used.
        let idle = (interval > 0).then(|| used.saturating_add(interval.saturating_mul(1000)));
        let idle = idle.map(|end| u64::try_from(end).unwrap_or(0));
        if idle.is_some_and(|end| end <= question.now) {
            return Ok(Reading::No("it was not used for too long"));
        }
        let Some(mut session) = self.picker.session(&record)? else {
            return Ok(NOBODY);
        };
        if let Some(context) = record.get(CONTEXT) {
            self.add_authorities(&mut session, context);
        }
        Ok(until(session, [idle, *ends_at]))
    }

    fn leftovers(&self, id: &str) -> Vec<String> {
        vec![self.key.around(&format!("expires:{id}"))]
    }

    fn prefix(&self) -> String {
        self.key.before.clone()
    }
}

/// Without the name of the server that load balancers go by.
fn without_route(id: &[u8]) -> &[u8] {
    id.split(|byte| *byte == b'.').next().unwrap_or(id)
}
