//! Signed identity: a short-lived JSON Web Token (RFC 7519) that says whose request it is, for upstreams that do not want
//! to believe whoever can reach them.
//!
//! # Threat model
//! An assertion is worth a session until it ends, to its audience and nobody else. So each route has an audience of its
//! own, it ends after a minute and never after its session, clients' headers of that name are removed, and upstreams'
//! answers lose it too. It names its session, but never by its token. Keys leave this room only as public ones.
//!
//! Signing costs more than everything else that is done for a request, so an assertion is used again for half of its
//! life: for requests of the same session to the same audience, as long as everything it says is still so.

mod keys;

#[cfg(test)]
mod tests;

use std::hash::BuildHasher as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;
use foldhash::fast::RandomState;
use http::{HeaderName, HeaderValue};
use jsonwebtoken::Header;
use quick_cache::sync::Cache;
use serde::Serialize;

use crate::cache::half;
use crate::clock::now;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::session::{List, Session};
use crate::token::Token;

use self::keys::Key;
pub use self::keys::KeyRing;

/// Assertions that each worker keeps, a kilobyte or so each. One more, and one is signed again.
const KEPT: usize = 8192;

/// Makes assertions, and tells with which keys they can be verified. One for each worker.
#[derive(Debug)]
pub struct Assertions {
    /// The header that carries them.
    pub header: HeaderName,
    /// Where the keys are.
    path: String,
    issuer: String,
    /// In seconds.
    lifetime: u64,
    /// How long verifiers may keep the keys, in seconds.
    max_age: u64,
    /// The longest, in bytes.
    max_length: usize,
    /// In the order of the file.
    keys: Vec<Arc<Key>>,
    ring: Arc<KeyRing>,
    kept: Cache<u64, Arc<Kept>>,
    hasher: RandomState,
}

/// Why there is no assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It would be longer than a header may be.
    #[error("an assertion of this session is longer than identity.max_value")]
    TooLong,
    /// The library does not sign.
    #[error("an assertion could not be signed")]
    Unsigned,
}

/// The keys for verifiers.
#[derive(Debug)]
pub struct KeySet {
    /// A JSON Web Key Set (RFC 7517 section 5).
    pub document: String,
    /// How long it may be kept, in seconds.
    pub max_age: u64,
}

/// All that an assertion says besides times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    session: CompactString,
    audience: Arc<str>,
    user: CompactString,
    permissions: List,
    roles: List,
    actor: Option<String>,
}

/// One that has been signed.
#[derive(Debug)]
struct Kept {
    facts: Facts,
    /// Unix seconds.
    expires: u64,
    /// Unix seconds. Half of its life is over.
    stale: u64,
    text: HeaderValue,
}

/// What is signed.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    sid: &'a str,
    permissions: &'a [String],
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor<'a>>,
}

/// Who acts as the subject (RFC 8693 section 4.1).
#[derive(Serialize)]
struct Actor<'a> {
    sub: &'a str,
}

impl Assertions {
    /// What the configuration describes; `None` if there are none. Keys are those of the files, or one that is made.
    ///
    /// # Errors
    /// A file holds no key that can be used.
    pub fn build(config: &Config, ring: &Arc<KeyRing>) -> Result<Option<Self>, Vec<Fault>> {
        let Some(assertion) = &config.assertion else {
            return Ok(None);
        };
        Ok(Some(Self {
            header: assertion.header.to_http(),
            path: assertion.path.as_str().to_owned(),
            issuer: assertion.issuer.get_ref().clone(),
            lifetime: assertion.lifetime.get().as_secs(),
            max_age: assertion.max_age.get().as_secs(),
            max_length: config.identity.max_value.as_usize(),
            keys: ring.take_up(&assertion.keys)?,
            ring: Arc::clone(ring),
            kept: Cache::new(KEPT),
            hasher: RandomState::default(),
        }))
    }

    /// The keys, if they are at this path.
    pub fn at(&self, path: &str) -> Option<KeySet> {
        (path == self.path).then(|| self.published(seconds()))
    }

    fn published(&self, now: u64) -> KeySet {
        for key in &self.keys {
            key.announced(now);
        }
        let keys = self.ring.published(&self.keys, now);
        KeySet {
            document: serde_json::json!({ "keys": keys }).to_string(),
            max_age: self.max_age,
        }
    }

    /// What this session is to this audience. `token` names it if it has no name.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn about(
        &self,
        session: &Session,
        token: Option<&Token>,
        audience: &Arc<str>,
    ) -> Result<HeaderValue, AssertionError> {
        self.about_at(seconds(), session, token, audience)
    }

    fn about_at(
        &self,
        now: u64,
        session: &Session,
        token: Option<&Token>,
        audience: &Arc<str>,
    ) -> Result<HeaderValue, AssertionError> {
        let facts = Facts {
            session: name(session, token),
            audience: Arc::clone(audience),
            user: session.user_id.clone(),
            permissions: session.permissions.clone(),
            roles: session.roles.clone(),
            actor: session.extras.actor.as_ref().map(|act| act.user_id.clone()),
        };
        let end = session.expires_at.map(|end| end.div_ceil(1000));
        // Two that have the same hash take turns: what is kept has to say the same in any case.
        let place = self.hasher.hash_one((&facts.session, &facts.audience));
        if let Some(kept) = self.kept.get(&place)
            && now < kept.stale
            && end.is_none_or(|end| kept.expires <= end)
            && kept.facts == facts
        {
            return Ok(kept.text.clone());
        }
        let expires = (now + self.lifetime).min(end.unwrap_or(u64::MAX));
        let text = self.sign(&facts, now, expires)?;
        let kept = Kept {
            facts,
            expires,
            stale: now + expires.saturating_sub(now) / 2,
            text: text.clone(),
        };
        self.kept.insert(place, Arc::new(kept));
        Ok(text)
    }

    fn sign(&self, facts: &Facts, now: u64, expires: u64) -> Result<HeaderValue, AssertionError> {
        let key = self.signing(now).ok_or(AssertionError::Unsigned)?;
        let claims = Claims {
            iss: &self.issuer,
            aud: &facts.audience,
            sub: &facts.user,
            iat: now,
            exp: expires,
            sid: &facts.session,
            permissions: &facts.permissions,
            roles: &facts.roles,
            act: facts.actor.as_deref().map(|sub| Actor { sub }),
        };
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(key.algorithm)
        };
        key.signs_until(expires);
        let signed = jsonwebtoken::encode(&header, &claims, &key.private);
        let text = signed.map_err(|_| AssertionError::Unsigned)?;
        if text.len() > self.max_length {
            return Err(AssertionError::TooLong);
        }
        HeaderValue::try_from(text).map_err(|_| AssertionError::Unsigned)
    }

    /// The first key that verifiers have been able to see for long enough. If there is none, waiting would help nobody.
    fn signing(&self, now: u64) -> Option<&Key> {
        // Every key is seen from the first time on that one of them is needed, not only from when it is its turn.
        let seen: Vec<bool> = self
            .keys
            .iter()
            .map(|key| now >= key.announced(now).saturating_add(self.max_age))
            .collect();
        let ready = seen.iter().position(|seen| *seen).unwrap_or_default();
        self.keys.get(ready).map(AsRef::as_ref)
    }
}

/// What a session is called where its token must not be told: by its name, or else by half of the SHA-256 of its token.
fn name(session: &Session, token: Option<&Token>) -> CompactString {
    if !session.sid.is_empty() {
        return session.sid.clone();
    }
    token.map_or_else(CompactString::default, |token| {
        URL_SAFE_NO_PAD.encode(half(&token.digest())).into()
    })
}

/// Unix seconds.
fn seconds() -> u64 {
    now() / 1000
}
