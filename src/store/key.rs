//! Under which key everything lies, and whether the record found there is the token's own.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::{AtRest, Config, value::KeyTemplate};
use crate::layout::{Form, Layout};
use crate::token::{Anchor, Token, hex};
use crate::tombstone::Tombstone;

/// What every key but those of tokens starts with.
const PREFIX: &str = "login";

/// A key of the store. May hold a token, so it is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Where the bucket of a rate limit lies, by its name.
    pub fn limit(bucket: &str) -> Self {
        Self(format!("{PREFIX}:limit:{bucket}"))
    }

    /// The key itself, for the backend.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Makes all keys.
#[derive(Debug, Clone)]
pub struct Keys {
    tokens: KeyFormat,
    realm: String,
    layout: Option<Arc<Layout>>,
}

impl Keys {
    /// The keys that this configuration wants.
    pub fn new(config: &Config) -> Self {
        let realm = config.sessions.as_ref().map(|sessions| &sessions.realm);
        Self {
            tokens: KeyFormat::new(config.store.get_ref().own_key(), config.tokens.at_rest),
            layout: Layout::of(config),
            realm: realm.cloned().unwrap_or_default().as_str().to_owned(),
        }
    }

    /// Where this token's record lies.
    pub fn token(&self, token: &Token) -> Key {
        match self.foreign(token) {
            Some(layout) => Key(layout.parts(token, None).swap_remove(0).key),
            None => Key(self.tokens.of(token)),
        }
    }

    /// The framework that this token is of; `None` if sessions are not a framework's, or this one is ours.
    pub fn foreign(&self, token: &Token) -> Option<&Arc<Layout>> {
        self.layout.as_ref().filter(|layout| layout.covers(token))
    }

    /// All keys that a token's record is made of, as far as is known before it is known whose it is; the first is
    /// [`Self::token`].
    pub fn parts(&self, token: &Token, account: Option<&str>) -> Vec<(Key, Form)> {
        match self.foreign(token) {
            Some(layout) => {
                let parts = layout.parts(token, account).into_iter();
                parts.map(|part| (Key(part.key), part.form)).collect()
            }
            None => vec![(self.token(token), Form::Text)],
        }
    }

    /// The framework's token that it calls this.
    pub fn foreign_token(&self, name: &[u8]) -> Option<Token> {
        self.layout.as_ref()?.token(name)
    }

    /// Where it is noted which session of ours came out of this token's.
    pub fn moved(&self, token: &Token) -> Key {
        let digest = token.sha256_hex();
        Key(format!("{PREFIX}:moved:{}:{digest}", self.realm))
    }

    /// Where it is noted which framework's token the session of this name came from.
    pub fn origin(&self, sid: &str) -> Key {
        Key(format!("{PREFIX}:origin:{}:{sid}", self.realm))
    }

    /// What goes when a token's session is ended; the first is [`Self::token`].
    pub fn remains(&self, token: &Token) -> Vec<Key> {
        match self.foreign(token) {
            Some(layout) => layout.remains(token).into_iter().map(Key).collect(),
            None => vec![self.token(token)],
        }
    }

    /// What a user's record says of where a token's record lies; see [`Self::named`]. As secret as the token where
    /// tokens are kept plain.
    pub fn name(&self, token: &Token) -> String {
        self.tokens.name(token)
    }

    /// Where the token's record lies that is called this in a user's record.
    pub fn named(&self, name: &str) -> Key {
        Key(self.tokens.around(name))
    }

    /// Where a user's record lies.
    pub fn user(&self, anchor: Anchor) -> Key {
        Key(format!("{PREFIX}:user:{}:{}", self.realm, anchor.as_str()))
    }

    /// Where the realm's record lies.
    pub fn realm(&self) -> Key {
        Key(format!("{PREFIX}:realm:{}", self.realm))
    }

    /// Where the payload of a one-time token lies, by the token's digest.
    pub fn once(&self, digest: &str) -> Key {
        Key(format!("{PREFIX}:once:{digest}"))
    }

    /// Where it is remembered that this was ended.
    pub fn tombstone(&self, tombstone: &Tombstone) -> Key {
        Key(format!("{}{}", self.tombstones(), tombstone.name()))
    }

    /// The same for one that is only there to be heard of: it also tells when it was left, in Unix milliseconds.
    pub fn tombstone_at(&self, tombstone: &Tombstone, at: u64) -> Key {
        Key(format!("{}@{at}:{}", self.tombstones(), tombstone.name()))
    }

    /// How the keys of tombstones begin.
    pub(super) fn tombstones(&self) -> String {
        format!("{PREFIX}:dead:{}:", self.realm)
    }

    /// Where the gateways of this realm are listed.
    pub(super) fn roll(&self) -> Key {
        Key(format!("{PREFIX}:roll:{}", self.realm))
    }

    /// A roll call of this name, at the server that holds `about`: whoever hears it has heard of every change of that key
    /// that was made before.
    pub(super) fn call(&self, name: &str, about: &Key) -> Key {
        // The whole key as a hash tag falls into the key's own slot; unless it has a hash tag itself, which then counts.
        let about = about.as_str();
        let tag = about
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'));
        let tag = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty());
        Key(format!(
            "{}{name}:{{{}}}",
            self.calls(),
            tag.unwrap_or(about)
        ))
    }

    /// Where the answers to it are.
    pub(super) fn answers(&self, name: &str) -> Key {
        Key(format!("{PREFIX}:answers:{}:{name}", self.realm))
    }

    /// How the keys of roll calls begin.
    pub(super) fn calls(&self) -> String {
        format!("{PREFIX}:call:{}:", self.realm)
    }

    /// How the keys begin that a verdict on a token rests on.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let all = [
            self.tokens.template.before.clone(),
            format!("{PREFIX}:user:{}:", self.realm),
            format!("{PREFIX}:realm:{}", self.realm),
            self.tombstones(),
            self.calls(),
        ];
        let foreign = self.layout.iter().map(|layout| layout.prefix());
        all.into_iter().chain(foreign).collect()
    }

    /// SHA-256 of the token that is called this in a user's record, in lower-case hex.
    pub fn digest_of(&self, name: &str) -> String {
        self.tokens.digest_of(name)
    }

    /// Where it is noted which sessions came out of a session at an OpenID provider.
    pub fn external(&self, issuer: &str, sid: &str) -> Key {
        Key(format!(
            "{PREFIX}:ext:{}:{}",
            self.realm,
            digest_of(issuer, sid)
        ))
    }

    /// Where it is noted that a logout token was seen.
    pub fn seen(&self, issuer: &str, jti: &str) -> Key {
        Key(format!(
            "{PREFIX}:jti:{}:{}",
            self.realm,
            digest_of(issuer, jti)
        ))
    }

    /// The realm's name.
    pub fn realm_name(&self) -> &str {
        &self.realm
    }
}

/// SHA-256 in base64url of an issuer and what it calls something. Issuers are configured and have no zero bytes.
fn digest_of(issuer: &str, name: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(issuer.as_bytes());
    context.update(&[0]);
    context.update(name.as_bytes());
    URL_SAFE_NO_PAD.encode(context.finish())
}

/// Makes keys of tokens: `login:token:` and the token, or its digest.
#[derive(Debug, Clone)]
pub(super) struct KeyFormat {
    template: KeyTemplate,
    at_rest: AtRest,
}

impl KeyFormat {
    pub(super) fn new(template: KeyTemplate, at_rest: AtRest) -> Self {
        Self { template, at_rest }
    }

    /// The key of this token. As secret as the token where tokens are kept plain.
    pub(super) fn of(&self, token: &Token) -> String {
        self.around(&self.name(token))
    }

    fn name(&self, token: &Token) -> String {
        match self.at_rest {
            AtRest::Plain => token.expose().to_owned(),
            AtRest::Sha256 => token.sha256_hex(),
        }
    }

    fn digest_of(&self, name: &str) -> String {
        match self.at_rest {
            AtRest::Plain => hex(digest::digest(&digest::SHA256, name.as_bytes()).as_ref()),
            AtRest::Sha256 => name.to_owned(),
        }
    }

    fn around(&self, name: &str) -> String {
        self.template.around(name)
    }
}

/// Whether a record that was written for the token with this digest may be this token's. A record without a digest was
/// written by somebody else, who promises nothing.
pub fn belongs(digest: Option<&str>, token: &Token) -> bool {
    if digest.is_none_or(|digest| digest == token.sha256_hex()) {
        return true;
    }
    tracing::error!("the session store answered with a record that was written for another token");
    false
}
