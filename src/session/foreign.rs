//! Finding the parts of a session in what a framework wrote.

use compact_str::CompactString;
use serde_json::Value;

use super::json::{json, list, text, time};
use super::{DeviceFields, Record, RecordError, Session};
use crate::config::{Store, value::FieldPath};

/// Where a framework has the parts of a session unless `[store.fields]` says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Usual {
    /// Who it is: the first of these where something stands.
    pub user_id: &'static [&'static [&'static str]],
    /// Permissions; empty: `permissions`.
    pub permissions: &'static [&'static str],
    /// Roles; empty: `roles`.
    pub roles: &'static [&'static str],
    /// When it began; empty: it does not say.
    pub issued_at: &'static [&'static str],
}

/// Finds the parts of a session, and bounds what is looked at.
#[derive(Debug, Clone)]
pub struct Picker {
    user_id: Vec<FieldPath>,
    permissions: FieldPath,
    roles: FieldPath,
    expires_at: Option<FieldPath>,
    issued_at: Option<FieldPath>,
    device: DeviceFields,
    max_bytes: usize,
    max_depth: u8,
}

impl Picker {
    /// Where the configuration says, or else where the framework usually has it.
    pub fn new(config: &Store, usual: &Usual) -> Self {
        let fields = &config.fields;
        let whole = |path: &[&str]| FieldPath::of(path);
        let or =
            |wanted: &Option<FieldPath>, usual: &'static [&'static str], name: &'static str| {
                let usual = || match usual {
                    [] => FieldPath::known(name),
                    path => whole(path),
                };
                wanted.clone().unwrap_or_else(usual)
            };
        Self {
            user_id: match &fields.user_id {
                Some(path) => vec![path.clone()],
                None => usual.user_id.iter().map(|path| whole(path)).collect(),
            },
            permissions: or(&fields.permissions, usual.permissions, "permissions"),
            roles: or(&fields.roles, usual.roles, "roles"),
            expires_at: fields.expires_at.clone(),
            issued_at: match (&fields.issued_at, usual.issued_at) {
                (Some(path), _) => Some(path.clone()),
                (None, []) => None,
                (None, path) => Some(whole(path)),
            },
            device: DeviceFields::new(fields),
            max_bytes: config.max_record.as_usize(),
            max_depth: config.max_depth,
        }
    }

    /// The JSON in these bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], [`RecordError::TooDeep`], [`RecordError::NotJson`].
    pub fn json(&self, bytes: &[u8]) -> Result<Value, RecordError> {
        json(bytes, self.max_bytes, self.max_depth)
    }

    /// How deep a record may be nested.
    pub fn max_depth(&self) -> usize {
        self.max_depth.into()
    }

    /// Checks the length of a record that is not JSON.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`].
    pub fn bounded(&self, bytes: &[u8]) -> Result<(), RecordError> {
        match bytes.len() > self.max_bytes {
            true => Err(RecordError::TooLarge),
            false => Ok(()),
        }
    }

    /// The session in this value; `None` if nobody has logged in, which is no fault.
    ///
    /// # Errors
    /// [`RecordError::NotJson`] if it is no object, [`RecordError::Field`] if a part is of the wrong type.
    pub fn session(&self, record: &Value) -> Result<Option<Record>, RecordError> {
        if !record.is_object() {
            return Err(RecordError::NotJson);
        }
        let user_id = self.user_id(record)?;
        if user_id.is_empty() {
            return Ok(None);
        }
        self.rest(user_id, record).map(Some)
    }

    /// The session of this user, with what else stands in this value.
    ///
    /// # Errors
    /// [`RecordError::Field`] if a part is of the wrong type.
    pub fn rest(&self, user_id: CompactString, record: &Value) -> Result<Record, RecordError> {
        let when = |path: &Option<FieldPath>, part| match path {
            Some(path) => time(record, path, part),
            None => Ok(None),
        };
        Ok(Record {
            session: Session {
                user_id,
                permissions: list(record, &self.permissions, "permissions")?,
                roles: list(record, &self.roles, "roles")?,
                device: self.device.read(record)?,
                expires_at: when(&self.expires_at, "expires_at")?,
                ..Session::default()
            },
            digest: None,
            issued_at: when(&self.issued_at, "issued_at")?,
        })
    }

    fn user_id(&self, record: &Value) -> Result<CompactString, RecordError> {
        for path in &self.user_id {
            let found = text(record, path, "user_id")?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(CompactString::default())
    }
}
