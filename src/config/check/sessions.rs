//! Sessions: lengths of time that contradict each other, limits beyond what can be kept, tokens that could not be read.

use std::time::Duration;

use super::bounds::zero;
use crate::config::fault::Fault;
use crate::config::{Auth, Charset, Config, OnLimit, Sessions};

/// The longest that the same refresh token may get the same answer: for so long a thief is not told from its owner.
const LONGEST_GRACE: Duration = Duration::from_secs(60);
/// The most sessions of one user: their record is read with every request.
const MOST_SESSIONS: u16 = 256;
/// An access token: prefix, 16 characters that say where its user lies, 43 that are secret.
const TOKEN_TAIL: usize = 16 + 43;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    match &config.sessions {
        Some(sessions) => {
            lengths(config, sessions, faults);
            limits(config, sessions, faults);
            tokens(config, faults);
        }
        None => without(config, faults),
    }
    for (index, route) in config.routes.iter().enumerate() {
        let at = format!("routes[{index}].max_risk");
        if route.get_ref().max_risk.is_some_and(|most| most > 100) {
            faults.push(
                Fault::error(config.places.value(&at), "`max_risk` is above 100")
                    .help("risk goes from 0 to 100"),
            );
        }
    }
}

fn place(config: &Config, name: &str) -> Option<std::ops::Range<usize>> {
    config.places.value(&format!("sessions.{name}"))
}

fn lengths(config: &Config, sessions: &Sessions, faults: &mut Vec<Fault>) {
    let zeros = [
        ("access_lifetime", sessions.access_lifetime),
        ("lifetime", sessions.lifetime),
        ("refresh_lifetime", sessions.refresh_lifetime),
        ("refresh_idle", sessions.refresh_idle),
    ];
    for (name, length) in zeros {
        if length.get().is_zero() {
            let effect = "sessions would end when they begin";
            faults.push(zero(place(config, name), name, effect));
        }
    }
    if sessions.idle.is_some_and(|idle| idle.get().as_secs() == 0) {
        faults.push(
            Fault::error(place(config, "idle"), "`idle` is less than a second")
                .help("write \"1s\" or more, or remove the line: sessions need not be used then"),
        );
    }
    if sessions.refresh_grace.get() > LONGEST_GRACE {
        faults.push(
            Fault::error(
                place(config, "refresh_grace"),
                "`refresh_grace` is above 60 s",
            )
            .help("write \"60s\" or less: within it a stolen refresh token is not noticed"),
        );
    }
}

fn limits(config: &Config, sessions: &Sessions, faults: &mut Vec<Fault>) {
    let nobody = "nobody could log in";
    if sessions.max_per_user == 0 {
        faults.push(zero(place(config, "max_per_user"), "max_per_user", nobody));
    }
    if sessions.max_per_user > MOST_SESSIONS {
        faults.push(
            Fault::error(place(config, "max_per_user"), "`max_per_user` is above 256")
                .help("write 256 or less: all of a user's sessions lie in one record"),
        );
    }
    for (kind, most) in &sessions.max_per_type {
        if *most == 0 {
            let at = place(config, &format!("max_per_type.{kind}"));
            faults.push(zero(at, kind, "nobody could log in on such a device"));
        }
    }
    if sessions.on_limit == OnLimit::LeastRecentlySeen && sessions.idle.is_none() {
        faults.push(
            Fault::error(
                place(config, "on_limit"),
                "`on_limit` is \"least_recently_seen\", but nothing notes when sessions are seen",
            )
            .help("set `idle`, or write \"oldest\""),
        );
    }
}

fn tokens(config: &Config, faults: &mut Vec<Fault>) {
    let tokens = &config.tokens;
    if tokens.charset == Charset::Hex {
        faults.push(
            Fault::error(
                config.places.value("tokens.charset"),
                "the tokens that `[sessions]` mints are not hex",
            )
            .help("write \"base64url\" or \"token68\""),
        );
    }
    let length = tokens.prefix.as_str().len() + TOKEN_TAIL;
    if tokens.max_length.as_usize() < length {
        faults.push(
            Fault::error(
                config.places.value("tokens.max_length"),
                format!("the tokens that `[sessions]` mints have {length} bytes"),
            )
            .help(format!("write \"{length}B\" or more")),
        );
    }
}

/// What needs users to have records.
fn without(config: &Config, faults: &mut Vec<Fault>) {
    for (index, route) in config.routes.iter().enumerate() {
        let route = route.get_ref();
        // Where no session is needed another fault says so.
        if route.auth != Auth::Required {
            continue;
        }
        let needs = [
            ("service", route.service.is_some()),
            ("max_risk", route.max_risk.is_some()),
            ("elevated_within", route.elevated_within.is_some()),
        ];
        for (name, _) in needs.into_iter().filter(|(_, set)| *set) {
            let at = format!("routes[{index}].{name}");
            let span = config.places.key(&at).or_else(|| config.places.value(&at));
            faults.push(
                Fault::error(span, format!("`{name}` without `[sessions]`"))
                    .help("users have no records without it; add the table `[sessions]`"),
            );
        }
    }
}
