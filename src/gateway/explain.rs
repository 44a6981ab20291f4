//! What the gateway would do with a request, step by step: the same steps as [`Gateway::pass`], told instead of taken.

use std::fmt::Write as _;

use http::request::Parts;
use http::{HeaderMap, Request};

use super::Gateway;
use super::door::{Bearer, Carried, enter};
use super::record::Spent;
use super::surface;
use crate::body::Body;
use crate::cache::MaxAge;
use crate::clock::in_words;
use crate::csrf::Csrf;
use crate::head::Head;
use crate::headers::{Facts, Origin, Outbound};
use crate::limit::{RouteLimits, Scope, Who};
use crate::peer::Peer;
use crate::policy::{Holder, Permit};
use crate::refusal::Refusal;
use crate::route::{Announces, Route};
use crate::selfservice::SelfService;
use crate::session::{EndedSession, Session};
use crate::token::{TokenError, TokenSources};

/// What was found, as text for people.
#[derive(Debug, Default)]
pub struct Explanation {
    /// The lines.
    pub text: String,
    /// Whether the request would be forwarded, or answered by one of our own endpoints.
    pub allowed: bool,
}

impl Explanation {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{name:<10}{value}").expect("writing to a string cannot fail");
    }

    fn more(&mut self, value: impl std::fmt::Display) {
        self.line("", value);
    }
}

impl Gateway {
    /// Tells what would become of a request without a body that comes from `peer` and carries `token` where its route
    /// looks first. The store is asked; the upstream is not, and no rate is counted.
    pub async fn explain(
        &self,
        request: Request<()>,
        token: Option<&str>,
        peer: &Peer,
    ) -> Explanation {
        let mut told = Explanation::default();
        let (parts, ()) = request.into_parts();
        match self.tell(parts, token, peer, &mut told).await {
            Ok(verdict) => {
                told.allowed = true;
                told.line("verdict", verdict);
            }
            Err(refusal) => {
                told.line(
                    "verdict",
                    format_args!("refused: {} {}", refusal.status().as_u16(), refusal.code()),
                );
                told.more(format_args!("because {refusal}"));
            }
        }
        told
    }

    async fn tell(
        &self,
        mut parts: Parts,
        token: Option<&str>,
        peer: &Peer,
        told: &mut Explanation,
    ) -> Result<&'static str, Refusal> {
        let head = Head::check(&parts, &self.head)?;
        told.line(
            "request",
            format_args!("{} {}{}", parts.method, head.host(), head.path(&parts)),
        );
        enter(&head, peer)?;
        if let Some(keys) = self.surface.keys(head.path(&parts)) {
            surface::tell_keys(&keys, &parts.method)?;
            told.line("endpoint", "the keys that assertions are verified with");
            return Ok("answered by the gateway itself");
        }
        if let Some(own) = self.own(&head, &parts) {
            self.tell_own(own, (&head, parts, token), peer, told)
                .await?;
            return Ok("answered by the gateway itself");
        }
        let route = self
            .routes
            .find(head.host(), head.path(&parts), &parts.method)?;
        told.line(
            "route",
            format_args!("{} (number {} in the file)", route.name, route.number + 1),
        );
        told.line("auth", format!("{:?}", route.policy.auth()).to_lowercase());
        if let Some(token) = token {
            // A token that no header can carry could not have been sent either.
            route
                .tokens
                .place(token, &mut parts.headers)
                .map_err(|_| TokenError::Charset)?;
        }
        if let Ok(Some((_, source))) = route.tokens.find(&parts.headers) {
            told.line("token", format_args!("found in {source}"));
        } else {
            told.line("token", "none that can be used");
        }
        let origin = self.forwarded.origin(peer, &parts.headers);
        let (permit, carried) = self.weigh(route, &head, (&parts, &origin), told).await?;
        let moves = self.is_to_move(route, &permit, &carried).await;
        let id = self.ids.of(&parts.headers, origin.trusted);
        let facts = Facts {
            head: &head,
            peer,
            origin: &origin,
            request_id: &id,
            token: carried.token(),
        };
        let outbound = route.headers.dress(
            Request::from_parts(parts, Body::Empty),
            &facts,
            &permit,
            None,
        )?;
        self.tell_sent(route, &outbound, told);
        if moves {
            told.line(
                "moves",
                "the answer sets our cookie with a session of ours, opened in place of the framework's",
            );
        }
        Ok("forwarded")
    }

    /// Of two tokens, the one that counts.
    async fn tell_current(
        &self,
        carried: Carried,
        (sources, headers): (&TokenSources, &HeaderMap),
        max_age: MaxAge,
        told: &mut Explanation,
    ) -> Result<Carried, Refusal> {
        let behind = sources.behind(headers);
        let Some((behind, source)) = behind.filter(|_| carried.token().is_some()) else {
            return Ok(carried);
        };
        let current = self.current(carried, (sources, headers), max_age).await?;
        match current.token() == Some(&behind) {
            true => told.more(format_args!(
                "nobody knows it any more: the framework's in {source} counts"
            )),
            false => told.more(format_args!("it counts before the framework's in {source}")),
        }
        Ok(current)
    }

    /// Why a token has no session, as far as the framework's rules tell.
    async fn why_nobody(&self, carried: &Carried) -> String {
        let why = match carried.token() {
            Some(token) => self.sessions.why_not(token).await.ok().flatten(),
            None => None,
        };
        format!("none: {}", why.unwrap_or("the token has no live session"))
    }

    /// Whether the answer opens a session of ours; see [`Gateway::move_in`].
    async fn is_to_move(&self, route: &Route, permit: &Permit, carried: &Carried) -> bool {
        let Carried::Token(token, Bearer::Browser) = carried else {
            return false;
        };
        let may = route.announces == Announces::Nothing && permit.session().is_some();
        may && self.sessions.is_to_move(token).await.unwrap_or(false)
    }

    /// What the upstream would get, line by line.
    fn tell_sent(&self, route: &Route, outbound: &Outbound, told: &mut Explanation) {
        let sent = outbound.head().text();
        let mut lines = sent.lines();
        let target = lines.next().and_then(|line| line.split(' ').nth(1));
        told.line(
            "upstream",
            format_args!(
                "{} {}",
                match route.upstream {
                    Some(id) => self.upstreams.name(id),
                    None => "of another proxy",
                },
                target.unwrap_or_default()
            ),
        );
        for line in lines.take_while(|line| !line.is_empty()) {
            told.more(line);
        }
    }

    /// One of our own endpoints: which, and who asks. Nothing is carried out.
    async fn tell_own(
        &self,
        own: &SelfService,
        (head, mut parts, token): (&Head, Parts, Option<&str>),
        peer: &Peer,
        told: &mut Explanation,
    ) -> Result<(), Refusal> {
        let endpoint = own.endpoint(head.path(&parts), &parts.method)?;
        told.line("endpoint", format_args!("{endpoint:?}, one of our own"));
        if let Some(token) = token {
            own.tokens
                .place(token, &mut parts.headers)
                .map_err(|_| TokenError::Charset)?;
        }
        let origin = self.forwarded.origin(peer, &parts.headers);
        for limit in own.limits.iter() {
            told.line("limit", limit);
        }
        if !endpoint.wants_token() {
            told.line("token", "not looked for");
            return Ok(());
        }
        let carried = self.find(&own.tokens, &parts.headers, origin.client)?;
        let found = matches!(carried, Carried::Token(..));
        told.line(
            "token",
            if found {
                "found"
            } else {
                "none that can be used"
            },
        );
        let sent = (&own.tokens, &parts.headers);
        let carried = self
            .tell_current(carried, sent, MaxAge::STRICT, told)
            .await?;
        let at_risk =
            matches!(carried, Carried::Token(_, Bearer::Browser)) && !Csrf::is_safe(&parts.method);
        if at_risk {
            let seen = || origin.seen(&head.authority);
            told.line("csrf", "looked at: the token came in a cookie");
            self.surface.csrf.guard(&parts.headers, seen)?;
        }
        if endpoint.looks_up() {
            let spent = &mut Spent::default();
            match self
                .holder(&carried, MaxAge::STRICT, origin.client, spent)
                .await?
            {
                Holder::Session(session) => {
                    told.line("session", format_args!("user {}", session.user_id));
                }
                Holder::Nobody | Holder::Malformed | Holder::Unknown | Holder::Ended(_) => {
                    told.line("session", "none");
                }
            }
        }
        Ok(())
    }

    async fn weigh(
        &self,
        route: &Route,
        head: &Head,
        (parts, origin): (&Parts, &Origin),
        told: &mut Explanation,
    ) -> Result<(Permit, Carried), Refusal> {
        let client = origin.client;
        let carried = self.token(route, &parts.headers, client)?;
        let sent = (&route.tokens, &parts.headers);
        let carried = self
            .tell_current(carried, sent, route.max_age, told)
            .await?;
        if self.is_at_risk(route, &carried, parts) {
            told.line("csrf", "looked at: a page of another site could send this");
            let own = || origin.seen(&head.authority);
            self.surface.csrf.guard(&parts.headers, own)?;
        }
        let mut spent = Spent::default();
        let holder = self
            .holder(&carried, route.max_age, client, &mut spent)
            .await?;
        if matches!(carried, Carried::Token(..)) {
            tell_age(route.max_age, &spent, told);
        }
        let mut who = Who {
            client,
            holder: None,
        };
        if let (Carried::Token(token, _), Holder::Session(session)) = (&carried, &holder) {
            who.holder = Some((token, session));
        }
        tell_limits(&route.limits, &who, told);
        match &holder {
            Holder::Session(session) => tell_session(route, session, told),
            Holder::Nobody if !route.policy.looks_up() => {
                told.line("session", "not looked up: the route is public");
            }
            Holder::Nobody => told.line("session", "none: no token"),
            Holder::Malformed => told.line("session", "none: what was sent cannot be a token"),
            Holder::Unknown => told.line("session", self.why_nobody(&carried).await),
            Holder::Ended(ended) => tell_ended(ended, told),
        }
        Ok((route.policy.judge(holder)?, carried))
    }
}

/// How old what is told may be, and how old what a running gateway goes by.
fn tell_age(max_age: MaxAge, spent: &Spent, told: &mut Explanation) {
    let Some(lap) = &spent.store else {
        return;
    };
    told.line(
        "store",
        format_args!("asked now, answered in {:?}", lap.took),
    );
    if max_age == MaxAge::STRICT {
        told.more("a running gateway asks for each request on this route");
    } else {
        told.more(format_args!(
            "a running gateway may go by what it read up to {:?} ago",
            max_age.get()
        ));
    }
}

fn tell_limits(limits: &RouteLimits, who: &Who<'_>, told: &mut Explanation) {
    for limit in limits.iter() {
        told.line("limit", limit);
        match limit.bucket(who) {
            None => told.more("does not apply: it needs a session"),
            Some(bucket) if limit.scope() != Scope::Local => {
                told.more(format_args!("key login:limit:{bucket}"));
            }
            Some(_) => {}
        }
    }
}

fn tell_ended(ended: &EndedSession, told: &mut Explanation) {
    told.line("session", format_args!("over: {:?}", ended.why));
    if ended.at > 0 {
        told.more(format_args!("since {}", in_words(ended.at)));
    }
    if let Some(by) = &ended.by {
        told.more(format_args!("because of {by}"));
    }
}

fn tell_session(route: &Route, session: &Session, told: &mut Explanation) {
    told.line(
        "session",
        format_args!(
            "user {}, device {} ({})",
            session.user_id, session.device.id, session.device.kind
        ),
    );
    match session.expires_at {
        Some(end) => told.more(format_args!("ends at {}", in_words(end))),
        None => told.more("has no end"),
    }
    if let Some(actor) = &session.extras.actor {
        told.more(format_args!("it is {} who acts as them", actor.user_id));
    }
    for (service, ban) in &session.extras.bans {
        told.line("ban", format_args!("of {service}: {}", ban.reason));
    }
    if let Some(banned) = route.policy.ban(session) {
        told.line("check", format_args!("FAILS:  {banned}"));
    }
    for (check, held) in route.policy.weigh(session) {
        told.line(
            "check",
            format_args!("{} {check}", if held { "holds: " } else { "FAILS: " }),
        );
    }
}
