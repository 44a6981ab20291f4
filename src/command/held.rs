//! `drawbridge check --token`: who holds a token, what they may do, and why not.

use std::io::Write;
use std::sync::Arc;

use http::HeaderMap;

use super::Verdict;
use super::opened::opened;
use crate::clock::{in_words, now};
use crate::config::Config;
use crate::layout::sources;
use crate::session::{EndedSession, Session};
use crate::sessions::{Queues, Sessions, Standing};
use crate::token::Token;

/// Looks this token up, which is written as a client sends it where tokens are looked for first, and tells of its session.
/// The token itself is not told.
///
/// # Errors
/// If writing to `out` failed.
pub async fn run(
    config: &Config,
    token: &str,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Verdict> {
    writeln!(out, "layout     {}", config.store.get_ref().layout.name())?;
    let Some(token) = read(config, token, out)? else {
        return Ok(Verdict::No);
    };
    let store = match opened(config).await {
        Ok(store) => store,
        Err(error) => {
            writeln!(
                out,
                "session    nobody can tell: the store cannot be opened: {error}"
            )?;
            return Ok(Verdict::CannotTell);
        }
    };
    let sessions = Sessions::new(store, config, Arc::new(Queues::default()));
    match sessions.find(&token).await {
        Ok(Standing::Live(session)) => {
            tell(&session, out)?;
            Ok(Verdict::Done)
        }
        Ok(Standing::Ended(ended)) => {
            tell_ended(&ended, out)?;
            Ok(Verdict::No)
        }
        Ok(Standing::Unknown) => {
            let why = sessions.why_not(&token).await.ok().flatten();
            let why = why.unwrap_or("it is unknown, has run out or was taken back");
            writeln!(out, "session    none: {why}")?;
            Ok(Verdict::No)
        }
        Err(error) => {
            writeln!(out, "session    nobody can tell: {error}")?;
            Ok(Verdict::CannotTell)
        }
    }
}

/// The token in what a client sends; `None` if it is none, which has been told.
fn read(config: &Config, token: &str, out: &mut dyn Write) -> anyhow::Result<Option<Token>> {
    let sources = sources(&config.tokens.sources, config);
    let mut headers = HeaderMap::new();
    let found = match sources.place(token, &mut headers) {
        Ok(()) => sources.find(&headers).map_err(|error| error.to_string()),
        Err(_) => Err("no header can carry it".to_owned()),
    };
    match found {
        Ok(Some((token, source))) => {
            writeln!(out, "token      as in {source}")?;
            Ok(Some(token))
        }
        Ok(None) => {
            writeln!(out, "session    none: nothing was sent")?;
            Ok(None)
        }
        Err(why) => {
            writeln!(out, "session    none: {why}")?;
            Ok(None)
        }
    }
}

fn tell(session: &Session, out: &mut dyn Write) -> std::io::Result<()> {
    let mut line = |name: &str, value: String| match value.is_empty() {
        true => Ok(()),
        // Somebody else wrote it, and terminals obey.
        false => writeln!(out, "{name:<11}{}", value.escape_debug()),
    };
    line("user", session.user_id.to_string())?;
    line("may", session.permissions.join(", "))?;
    line("may not", session.extras.denied.join(", "))?;
    line("roles", session.roles.join(", "))?;
    line("device", session.device.id.to_string())?;
    line("type", session.device.kind.to_string())?;
    line("name", session.device.name.to_string())?;
    for (service, ban) in &session.extras.bans {
        if ban.holds(now()) {
            line("banned", format!("from {service}: {}", ban.reason))?;
        }
    }
    let until = session.expires_at.map(in_words);
    line("until", until.unwrap_or_else(|| "no end".to_owned()))
}

fn tell_ended(ended: &EndedSession, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "session    over: {:?}", ended.why)?;
    if ended.at > 0 {
        writeln!(out, "since      {}", in_words(ended.at))?;
    }
    Ok(())
}
