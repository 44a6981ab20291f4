//! Laravel's redis driver with `session.serialization = json`: JSON in a string that PHP has serialized, under the id that
//! an encrypted cookie holds.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::json;

use super::{Form, Found, Framework, NONE, Part, Question, Reading, text, whoever};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{Picker, RecordError, Usual};
use crate::token::{TokenSource, hex};

/// How long an id is; all of it letters and digits.
const ID: usize = 40;
/// What is done to a key that is written in base64.
const BASE64: &str = "base64:";

#[derive(Debug)]
pub(super) struct Laravel {
    key: KeyTemplate,
    /// None: the cookie is not encrypted.
    secrets: Vec<AppKey>,
    picker: Picker,
}

/// `APP_KEY`.
struct AppKey(Vec<u8>);

impl std::fmt::Debug for AppKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppKey(..)")
    }
}

/// What the cookie holds.
#[derive(Deserialize)]
struct Envelope {
    iv: String,
    value: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    tag: Option<String>,
}

impl Laravel {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            // The guard `web`: SHA-1 of `Illuminate\Auth\SessionGuard`.
            user_id: &[&["login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"]],
            ..Usual::default()
        };
        let secrets = store.foreign.secrets.iter();
        Self {
            key: store.layout_key(),
            secrets: secrets
                .map(|secret| AppKey::read(secret.expose()))
                .collect(),
            picker: Picker::new(store, &usual),
        }
    }
}

impl AppKey {
    fn read(text: &str) -> Self {
        let decoded = text
            .strip_prefix(BASE64)
            .and_then(|text| STANDARD.decode(text).ok());
        Self(decoded.unwrap_or_else(|| text.as_bytes().to_vec()))
    }

    /// What is in the envelope, if it was closed with this key.
    fn open(&self, envelope: &Envelope) -> Option<Vec<u8>> {
        let (iv, value) = (
            STANDARD.decode(&envelope.iv).ok()?,
            STANDARD.decode(&envelope.value).ok()?,
        );
        match envelope.tag.as_deref() {
            Some(tag) if !tag.is_empty() => self.open_gcm(&iv, value, &STANDARD.decode(tag).ok()?),
            Some(_) | None => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
                let signed = format!("{}{}", envelope.iv, envelope.value);
                let mac = hex(hmac::sign(&key, signed.as_bytes()).as_ref());
                verify_slices_are_equal(mac.as_bytes(), envelope.mac.as_bytes()).ok()?;
                self.open_cbc(&iv, value)
            }
        }
    }

    fn open_cbc(&self, iv: &[u8], mut value: Vec<u8>) -> Option<Vec<u8>> {
        let algorithm = match self.0.len() {
            16 => &AES_128,
            _ => &AES_256,
        };
        let key = UnboundCipherKey::new(algorithm, &self.0).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let iv: [u8; 16] = iv.try_into().ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        key.decrypt(&mut value, context)
            .ok()
            .map(|plain| plain.to_vec())
    }

    fn open_gcm(&self, iv: &[u8], mut value: Vec<u8>, tag: &[u8]) -> Option<Vec<u8>> {
        // PHP takes a shorter tag than was made, which is easier to guess.
        if tag.len() != 16 {
            return None;
        }
        let algorithm = match self.0.len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &self.0).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
        value.extend_from_slice(tag);
        let plain = key.open_in_place(nonce, Aad::empty(), &mut value).ok()?;
        Some(plain.to_vec())
    }

    /// What stands before the value of the cookie of this name, so that it cannot be taken for another one.
    fn prefix(&self, cookie: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let mac = hmac::sign(&key, format!("{cookie}v2").as_bytes());
        format!("{}|", hex(mac.as_ref()))
    }
}

impl Framework for Laravel {
    fn open(&self, source: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        let id = if self.secrets.is_empty() {
            carried.to_vec()
        } else {
            let TokenSource::Cookie(name) = source else {
                return None;
            };
            let encoded: Vec<u8> = percent_decode(carried).collect();
            let envelope = STANDARD.decode(encoded).ok()?;
            let envelope: Envelope = serde_json::from_slice(&envelope).ok()?;
            let plain = self.secrets.iter().find_map(|key| key.open(&envelope))?;
            let bare = |key: &AppKey| plain.strip_prefix(key.prefix(name).as_bytes());
            self.secrets.iter().find_map(bare)?.to_vec()
        };
        let sound = id.len() == ID && id.iter().all(u8::is_ascii_alphanumeric);
        sound.then_some(id)
    }

    fn parts(&self, id: &str, _: Option<&str>) -> Vec<Part> {
        Part::only(&self.key, id, Form::Text)
    }

    fn read(&self, _: &Question<'_>, found: &[Option<Found>]) -> Result<Reading, RecordError> {
        let Some((bytes, end)) = text(found.first())? else {
            return Ok(NONE);
        };
        self.picker.bounded(bytes)?;
        let inner = php_string(bytes).ok_or(RecordError::Form(
            "serialized by PHP and no string, which is never read",
        ))?;
        if !inner.starts_with(b"{") && !inner.starts_with(b"[") {
            return Err(RecordError::Form(
                "serialized by PHP or encrypted; Laravel has to have `session.serialization` json and no `session.encrypt`",
            ));
        }
        // PHP has one word for a list and a map, and writes an empty one as a list.
        let record = self.picker.json(inner)?;
        let is_empty = record.as_array().is_some_and(Vec::is_empty);
        let record = if is_empty { json!({}) } else { record };
        whoever(&self.picker, &record, end)
    }

    fn prefix(&self) -> String {
        self.key.before.clone()
    }
}

/// The text in `s:LENGTH:"TEXT";`, the only thing of PHP's that is taken apart.
fn php_string(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"s:")?;
    let colon = memchr::memchr(b':', rest)?;
    let length: usize = std::str::from_utf8(rest.get(..colon)?).ok()?.parse().ok()?;
    let text = rest.get(colon + 1..)?.strip_prefix(b"\"")?;
    let text = text.strip_suffix(b"\";")?;
    (text.len() == length).then_some(text)
}
