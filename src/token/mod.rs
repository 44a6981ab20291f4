//! The opaque secret at the door, and where to look for it.
//!
//! # Threat model
//! Everything here is the client's to choose. A token is a fixed alphabet and a maximum length or it is nothing: it is
//! refused before the store is asked, never trimmed, decoded or repaired. A request that carries two different tokens is
//! refused, because whichever we chose another part of the system might choose the other. Comparing tokens is the
//! store's look-up by key; where the store holds digests, time says nothing about the token. A token is never printed.

mod carried;
mod minted;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use self::carried::{bearer, cookie_value, cookies, remove_bearer, remove_cookie};
use crate::config::value::TokenSource as Source;
use crate::config::{Charset, Tokens};

pub use self::minted::{
    Anchor, MintedToken, RefreshToken, TokenSecret, anchor_of, once_digest, random_name,
};

/// An opaque token whose length and alphabet have been checked. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Makes a new one: `prefix` and 256 bits from the operating system in base64url.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub fn mint(prefix: &str) -> Result<Self, TokenError> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The secret itself, for whoever must hand it to the client or make the store's key of it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its SHA-256.
    pub fn digest(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Its SHA-256, in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.digest())
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
            hex
        })
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why what a request carries is no token that could be looked up. All of them are answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than `tokens.max_length`, or empty.
    #[error("the token is empty or longer than tokens.max_length")]
    Length,
    /// A character outside `tokens.charset`.
    #[error("the token has a character outside tokens.charset")]
    Charset,
    /// Two sources carry different tokens.
    #[error("the request carries two different tokens")]
    Conflict,
    /// The framework that writes the sessions would not take it for one of its own: it is not signed, or not by its secret.
    #[error("the token is not what the framework hands out")]
    Seal,
    /// The operating system gave no random bytes; only minting can meet it.
    #[error("no random bytes for a new token")]
    NoRandomness,
}

/// What a token may look like.
#[derive(Debug, Clone, Copy)]
pub struct TokenShape {
    max_length: usize,
    /// A bit for each byte that a token may have; all are ASCII.
    allowed: u128,
}

impl TokenShape {
    /// The shape that the configuration describes.
    pub fn new(config: &Tokens) -> Self {
        Self {
            max_length: config.max_length.as_usize(),
            allowed: (0..128_u8)
                .filter(|byte| allows(config.charset, *byte))
                .fold(0, |bits, byte| bits | 1 << byte),
        }
    }

    /// The token in these bytes.
    ///
    /// # Errors
    /// [`TokenError::Length`] and [`TokenError::Charset`].
    pub fn check(&self, bytes: &[u8]) -> Result<Token, TokenError> {
        if bytes.is_empty() || bytes.len() > self.max_length {
            return Err(TokenError::Length);
        }
        let fits = |byte: &u8| byte.is_ascii() && self.allowed >> byte & 1 == 1;
        if !bytes.iter().all(fits) {
            return Err(TokenError::Charset);
        }
        std::str::from_utf8(bytes)
            .map(|text| Token(text.to_owned()))
            .map_err(|_| TokenError::Charset)
    }
}

fn allows(charset: Charset, byte: u8) -> bool {
    match charset {
        Charset::Token68 => byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte),
        Charset::Base64url => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
        Charset::Hex => byte.is_ascii_hexdigit() || byte == b'-',
    }
}

/// What tokens are wrapped in by whoever hands them out.
pub trait Seal: fmt::Debug + Send + Sync {
    /// The token in what this source carries; `None` if it was not wrapped by whom it should.
    fn open(&self, source: &TokenSource, carried: &[u8]) -> Option<Vec<u8>>;

    /// Whether a request that carries both means this one, and keeps the other for want of it.
    fn outranks(&self, carried: &[u8], other: &[u8]) -> bool;
}

/// The longest text that is unwrapped.
const MAX_SEALED: usize = 4096;

/// Where to look for a token, in order.
#[derive(Debug, Clone)]
pub struct TokenSources {
    sources: Vec<TokenSource>,
    shape: TokenShape,
    seal: Option<Arc<dyn Seal>>,
}

/// One place where a token may be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// A header whose whole value is the token.
    Header(http::HeaderName),
    /// A cookie of this name.
    Cookie(String),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Authorization: Bearer"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// A token, and where it was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its source.
    pub source: &'a TokenSource,
    value: &'a [u8],
}

impl TokenSources {
    /// These sources, with this shape.
    pub fn new(sources: &[Source], shape: TokenShape) -> Self {
        let sources = sources
            .iter()
            .map(|source| match source {
                Source::Bearer => TokenSource::Bearer,
                Source::Header(name) => TokenSource::Header(name.to_http()),
                Source::Cookie(name) => TokenSource::Cookie(name.clone()),
            })
            .collect();
        Self {
            sources,
            shape,
            seal: None,
        }
    }

    /// The same, where tokens are wrapped.
    #[must_use]
    pub fn sealed(self, seal: Arc<dyn Seal>) -> Self {
        Self {
            seal: Some(seal),
            ..self
        }
    }

    /// The token these headers carry, with its source. `Ok(None)`: none of the sources has one.
    ///
    /// # Errors
    /// If a source holds something that cannot be a token, or if two different tokens are there.
    pub fn find<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> Result<Option<(Token, &'a TokenSource)>, TokenError> {
        let (Some(found), _) = self.look(headers)? else {
            return Ok(None);
        };
        Ok(Some((self.open(found)?, found.source)))
    }

    /// The token that stands back behind the one that is found; `None` if there is none that could be one.
    pub fn behind<'a>(&'a self, headers: &'a HeaderMap) -> Option<(Token, &'a TokenSource)> {
        self.seal.as_ref()?;
        let (_, behind) = self.look(headers).ok()?;
        let behind = behind?;
        Some((self.open(behind).ok()?, behind.source))
    }

    fn look<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> Result<(Option<Found<'a>>, Option<Found<'a>>), TokenError> {
        let (mut found, mut behind): (Option<Found<'a>>, Option<Found<'a>>) = (None, None);
        let outranks = |one: &[u8], other: &[u8]| {
            let seal = self.seal.as_ref();
            seal.is_some_and(|seal| seal.outranks(one, other))
        };
        for source in &self.sources {
            source.each(headers, |value| {
                let this = Found { source, value };
                let Some(first) = found else {
                    found = Some(this);
                    return Ok(());
                };
                if first.value == value || behind.is_some_and(|behind| behind.value == value) {
                    return Ok(());
                }
                if behind.is_some() {
                    return Err(TokenError::Conflict);
                }
                if outranks(first.value, value) {
                    behind = Some(this);
                } else if outranks(value, first.value) {
                    (found, behind) = (Some(this), Some(first));
                } else {
                    return Err(TokenError::Conflict);
                }
                Ok(())
            })?;
        }
        Ok((found, behind))
    }

    fn open(&self, found: Found<'_>) -> Result<Token, TokenError> {
        let Some(seal) = &self.seal else {
            return self.shape.check(found.value);
        };
        if found.value.len() > MAX_SEALED {
            return Err(TokenError::Length);
        }
        let opened = seal.open(found.source, found.value);
        self.shape.check(&opened.ok_or(TokenError::Seal)?)
    }

    /// Takes our tokens out of the headers, and nothing else: of a cookie line only our cookie goes, and the rest
    /// stays byte for byte.
    pub fn remove(&self, headers: &mut HeaderMap) {
        for source in &self.sources {
            match source {
                TokenSource::Bearer => remove_bearer(headers),
                TokenSource::Header(name) => {
                    headers.remove(name);
                }
                TokenSource::Cookie(name) => remove_cookie(headers, name),
            }
        }
    }

    /// Puts a token where these sources look first, as a client would.
    ///
    /// # Errors
    /// If no header can carry it.
    pub fn place(&self, token: &str, headers: &mut HeaderMap) -> Result<(), http::Error> {
        match self.sources.first() {
            Some(TokenSource::Bearer) => {
                headers.append(AUTHORIZATION, format!("Bearer {token}").try_into()?)
            }
            Some(TokenSource::Header(name)) => headers.append(name.clone(), token.try_into()?),
            Some(TokenSource::Cookie(name)) => {
                headers.append(COOKIE, format!("{name}={token}").try_into()?)
            }
            None => false,
        };
        Ok(())
    }

    /// The sources, in order.
    pub fn iter(&self) -> impl Iterator<Item = &TokenSource> {
        self.sources.iter()
    }
}

impl TokenSource {
    /// Calls `take` with every value this source has in these headers, until it refuses one.
    fn each<'a>(
        &self,
        headers: &'a HeaderMap,
        mut take: impl FnMut(&'a [u8]) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        match self {
            Self::Bearer => headers
                .get_all(AUTHORIZATION)
                .iter()
                .filter_map(|value| bearer(value.as_bytes()))
                .try_for_each(take),
            Self::Header(name) => headers
                .get_all(name)
                .iter()
                .map(|value| value.as_bytes())
                .try_for_each(take),
            Self::Cookie(name) => {
                for line in headers.get_all(COOKIE) {
                    for pair in cookies(line.as_bytes()) {
                        if let Some(value) = cookie_value(pair, name) {
                            take(value)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
