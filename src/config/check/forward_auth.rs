//! Proxies that ask: who may, in which way, and what their routes lack.

use super::is_loopback;
use crate::config::fault::Fault;
use crate::config::value::SigninUrl;
use crate::config::{
    Alpn, ClientAuth, Config, ForwardAuth, ListenerTls, ProxyProtocol, Route, Telling,
};

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    let mut asked = false;
    for (index, listener) in config.listeners.iter().enumerate() {
        let listener = listener.get_ref();
        if let Some(asks) = &listener.forward_auth {
            asked = true;
            let at = format!("listeners[{index}]");
            check_listener(config, &at, (asks, listener.tls.as_ref()), faults);
            if listener.proxy_protocol != ProxyProtocol::Off {
                let place = config.places.value(&format!("{at}.proxy_protocol"));
                faults.push(
                    Fault::error(place, "a proxy that asks speaks for itself, and nobody introduces it")
                        .help("remove `proxy_protocol`: whoever may introduce others could pretend to be this proxy"),
                );
            }
            let at = format!("{at}.forward_auth.signin");
            check_signin(config, &at, asks.signin.as_ref(), faults);
        }
    }
    check_signin(config, "login.signin", config.login.signin.as_ref(), faults);
    for (index, route) in config.routes.iter().enumerate() {
        let route = route.get_ref();
        if route.upstream.is_none() {
            check_route(config, &format!("routes[{index}]"), (route, asked), faults);
        }
    }
}

fn check_listener(
    config: &Config,
    at: &str,
    (asks, tls): (&ForwardAuth, Option<&ListenerTls>),
    faults: &mut Vec<Fault>,
) {
    let place = |name: &str| config.places.value(&format!("{at}.forward_auth{name}"));
    let telling = asks.proxy.telling();
    if asks.trusted.is_empty() {
        faults.push(
            Fault::error(place(".trusted"), "nobody may ask here: `trusted` is empty")
                .help("write the addresses that the proxy asks from, such as [\"10.0.0.0/8\"]"),
        );
    }
    let shown = tls.is_some_and(|tls| tls.client_auth == ClientAuth::Required);
    if asks.trusted.iter().any(|network| network.is_everyone()) && !shown {
        faults.push(
            Fault::warning(
                place(".trusted"),
                "everybody may ask here, and pretend to be any client",
            )
            .help("name the networks of the proxy, or let it show a certificate: `client_auth = \"required\"`"),
        );
    }
    if asks.path_prefix.is_some() && telling != Telling::Itself {
        faults.push(
            Fault::error(
                place(".path_prefix"),
                "only the proxies `envoy` and `gateway-api` put something in front of paths",
            )
            .help("remove it: the path that this proxy asks at does not matter"),
        );
    }
    let h2 = tls.is_none_or(|tls| tls.alpn.contains(&Alpn::H2));
    if telling == Telling::Message && !h2 {
        faults.push(
            Fault::error(
                config.places.value(&format!("{at}.tls.alpn")),
                "gRPC is spoken over HTTP/2, and this listener does not offer it",
            )
            .help("add \"h2\""),
        );
    }
}

/// Whoever listens in could send users elsewhere.
fn check_signin(config: &Config, at: &str, page: Option<&SigninUrl>, faults: &mut Vec<Fault>) {
    let clear = page.filter(|page| !page.origin().tls && !is_loopback(&page.origin().host));
    if let Some(page) = clear {
        faults.push(
            Fault::warning(
                config.places.value(at),
                format!("users sign in at {} in the clear", page.origin()),
            )
            .help("write https://"),
        );
    }
}

/// A route that only other proxies ask about.
fn check_route(config: &Config, at: &str, (route, asked): (&Route, bool), faults: &mut Vec<Fault>) {
    let key = |name: &str| {
        let path = format!("{at}.{name}");
        config
            .places
            .key(&path)
            .or_else(|| config.places.value(&path))
    };
    if !asked {
        faults.push(
            Fault::error(config.places.value(at), "this route has no `upstream`")
                .help("name an entry of `[upstreams]`; without one only a proxy can use it that asks at a listener with `forward_auth`"),
        );
        return;
    }
    for (name, used) in [("login", route.login), ("logout", route.logout)] {
        if used {
            faults.push(
                Fault::error(
                    key(name),
                    format!("`{name}` is about an upstream's answers, and this route has no `upstream`"),
                )
                .help("let the proxy send these requests through the gateway, and name the upstream here"),
            );
        }
    }
}
