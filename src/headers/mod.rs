//! Strip, then dress: what goes upstream, and what comes back. The only place that makes an [`Outbound`], and only from
//! a [`Permit`].
//!
//! # Threat model
//! An upstream believes the identity headers it gets. So whatever a client sends under those names, in any spelling, is
//! removed from every request, on public routes too; afterwards every managed header is written, empty where there is
//! nothing to say. A client's `Connection` can name headers for removal: that is carried out before ours are written.
//! The token is the user's secret and not the upstream's business; it goes no further unless the route asks for it.

mod forwarded;
mod grpc;
mod hop;
mod instructions;
mod managed;
mod spelling;
mod value;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HeaderName, TE, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Version};

use crate::assertion::{AssertionError, Assertions};
use crate::body::{Body, TrailerFilter};
use crate::config::{IdentityField, Timeouts};
use crate::head::Head;
use crate::peer::Peer;
use crate::policy::Permit;
use crate::session::Session;
use crate::slot::Slot;
use crate::token::{Token, TokenSources};
use crate::until::Until;
use crate::upgraded::OnUpgrade;

pub use self::forwarded::{ForwardedPlan, Origin};
pub use self::grpc::is_grpc;
pub use self::hop::{is_hop_by_hop, nominated, upgrade_protocol};
pub use self::instructions::Instructions;
pub use self::managed::Managed;
pub use self::spelling::Spellings;
use self::value::ValueRule;
pub use self::wire::{Framing, RequestHead};

/// A request that has been judged, stripped and dressed. Only [`HeaderPlan::dress`] makes one, and that needs a
/// [`Permit`].
#[derive(Debug)]
pub struct Outbound {
    parcel: Parcel,
}

/// What an [`Outbound`] consists of.
#[derive(Debug)]
pub struct Parcel {
    /// Origin-form target, exactly one `Host`, no hop-by-hop fields except `TE: trailers` and those of an allowed upgrade.
    pub head: RequestHead,
    /// The body, framed as the head says.
    pub body: Body,
    /// The switch of protocols that the head asks for.
    pub upgrade: Option<ClientUpgrade>,
    /// Deadlines towards the upstream.
    pub timeouts: Timeouts,
    /// Who sends it, where the upstream shares the load by that.
    pub sender: Option<Sender>,
}

/// Who sends a request, as far as sharing the load goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A user, by id.
    User(CompactString),
    /// Nobody knows who, from this address.
    Client(IpAddr),
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
    /// When the tunnel is cut, if it may not outlive its session.
    pub until: Option<Until>,
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
    /// There is no assertion of it.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
}

/// What to strip from a route's requests, and what to write.
pub struct HeaderPlan {
    /// Header and what it carries.
    pub fields: Vec<(HeaderName, IdentityField)>,
    /// Identity headers of other routes.
    pub foreign: Vec<HeaderName>,
    /// Managed names of the whole gateway.
    pub managed: Arc<Managed>,
    /// What signs identity, and for whom; `None` if nothing does.
    pub assertion: Option<(Arc<Assertions>, Arc<str>)>,
    /// Tokens that go no further; `None` where the route lets them.
    pub hidden: Option<TokenSources>,
    /// How upstreams are told where a request comes from.
    pub forwarded: ForwardedPlan,
    /// What is done to the path.
    pub rewrite: Option<Rewrite>,
    /// How identity becomes text.
    pub encoding: crate::config::Encoding,
    /// Longest identity value in bytes.
    pub max_value: usize,
    /// Deadlines towards the upstream.
    pub timeouts: Timeouts,
    /// Whether the upstream is told who sends a request, to share the load by.
    pub names_sender: bool,
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
    /// Its token, if it has one.
    pub token: Option<&'a Token>,
}

impl Outbound {
    /// For `upstream`.
    pub fn into_parcel(self) -> Parcel {
        self.parcel
    }

    /// What will be sent, for `explain`.
    pub fn head(&self) -> &RequestHead {
        &self.parcel.head
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
        self.prepare(&mut parts.headers, parts.version);
        let authority = &facts.head.authority;
        let target = self.target(&parts, facts.head);
        let mut head = RequestHead::begin(&parts.method, &target, authority);
        self.pass_on(&parts.headers, &mut head);
        if hop::takes_trailers(&parts.headers) {
            head.field(&TE, &HeaderValue::from_static("trailers"));
        }
        if let Some(upgrade) = &upgrade {
            head.field(&CONNECTION, &HeaderValue::from_static("upgrade"));
            head.named(&UPGRADE, |value| {
                value.extend_from_slice(upgrade.protocol.as_bytes());
            });
        }
        self.forwarded
            .write(&mut head, facts.peer, facts.origin, authority);
        if let Some(rewrite) = &self.rewrite
            && !self.forwarded.leaves_out(&forwarded::PREFIX)
        {
            head.field(&forwarded::PREFIX, &rewrite.prefix);
        }
        self.write_identity(&mut head, facts, permit.session())?;
        head.end(&body, parts.headers.contains_key(CONTENT_LENGTH));
        let sender = self.names_sender.then(|| match permit.session() {
            Some(session) => Sender::User(session.user_id.clone()),
            None => Sender::Client(facts.origin.client),
        });
        let parcel = Parcel {
            head,
            body,
            upgrade,
            timeouts: self.timeouts,
            sender,
        };
        Ok(Outbound { parcel })
    }

    /// What can only be done to all lines of a field together.
    fn prepare(&self, headers: &mut HeaderMap, version: Version) {
        if version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if let Some(tokens) = &self.hidden {
            tokens.remove(headers);
        }
    }

    /// Writes what the client may say and the upstream may see. Runs before anything of ours is written, so a client
    /// cannot nominate our headers for removal.
    fn pass_on(&self, headers: &HeaderMap, head: &mut RequestHead) {
        // Going through a few names is cheaper than hashing one.
        let connection = headers.iter().filter(|(name, _)| *name == CONNECTION);
        let nominated = nominated(connection.map(|(_, value)| value.as_bytes()));
        for (name, value) in headers {
            let text = name.as_str();
            let stays = is_hop_by_hop(text)
                || is_written_anew(text)
                || self.managed.covers(text)
                || nominated.contains(name);
            if !stays {
                head.field(name, value);
            }
        }
    }

    fn write_identity(
        &self,
        head: &mut RequestHead,
        facts: &Facts<'_>,
        session: Option<&Session>,
    ) -> Result<(), HeaderError> {
        for (name, field) in &self.fields {
            head.named(name, |out| self.say(*field, facts, session, out))?;
        }
        if let Some((name, text)) = self.assert(facts, session)? {
            head.field(name, &text);
        }
        Ok(())
    }

    /// The header that says in a verifiable way whose request it is, empty if nobody's; `None` if there is no such header.
    fn assert(
        &self,
        facts: &Facts<'_>,
        session: Option<&Session>,
    ) -> Result<Option<(&HeaderName, HeaderValue)>, HeaderError> {
        let Some((assertions, audience)) = &self.assertion else {
            return Ok(None);
        };
        let text = match session {
            Some(session) => assertions.about(session, facts.token, audience)?,
            None => HeaderValue::from_static(""),
        };
        Ok(Some((&assertions.header, text)))
    }

    /// Writes what a header of ours says of this request; nothing, if there is nothing to say.
    fn say(
        &self,
        field: IdentityField,
        facts: &Facts<'_>,
        session: Option<&Session>,
        out: &mut Vec<u8>,
    ) -> Result<(), HeaderError> {
        let rule = ValueRule {
            encoding: self.encoding,
            max_length: self.max_value,
        };
        match (field, session) {
            (IdentityField::RequestId, _) => out.extend_from_slice(facts.request_id.as_bytes()),
            (IdentityField::Route, _) => out.extend_from_slice(self.route.as_bytes()),
            (
                field @ (IdentityField::CertSubject
                | IdentityField::CertSan
                | IdentityField::CertFingerprint),
                _,
            ) => return value::certificate(facts.peer.certificate(), field, rule, out),
            (IdentityField::Anonymous, None) => out.extend_from_slice(b"true"),
            (_, None) => {}
            (field, Some(session)) => return value::of(session, field, rule, out),
        }
        Ok(())
    }

    /// The target for the upstream: origin form, the path that was judged, the prefix rewritten.
    fn target<'a>(&self, parts: &'a Parts, head: &Head) -> Cow<'a, str> {
        if self.rewrite.is_none() && !head.rewrites_path() {
            let sent = parts.uri.path_and_query();
            return Cow::Borrowed(sent.map_or("/", PathAndQuery::as_str));
        }
        let path = head.path(parts);
        let path = match &self.rewrite {
            Some(rewrite) => rewrite.apply(path),
            None => path.to_owned(),
        };
        Cow::Owned(match parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        })
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
    let mut out = Vec::new();
    value::single(&mut out, text, rule).ok();
    HeaderValue::try_from(out).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a field (lower case) is written from what is known here, or has been answered here: hyper sends 100 when the
/// body is first asked for.
fn is_written_anew(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "expect")
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
