//! Strip, then dress: what goes upstream, and what comes back. The only place that makes an [`Outbound`], and only from
//! a [`Permit`].
//!
//! # Threat model
//! An upstream believes the identity headers it gets. So whatever a client sends under those names, in any spelling, is
//! removed from every request, on public routes too; afterwards every managed header is written, empty where there is
//! nothing to say. A client's `Connection` can name headers for removal: that is carried out before ours are written.
//! The token is the user's secret and not the upstream's business; it goes no further unless the route asks for it.

mod forwarded;
mod hop;
mod managed;
mod value;

use std::fmt;
use std::sync::Arc;

use http::header::{COOKIE, EXPECT, HOST, HeaderName, TE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};

use crate::body::{Body, TrailerFilter};
use crate::config::{IdentityField, Timeouts};
use crate::head::Head;
use crate::peer::Peer;
use crate::policy::Permit;
use crate::session::Session;
use crate::slot::Slot;
use crate::token::TokenSources;
use crate::upgraded::OnUpgrade;

pub use self::forwarded::{ForwardedPlan, Origin};
pub use self::hop::upgrade_protocol;
pub use self::managed::Managed;
use self::value::ValueRule;

/// At most so many headers are written besides the identity: host, trailers, upgrade, where the request comes from.
const FIXED_FIELDS: usize = 11;

/// A request that has been judged, stripped and dressed. Only [`HeaderPlan::dress`] makes one, and that needs a
/// [`Permit`].
#[derive(Debug)]
pub struct Outbound {
    request: Request<Body>,
    upgrade: Option<ClientUpgrade>,
    timeouts: Timeouts,
}

/// A protocol switch that the client asked for and the route allows.
#[derive(Debug)]
pub struct ClientUpgrade {
    /// The protocol, in lower case, such as `websocket`.
    pub protocol: String,
    /// The client's side of the connection, once our 101 has been sent.
    pub client: OnUpgrade,
    /// Counts the client's connection for as long as it is a tunnel.
    pub slot: Option<Slot>,
}

/// Why a request cannot be dressed. 500: the session is live, but its identity cannot be told to the upstream, and
/// telling only a part of it could be taken for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A value has bytes that a header cannot carry, and `identity.encoding` is `refuse`.
    #[error("a part of the session cannot be carried by a header")]
    Unencodable,
    /// A value is longer than `identity.max_value`.
    #[error("a part of the session is longer than identity.max_value")]
    TooLong,
}

/// What to strip from a route's requests, and what to write.
pub struct HeaderPlan {
    /// Header and what it carries.
    pub fields: Vec<(HeaderName, IdentityField)>,
    /// Managed names of the whole gateway.
    pub managed: Arc<Managed>,
    /// Tokens that go no further; `None` where the route lets them.
    pub hidden: Option<TokenSources>,
    /// How upstreams are told where a request comes from.
    pub forwarded: Arc<ForwardedPlan>,
    /// What is done to the path.
    pub rewrite: Option<Rewrite>,
    /// How identity becomes text.
    pub encoding: crate::config::Encoding,
    /// Longest identity value in bytes.
    pub max_value: usize,
    /// Deadlines towards the upstream.
    pub timeouts: Timeouts,
    /// The route's name.
    pub route: HeaderValue,
    /// Strips a client's trailers; made of `managed` once, so that a request only counts a reference.
    pub trailers: TrailerFilter,
}

impl fmt::Debug for HeaderPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderPlan")
            .field("fields", &self.fields)
            .field("rewrite", &self.rewrite)
            .finish_non_exhaustive()
    }
}

/// Takes a prefix off a path and puts another in its place.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// What is taken off; no slash at its end.
    pub from: String,
    /// What comes in its place; no slash at its end.
    pub to: String,
    /// What is taken off, for `X-Forwarded-Prefix`.
    pub prefix: HeaderValue,
}

/// What is known of a request besides its session.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The one form of its head.
    pub head: &'a Head,
    /// Who is on the line.
    pub peer: &'a Peer,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// Its id.
    pub request_id: &'a HeaderValue,
}

impl Outbound {
    /// For `upstream`: the request (origin-form target, exactly one `Host`, no hop-by-hop fields except `TE: trailers`
    /// and those of an allowed upgrade), the upgrade, and the deadlines.
    pub fn into_parts(self) -> (Request<Body>, Option<ClientUpgrade>, Timeouts) {
        (self.request, self.upgrade, self.timeouts)
    }

    /// What will be sent, for `explain`.
    pub fn request(&self) -> &Request<Body> {
        &self.request
    }
}

impl HeaderPlan {
    /// Makes a judged request ready for its upstream.
    ///
    /// # Errors
    /// [`HeaderError`]: the identity cannot be told; nothing is sent.
    pub fn dress(
        &self,
        request: Request<Body>,
        facts: &Facts<'_>,
        permit: &Permit,
        upgrade: Option<ClientUpgrade>,
    ) -> Result<Outbound, HeaderError> {
        let (mut parts, body) = request.into_parts();
        if let Some(target) = self.target(&parts, facts.head) {
            parts.uri = target;
        }
        let trailers = hop::takes_trailers(&parts.headers);
        self.strip(&mut parts.headers, parts.version);
        let headers = &mut parts.headers;
        // Once for all that is written below; growing step by step would move the whole map several times.
        headers.reserve(self.fields.len() + FIXED_FIELDS);
        headers.insert(HOST, facts.head.authority.clone());
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(upgrade) = &upgrade {
            hop::ask_upgrade(headers, &upgrade.protocol);
        }
        let authority = &facts.head.authority;
        self.forwarded
            .write(headers, facts.peer, facts.origin, authority);
        if let Some(rewrite) = &self.rewrite {
            headers.insert(forwarded::PREFIX, rewrite.prefix.clone());
        }
        self.write_identity(headers, facts, permit.session())?;
        parts.version = Version::HTTP_11;
        Ok(Outbound {
            request: Request::from_parts(parts, body),
            upgrade,
            timeouts: self.timeouts,
        })
    }

    /// Takes off what the client may not say and the upstream may not see.
    fn strip(&self, headers: &mut HeaderMap, version: Version) {
        hop::strip(headers, |name| self.managed.covers(name));
        // The gateway has already answered it: hyper sends 100 when the body is first asked for.
        headers.remove(EXPECT);
        if version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if let Some(tokens) = &self.hidden {
            tokens.remove(headers);
        }
    }

    fn write_identity(
        &self,
        headers: &mut HeaderMap,
        facts: &Facts<'_>,
        session: Option<&Session>,
    ) -> Result<(), HeaderError> {
        let rule = ValueRule {
            encoding: self.encoding,
            max_length: self.max_value,
        };
        let text = |text: fn(&Session) -> &str| {
            session.map_or(Ok(HeaderValue::from_static("")), |s| {
                value::single(text(s), rule)
            })
        };
        let list = |list: fn(&Session) -> &[String]| {
            session.map_or(Ok(HeaderValue::from_static("")), |s| {
                value::joined(list(s), rule)
            })
        };
        for (name, field) in &self.fields {
            let value = match field {
                IdentityField::UserId => text(|session| &session.user_id)?,
                IdentityField::Permissions => list(|session| &session.permissions)?,
                IdentityField::Roles => list(|session| &session.roles)?,
                IdentityField::DeviceId => text(|session| &session.device.id)?,
                IdentityField::DeviceType => text(|session| &session.device.kind)?,
                IdentityField::DeviceName => text(|session| &session.device.name)?,
                IdentityField::ExpiresAt => session
                    .and_then(|session| session.expires_at)
                    .map_or(HeaderValue::from_static(""), |end| {
                        HeaderValue::from(end / 1000)
                    }),
                IdentityField::RequestId => facts.request_id.clone(),
                IdentityField::Route => self.route.clone(),
            };
            headers.insert(name, value);
        }
        Ok(())
    }

    /// The target for the upstream: origin form, the path that was judged, the prefix rewritten. `None` if it is the
    /// one that was sent.
    fn target(&self, parts: &Parts, head: &Head) -> Option<Uri> {
        if self.rewrite.is_none() && !head.rewrites_path() {
            parts.uri.authority()?;
            let target = parts.uri.path_and_query()?.clone();
            return Some(Uri::from(target));
        }
        let path = head.path(parts);
        let path = match &self.rewrite {
            Some(rewrite) => rewrite.apply(path),
            None => path.to_owned(),
        };
        let target = match parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let target = PathAndQuery::try_from(target).expect("made of the parts of a valid target");
        Some(Uri::from(target))
    }
}

impl Rewrite {
    pub(crate) fn apply(&self, path: &str) -> String {
        let rest = path.strip_prefix(&self.from).unwrap_or(path);
        let joined = format!("{}{rest}", self.to);
        if joined.is_empty() {
            "/".to_owned()
        } else {
            joined
        }
    }
}

/// A text of ours as a header value: what a header cannot carry is percent-encoded.
pub fn percent_encoded(text: &str) -> HeaderValue {
    let rule = ValueRule {
        encoding: crate::config::Encoding::Percent,
        max_length: usize::MAX,
    };
    value::single(text, rule).unwrap_or(HeaderValue::from_static(""))
}

/// HTTP/2 clients may send one cookie a line; HTTP/1.1 upstreams know one line (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

/// Cleans an upstream's answer: what is bound to its connection goes no further, but for a switch of protocols.
pub fn undress(mut reply: Response<Body>) -> Response<Body> {
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return reply;
    }
    hop::strip(reply.headers_mut(), |_| false);
    *reply.version_mut() = Version::HTTP_11;
    reply
}
