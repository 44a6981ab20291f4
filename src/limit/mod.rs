//! How much one client, token, user or device may ask for, and what a route takes altogether.
//!
//! # Threat model
//! Whose bucket a request falls into is never the client's to choose: the address is the one that can be believed, and
//! token, user and device are those of a live session. Limits by client are asked before the store is, so that a flood
//! costs it nothing; all others after the policy, so that nobody who is not let in uses up what others may have.
//! Names of shared buckets are digests: they hold no token and no address.

mod buckets;
mod catalog;
mod guard;
mod meter;
mod told;

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::RandomState;
use toml::Spanned;

use crate::config::value::Rate;
use crate::config::{Config, LimitBy, LimitScope, OnError, RateLimit};
use crate::session::Session;
use crate::token::Token;

pub use self::buckets::Buckets;
pub use self::catalog::Catalog;
pub use self::guard::{Guard, Slowed};
pub use self::meter::{Meter, Metered};
pub use self::told::{Told, seconds};

/// Bytes of the digest in the name of a shared bucket.
const NAME_BYTES: usize = 16;

/// Too many requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more requests than the limit `{limit}` allows")]
pub struct TooMany {
    /// The name of the limit.
    pub limit: Arc<str>,
    /// When the next one would pass.
    pub retry_after: Duration,
    /// What the client is told about it.
    pub told: Told,
}

/// What the workers count, together.
#[derive(Debug, Default)]
pub struct Limits {
    buckets: Buckets,
    hash: RandomState,
    /// Clients that send unknown tokens.
    pub guard: Guard,
    /// The limits of the configuration in force.
    catalog: ArcSwap<Catalog>,
}

/// The limits of a route, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// Before the session is looked up.
    pub door: Vec<Limit>,
    /// After the policy has let the request in.
    pub inside: Vec<Limit>,
}

/// One limit, ready to run.
#[derive(Debug)]
pub struct Limit {
    name: Arc<str>,
    by: LimitBy,
    rate: Rate,
    meter: Meter,
    scope: Scope,
    told: bool,
    /// Digest of where the limit is written and what it is called: whose bucket it is, but for the subject.
    place: [u8; 32],
}

/// Where a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In this process.
    Local,
    /// In the store, with every gateway on it.
    Shared(OnError),
}

/// Who sends a request, as far as it is known yet.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The client's address, as far as it can be believed.
    pub client: IpAddr,
    /// The token and the session it has.
    pub holder: Option<(&'a Token, &'a Session)>,
}

/// Whose buckets are meant. Limits that count by what is not known here are not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whose<'a> {
    /// A client.
    pub client: Option<IpAddr>,
    /// A token.
    pub token: Option<&'a Token>,
    /// A user.
    pub user: Option<&'a str>,
    /// One of the user's devices.
    pub device: Option<&'a str>,
    /// Everybody: what a route takes altogether.
    pub everybody: bool,
}

impl<'a> From<&Who<'a>> for Whose<'a> {
    fn from(who: &Who<'a>) -> Self {
        let session = who.holder.map(|(_, session)| session);
        Self {
            client: Some(who.client),
            token: who.holder.map(|(token, _)| token),
            user: session.map(|session| session.user_id.as_str()),
            device: session.map(|session| session.device.id.as_str()),
            everybody: true,
        }
    }
}

/// Whose bucket.
#[derive(Hash)]
enum Subject<'a> {
    Client(IpAddr),
    Token(&'a str),
    User(&'a str),
    Device(&'a str, &'a str),
    Everybody,
}

impl RouteLimits {
    /// Compiles the list that stands at `place`: what tells a route from all others, or nothing for `[limits] rates`.
    /// Lists of one place share their buckets, in this process and through the store.
    pub fn new(place: Option<&str>, list: &[Spanned<RateLimit>]) -> Self {
        let limits = list.iter().map(|limit| Limit::new(place, limit.get_ref()));
        let (door, inside) = limits.partition(|limit| limit.by == LimitBy::Client);
        Self { door, inside }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.door.iter().chain(&self.inside)
    }
}

impl Limit {
    fn new(place: Option<&str>, limit: &RateLimit) -> Self {
        let name = limit.label();
        let scope = match (limit.scope, limit.on_error) {
            (LimitScope::Local, _) => Scope::Local,
            // `config::check` insists on a word; deny is what does no harm.
            (LimitScope::Shared, on_error) => Scope::Shared(on_error.unwrap_or(OnError::Deny)),
        };
        let written = [place.unwrap_or_default(), name, limit.by.word()];
        Self {
            name: name.into(),
            by: limit.by,
            rate: limit.rate,
            meter: Meter::new(limit.rate, limit.burst.unwrap_or(limit.rate.count.get())),
            scope,
            told: limit.headers,
            place: whole(digest_of(&[place.is_some().into()], &written)),
        }
    }

    /// Where it counts.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Its bucket.
    pub fn meter(&self) -> Meter {
        self.meter
    }

    /// What clients see it called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it counts requests of this sender: one that counts by session does not without one.
    pub fn counts(&self, who: &Who<'_>) -> bool {
        self.subject(&who.into()).is_some()
    }

    /// What it counts by.
    pub fn by(&self) -> LimitBy {
        self.by
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    fn subject<'a>(&self, whose: &Whose<'a>) -> Option<Subject<'a>> {
        Some(match self.by {
            LimitBy::Client => Subject::Client(network(whose.client?)),
            LimitBy::Token => Subject::Token(whose.token?.expose()),
            LimitBy::User => Subject::User(whose.user?),
            LimitBy::Device => Subject::Device(whose.user?, whose.device?),
            LimitBy::Route => return whose.everybody.then_some(Subject::Everybody),
        })
    }

    /// The name of this sender's bucket in the store: 22 characters of base64url. `None` if the limit does not count it.
    pub fn bucket(&self, who: &Who<'_>) -> Option<String> {
        self.bucket_of(&who.into())
    }

    /// The name in the store of the bucket that is meant, if one is.
    pub fn bucket_of(&self, whose: &Whose<'_>) -> Option<String> {
        let subject = self.subject(whose)?;
        let address;
        let parts = match subject {
            Subject::Client(client) => {
                address = client.to_string();
                [address.as_str(), ""]
            }
            Subject::Token(text) | Subject::User(text) => [text, ""],
            Subject::Device(user, device) => [user, device],
            Subject::Everybody => ["", ""],
        };
        let digest = digest_of(&self.place, &parts);
        let bytes = digest.as_ref().get(..NAME_BYTES).unwrap_or_default();
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What the answer of its bucket means for a request.
    ///
    /// # Errors
    /// [`TooMany`] if the bucket was empty.
    pub fn judge(&self, metered: Metered, told: &mut Told) -> Result<(), TooMany> {
        if metered.allowed {
            if self.told {
                told.add(&self.name, self.meter, metered);
            }
            return Ok(());
        }
        let mut told = Told::default();
        told.add(&self.name, self.meter, metered);
        Err(TooMany {
            limit: Arc::clone(&self.name),
            retry_after: metered.next_in,
            told,
        })
    }
}

impl Limits {
    /// Takes one request out of the sender's bucket in this process. `None` if the limit does not count it.
    pub fn take(&self, limit: &Limit, who: &Who<'_>) -> Option<Metered> {
        let key = self.key(limit, &who.into())?;
        Some(self.buckets.take(key, limit.meter))
    }

    /// How the bucket in this process stands that is meant, if one is.
    pub fn state(&self, limit: &Limit, whose: &Whose<'_>) -> Option<Metered> {
        let key = self.key(limit, whose)?;
        Some(self.buckets.state(key, limit.meter))
    }

    /// Fills the bucket in this process that is meant, if one is; says whether anything had been taken.
    pub fn fill(&self, limit: &Limit, whose: &Whose<'_>) -> bool {
        self.key(limit, whose)
            .is_some_and(|key| self.buckets.fill(key))
    }

    fn key(&self, limit: &Limit, whose: &Whose<'_>) -> Option<u64> {
        let subject = limit.subject(whose)?;
        Some(self.hash.hash_one((&limit.place, subject)))
    }

    /// The limits of this configuration are in force from now on.
    pub fn learn(&self, config: &Config) {
        self.catalog.store(Arc::new(Catalog::new(config)));
    }

    /// The limits that are in force.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} by {}: {} in {}, {} at once, ",
            self.name,
            self.by.word(),
            self.rate.count,
            humantime::format_duration(self.rate.per),
            self.meter.burst(),
        )?;
        f.write_str(match self.scope {
            Scope::Local => "counted in each process",
            Scope::Shared(OnError::Allow) => "shared, passes if it cannot be asked",
            Scope::Shared(OnError::Deny) => "shared, 503 if it cannot be asked",
        })
    }
}

/// What stands for a client: its address, and of IPv6 the first 64 bits, because the rest is one customer's to choose.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

/// SHA-256 of these texts, each with its length, so that no two lists of them are one.
fn digest_of(first: &[u8], texts: &[&str]) -> digest::Digest {
    let mut context = digest::Context::new(&SHA256);
    context.update(first);
    for text in texts {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        context.update(&length.to_be_bytes());
        context.update(text.as_bytes());
    }
    context.finish()
}

fn whole(digest: digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests;
