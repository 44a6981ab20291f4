//! An issuer's keys: given with the configuration, or fetched and kept.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Header};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::config::fault::Fault;
use crate::config::value::Jwks;
use crate::config::{Oidc, UpstreamTls};
use crate::upstream::{Document, FetchError};

/// How long fetched keys are used, in seconds.
const FRESH: u64 = 600;
/// How long nothing is fetched again, whatever tokens come in: strangers can send those.
const PAUSE: u64 = 10;
const MAX_SET: usize = 256 << 10;
const MAX_KEYS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysError {
    /// They could not be fetched.
    #[error(transparent)]
    Fetch(#[from] Arc<FetchError>),
    /// What was fetched is no set of keys.
    #[error("what the issuer answered is no JSON Web Key Set")]
    NoSet,
}

/// An issuer's keys.
#[derive(Debug)]
pub(super) enum Keys {
    Given(Vec<Jwk>),
    Fetched {
        place: Document,
        // Held while fetching: tokens that come meanwhile wait for the same answer.
        state: Mutex<State>,
    },
}

/// What the last attempt came to.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Unix seconds of the last attempt.
    tried_at: u64,
    found: Option<Result<Vec<Jwk>, KeysError>>,
}

impl Keys {
    pub(super) fn new(config: &Oidc) -> Result<Self, Fault> {
        let at = config.jwks.span();
        match config.jwks.get_ref() {
            Jwks::Inline(text) => match parse(text.as_bytes()) {
                Some(keys) if !keys.is_empty() => Ok(Self::Given(keys)),
                Some(_) | None => Err(Fault::error(at, "this is no set of public keys").help(
                    "write a JSON Web Key Set (RFC 7517): { \"keys\": [ … ] } with RSA, EC or Ed25519 keys",
                )),
            },
            Jwks::Url { origin, path } => {
                let trust = UpstreamTls {
                    ca: config.tls_ca.clone(),
                    ..UpstreamTls::default()
                };
                let place = Document::new(origin, path, &trust).map_err(|mut fault| {
                    fault.span = fault.span.or(Some(at));
                    fault
                })?;
                Ok(Self::Fetched {
                    place,
                    state: Mutex::default(),
                })
            }
        }
    }

    /// The keys that a token with this header may be signed with.
    pub(super) async fn fitting(
        &self,
        header: &Header,
        now: u64,
    ) -> Result<Vec<DecodingKey>, KeysError> {
        match self {
            Self::Given(keys) => Ok(select(keys, header)),
            Self::Fetched { place, state } => {
                let mut state = state.lock().await;
                let since = now.saturating_sub(state.tried_at);
                if let Some(Ok(keys)) = &state.found
                    && since < FRESH
                {
                    let fitting = select(keys, header);
                    // A key that is not there may be new: issuers put keys in before they use them, but not always.
                    if !fitting.is_empty() || since < PAUSE {
                        return Ok(fitting);
                    }
                }
                if let Some(Err(error)) = &state.found
                    && since < PAUSE
                {
                    return Err(error.clone());
                }
                state.tried_at = now;
                let found = fetch(place).await;
                if let Err(error) = &found {
                    tracing::warn!(%error, "the keys of an issuer cannot be had");
                }
                let fitting = found.as_ref().map(|keys| select(keys, header));
                let fitting = fitting.map_err(Clone::clone);
                state.found = Some(found);
                fitting
            }
        }
    }
}

async fn fetch(place: &Document) -> Result<Vec<Jwk>, KeysError> {
    let set = place.fetch(MAX_SET, PATIENCE).await.map_err(Arc::new)?;
    parse(&set).ok_or(KeysError::NoSet)
}

/// The public keys of a set. What we do not understand is left out, as RFC 7517 section 5 asks; a shared secret is no
/// public key.
fn parse(text: &[u8]) -> Option<Vec<Jwk>> {
    let set: Value = serde_json::from_slice(text).ok()?;
    let keys = set.get("keys")?.as_array()?;
    let public = |key: &Jwk| {
        DecodingKey::from_jwk(key)
            .is_ok_and(|key| key.family() != jsonwebtoken::AlgorithmFamily::Hmac)
    };
    let read = |key: &Value| serde_json::from_value::<Jwk>(key.clone()).ok();
    Some(
        keys.iter()
            .take(MAX_KEYS)
            .filter_map(read)
            .filter(public)
            .collect(),
    )
}

fn select(keys: &[Jwk], header: &Header) -> Vec<DecodingKey> {
    let fits = |key: &&Jwk| {
        let named = header.kid.is_none() || key.common.key_id == header.kid;
        let signs = matches!(
            key.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let mut algorithm = key.common.key_algorithm.iter();
        named && signs && algorithm.all(|one| *one == KeyAlgorithm::from(header.alg))
    };
    keys.iter()
        .filter(fits)
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
        .filter(|key| key.family() == header.alg.family())
        .collect()
}
