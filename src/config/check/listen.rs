//! Listeners: addresses, certificates, and what is offered without TLS.

use std::collections::HashMap;

use super::readable;
use crate::config::fault::Fault;
use crate::config::{ClientAuth, Config, ListenerTls, ProxyProtocol};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    if config.listeners.is_empty() {
        faults.push(
            Fault::error(config.places.value("listeners"), "there is no listener")
                .help("add `[[listeners]]` with an `address` such as \"127.0.0.1:8080\""),
        );
    }
    let mut seen = HashMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let at = format!("listeners[{index}]");
        let span = || config.places.value(&format!("{at}.address"));
        let listener = listener.get_ref();
        let address = listener.address;
        if let Some(first) = seen.insert(address, index)
            && address.port() != 0
        {
            faults.push(
                Fault::error(span(), format!("two listeners have the address {address}"))
                    .help("give each its own port, or remove one")
                    .also(
                        config.places.value(&format!("listeners[{first}].address")),
                        "the other one",
                    ),
            );
        }
        if listener.proxy_protocol != ProxyProtocol::Off
            && config.forwarded.trusted_proxies.is_empty()
        {
            let span = config.places.value(&format!("{at}.proxy_protocol"));
            faults.push(
                Fault::error(
                    span,
                    "nobody may send a PROXY header: `forwarded.trusted_proxies` is empty",
                )
                .help("name the networks of the proxies in front, or remove `proxy_protocol`"),
            );
        }
        match &listener.tls {
            Some(tls) => check_tls(config, &at, tls, faults),
            None if !address.ip().to_canonical().is_loopback() => faults.push(
                Fault::warning(
                    span(),
                    format!("tokens reach {address} in the clear: this listener has no TLS and is not on loopback"),
                )
                .help("add `[listeners.tls]`, or keep it on 127.0.0.1 behind something that speaks TLS"),
            ),
            None => {}
        }
    }
}

pub(super) fn check_tls(config: &Config, at: &str, tls: &ListenerTls, faults: &mut Vec<Fault>) {
    let place = |name: &str| config.places.value(&format!("{at}.tls{name}"));
    if tls.certificates.is_empty() && tls.acme.is_none() {
        faults.push(
            Fault::error(
                place(".certificates"),
                "this TLS listener has no certificate",
            )
            .help("write `certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]`, or let it order them: `acme`"),
        );
    }
    for certificate in &tls.certificates {
        let certificate = certificate.get_ref();
        for (path, what) in [
            (&certificate.cert, "the certificate"),
            (&certificate.key, "the key"),
        ] {
            readable(path.get_ref(), path.span(), what, faults);
        }
    }
    match (&tls.client_ca, tls.client_auth) {
        (Some(authority), _) => {
            readable(
                authority.get_ref(),
                authority.span(),
                "the client CA",
                faults,
            );
        }
        (None, ClientAuth::Optional | ClientAuth::Required) => faults.push(
            Fault::error(
                place(".client_auth"),
                "clients are to show a certificate, but nobody is named who may sign it",
            )
            .help("set `client_ca` to a PEM file with the authorities"),
        ),
        (None, ClientAuth::None) => {}
    }
}
