//! Certificates by ACME: names, consent, and a folder that can be written to.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::{Access, access};

use super::readable;
use crate::config::fault::Fault;
use crate::config::{Acme, Config, ExternalAccount};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let mut ordered = BTreeMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let tls = listener.get_ref().tls.as_ref();
        let Some(acme) = tls.and_then(|tls| tls.acme.as_ref()) else {
            continue;
        };
        check_one(
            config,
            &format!("listeners[{index}].tls.acme"),
            acme,
            faults,
        );
        for domain in &acme.domains {
            // A certificate is the same one if its file is.
            let file = (domain.get_ref(), acme.cache.get_ref(), &acme.directory);
            let (first, by) = *ordered.entry(file).or_insert((index, acme));
            if first != index && !is_alike(by, acme) {
                let text = format!(
                    "`{}` is ordered in another way at another listener",
                    domain.get_ref().as_str()
                );
                faults.push(
                    Fault::error(domain.span(), text)
                        .help("it is ordered once for both: write the same contact, `ca` and external account")
                        .also(
                            config.places.value(&format!("listeners[{first}].tls.acme")),
                            "the other one",
                        ),
                );
            }
        }
    }
    if let Some(admin) = &config.admin
        && let Some(tls) = &admin.tls
        && tls.acme.is_some()
    {
        faults.push(
            Fault::error(
                config.places.key("admin.tls.acme"),
                "the admin API orders no certificates",
            )
            .help("name files in `certificates`; authorities look at port 443, where `[[listeners]]` are"),
        );
    }
}

/// Whether both order with the same account in the same way.
fn is_alike(one: &Acme, other: &Acme) -> bool {
    one.contact == other.contact
        && one.external_account == other.external_account
        && one.ca.as_ref().map(|ca| ca.get_ref()) == other.ca.as_ref().map(|ca| ca.get_ref())
}

fn check_one(config: &Config, at: &str, acme: &Acme, faults: &mut Vec<Fault>) {
    let place = |name: &str| config.places.value(&format!("{at}.{name}"));
    if !acme.accept_terms {
        faults.push(
            Fault::error(
                place("accept_terms"),
                "nobody has agreed to the authority's terms of service",
            )
            .help("read them (Let's Encrypt: https://letsencrypt.org/repository/), then write `accept_terms = true`"),
        );
    }
    if acme.domains.is_empty() {
        faults.push(
            Fault::error(
                place("domains"),
                "no certificate is ordered: there are no names",
            )
            .help("write [\"www.example.com\"], or remove `acme`"),
        );
    }
    let mut seen = BTreeMap::new();
    for domain in &acme.domains {
        if let Some(first) = seen.insert(domain.get_ref(), domain.span()) {
            let text = format!("`{}` is there twice", domain.get_ref().as_str());
            faults.push(
                Fault::error(domain.span(), text)
                    .help("remove one")
                    .also(Some(first), "the other one"),
            );
        }
    }
    if let Some(authority) = &acme.ca {
        readable(authority.get_ref(), authority.span(), "the CA", faults);
    }
    if let Some(account) = &acme.external_account
        && !is_key(account)
    {
        faults.push(
            Fault::error(
                place("external_account.secret"),
                "this is not the key of an account: it is not base64url",
            )
            .help("write it as the authority shows it; best as \"file:PATH\" or \"${NAME}\""),
        );
    }
    if let Err(why) = writable(acme.cache.get_ref()) {
        let shown = acme.cache.get_ref().display();
        faults.push(
            Fault::error(
                acme.cache.span(),
                format!("certificates cannot be kept in `{shown}`: {why}"),
            )
            .help("name a folder that this user may write to; it is made if it is not there"),
        );
    }
}

fn is_key(account: &ExternalAccount) -> bool {
    let secret = account.secret.expose().trim_end_matches('=');
    !secret.is_empty() && URL_SAFE_NO_PAD.decode(secret).is_ok()
}

/// Whether files can be made in this folder, or the folder itself.
fn writable(folder: &Path) -> Result<(), String> {
    for place in folder.ancestors() {
        let place = match place.as_os_str().is_empty() {
            true => Path::new("."),
            false => place,
        };
        match place.metadata() {
            Ok(found) if !found.is_dir() => {
                return Err(format!("`{}` is no folder", place.display()));
            }
            Ok(_) => {
                return access(place, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(|error| format!("`{}`: {}", place.display(), error.kind()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("`{}`: {}", place.display(), error.kind())),
        }
    }
    Ok(())
}
