//! lua-resty-session 4: how long a session lasts stands in its cookie, and what it holds lies encrypted in Redis.
//!
//! The token is the whole cookie: without it what is stored can be neither found nor read. What it says of times was
//! signed with the secret, and each time the session is saved there is another cookie.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde_json::{Value as Json, json};

use super::{Form, Found, Framework, NONE, Part, Question, Reading, text, until};
use crate::config::Store;
use crate::config::value::KeyTemplate;
use crate::session::{Picker, RecordError, Usual};
use crate::token::TokenSource;

/// Bytes of a cookie where the rest lies in Redis.
const HEADER: usize = 82;
/// Those of them that the MAC covers.
const SIGNED: usize = 66;
/// Those of them that the encryption covers.
const COVERED: usize = 47;
/// What the flags say.
const STORED: u16 = 0x0001;
const DEFLATED: u16 = 0x0010;
/// Bound to the client's address, scheme or user agent.
const BOUND: u16 = 0x0700;
/// `idling_timeout` unless it is set, in seconds.
const IDLING: u64 = 900;
/// What is put before a key that is written in hex.
const HEX: &str = "hex:";

pub(super) struct Resty {
    key: KeyTemplate,
    hashed_keys: bool,
    /// From which the keys of every session are made.
    secrets: Vec<[u8; 32]>,
    /// Seconds; 0 is none.
    idling: u64,
    rolling: u64,
    absolute: u64,
    picker: Picker,
    max_bytes: usize,
}

impl std::fmt::Debug for Resty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resty").finish_non_exhaustive()
    }
}

/// A cookie taken apart.
struct Cookie([u8; HEADER]);

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Resty {
    pub(super) fn new(store: &Store) -> Self {
        let usual = Usual {
            user_id: &[&["subject"]],
            permissions: &["data", "permissions"],
            roles: &["data", "roles"],
            issued_at: &["created"],
        };
        let foreign = &store.foreign;
        let secrets = foreign.secrets.iter();
        Self {
            key: store.layout_key(),
            hashed_keys: foreign.hashed_keys,
            secrets: secrets.map(|secret| material(secret.expose())).collect(),
            idling: foreign.idle.map_or(IDLING, |idle| idle.get().as_secs()),
            rolling: foreign.rolling.get().as_secs(),
            absolute: foreign.absolute.get().as_secs(),
            picker: Picker::new(store, &usual),
            max_bytes: store.max_record.as_usize(),
        }
    }

    /// When the session ends by what its cookie says, in Unix seconds; `None` if never.
    fn end(&self, cookie: &Cookie) -> Option<u64> {
        let saved = cookie.created() + cookie.number(40, 4);
        let used = saved + cookie.number(63, 3);
        let ends = [
            (cookie.created(), self.absolute),
            (saved, self.rolling),
            (used, self.idling),
        ];
        let ends = ends.into_iter().filter(|(_, lasts)| *lasts > 0);
        ends.map(|(from, lasts)| from.saturating_add(lasts)).min()
    }

    /// What is stored, decrypted; `None` if it is not what this cookie was given for.
    fn open_stored(&self, cookie: &Cookie, stored: &[u8]) -> Option<Vec<u8>> {
        self.secrets.iter().find_map(|secret| {
            let derived = derive(secret, "encryption:", cookie.id(), 44);
            let (key, iv) = derived.split_at_checked(32)?;
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
            let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
            let mut text = stored.to_vec();
            text.extend_from_slice(cookie.bytes(COVERED, 16));
            let covered = Aad::from(cookie.bytes(0, COVERED));
            let plain = key.open_in_place(nonce, covered, &mut text).ok()?;
            Some(plain.to_vec())
        })
    }

    /// Subject and data of the first audience that has a subject, or else of the first.
    fn record(&self, cookie: &Cookie, plain: &[u8]) -> Result<Json, RecordError> {
        let inflated = match cookie.flags() & DEFLATED {
            0 => None,
            _ => Some(
                decompress_to_vec_with_limit(plain, self.max_bytes)
                    .map_err(|_| RecordError::Form("no whole deflated text"))?,
            ),
        };
        let all = self.picker.json(inflated.as_deref().unwrap_or(plain))?;
        let audiences = all.as_array().ok_or(RecordError::NotJson)?;
        let has_subject = |entry: &&Json| !entry[2].is_null();
        let entry = audiences.iter().find(has_subject).or(audiences.first());
        let entry = entry.ok_or(RecordError::NotJson)?;
        Ok(json!({
            "data": entry[0], "audience": entry[1], "subject": entry[2], "created": cookie.created(),
        }))
    }
}

impl Cookie {
    fn read(text: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let cookie = Self(bytes.try_into().ok()?);
        (cookie.bytes(0, 1) == [1]).then_some(cookie)
    }

    fn bytes(&self, from: usize, count: usize) -> &[u8] {
        self.0.get(from..from + count).unwrap_or_default()
    }

    /// Little-endian.
    fn number(&self, from: usize, count: usize) -> u64 {
        let bytes = self.bytes(from, count).iter().rev();
        bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    fn flags(&self) -> u16 {
        u16::try_from(self.number(1, 2)).unwrap_or(0)
    }

    fn id(&self) -> &[u8] {
        self.bytes(3, 32)
    }

    /// Unix seconds.
    fn created(&self) -> u64 {
        self.number(35, 5)
    }

    fn is_signed_with(&self, secret: &[u8; 32]) -> bool {
        let key = derive(secret, "authentication:", self.id(), 32);
        let mac = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            self.bytes(0, SIGNED),
        );
        let mac = mac.as_ref().get(..16).unwrap_or_default();
        verify_slices_are_equal(mac, self.bytes(SIGNED, 16)).is_ok()
    }
}

/// 32 bytes in hex, or the SHA-256 of a secret.
fn material(secret: &str) -> [u8; 32] {
    let bytes = |text: &str| -> Option<[u8; 32]> {
        let pairs = (0..text.len()).step_by(2);
        let bytes = pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
        bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
    };
    secret.strip_prefix(HEX).and_then(bytes).unwrap_or_else(|| {
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    })
}

/// HKDF-SHA-256 (RFC 5869) without salt.
fn derive(secret: &[u8; 32], purpose: &str, id: &[u8], length: usize) -> Vec<u8> {
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let info = [purpose.as_bytes(), id];
    let mut derived = vec![0; length];
    key.expand(&info, Length(length))
        .and_then(|material| material.fill(&mut derived))
        .expect("HKDF makes up to 8,160 bytes");
    derived
}

impl Framework for Resty {
    fn open(&self, _: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        let cookie = Cookie::read(carried)?;
        let here = cookie.flags() & STORED != 0 && cookie.flags() & BOUND == 0;
        let signed = |secret: &[u8; 32]| cookie.is_signed_with(secret);
        let sound = here && self.secrets.iter().any(signed);
        // Written anew: another spelling of the same bytes would be another token.
        sound.then(|| URL_SAFE_NO_PAD.encode(cookie.0).into_bytes())
    }

    fn parts(&self, id: &str, _: Option<&str>) -> Vec<Part> {
        let name = Cookie::read(id.as_bytes()).map(|cookie| match self.hashed_keys {
            false => URL_SAFE_NO_PAD.encode(cookie.id()),
            true => URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, cookie.id())),
        });
        Part::only(&self.key, &name.unwrap_or_default(), Form::Text)
    }

    fn read(
        &self,
        question: &Question<'_>,
        found: &[Option<Found>],
    ) -> Result<Reading, RecordError> {
        let Some((bytes, key_end)) = text(found.first())? else {
            return Ok(NONE);
        };
        let Some(cookie) = Cookie::read(question.id.as_bytes()) else {
            return Ok(Reading::No("it is no cookie of lua-resty-session"));
        };
        let end = self.end(&cookie).map(|end| end.saturating_mul(1000));
        if end.is_some_and(|end| end <= question.now) {
            return Ok(Reading::No("it was not used, or not renewed, for too long"));
        }
        let stored = self.picker.json(bytes)?;
        let stored = stored.get(0).and_then(Json::as_str);
        let stored = stored.ok_or(RecordError::NotJson)?;
        let stored = URL_SAFE_NO_PAD
            .decode(stored)
            .map_err(|_| RecordError::Form("no base64url"))?;
        let Some(plain) = self.open_stored(&cookie, &stored) else {
            return Ok(Reading::No(
                "what is stored was saved again since this cookie was given",
            ));
        };
        let record = self.record(&cookie, &plain)?;
        Ok(match self.picker.session(&record)? {
            Some(record) => until(record, [end, key_end]),
            None => Reading::No("nobody has logged in: the session has no subject"),
        })
    }

    fn prefix(&self) -> String {
        self.key.before.clone()
    }
}
