//! Bounds that would let nothing through.

use std::ops::Range;

use crate::config::Config;
use crate::config::fault::Fault;
use crate::config::value::Size;

pub(super) fn check(config: &Config, faults: &mut Vec<Fault>) {
    for (_, path, effect) in zeros(config).into_iter().filter(|(zero, ..)| *zero) {
        let name = path.rsplit('.').next().unwrap_or(path);
        faults.push(zero(config.places.value(path), name, effect));
    }
    check_head(config, faults);
    check_trust(config, faults);
}

/// Whether it is zero, where it stands, and what that would do.
type Bound = (bool, &'static str, &'static str);

#[expect(clippy::too_many_lines, reason = "a table")]
fn zeros(config: &Config) -> [Bound; 19] {
    let limits = &config.limits;
    [
        (
            limits.handshake_timeout.get().is_zero(),
            "limits.handshake_timeout",
            "no handshake would ever finish",
        ),
        (
            limits.header_timeout.get().is_zero(),
            "limits.header_timeout",
            "no request would ever arrive",
        ),
        (
            limits.first_byte_timeout.get().is_zero(),
            "limits.first_byte_timeout",
            "no request would ever arrive",
        ),
        (
            limits.idle_timeout.get().is_zero(),
            "limits.idle_timeout",
            "no connection would be used twice",
        ),
        (
            limits.write_timeout.get().is_zero(),
            "limits.write_timeout",
            "no answer would ever be read",
        ),
        (
            limits.max_control_frames == 0,
            "limits.max_control_frames",
            "no HTTP/2 client could even begin",
        ),
        (
            limits.max_headers == 0,
            "limits.max_headers",
            "every request would be refused",
        ),
        (
            limits.max_header.get() == 0,
            "limits.max_header",
            "every request would be refused",
        ),
        (
            limits.max_uri.get() == 0,
            "limits.max_uri",
            "every request would be refused",
        ),
        (
            limits.max_connections == 0,
            "limits.max_connections",
            "no client could connect",
        ),
        (
            limits.max_connections_per_client == 0,
            "limits.max_connections_per_client",
            "no client could connect",
        ),
        (
            limits.max_requests_per_connection == 0,
            "limits.max_requests_per_connection",
            "no request would be let in",
        ),
        (
            limits.max_connection_age.get().is_zero(),
            "limits.max_connection_age",
            "every connection would end with its first answer",
        ),
        (
            limits.max_in_flight == 0,
            "limits.max_in_flight",
            "every request would be refused",
        ),
        (
            limits.body_timeout.is_some_and(|time| time.get().is_zero()),
            "limits.body_timeout",
            "no body would ever arrive",
        ),
        (
            limits.max_streams == 0,
            "limits.max_streams",
            "no HTTP/2 request would be let in",
        ),
        (
            config.tokens.max_length.get() == 0,
            "tokens.max_length",
            "every token would be refused",
        ),
        (
            config.tokens.lifetime.get().is_zero(),
            "tokens.lifetime",
            "sessions would end when they begin",
        ),
        (
            config.identity.max_value.get() == 0,
            "identity.max_value",
            "every session would be refused",
        ),
    ]
}

/// A fault for a bound of zero.
pub(super) fn zero(span: Option<Range<usize>>, name: &str, effect: &str) -> Fault {
    Fault::error(span, format!("`{name}` is zero: {effect}"))
        .help("write more than zero, or remove the line to have the default")
}

fn check_head(config: &Config, faults: &mut Vec<Fault>) {
    // The smallest read buffer that the HTTP/1 server can be given.
    if config.limits.max_head < Size::kib(8) {
        faults.push(
            Fault::error(
                config.places.value("limits.max_head"),
                "`max_head` is below 8 KiB",
            )
            .help("write \"8KiB\" or more"),
        );
    }
}

fn check_trust(config: &Config, faults: &mut Vec<Fault>) {
    for (index, network) in config.forwarded.trusted_proxies.iter().enumerate() {
        if network.is_everyone() {
            faults.push(
                Fault::warning(
                    config
                        .places
                        .value(&format!("forwarded.trusted_proxies[{index}]")),
                    "everybody is a trusted proxy: every client chooses the address it is seen under",
                )
                .help("name the networks of your own proxies only"),
            );
        }
    }
}
