//! express-session with connect-redis: one string of JSON, and a signed cookie.
//!
//! connect-redis takes a session for good as long as its key is there, and so is `cookie.expires` not looked at:
//! a request that only uses a session moves the key's end and leaves the JSON as it was.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode;

use super::{
    Form, Found, Framework, NONE, Part, Question, Reading, at_last_dot, is_signed, text, whoever,
};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{Picker, RecordError, Usual};
use crate::token::TokenSource;

#[derive(Debug)]
pub(super) struct Express {
    key: KeyTemplate,
    secrets: Vec<hmac::Key>,
    picker: Picker,
}

impl Express {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            // Where Passport puts it.
            user_id: &[&["passport", "user"]],
            ..Usual::default()
        };
        let secrets = store.foreign.secrets.iter();
        Self {
            key: store.layout_key(),
            secrets: secrets
                .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
                .collect(),
            picker: Picker::new(store, &usual),
        }
    }
}

impl Framework for Express {
    /// `s:ID.SIGNATURE`, percent-encoded.
    fn open(&self, _: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        let decoded: Vec<u8> = percent_decode(carried).collect();
        let (id, signature) = at_last_dot(decoded.strip_prefix(b"s:")?)?;
        let encode = |mac: &[u8]| STANDARD_NO_PAD.encode(mac);
        is_signed(&self.secrets, id, signature, encode).then(|| id.to_vec())
    }

    fn parts(&self, id: &str, _: Option<&str>) -> Vec<Part> {
        Part::only(&self.key, id, Form::Text)
    }

    fn read(&self, _: &Question<'_>, found: &[Option<Found>]) -> Result<Reading, RecordError> {
        let Some((bytes, end)) = text(found.first())? else {
            return Ok(NONE);
        };
        let record = self.picker.json(bytes)?;
        whoever(&self.picker, &record, end)
    }

    fn prefix(&self) -> String {
        self.key.before.clone()
    }
}
