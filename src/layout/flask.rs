//! Flask-Session: one string of msgpack or JSON, under the id that the cookie holds.
//!
//! Whether a session is permanent only says how long the browser keeps its cookie; in Redis all of them last equally
//! long, and as long as the key is there the session is good.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmpv::Value as Packed;
use rmpv::decode::read_value_with_max_depth;
use serde_json::{Map, Value as Json};

use super::{
    Form, Found, Framework, NONE, Part, Question, Reading, at_last_dot, is_signed, text, whoever,
};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{Picker, RecordError, Usual};
use crate::token::TokenSource;

/// What every pickle since Python 2.3 begins with. To msgpack it is an empty map, which needs nothing behind it.
const PICKLE: u8 = 0x80;

#[derive(Debug)]
pub(super) struct Flask {
    key: KeyTemplate,
    /// None: cookies are not signed.
    secrets: Vec<hmac::Key>,
    picker: Picker,
}

impl Flask {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            // Where Flask-Login puts it.
            user_id: &[&["_user_id"]],
            ..Usual::default()
        };
        let secrets = store.foreign.secrets.iter();
        Self {
            key: store.layout_key(),
            secrets: secrets
                .map(|secret| signer(secret.expose().as_bytes()))
                .collect(),
            picker: Picker::new(store, &usual),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Json, RecordError> {
        self.picker.bounded(bytes)?;
        match bytes {
            [PICKLE, _, ..] => Err(RecordError::Form("a pickle, which is never read")),
            [0x80..=0x8f | 0xde | 0xdf, ..] => self.unpack(bytes),
            _ => self.picker.json(bytes),
        }
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Json, RecordError> {
        let broken = RecordError::Form("no whole msgpack");
        let mut rest = bytes;
        let value = read_value_with_max_depth(&mut rest, self.picker.max_depth());
        match value {
            Ok(value) if rest.is_empty() => Ok(json(value)),
            Ok(_) | Err(_) => Err(broken),
        }
    }
}

/// What `itsdangerous.Signer(secret, salt="flask-session", key_derivation="hmac")` signs with.
fn signer(secret: &[u8]) -> hmac::Key {
    let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
    let derived = hmac::sign(&hmac::Key::new(algorithm, secret), b"flask-session");
    hmac::Key::new(algorithm, derived.as_ref())
}

/// As JSON. What JSON has no words for is an object without members: something that is no text, no list and no time.
fn json(value: Packed) -> Json {
    match value {
        Packed::Nil => Json::Null,
        Packed::Boolean(yes) => yes.into(),
        Packed::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Json::Object(Map::new()),
        },
        Packed::F32(number) => f64::from(number).into(),
        Packed::F64(number) => number.into(),
        Packed::String(text) => match text.into_str() {
            Some(text) => text.into(),
            None => Json::Object(Map::new()),
        },
        Packed::Array(items) => items.into_iter().map(json).collect(),
        Packed::Map(entries) => {
            let named = entries.into_iter().filter_map(|(name, value)| {
                let name = name.as_str()?.to_owned();
                Some((name, json(value)))
            });
            Json::Object(named.collect())
        }
        Packed::Binary(_) | Packed::Ext(..) => Json::Object(Map::new()),
    }
}

impl Framework for Flask {
    fn open(&self, _: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        if self.secrets.is_empty() {
            return Some(carried.to_vec());
        }
        let (id, signature) = at_last_dot(carried)?;
        let encode = |mac: &[u8]| URL_SAFE_NO_PAD.encode(mac);
        is_signed(&self.secrets, id, signature, encode).then(|| id.to_vec())
    }

    fn parts(&self, id: &str, _: Option<&str>) -> Vec<Part> {
        Part::only(&self.key, id, Form::Text)
    }

    fn read(&self, _: &Question<'_>, found: &[Option<Found>]) -> Result<Reading, RecordError> {
        let Some((bytes, end)) = text(found.first())? else {
            return Ok(NONE);
        };
        let record = self.decode(bytes)?;
        whoever(&self.picker, &record, end)
    }

    fn prefix(&self) -> String {
        self.key.before.clone()
    }
}
