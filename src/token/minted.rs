//! The tokens that we mint for sessions that can be ended: what they are made of, and how to tell them.
//!
//! ```text
//! dbt_ anchor(16) secret(43)              access
//! dbr_ anchor(16) family(16) secret(43)   refresh
//! dbo_ secret(43)                         one-time
//! ```
//! The anchor says where the user's record lies, so that it can be asked for together with the token's. It is a digest:
//! two tokens of one user can be told to be of one user, and no more than that.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Token, TokenError, hex};

/// Characters of an anchor, of a session's name and of a family's name: 12 bytes in base64url.
const NAME: usize = 16;
/// Characters of a secret: 32 bytes in base64url.
const SECRET: usize = 43;
/// What refresh tokens start with.
const REFRESH: &str = "dbr_";
/// What one-time tokens start with.
const ONCE: &str = "dbo_";

/// Where a user's record lies: the first 12 bytes of SHA-256(realm, 0, user id) in base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor([u8; NAME]);

impl Anchor {
    /// The anchor of this user in this realm.
    pub fn of(realm: &str, user_id: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(realm.as_bytes());
        context.update(&[0]);
        context.update(user_id.as_bytes());
        let mut anchor = [0; NAME];
        let digest = context.finish();
        let start = digest.as_ref().get(..12).unwrap_or_default();
        URL_SAFE_NO_PAD
            .encode_slice(start, &mut anchor)
            .expect("12 bytes are 16 characters");
        Self(anchor)
    }

    /// As it stands in tokens and keys.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; NAME] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .copied()
            .all(is_base64url)
            .then_some(Self(bytes))
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// 256 secret bits in base64url. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(String);

impl TokenSecret {
    /// New ones from the operating system.
    ///
    /// # Errors
    /// [`TokenError::NoRandomness`].
    pub fn random() -> Result<Self, TokenError> {
        Ok(Self(URL_SAFE_NO_PAD.encode(random_bytes::<32>()?)))
    }

    /// HMAC-SHA-256 under this secret: whoever holds it can make the same one again, and nobody else.
    pub fn child(&self, nonce: &str, purpose: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(nonce.as_bytes());
        context.update(purpose.as_bytes());
        Self(URL_SAFE_NO_PAD.encode(context.sign()))
    }

    /// Its SHA-256, in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }

    fn read(text: &str) -> Option<Self> {
        let sound = text.len() == SECRET && text.bytes().all(is_base64url);
        sound.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// A token that was just made, for whoever must hand it to the client. Prints as nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintedToken(Token);

impl MintedToken {
    /// An access token.
    pub fn access(prefix: &str, anchor: Anchor, secret: &TokenSecret) -> Self {
        Self(Token(format!("{prefix}{}{}", anchor.as_str(), secret.0)))
    }

    /// A refresh token of this family.
    pub fn refresh(anchor: Anchor, family: &str, secret: &TokenSecret) -> Self {
        Self(Token(format!(
            "{REFRESH}{}{family}{}",
            anchor.as_str(),
            secret.0
        )))
    }

    /// A one-time token.
    pub fn once(secret: &TokenSecret) -> Self {
        Self(Token(format!("{ONCE}{}", secret.0)))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// As a token that can be looked up.
    pub fn token(&self) -> &Token {
        &self.0
    }
}

/// A refresh token taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// Where its user's record lies.
    pub anchor: Anchor,
    /// Its family: the refresh tokens that came out of one login.
    pub family: String,
    /// What makes it this very one of its family.
    pub secret: TokenSecret,
}

impl RefreshToken {
    /// The token in this text; nothing if it is none of ours.
    pub fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(REFRESH)?;
        let (anchor, rest) = rest.split_at_checked(NAME)?;
        let (family, secret) = rest.split_at_checked(NAME)?;
        Some(Self {
            anchor: Anchor::read(anchor)?,
            family: family
                .bytes()
                .all(is_base64url)
                .then(|| family.to_owned())?,
            secret: TokenSecret::read(secret)?,
        })
    }
}

/// The SHA-256 in hex of this one-time token, under which it is kept; nothing if it is none of ours.
pub fn once_digest(text: &str) -> Option<String> {
    TokenSecret::read(text.strip_prefix(ONCE)?)?;
    Some(hex(
        digest::digest(&digest::SHA256, text.as_bytes()).as_ref()
    ))
}

/// Where the user's record lies, if this token has exactly the shape of an access token of ours.
pub fn anchor_of(token: &Token, prefix: &str) -> Option<Anchor> {
    let rest = token.expose().strip_prefix(prefix)?;
    let (anchor, secret) = rest.split_at_checked(NAME)?;
    let sound = secret.len() == SECRET && secret.bytes().all(is_base64url);
    sound.then(|| Anchor::read(anchor)).flatten()
}

/// 96 random bits in base64url: the name of a session, of a family, a nonce.
///
/// # Errors
/// [`TokenError::NoRandomness`].
pub fn random_name() -> Result<String, TokenError> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<12>()?))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
    Ok(bytes)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tokens;
    use crate::token::TokenShape;

    #[test]
    fn access_tokens_of_exactly_our_shape_tell_where_the_user_lies() {
        let anchor = Anchor::of("main", "alice");
        let token = MintedToken::access("dbt_", anchor, &TokenSecret::random().unwrap());
        assert_eq!(token.expose().len(), 4 + 16 + 43);
        assert_eq!(anchor_of(token.token(), "dbt_"), Some(anchor));
        let shape = TokenShape::new(&Tokens::default());
        let text = token.expose();
        for other in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace("dbt_", "dbx_"),
            &format!("{}.", &text[..text.len() - 1]),
            &format!("dbt_.{}", &text[5..]),
            "dbt_",
        ] {
            let other = shape.check(other.as_bytes()).unwrap();
            assert_eq!(anchor_of(&other, "dbt_"), None, "{}", other.expose());
        }
    }

    #[test]
    fn anchors_are_apart_for_users_and_realms_and_the_border_between_them_counts() {
        let all = [("a", "bc"), ("ab", "c"), ("a", "b"), ("", "abc")];
        let anchors: std::collections::HashSet<_> = all
            .iter()
            .map(|(realm, user)| Anchor::of(realm, user))
            .collect();
        assert_eq!(anchors.len(), all.len());
        // SHA-256("main\0alice"), by another program.
        assert_eq!(Anchor::of("main", "alice").as_str(), ALICE);
    }

    /// `printf 'main\0alice' | openssl sha256 -binary | head -c 12 | base64 | tr +/ -_`
    const ALICE: &str = "RqlQWP2y5Ar3mMmg";

    #[test]
    fn refresh_tokens_come_apart_into_what_they_were_made_of() {
        let (anchor, family) = (Anchor::of("main", "alice"), random_name().unwrap());
        let secret = TokenSecret::random().unwrap();
        let token = MintedToken::refresh(anchor, &family, &secret);

        let read = RefreshToken::read(token.expose()).unwrap();

        assert_eq!(
            read,
            RefreshToken {
                anchor,
                family,
                secret
            }
        );
        let text = token.expose();
        for other in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace("dbr_", "dbt_"),
            "dbr_é",
            "",
        ] {
            assert_eq!(RefreshToken::read(other), None, "{other}");
        }
    }

    #[test]
    fn children_depend_on_parent_nonce_and_purpose_and_on_nothing_else() {
        let (one, two) = (
            TokenSecret::random().unwrap(),
            TokenSecret::random().unwrap(),
        );
        assert_eq!(one.child("n", "refresh"), one.child("n", "refresh"));
        for other in [
            one.child("n", "access"),
            one.child("m", "refresh"),
            two.child("n", "refresh"),
        ] {
            assert_ne!(one.child("n", "refresh"), other);
        }
        assert_eq!(one.child("n", "refresh").0.len(), SECRET);
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let secret = TokenSecret::random().unwrap();
        let token = MintedToken::once(&secret);
        let printed = format!("{secret:?} {token:?}");
        assert!(!printed.contains(&secret.0), "{printed}");
        assert!(once_digest(token.expose()).is_some());
        assert_eq!(once_digest("dbo_short"), None);
    }
}
