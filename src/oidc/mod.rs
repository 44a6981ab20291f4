//! Logout tokens of OpenID providers (OpenID Connect Back-Channel Logout 1.0, section 2.4 and 2.6).
//!
//! # Threat model
//! Whoever can make a logout token that is believed here can throw users out. So a token is believed only from a
//! configured issuer, for our audience, signed with a pinned algorithm by one of the issuer's own keys; never because
//! of a key or an address that the token itself brings along. It lives for two minutes, and is good once.

mod keys;

use std::fmt;

use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Map, Value};

use crate::config::fault::Fault;
use crate::config::value::UserTemplate;
use crate::config::{JwsAlgorithm, Oidc, UnknownSid};

use self::keys::Keys;
pub use self::keys::KeysError;

/// How old a token may be, and how long it may be good: OWASP ASVS 5.0 section 10.5.5.
const MAX_AGE: u64 = 120;
/// By how much the provider's clock may be ahead of ours, in seconds.
const SKEW: u64 = 30;
/// No provider's token is near this.
const MAX_TOKEN: usize = 16 << 10;

/// What the `events` claim must have.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Why a logout token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It is not a logout token for us; the text says what is wrong with it, without quoting it. 400.
    #[error("the logout token is not valid: {0}")]
    Invalid(&'static str),
    /// The issuer's keys are not to be had, so nobody can tell. 503.
    #[error("the keys of the issuer cannot be had")]
    Keys(#[from] KeysError),
}

/// The providers that may log users out.
#[derive(Debug, Default)]
pub struct Providers(Vec<Provider>);

struct Provider {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    user: UserTemplate,
    unknown_sid: UnknownSid,
    keys: Keys,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// A logout token that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// Who says so.
    pub issuer: String,
    /// The session at the provider that has ended.
    pub sid: Option<String>,
    /// Whose sessions have ended, under the name that the user has here.
    pub user: Option<String>,
    /// Its own id, which an issuer never uses twice.
    pub jti: String,
    /// Until when it could be believed, in Unix milliseconds: for so long its id must be remembered.
    pub believed_until: u64,
    /// What happens if no login has named `sid`.
    pub unknown_sid: UnknownSid,
}

impl Providers {
    /// The configured providers. Keys that have to be fetched are fetched when they are needed.
    ///
    /// # Errors
    /// Keys that cannot be read, or authorities for fetching them that cannot.
    pub fn build(config: &[Oidc]) -> Result<Self, Vec<Fault>> {
        let mut providers = Vec::with_capacity(config.len());
        let mut faults = Vec::new();
        for provider in config {
            match Keys::new(provider) {
                Ok(keys) => providers.push(Provider {
                    issuer: provider.issuer.get_ref().clone(),
                    audience: provider.audience.clone(),
                    algorithms: provider
                        .algorithms
                        .iter()
                        .map(|one| algorithm(*one))
                        .collect(),
                    user: provider.user.clone(),
                    unknown_sid: provider.unknown_sid,
                    keys,
                }),
                Err(fault) => faults.push(fault),
            }
        }
        match faults.is_empty() {
            true => Ok(Self(providers)),
            false => Err(faults),
        }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuer of a login that names none: the only one.
    pub fn only(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(&only.issuer),
            _ => None,
        }
    }

    /// Whether this is the issuer of one of them.
    pub fn knows(&self, issuer: &str) -> bool {
        self.0.iter().any(|provider| provider.issuer == issuer)
    }

    /// Judges a logout token at this time (Unix seconds). That it is the first with its `jti` is for the caller to see.
    ///
    /// # Errors
    /// [`OidcError`].
    pub async fn judge(&self, token: &str, now: u64) -> Result<Logout, OidcError> {
        if token.len() > MAX_TOKEN {
            return Err(OidcError::Invalid("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| OidcError::Invalid("it is no signed JWT with an algorithm we know"))?;
        check_header(&header)?;
        // Not believed yet: it only says whose keys to try.
        let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| OidcError::Invalid("its claims are no JSON object"))?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        let provider = self
            .0
            .iter()
            .find(|provider| Some(provider.issuer.as_str()) == issuer)
            .ok_or(OidcError::Invalid("its issuer is not configured"))?;
        if !provider.algorithms.contains(&header.alg) {
            return Err(OidcError::Invalid("its algorithm is not allowed"));
        }
        let claims = provider.verified(token, &header, now).await?;
        provider.read(&claims, now)
    }
}

impl Provider {
    /// The claims, once one of the issuer's keys fits the signature.
    async fn verified(
        &self,
        token: &str,
        header: &Header,
        now: u64,
    ) -> Result<Map<String, Value>, OidcError> {
        let mut validation = Validation::new(header.alg);
        // Claims are judged below, by our own clock and all in one place.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let keys = self.keys.fitting(header, now).await?;
        keys.iter()
            .find_map(|key| jsonwebtoken::decode(token, key, &validation).ok())
            .map(|data| data.claims)
            .ok_or(OidcError::Invalid(
                "no key of the issuer fits its signature",
            ))
    }

    fn read(&self, claims: &Map<String, Value>, now: u64) -> Result<Logout, OidcError> {
        use OidcError::Invalid;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.issuer) {
            return Err(Invalid("its issuer is another"));
        }
        let for_us = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(many)) => many.iter().any(|one| *one == self.audience.as_str()),
            _ => false,
        };
        if !for_us {
            return Err(Invalid("it is for another audience"));
        }
        if claims.contains_key("nonce") {
            return Err(Invalid("it has a nonce, which only ID tokens have"));
        }
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(Invalid("it has no back-channel logout event"));
        }
        let (issued, expires) = (time(claims, "iat")?, time(claims, "exp")?);
        if issued > now + SKEW || issued + MAX_AGE < now {
            return Err(Invalid("it was not issued in the last two minutes"));
        }
        if expires + SKEW <= now || expires < issued {
            return Err(Invalid("it has expired"));
        }
        let named = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(value)) if !value.is_empty() => Ok(Some(value.as_str())),
            Some(_) => Err(Invalid("its sub or sid is no text")),
        };
        let (sid, sub) = (named("sid")?, named("sub")?);
        if sid.is_none() && sub.is_none() {
            return Err(Invalid("it names neither a sub nor a sid"));
        }
        let jti = text("jti").filter(|jti| !jti.is_empty());
        Ok(Logout {
            issuer: self.issuer.clone(),
            sid: sid.map(str::to_owned),
            user: sub.map(|sub| self.user.of(sub)),
            jti: jti.ok_or(Invalid("it has no jti"))?.to_owned(),
            believed_until: (issued + MAX_AGE + 1).saturating_mul(1000),
            unknown_sid: self.unknown_sid,
        })
    }
}

/// `logout+jwt`, as the specification recommends, or no more than that it is a JWT, as older providers write.
fn check_header(header: &Header) -> Result<(), OidcError> {
    let kind = header.typ.as_deref().map(str::to_ascii_lowercase);
    let fits = match kind.as_deref() {
        None => true,
        Some(kind) => matches!(
            kind.strip_prefix("application/").unwrap_or(kind),
            "logout+jwt" | "jwt"
        ),
    };
    if !fits {
        return Err(OidcError::Invalid("its type is another"));
    }
    // RFC 7515 section 4.1.11: what must be understood, and is not, makes it invalid.
    match header.crit {
        None => Ok(()),
        Some(_) => Err(OidcError::Invalid("it demands an extension")),
    }
}

/// A `NumericDate` (RFC 7519 section 2); what is behind the point does not matter.
fn time(claims: &Map<String, Value>, name: &str) -> Result<u64, OidcError> {
    let value = claims.get(name);
    let whole = value.and_then(Value::as_u64);
    let cut = || value.and_then(Value::as_f64).map(|time| time as u64);
    whole
        .or_else(cut)
        .filter(|time| *time < u64::from(u32::MAX) * 1000)
        .ok_or(OidcError::Invalid("its iat or exp is no time"))
}

fn algorithm(name: JwsAlgorithm) -> Algorithm {
    match name {
        JwsAlgorithm::RS256 => Algorithm::RS256,
        JwsAlgorithm::RS384 => Algorithm::RS384,
        JwsAlgorithm::RS512 => Algorithm::RS512,
        JwsAlgorithm::PS256 => Algorithm::PS256,
        JwsAlgorithm::PS384 => Algorithm::PS384,
        JwsAlgorithm::PS512 => Algorithm::PS512,
        JwsAlgorithm::ES256 => Algorithm::ES256,
        JwsAlgorithm::ES384 => Algorithm::ES384,
        JwsAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests;
