//! What the store knows about the holder of a token, and how to read it from the bytes somebody else wrote.
//!
//! The bytes are foreign: a login service in any language may have written them. Unknown fields are ignored, size and
//! depth are capped, and a record that cannot be understood is an error ("cannot tell"), never "no session" and
//! never a session with parts missing.

mod ended;
mod extra;
mod foreign;
mod json;
mod list;
mod own;

use std::hint::black_box;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::{self, Store, value::FieldPath};

pub use self::ended::{Ban, EndedSession, Why};
pub use self::extra::{Extra, Extras};
pub use self::foreign::{Picker, Usual};
use self::json::{json, list, put, text, time};
pub use self::list::List;
pub use self::own::{Act, OwnRecord, encode};

/// A live login. Times are Unix milliseconds.
///
/// Reading it costs as much as fetching its parts from memory does, and there may be millions: short texts lie in it,
/// lists are shared with the sessions that have the same, what few sessions have lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// Who it is; never empty.
    pub user_id: CompactString,
    /// What the user may do: what upstreams are told. None of them overlaps with one of
    /// [`Extra::denied`].
    pub permissions: List,
    /// Which roles the user has.
    pub roles: List,
    /// On which device.
    pub device: Device,
    /// When it ends, if the record or the store says so: the earlier of the two.
    pub expires_at: Option<u64>,
    /// Its public name; stays the same when its tokens are refreshed. Empty for a session that we did not make.
    pub sid: CompactString,
    /// What few sessions have.
    pub extras: Extras,
}

/// The end of a session for want of use. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// After how many milliseconds without a request it ends.
    pub lasts: u64,
    /// When it will have ended, if nothing comes any more.
    pub ends_at: u64,
    /// When it ends even if it is in use.
    pub at_most: u64,
}

/// The device that a session was opened on; parts that nobody recorded are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its id.
    #[serde(default, skip_serializing_if = "CompactString::is_empty")]
    #[schema(value_type = String)]
    pub id: CompactString,
    /// Its type, such as `phone`.
    #[serde(
        default,
        rename = "type",
        skip_serializing_if = "CompactString::is_empty"
    )]
    #[schema(value_type = String)]
    pub kind: CompactString,
    /// Its name, such as `Pixel 12`.
    #[serde(default, skip_serializing_if = "CompactString::is_empty")]
    #[schema(value_type = String)]
    pub name: CompactString,
}

impl Session {
    /// The same session, to be kept: its lists are those of other sessions where they are equal.
    #[must_use]
    pub fn with_lists_in_common(mut self) -> Self {
        self.permissions.share();
        self.roles.share();
        self.extras.share();
        self
    }

    /// Has the processor fetch it from memory, and does not wait for it: to look at what nobody asks about is all that can
    /// be done for that here.
    #[inline]
    pub fn fetch(&self) {
        black_box(self.user_id.len());
        black_box(self.device.kind.len());
        black_box(self.expires_at.is_some());
    }

    /// Whether it is still alive at `now` (Unix milliseconds). At the very millisecond of its end it is not.
    pub fn is_live(&self, now: u64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Why a record is not a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More bytes than `store.max_record`.
    #[error("the session record is larger than store.max_record")]
    TooLarge,
    /// Deeper nesting than `store.max_depth`.
    #[error("the session record is nested deeper than store.max_depth")]
    TooDeep,
    /// Not JSON, or not an object.
    #[error("the session record is not a JSON object")]
    NotJson,
    /// A part is missing or of the wrong type; the name is the part's.
    #[error("the session record has no usable {0}")]
    Field(&'static str),
    /// The key holds another type of value, such as a list.
    #[error("the key holds another type of value than this one")]
    Type,
    /// A framework's, in a form that is not read; the text says in which.
    #[error("the session record is {0}")]
    Form(&'static str),
}

/// A session as it stood in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The session, dead or alive: the caller compares the time.
    pub session: Session,
    /// SHA-256 of the token it was written for, in lower-case hex. Records that we mint have it, so that an answer which
    /// belongs to another question is noticed; those of others may lack it.
    pub digest: Option<String>,
    /// When the session began, in Unix milliseconds, if the record says so.
    pub issued_at: Option<u64>,
}

/// Where [`Record::digest`] stands; a name long enough that no other service means something else by it.
const DIGEST: &str = "token_sha256";

/// Reads and writes session records: JSON objects whose fields lie where `[store.fields]` says.
#[derive(Debug, Clone)]
pub struct RecordFormat {
    fields: Fields,
    max_bytes: usize,
    max_depth: u8,
}

/// Where each part stands.
#[derive(Debug, Clone)]
struct Fields {
    user_id: FieldPath,
    permissions: FieldPath,
    roles: FieldPath,
    expires_at: FieldPath,
    issued_at: IssuedAt,
    device: DeviceFields,
}

/// Where it stands when a session began.
#[derive(Debug, Clone)]
enum IssuedAt {
    Here(FieldPath),
    /// Nobody has said where: what stands here is taken if it is a time, and is no reason to refuse a record if it is not.
    Perhaps([FieldPath; 2]),
}

#[derive(Debug, Clone)]
struct DeviceFields {
    id: FieldPath,
    kind: FieldPath,
    name: FieldPath,
}

impl DeviceFields {
    fn new(wanted: &config::Fields) -> Self {
        Self {
            id: or(&wanted.device_id, "device.id"),
            kind: or(&wanted.device_type, "device.type"),
            name: or(&wanted.device_name, "device.name"),
        }
    }

    fn read(&self, record: &Value) -> Result<Device, RecordError> {
        Ok(Device {
            id: text(record, &self.id, "device.id")?,
            kind: text(record, &self.kind, "device.type")?,
            name: text(record, &self.name, "device.name")?,
        })
    }
}

fn or(wanted: &Option<FieldPath>, usual: &'static str) -> FieldPath {
    wanted.clone().unwrap_or_else(|| FieldPath::known(usual))
}

impl RecordFormat {
    /// The format that the configuration describes.
    pub fn new(config: &Store) -> Self {
        Self {
            fields: Fields {
                user_id: or(&config.fields.user_id, "user_id"),
                permissions: or(&config.fields.permissions, "permissions"),
                roles: or(&config.fields.roles, "roles"),
                expires_at: or(&config.fields.expires_at, "expires_at"),
                issued_at: match &config.fields.issued_at {
                    Some(path) => IssuedAt::Here(path.clone()),
                    None => IssuedAt::Perhaps(["iat", "issued_at"].map(FieldPath::known)),
                },
                device: DeviceFields::new(&config.fields),
            },
            max_bytes: config.max_record.as_usize(),
            max_depth: config.max_depth,
        }
    }

    /// The record in these bytes.
    ///
    /// # Errors
    /// If the bytes are not a session record; see [`RecordError`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Record, RecordError> {
        let record = json(bytes, self.max_bytes, self.max_depth)?;
        if !record.is_object() {
            return Err(RecordError::NotJson);
        }
        let user_id = text(&record, &self.fields.user_id, "user_id")?;
        if user_id.is_empty() {
            return Err(RecordError::Field("user_id"));
        }
        let session = Session {
            user_id,
            permissions: list(&record, &self.fields.permissions, "permissions")?,
            roles: list(&record, &self.fields.roles, "roles")?,
            device: self.fields.device.read(&record)?,
            expires_at: time(&record, &self.fields.expires_at, "expires_at")?,
            ..Session::default()
        };
        let digest = match record.get(DIGEST) {
            None => None,
            Some(Value::String(digest)) => Some(digest.clone()),
            Some(_) => return Err(RecordError::Field(DIGEST)),
        };
        Ok(Record {
            issued_at: self.issued_at(&record)?,
            session,
            digest,
        })
    }

    fn issued_at(&self, record: &Value) -> Result<Option<u64>, RecordError> {
        match &self.fields.issued_at {
            IssuedAt::Here(path) => time(record, path, "issued_at"),
            IssuedAt::Perhaps(paths) => {
                let mut found = paths.iter().map(|path| time(record, path, "issued_at"));
                Ok(found.find_map(|time| time.ok().flatten()))
            }
        }
    }

    /// The record of a session that we mint ourselves, for the token with this SHA-256.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if it could not be read back.
    pub fn encode(&self, session: &Session, digest: &str) -> Result<Vec<u8>, RecordError> {
        let mut record = Value::Object(serde_json::Map::new());
        put(
            &mut record,
            &self.fields.user_id,
            session.user_id.as_str().into(),
        );
        put(
            &mut record,
            &self.fields.permissions,
            session.permissions.to_vec().into(),
        );
        put(
            &mut record,
            &self.fields.roles,
            session.roles.to_vec().into(),
        );
        put(
            &mut record,
            &self.fields.device.id,
            session.device.id.as_str().into(),
        );
        put(
            &mut record,
            &self.fields.device.kind,
            session.device.kind.as_str().into(),
        );
        put(
            &mut record,
            &self.fields.device.name,
            session.device.name.as_str().into(),
        );
        if let Some(end) = session.expires_at {
            put(&mut record, &self.fields.expires_at, end.into());
        }
        put(&mut record, &FieldPath::known(DIGEST), digest.into());
        let bytes = record.to_string().into_bytes();
        if bytes.len() > self.max_bytes {
            return Err(RecordError::TooLarge);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
