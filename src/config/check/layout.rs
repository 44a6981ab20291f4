//! Sessions of other frameworks: what it takes to read them, and what cannot be had with them.

use std::ops::Range;

use super::surface;
use crate::config::fault::Fault;
use crate::config::{Config, Foreign, Layout, LoginAnswer, Sessions, WithoutIat};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let layout = config.store.get_ref().layout;
    settings(config, layout, faults);
    if config.store.get_ref().migrate {
        migration(config, layout, faults);
    }
    if layout == Layout::Drawbridge {
        return;
    }
    place_of_sessions(config, layout, faults);
    beginnings(config, layout, faults);
}

fn key(config: &Config, name: &str) -> Option<Range<usize>> {
    let path = format!("store.{name}");
    config
        .places
        .key(&path)
        .or_else(|| config.places.value(&path))
}

/// Settings that this framework has no use for: whoever wrote them expects something of them.
fn settings(config: &Config, layout: Layout, faults: &mut Vec<Fault>) {
    let resty = layout == Layout::LuaRestySession;
    let signs = match layout {
        Layout::ConnectRedis | Layout::FlaskSession | Layout::Laravel | Layout::LuaRestySession => {
            true
        }
        Layout::Drawbridge | Layout::SpringSession | Layout::SaToken => false,
    };
    let used = [
        ("foreign.secrets", signs),
        ("foreign.idle", resty || layout == Layout::SaToken),
        ("foreign.rolling", resty),
        ("foreign.absolute", resty),
        ("foreign.hashed_keys", resty),
    ];
    for (name, used) in used {
        let set = config.places.key(&format!("store.{name}"));
        if let (Some(span), false) = (set, used) {
            let name = name.trim_start_matches("foreign.");
            let layout = layout.name();
            faults.push(
                Fault::warning(
                    span,
                    format!("`{name}` means nothing with the layout \"{layout}\""),
                )
                .help("remove the line, or write the `layout` that it belongs to"),
            );
        }
    }
    let needed = matches!(layout, Layout::ConnectRedis | Layout::LuaRestySession);
    if needed && config.store.get_ref().foreign.secrets.is_empty() {
        faults.push(
            Fault::error(
                key(config, "layout"),
                format!(
                    "without `secrets` no cookie of \"{}\" can be read",
                    layout.name()
                ),
            )
            .help("write `secrets = [\"${SESSION_SECRET}\"]` in `[store.foreign]`"),
        );
    }
}

fn place_of_sessions(config: &Config, layout: Layout, faults: &mut Vec<Fault>) {
    let store = config.store.get_ref();
    if let Some(file) = &store.embedded {
        faults.push(
            Fault::error(
                key(config, "layout"),
                format!("no file has sessions of \"{}\"", layout.name()),
            )
            .help("write the `redis` that the framework keeps its sessions in, in place of `embedded`")
            .also(Some(file.span()), "this is a file"),
        );
    }
    let own = store.layout_key();
    if layout == Layout::SaToken && !(own.before.ends_with("token:") && own.after.is_empty()) {
        faults.push(
            Fault::error(
                key(config, "key"),
                "where Sa-Token's other keys lie cannot be told from this one",
            )
            .help("write it with its last part: \"satoken:login:token:{token}\""),
        );
    }
}

/// From a framework's sessions to ours, in a cookie.
fn migration(config: &Config, layout: Layout, faults: &mut Vec<Fault>) {
    let checks = |sessions: &Sessions| sessions.foreign == Foreign::Check;
    let needs = [
        (
            layout != Layout::Drawbridge,
            "there is no framework to move sessions from",
            "write its `layout` in `[store]`",
        ),
        (
            config.sessions.as_ref().is_some_and(checks),
            "sessions of ours need `[sessions]`, with `foreign = \"check\"`",
            "add `[sessions]`",
        ),
        (
            config.login.answer == LoginAnswer::Cookie && surface::is_read(config),
            "tokens are never looked for in the cookie that would be set",
            "let `[tokens] sources` have the cookie of `[login.cookie]` and the framework's, and write `answer = \"cookie\"`",
        ),
    ];
    for (_, message, help) in needs.into_iter().filter(|(met, ..)| !met) {
        faults.push(Fault::error(key(config, "migrate"), message).help(help));
    }
}

/// Kicks go by when a session began: of those that do not say it none would be ended.
fn beginnings(config: &Config, layout: Layout, faults: &mut Vec<Fault>) {
    let Some(sessions) = &config.sessions else {
        return;
    };
    let told = layout.tells_beginning() || config.store.get_ref().fields.issued_at.is_some();
    if told
        || sessions.foreign == Foreign::Trust
        || sessions.foreign_without_iat == WithoutIat::Refuse
    {
        return;
    }
    let span = config.places.value("sessions.foreign_without_iat");
    faults.push(
        Fault::error(
            span,
            format!(
                "sessions of \"{}\" do not say when they began: a kick of their user would not end them",
                layout.name()
            ),
        )
        .help(
            "write `foreign_without_iat = \"refuse\"` in `[sessions]`, or `issued_at` in `[store.fields]` if the application \
             notes it",
        ),
    );
}
