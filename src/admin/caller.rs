//! Who calls, and what they may do.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::Problem;
use crate::config::{Admin, Scope};
use crate::peer::Peer;

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name in the audit log.
    pub(super) name: Arc<str>,
    /// How it is known: see [`crate::audit::Entry::by`].
    pub(super) by: &'static str,
    scopes: Arc<[Scope]>,
}

/// All there is.
const EVERY_SCOPE: [Scope; 4] = [
    Scope::SessionsRead,
    Scope::SessionsWrite,
    Scope::RightsWrite,
    Scope::Limits,
];

impl Caller {
    fn new(name: &str, by: &'static str, scopes: &[Scope]) -> Self {
        Self {
            name: name.into(),
            by,
            scopes: scopes.into(),
        }
    }

    /// Whoever may open the store itself may do everything.
    pub(super) fn command_line() -> Self {
        Self::new("cli", "cli", &EVERY_SCOPE)
    }
}

/// One call: its name, who makes it, and from where. Stands in the request's extensions, where no client can put it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: Arc<str>,
    pub(super) from: Option<IpAddr>,
    pub(super) caller: Result<Caller, Problem>,
}

/// Tells callers apart.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<([u8; 32], Caller)>,
    clients: Vec<(String, Caller)>,
    /// Who is let in without showing anything.
    anybody: Option<Caller>,
}

impl Gate {
    pub(super) fn new(config: &Admin) -> Self {
        let keys = config.keys.iter().map(|key| {
            let key = key.get_ref();
            let caller = Caller::new(&key.name, "key", &key.scopes);
            (*key.sha256.as_bytes(), caller)
        });
        let clients = config.clients.iter().map(|client| {
            let client = client.get_ref();
            let caller = Caller::new(&client.name, "certificate", &client.scopes);
            (client.certificate.as_str().to_owned(), caller)
        });
        Self {
            keys: keys.collect(),
            clients: clients.collect(),
            anybody: config
                .unauthenticated_loopback
                .then(|| Caller::new("-", "loopback", &EVERY_SCOPE)),
        }
    }

    /// Who this is. A key goes before a certificate: whoever shows one wants to be known by it.
    ///
    /// # Errors
    /// 401 if nobody known, 403 if it is a web page that speaks through somebody's browser.
    pub(super) fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        if let Some(shown_first) = shown.next() {
            let key = shown_first.as_bytes();
            let key = bearer(key).filter(|_| shown.next().is_none());
            return key
                .and_then(|key| self.holder(key))
                .ok_or(Problem::KEY_INVALID);
        }
        if let Some(shown) = peer.certificate() {
            let mut clients = self.clients.iter();
            let known = clients.find(|(name, _)| shown.names.contains(name));
            if let Some((_, caller)) = known {
                return Ok(caller.clone());
            }
            if self.anybody.is_none() {
                return Err(Problem::CERTIFICATE_UNKNOWN);
            }
        }
        let anybody = self.anybody.as_ref().ok_or(Problem::KEY_MISSING)?;
        if is_local_program(headers) {
            Ok(anybody.clone())
        } else {
            Err(Problem::FOREIGN_PAGE)
        }
    }

    /// The holder of this key. Takes as long whether there is one or not: every digest is compared to its last byte.
    fn holder(&self, key: &[u8]) -> Option<Caller> {
        let shown = digest::digest(&digest::SHA256, key);
        let mut found = u32::MAX;
        for (index, (kept, _)) in (0_u32..).zip(&self.keys) {
            let same: Choice = kept[..].ct_eq(shown.as_ref());
            found.conditional_assign(&index, same);
        }
        let index = usize::try_from(found).ok()?;
        self.keys.get(index).map(|(_, caller)| caller.clone())
    }
}

/// What stands behind `Bearer` (RFC 6750 section 2.1; the word has no case).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where everybody on this machine is let in, a web page in a browser on this machine must not be: it tells its origin,
/// and if it has made its own host name point here (DNS rebinding) it tells that.
fn is_local_program(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    local && !headers.contains_key(header::ORIGIN) && !headers.contains_key(SEC_FETCH_SITE)
}

/// A scope, as a type: what a handler asks for stands in its signature.
pub(super) trait Needed: Send {
    const SCOPE: Scope;
}

#[derive(Debug)]
pub(super) struct SessionsRead;
#[derive(Debug)]
pub(super) struct SessionsWrite;
#[derive(Debug)]
pub(super) struct RightsWrite;
#[derive(Debug)]
pub(super) struct Limits;

impl Needed for SessionsRead {
    const SCOPE: Scope = Scope::SessionsRead;
}
impl Needed for SessionsWrite {
    const SCOPE: Scope = Scope::SessionsWrite;
}
impl Needed for RightsWrite {
    const SCOPE: Scope = Scope::RightsWrite;
}
impl Needed for Limits {
    const SCOPE: Scope = Scope::Limits;
}

/// A call by somebody who may do this.
#[derive(Debug)]
pub(super) struct May<N>(pub(super) Allowed, pub(super) PhantomData<N>);

/// Who makes a call that is allowed.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) id: Arc<str>,
    pub(super) from: Option<IpAddr>,
    pub(super) caller: Caller,
}

impl<N: Needed, S: Sync> FromRequestParts<S> for May<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let call = parts.extensions.get::<Call>().ok_or(Problem::KEY_MISSING)?;
        let caller = call.caller.clone()?;
        if !caller.scopes.contains(&N::SCOPE) {
            return Err(Problem::FORBIDDEN);
        }
        let allowed = Allowed {
            id: Arc::clone(&call.id),
            from: call.from,
            caller,
        };
        Ok(Self(allowed, PhantomData))
    }
}
