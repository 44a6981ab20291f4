//! The keys that assertions are signed with: read once for all workers, and remembered for as long as something that they
//! have signed is good.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters,
    EllipticCurveKeyType, Jwk, OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse,
    ThumbprintHash,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use toml::Spanned;

use crate::config::fault::Fault;

/// A private key, and its public half.
#[derive(Debug)]
pub(super) struct Key {
    /// The thumbprint of the public half (RFC 7638): the same key has the same name on every gateway.
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) private: EncodingKey,
    public: Jwk,
    /// Unix seconds since when verifiers can see it; 0: not yet.
    announced_at: AtomicU64,
    /// Unix seconds at which the last assertion ends that it has signed.
    signed_until: AtomicU64,
}

/// All keys of a process, through every change of its configuration. A key that is taken off signs nothing any more, but
/// is published until the last assertion has ended that it has signed.
#[derive(Debug, Default)]
pub struct KeyRing {
    known: Mutex<Vec<Arc<Key>>>,
    made: Mutex<Option<Arc<Key>>>,
}

impl KeyRing {
    /// The keys in these files, in this order, or one that is made if there are none: the same for every worker.
    pub(super) fn take_up(&self, files: &[Spanned<PathBuf>]) -> Result<Vec<Arc<Key>>, Vec<Fault>> {
        let mut keys: Vec<Key> = Vec::new();
        let mut faults = Vec::new();
        for file in files {
            match Key::read(file.get_ref(), file.span()) {
                Ok(key) if keys.iter().any(|other| other.id == key.id) => {
                    let twice = Fault::error(Some(file.span()), "this key is there twice");
                    faults.push(twice.help("remove one"));
                }
                Ok(key) => keys.push(key),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if files.is_empty() {
            return Ok(vec![self.made().map_err(|fault| vec![fault])?]);
        }
        Ok(self.remember(keys))
    }

    fn made(&self) -> Result<Arc<Key>, Fault> {
        let mut made = self.made.lock();
        if let Some(key) = &*made {
            return Ok(Arc::clone(key));
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok();
        let key = pair.and_then(|pair| Key::new(&pair));
        let key = key.ok_or_else(|| Fault::error(None, "no key could be made for assertions"))?;
        let [key] = <[_; 1]>::try_from(self.remember(vec![key])).expect("one goes in");
        *made = Some(Arc::clone(&key));
        Ok(key)
    }

    fn remember(&self, keys: Vec<Key>) -> Vec<Arc<Key>> {
        let mut known = self.known.lock();
        // What a gateway starts with has been seen, as far as it can know: others may have announced it.
        let since = u64::from(known.is_empty());
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| match known.iter().find(|other| other.id == key.id) {
                Some(same) => Arc::clone(same),
                None => Arc::new(key.announced_since(since)),
            })
            .collect();
        for key in &keys {
            if !known.iter().any(|other| other.id == key.id) {
                known.push(Arc::clone(key));
            }
        }
        keys
    }

    /// The public halves of these keys, and of every other one whose assertions are good at `now`. What is over is forgotten.
    pub(super) fn published(&self, keys: &[Arc<Key>], now: u64) -> Vec<Jwk> {
        let listed = |key: &Arc<Key>| keys.iter().any(|other| other.id == key.id);
        let mut known = self.known.lock();
        // Another worker may have others, while a configuration is being taken over.
        known.retain(|key| listed(key) || key.is_needed(now) || Arc::strong_count(key) > 1);
        let older = known
            .iter()
            .filter(|key| !listed(key) && key.is_needed(now));
        let all = keys.iter().chain(older);
        all.map(|key| key.public.clone()).collect()
    }
}

impl Key {
    fn read(file: &Path, at: Range<usize>) -> Result<Self, Fault> {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| {
            let problem = format!("key file `{shown}` cannot be read: {}", error.kind());
            Fault::error(Some(at.clone()), problem)
        })?;
        let pair = KeyPair::from_pem(&text).ok();
        pair.and_then(|pair| Self::new(&pair)).ok_or_else(|| {
            Fault::error(
                Some(at),
                format!("`{shown}` holds no key that assertions can be signed with"),
            )
            .help("a PEM file (PKCS#8) with a P-256 or an Ed25519 key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem")
        })
    }

    /// `None` if it is of another kind, or cannot sign.
    fn new(pair: &KeyPair) -> Option<Self> {
        let der = pair.serialized_der();
        let raw = pair.public_key_raw();
        let (algorithm, private, parameters) = if pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            // SEC 1 section 2.3.3: 4, then both coordinates.
            let (x, y) = raw.strip_prefix(&[4])?.split_at_checked(32)?;
            let point = EllipticCurveKeyParameters {
                key_type: EllipticCurveKeyType::EC,
                curve: EllipticCurve::P256,
                x: URL_SAFE_NO_PAD.encode(x),
                y: URL_SAFE_NO_PAD.encode(y),
            };
            let point = AlgorithmParameters::EllipticCurve(point);
            (Algorithm::ES256, EncodingKey::from_ec_der(der), point)
        } else if pair.is_compatible(&PKCS_ED25519) {
            let point = OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: URL_SAFE_NO_PAD.encode(raw),
            };
            let point = AlgorithmParameters::OctetKeyPair(point);
            (Algorithm::EdDSA, EncodingKey::from_ed_der(der), point)
        } else {
            return None;
        };
        let mut public = Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(algorithm.into()),
                ..CommonParameters::default()
            },
            algorithm: parameters,
        };
        let id = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(id.clone());
        jsonwebtoken::encode(&Header::new(algorithm), &(), &private).ok()?;
        Some(Self {
            id,
            algorithm,
            private,
            public,
            announced_at: AtomicU64::new(0),
            signed_until: AtomicU64::new(0),
        })
    }

    fn announced_since(mut self, since: u64) -> Self {
        *self.announced_at.get_mut() = since;
        self
    }

    /// Since when verifiers can see it: since `now`, if they could not before.
    pub(super) fn announced(&self, now: u64) -> u64 {
        let first =
            self.announced_at
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|before| before, |_| now)
    }

    /// Notes that something that it signs is good until then.
    pub(super) fn signs_until(&self, end: u64) {
        self.signed_until.fetch_max(end, Ordering::Relaxed);
    }

    fn is_needed(&self, now: u64) -> bool {
        now < self.signed_until.load(Ordering::Relaxed)
    }
}
