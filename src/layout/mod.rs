//! The sessions of other frameworks: where each of them keeps what, and when it takes a session for good.
//!
//! # Threat model
//! What lies under these keys was written by somebody else, and what a client carries is the client's to choose. So a
//! cookie that its framework signs is nothing without the signature. Validity is the framework's own rule and not that
//! there is a key: some of them leave what was logged out lying there for minutes. A value in a form that could make a
//! reader run code (pickle, PHP or Java serialization) is never decoded: nobody can tell whose it is, and that is 503.
//! Nothing of this writes a session: the only thing done to one is to end it.

mod express;
mod flask;
mod jackson;
mod laravel;
mod resty;
mod sa_token;
mod spring;

use std::fmt::Debug;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use bytes::Bytes;
use serde_json::Value as Json;

use crate::config::value::{KeyTemplate, TokenSource as Source};
use crate::config::{self, Config};
use crate::session::{Picker, Record, RecordError};
use crate::token::{Seal, Token, TokenShape, TokenSource, TokenSources, anchor_of};

/// What type of value lies at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A hash.
    Hash,
}

/// A key that a session is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The key. May hold a token.
    pub key: String,
    /// What lies there.
    pub form: Form,
}

impl Part {
    /// The only key of a session.
    fn only(key: &KeyTemplate, id: &str, form: Form) -> Vec<Self> {
        vec![Self {
            key: key.around(id),
            form,
        }]
    }
}

/// What lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(Bytes),
    /// A hash: names and values.
    Hash(Vec<(Bytes, Bytes)>),
}

/// What was found at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// When the key ends, in Unix milliseconds; `None` if never.
    pub ends_at: Option<u64>,
}

/// What the parts of a session come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is none, or none any more; why, in words for the operator.
    No(&'static str),
    /// It is the session of this account, and more is written there.
    More(Arc<str>),
    /// This session. It may have run out: the caller compares the time.
    Session(Box<Record>),
}

/// What there is to know about a framework. A session is called by the framework's own id of it.
trait Framework: Debug + Send + Sync {
    /// The id in what a request carries; `None` if the framework would not take it for one of its own.
    fn open(&self, source: &TokenSource, carried: &[u8]) -> Option<Vec<u8>>;

    /// The keys that decide; the first one is the session's own. `account`: whose session it is, as soon as that is known.
    fn parts(&self, id: &str, account: Option<&str>) -> Vec<Part>;

    /// What lies there, in the order of [`Self::parts`].
    fn read(
        &self,
        question: &Question<'_>,
        found: &[Option<Found>],
    ) -> Result<Reading, RecordError>;

    /// What else goes when the session is ended.
    fn leftovers(&self, _id: &str) -> Vec<String> {
        Vec::new()
    }

    /// How all of its keys begin.
    fn prefix(&self) -> String;
}

/// Which session is asked for.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    id: &'a str,
    account: Option<&'a str>,
    /// Unix milliseconds.
    now: u64,
}

/// A framework's sessions, as configured.
#[derive(Debug)]
pub struct Layout {
    name: &'static str,
    framework: Box<dyn Framework>,
    /// What tokens of ours start with, where there are such.
    own: Option<String>,
    shape: TokenShape,
    /// Clients may carry a token of ours beside one of the framework's.
    migrates: bool,
}

impl Layout {
    /// The framework that the configuration names; `None` if it names none.
    pub fn of(config: &Config) -> Option<Arc<Self>> {
        let store = config.store.get_ref();
        let framework: Box<dyn Framework> = match store.layout {
            config::Layout::Drawbridge => return None,
            config::Layout::ConnectRedis => Box::new(express::Express::new(store)),
            config::Layout::FlaskSession => Box::new(flask::Flask::new(store)),
            config::Layout::SpringSession => Box::new(spring::Spring::new(store)),
            config::Layout::SaToken => Box::new(sa_token::SaToken::new(store)),
            config::Layout::Laravel => Box::new(laravel::Laravel::new(store)),
            config::Layout::LuaRestySession => Box::new(resty::Resty::new(store)),
        };
        let prefix = config.tokens.prefix.as_str().to_owned();
        Some(Arc::new(Self {
            name: store.layout.name(),
            framework,
            own: config.sessions.is_some().then_some(prefix),
            migrates: store.migrate,
            shape: TokenShape::new(&config.tokens),
        }))
    }

    /// Its name, as it is written in the configuration.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether this token is the framework's, and not one of ours.
    pub fn covers(&self, token: &Token) -> bool {
        let own = |prefix: &String| anchor_of(token, prefix).is_some();
        !self.own.as_ref().is_some_and(own)
    }

    /// The token that the framework calls this.
    pub fn token(&self, id: &[u8]) -> Option<Token> {
        self.shape.check(id).ok()
    }

    /// The keys that this token's session is made of, as far as is known before it is known whose it is. The first one is
    /// the session's own.
    pub fn parts(&self, token: &Token, account: Option<&str>) -> Vec<Part> {
        self.framework.parts(token.expose(), account)
    }

    /// What lies there, in the order of [`Self::parts`], at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// If it cannot be understood, or is in a form that is not read.
    pub fn read(
        &self,
        (token, account): (&Token, Option<&str>),
        found: &[Option<Found>],
        now: u64,
    ) -> Result<Reading, RecordError> {
        let question = Question {
            id: token.expose(),
            account,
            now,
        };
        self.framework.read(&question, found)
    }

    /// The session's own key, and what goes with it when it is ended.
    pub fn remains(&self, token: &Token) -> Vec<String> {
        let own = self.parts(token, None).into_iter().map(|part| part.key);
        own.take(1)
            .chain(self.framework.leftovers(token.expose()))
            .collect()
    }

    fn is_own(&self, carried: &[u8]) -> bool {
        let token = self.shape.check(carried);
        token.is_ok_and(|token| self.own.is_some() && !self.covers(&token))
    }

    /// How all of its keys begin.
    pub fn prefix(&self) -> String {
        self.framework.prefix()
    }
}

impl Seal for Layout {
    fn open(&self, source: &TokenSource, carried: &[u8]) -> Option<Vec<u8>> {
        match self.is_own(carried) {
            true => Some(carried.to_vec()),
            false => self.framework.open(source, carried),
        }
    }

    fn outranks(&self, carried: &[u8], other: &[u8]) -> bool {
        self.migrates && self.is_own(carried) && !self.is_own(other)
    }
}

/// These sources, as this configuration reads them: with what a framework wraps its tokens in taken off.
pub fn sources(list: &[Source], config: &Config) -> TokenSources {
    let sources = TokenSources::new(list, TokenShape::new(&config.tokens));
    match Layout::of(config) {
        Some(layout) => sources.sealed(layout),
        None => sources,
    }
}

/// A text, and when its key ends.
type Text<'a> = (&'a [u8], Option<u64>);

/// The text at this key.
fn text(found: Option<&Option<Found>>) -> Result<Option<Text<'_>>, RecordError> {
    match found.and_then(Option::as_ref) {
        None => Ok(None),
        Some(Found {
            value: Value::Text(bytes),
            ends_at,
        }) => Ok(Some((bytes, *ends_at))),
        Some(_) => Err(RecordError::Type),
    }
}

/// This session, which ends at the latest at the first of these.
fn until(mut record: Record, ends: impl IntoIterator<Item = Option<u64>>) -> Reading {
    let ends = ends.into_iter().chain([record.session.expires_at]);
    record.session.expires_at = ends.flatten().min();
    Reading::Session(Box::new(record))
}

/// The session that this JSON is, if anybody has logged in, until the end of its key.
fn whoever(picker: &Picker, record: &Json, end: Option<u64>) -> Result<Reading, RecordError> {
    Ok(match picker.session(record)? {
        Some(record) => until(record, [end]),
        None => NOBODY,
    })
}

const NONE: Reading = Reading::No("there is no such session");
const NOBODY: Reading = Reading::No("nobody has logged in: the session has no user id");

/// Whether this text is the signature of `signed` under one of these keys. Takes as long whichever it is.
fn is_signed(
    keys: &[hmac::Key],
    signed: &[u8],
    signature: &[u8],
    write: impl Fn(&[u8]) -> String,
) -> bool {
    keys.iter().fold(false, |known, key| {
        let expected = write(hmac::sign(key, signed).as_ref());
        known | verify_slices_are_equal(expected.as_bytes(), signature).is_ok()
    })
}

/// What stands before the last dot, and what stands behind it.
fn at_last_dot(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = memchr::memrchr(b'.', text)?;
    Some((text.get(..dot)?, text.get(dot + 1..)?))
}

#[cfg(test)]
mod tests;
