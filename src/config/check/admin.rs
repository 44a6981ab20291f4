//! The admin API: nobody comes in unasked, and everybody who may is told apart. And where its changes are noted.

use std::collections::HashMap;
use std::ops::Range;

use super::bounds::zero;
use super::listen::check_tls;
use crate::config::fault::Fault;
use crate::config::{Admin, Audit, ClientAuth, Config, Scope};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    if let Some(audit) = &config.audit {
        check_audit(config, audit, faults);
    }
    let Some(admin) = &config.admin else {
        return;
    };
    if config.sessions.is_none() {
        faults.push(
            Fault::error(
                config.places.key("admin"),
                "the admin API has nothing to administer: there is no [sessions]",
            )
            .help(
                "add the table `[sessions]`, which may be empty; without it users have no records",
            ),
        );
    }
    address(config, admin, faults);
    if let Some(tls) = &admin.tls {
        check_tls(config, "admin", tls, faults);
    }
    doors(config, admin, faults);
    callers(config, admin, faults);
    bounds(config, admin, faults);
    if config.audit.is_none() {
        faults.push(
            Fault::warning(
                config.places.key("admin"),
                "changes made through the admin API are noted in the log only",
            )
            .help("add `[audit]` with `file = \"audit.jsonl\"` or `stream = \"login:audit\"`"),
        );
    }
}

fn is_loopback(admin: &Admin) -> bool {
    admin.listen.ip().to_canonical().is_loopback()
}

fn address(config: &Config, admin: &Admin, faults: &mut Vec<Fault>) {
    let span = || config.places.value("admin.listen");
    let address = admin.listen;
    let twin = config
        .listeners
        .iter()
        .position(|listener| listener.get_ref().address == address);
    if let (Some(index), true) = (twin, address.port() != 0) {
        faults.push(
            Fault::error(
                span(),
                format!("the admin API and a listener have the address {address}"),
            )
            .help("the admin API has an address of its own")
            .also(
                config.places.value(&format!("listeners[{index}].address")),
                "the other one",
            ),
        );
    }
    if admin.tls.is_none() && !is_loopback(admin) {
        faults.push(
            Fault::warning(
                span(),
                format!("admin keys and new tokens travel to and from {address} in the clear: no TLS, and not on loopback"),
            )
            .help("add `[admin.tls]`, or keep it on 127.0.0.1"),
        );
    }
}

/// Whether there is a way in, and none that stands open to a network.
fn doors(config: &Config, admin: &Admin, faults: &mut Vec<Fault>) {
    let place = |name: &str| config.places.value(&format!("admin.{name}"));
    let known = !admin.keys.is_empty() || !admin.clients.is_empty();
    if admin.unauthenticated_loopback {
        if known {
            faults.push(
                Fault::error(
                    place("unauthenticated_loopback"),
                    "everybody is let in without a key, and yet there are keys or clients",
                )
                .help("remove `unauthenticated_loopback`, or the keys and clients"),
            );
        }
        if !is_loopback(admin) {
            faults.push(
                Fault::error(
                    place("unauthenticated_loopback"),
                    format!(
                        "the admin API would stand open to everybody on {}, which is not loopback",
                        admin.listen
                    ),
                )
                .help("listen on 127.0.0.1 or [::1], or give it `keys`"),
            );
        }
    } else if !known {
        faults.push(
            Fault::error(
                config.places.key("admin"),
                "nobody may come in: the admin API has neither `keys` nor `clients`",
            )
            .help("run `drawbridge admin-key NAME` and add the line that it prints"),
        );
    }
    let shown = admin
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_auth != ClientAuth::None);
    if !admin.clients.is_empty() && !shown {
        faults.push(
            Fault::error(
                place("clients"),
                "clients are known by their certificates, but none is asked for",
            )
            .help(
                "set `client_auth = \"optional\"` or \"required\" and `client_ca` in `[admin.tls]`",
            ),
        );
    }
}

/// Names, digests and certificates: each once. Scopes: at least one.
fn callers(config: &Config, admin: &Admin, faults: &mut Vec<Fault>) {
    let mut names = HashMap::new();
    let mut digests = HashMap::new();
    let mut certificates = HashMap::new();
    for (index, key) in admin.keys.iter().enumerate() {
        let at = format!("admin.keys[{index}]");
        let span = config.places.value(&format!("{at}.sha256"));
        let key = key.get_ref();
        caller(config, &at, (&key.name, &key.scopes), &mut names, faults);
        if let Some(first) = digests.insert(key.sha256, span.clone()) {
            twice(span, first, "two keys have the same digest", faults);
        }
    }
    for (index, client) in admin.clients.iter().enumerate() {
        let at = format!("admin.clients[{index}]");
        let span = config.places.value(&format!("{at}.certificate"));
        let client = client.get_ref();
        caller(
            config,
            &at,
            (&client.name, &client.scopes),
            &mut names,
            faults,
        );
        if let Some(first) = certificates.insert(&client.certificate, span.clone()) {
            twice(span, first, "two clients have the same certificate", faults);
        }
    }
}

type Place = Option<Range<usize>>;

fn caller<'a>(
    config: &Config,
    at: &str,
    (name, scopes): (&'a str, &[Scope]),
    names: &mut HashMap<&'a str, Place>,
    faults: &mut Vec<Fault>,
) {
    let span = config.places.value(&format!("{at}.name"));
    if name.is_empty() {
        faults.push(
            Fault::error(span, "a caller without a name")
                .help("the audit log tells callers apart by their names"),
        );
    } else if let Some(first) = names.insert(name, span.clone()) {
        twice(
            span,
            first,
            "two callers of the admin API have the same name",
            faults,
        );
    }
    if scopes.is_empty() {
        faults.push(
            Fault::error(
                config.places.value(&format!("{at}.scopes")),
                format!("`{name}` may do nothing"),
            )
            .help("name at least one of \"sessions:read\", \"sessions:write\", \"rights:write\", \"limits\""),
        );
    }
}

fn twice(span: Place, first: Place, message: &str, faults: &mut Vec<Fault>) {
    faults.push(
        Fault::error(span, message)
            .help("give each its own")
            .also(first, "the other one"),
    );
}

fn bounds(config: &Config, admin: &Admin, faults: &mut Vec<Fault>) {
    let zeros = [
        (
            admin.max_body.get() == 0,
            "max_body",
            "every change would be refused",
        ),
        (
            admin.header_timeout.get().is_zero(),
            "header_timeout",
            "no request would ever arrive",
        ),
        (
            admin.max_connections == 0,
            "max_connections",
            "no client could connect",
        ),
    ];
    for (_, name, effect) in zeros.into_iter().filter(|(zero, ..)| *zero) {
        let span = config.places.value(&format!("admin.{name}"));
        faults.push(zero(span, name, effect));
    }
}

fn check_audit(config: &Config, audit: &Audit, faults: &mut Vec<Fault>) {
    match (&audit.file, &audit.stream) {
        (None, None) => faults.push(
            Fault::error(
                config.places.value("audit"),
                "the audit log is neither `file` nor `stream`",
            )
            .help("write `file = \"audit.jsonl\"` or `stream = \"login:audit\"`"),
        ),
        (Some(_), Some(stream)) => faults.push(
            Fault::error(
                config.places.key("audit.stream").unwrap_or(stream.span()),
                "the audit log is both `file` and `stream`",
            )
            .help("remove one of the two")
            .also(config.places.key("audit.file"), "and this"),
        ),
        (None, Some(stream)) => {
            if config.store.get_ref().redis.is_none() {
                faults.push(
                    Fault::error(
                        stream.span(),
                        "a stream needs a Redis, and the store is a file",
                    )
                    .help("write `file = \"audit.jsonl\"` instead"),
                );
            }
            if stream.get_ref().is_empty() {
                faults.push(
                    Fault::error(stream.span(), "the stream has no name")
                        .help("write a key, such as \"login:audit\""),
                );
            }
        }
        (Some(_), None) => {}
    }
    if audit.max_entries == 0 {
        faults.push(zero(
            config.places.value("audit.max_entries"),
            "max_entries",
            "nothing would be kept",
        ));
    }
}
