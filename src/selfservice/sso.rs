//! Single sign-on across domains, by redirects.
//!
//! ```text
//! target  GET {prefix}/sso?return=URL           sets a state cookie, sends the browser home
//! home    GET {prefix}/sso?return=URL&state=S   has a session there: a ticket for target, bound to S
//! target  GET {prefix}/sso/accept?ticket=T&...  the browser has the state S: a token of that session for this domain
//! ```
//! # Threat model
//! Whoever gets hold of a ticket could be its user at the target: it is good once, for seconds, for one origin, and only
//! in the browser that has asked for it there. The latter also keeps an attacker from planting a session of their own
//! in somebody's browser. Nobody is sent to an address that is not below one of the configured origins.
//!
//! # Model
//! The token of the target belongs to the very session of home, so a kick, a ban or a logout on either side ends both.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::form::Fields;
use super::{SelfService, Visit, bare, in_person};
use crate::body::Body;
use crate::config::Sso;
use crate::config::value::WebOrigin;
use crate::cookie;
use crate::policy::{Denied, Holder};
use crate::refusal::{Refusal, Unserved};
use crate::route::RouteError;
use crate::sessions::{Once, Shared};
use crate::token::TokenError;

/// What the tickets are for.
const PURPOSE: &str = "sso";
/// Random bytes of a state.
const STATE_BYTES: usize = 16;
/// What is left of an address in a query.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The longest address that somebody is sent back to.
const MAX_RETURN: usize = 2048;

/// Who takes part.
#[derive(Debug)]
pub(super) struct SingleSignOn {
    home: WebOrigin,
    origins: Vec<WebOrigin>,
    /// Path of the login page at home.
    login: Option<String>,
    lifetime: Duration,
    /// Path of our endpoint, on every host.
    path: String,
}

/// What a ticket holds.
#[derive(Serialize, Deserialize)]
struct Ticket {
    state: String,
    session: Shared,
}

impl SingleSignOn {
    pub(super) fn new(config: &Sso, prefix: &str) -> Self {
        Self {
            home: config.home.clone(),
            origins: config.origins.clone(),
            login: config.login.as_ref().map(|path| path.as_str().to_owned()),
            lifetime: config.ticket_lifetime.get(),
            path: format!("{prefix}/sso"),
        }
    }

    /// The one among those who take part that this address belongs to.
    fn owner_of(&self, address: &str) -> Option<&WebOrigin> {
        if address.len() > MAX_RETURN || !address.bytes().all(is_plain) {
            return None;
        }
        self.origins.iter().chain([&self.home]).find(|origin| {
            // Letter by letter: what a browser could read as another origin does not begin with one of ours.
            let rest = address.strip_prefix(origin.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn takes_part(&self, origin: &WebOrigin) -> bool {
        *origin == self.home || self.origins.contains(origin)
    }

    /// The endpoint at this origin, for a browser on its way to `address`.
    fn endpoint(&self, at: &WebOrigin, address: &str) -> String {
        let address = utf8_percent_encode(address, IN_QUERY);
        format!("{at}{}?return={address}", self.path)
    }
}

/// What an address in `Location` may have. No blanks, no controls, nothing outside ASCII, no `\`, which browsers take
/// for `/`, and no quotes and brackets.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&()*+,;=%".contains(&byte)
}

impl SelfService {
    /// Sends a browser home, or from there on its way back with a ticket.
    pub(super) async fn leave(
        &self,
        visit: &Visit<'_>,
        holder: Holder,
    ) -> Result<Response<Body>, Refusal> {
        let (sso, own) = self.party(visit)?;
        let fields = Fields::of_query(visit.parts)?;
        let address = fields.get("return").ok_or(Unserved::Return)?;
        let target = sso.owner_of(address).ok_or(Unserved::Return)?;
        if *own != sso.home {
            // The state cookie is of use only where the browser comes back to.
            if target != own {
                return Err(Unserved::Return.into());
            }
            let state = state_of(visit).map_or_else(new_state, Ok)?;
            let mut reply = redirect(&format!(
                "{}&state={state}",
                sso.endpoint(&sso.home, address)
            ))?;
            let cookie = visit.logins.cookies().state(&state);
            reply.headers_mut().append(SET_COOKIE, cookie);
            return Ok(reply);
        }
        let state = fields.get("state");
        if state.is_some_and(|state| !is_state(state)) {
            return Err(Unserved::Request("The field `state` cannot be read.").into());
        }
        if target != own && state.is_none() {
            return redirect(&sso.endpoint(target, address));
        }
        let permit = self.anybody.judge(holder)?;
        let (Some(session), Some(token)) = (permit.session(), visit.token) else {
            return self.to_login(sso, address, state);
        };
        let Some(state) = state.filter(|_| target != own) else {
            return redirect(address);
        };
        in_person(session)?;
        let shared = visit.sessions.share(token).await?;
        let ticket = Ticket {
            state: state.to_owned(),
            session: shared.ok_or(Unserved::ForeignSession)?,
        };
        let once = Once {
            purpose: PURPOSE.to_owned(),
            audience: target.as_str().to_owned(),
            payload: serde_json::to_value(&ticket).map_err(|_| Unserved::Ticket)?,
            lifetime: sso.lifetime,
        };
        let ticket = visit.sessions.issue_once(once).await?;
        let address = utf8_percent_encode(address, IN_QUERY);
        redirect(&format!(
            "{target}{}/accept?ticket={}&return={address}",
            sso.path,
            ticket.expose()
        ))
    }

    /// Gives a browser that comes back from home a token of its session there.
    pub(super) async fn accept(&self, visit: &Visit<'_>) -> Result<Response<Body>, Refusal> {
        let (sso, own) = self.party(visit)?;
        let fields = Fields::of_query(visit.parts)?;
        let address = fields.get("return").ok_or(Unserved::Return)?;
        if sso.owner_of(address) != Some(own) {
            return Err(Unserved::Return.into());
        }
        let ticket = fields.get("ticket").ok_or(Unserved::Ticket)?;
        let state = state_of(visit).ok_or(Unserved::Ticket)?;
        let payload = visit
            .sessions
            .redeem_once(ticket, PURPOSE, own.as_str())
            .await?;
        let ticket: Ticket = payload
            .and_then(|payload| serde_json::from_value(payload).ok())
            .ok_or(Unserved::Ticket)?;
        if !bool::from(ticket.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(Unserved::Ticket.into());
        }
        let grant = visit.sessions.adopt(&ticket.session).await?;
        let mut reply = redirect(address)?;
        visit
            .logins
            .set(&grant.ok_or(Unserved::Ticket)?, reply.headers_mut());
        Ok(reply)
    }

    /// Single sign-on, and as whom this request meets us there.
    fn party<'a>(
        &'a self,
        visit: &'a Visit<'_>,
    ) -> Result<(&'a SingleSignOn, &'a WebOrigin), Refusal> {
        let (sso, own) = (self.sso.as_ref(), visit.own.as_ref());
        match (sso, own) {
            (Some(sso), Some(own)) if sso.takes_part(own) => Ok((sso, own)),
            _ => Err(RouteError::NotFound.into()),
        }
    }

    /// To the login page, from where the browser comes back here.
    fn to_login(
        &self,
        sso: &SingleSignOn,
        address: &str,
        state: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let Some(login) = &sso.login else {
            return Err(Denied::TokenMissing.into());
        };
        let mut back = sso.endpoint(&sso.home, address);
        if let Some(state) = state {
            back = format!("{back}&state={state}");
        }
        let back = utf8_percent_encode(&back, IN_QUERY);
        redirect(&format!("{}{login}?return={back}", sso.home))
    }
}

/// The state of this browser, if it has one.
fn state_of(visit: &Visit<'_>) -> Option<String> {
    let name = visit.logins.cookies().state_name();
    cookie::read(&visit.parts.headers, name).filter(|state| is_state(state))
}

fn new_state() -> Result<String, Refusal> {
    let mut bytes = [0; STATE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn is_state(text: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(text)
        .is_ok_and(|bytes| bytes.len() == STATE_BYTES)
}

/// 302, without a trace of where the browser comes from: the address may hold a ticket.
fn redirect(address: &str) -> Result<Response<Body>, Refusal> {
    let location = HeaderValue::from_str(address).map_err(|_| Unserved::Return)?;
    let mut reply = bare(StatusCode::FOUND);
    let headers = reply.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sso() -> SingleSignOn {
        let config: Sso = toml::from_str(
            "home = 'https://home.example'\norigins = ['https://shop.example', 'http://127.0.0.1:8080']",
        )
        .unwrap();
        SingleSignOn::new(&config, "/.d")
    }

    #[test]
    fn only_addresses_below_an_origin_that_takes_part_are_somebodys() {
        let sso = sso();
        for (address, origin) in [
            ("https://shop.example", "https://shop.example"),
            ("https://shop.example/", "https://shop.example"),
            (
                "https://shop.example/a/b?c=d&e=%20#f",
                "https://shop.example",
            ),
            ("https://shop.example//evil.example", "https://shop.example"),
            ("https://home.example/x", "https://home.example"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080"),
        ] {
            let owner = sso.owner_of(address).map(WebOrigin::as_str);
            assert_eq!(owner, Some(origin), "{address}");
        }
    }

    #[test]
    fn what_a_browser_could_take_for_another_place_is_nobodys() {
        let sso = sso();
        let long = format!("https://shop.example/{}", "a".repeat(MAX_RETURN));
        for address in [
            "",
            "/",
            "/path",
            "//evil.example",
            "///evil.example",
            "\\\\evil.example",
            "/\\evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "https:\\\\evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://evil.example",
            "https://evil.example/https://shop.example/",
            "https://evil.example#https://shop.example/",
            "https://shop.example.evil.example/",
            "https://shop.examplevil/",
            "https://shop.example@evil.example/",
            "https://shop.example:443@evil.example/",
            "https://user@shop.example/",
            "https://shop.example:8443/",
            "https://shop.example:443/",
            "https://shop.example\\@evil.example/",
            "https://shop.example\\.evil.example/",
            "https://shop.example/\\evil",
            "https://shop.example%2eevil.example/",
            "https://shop.example%00/",
            "https://shop.example?x",
            "https://shop.example#x",
            "https://sh\u{f6}p.example/",
            "https://shop.example\u{2044}evil/",
            "https://shop.example\u{ff0f}evil/",
            "https://shop.example/\u{e9}",
            "https://SHOP.example/",
            "HTTPS://shop.example/",
            " https://shop.example/",
            "https://shop.example/ x",
            "https://shop.example/\r\nSet-Cookie: a=b",
            "https://shop.example/\n",
            "https://shop.example/\t",
            "https://shop.example/\"><script>",
            "http://shop.example/",
            "https://127.0.0.1:8080/",
            "http://127.0.0.1/",
            "http://127.0.0.1:80801/",
            "ftp://shop.example/",
            &long,
        ] {
            assert!(sso.owner_of(address).is_none(), "{address:?}");
        }
    }

    #[test]
    fn a_state_has_one_form() {
        let state = new_state().unwrap();
        assert!(is_state(&state));
        for other in [
            "",
            "a",
            &state[1..],
            &format!("{state}A"),
            "$$$$$$$$$$$$$$$$$$$$$$",
        ] {
            assert!(!is_state(other), "{other}");
        }
    }
}
