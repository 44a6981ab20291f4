//! Faults and warnings that concern more than one value, or the world outside the file.

mod acme;
mod admin;
mod assertion;
mod bounds;
mod cache;
mod forward_auth;
mod identity;
mod layout;
mod limit;
mod listen;
mod metrics;
mod overlap;
mod route;
mod sessions;
mod store;
mod surface;
mod telemetry;
mod upstream;

use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use super::Config;
use super::fault::Fault;
use super::files::{cure, why_unread};

/// Everything that is wrong with this configuration, in the order of the file.
///
/// Looks whether files exist and can be opened; what is in them is not looked at.
pub fn run(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    listen::check(config, &mut faults);
    acme::check(config, &mut faults);
    store::check(config, &mut faults);
    layout::check(config, &mut faults);
    cache::check(config, &mut faults);
    bounds::check(config, &mut faults);
    identity::check(config, &mut faults);
    assertion::check(config, &mut faults);
    forward_auth::check(config, &mut faults);
    upstream::check(config, &mut faults);
    route::check(config, &mut faults);
    sessions::check(config, &mut faults);
    limit::check(config, &mut faults);
    overlap::check(config, &mut faults);
    admin::check(config, &mut faults);
    metrics::check(config, &mut faults);
    surface::check(config, &mut faults);
    telemetry::check(config, &mut faults);
    faults.sort_by_key(|fault| fault.span.as_ref().map_or(0, |span| span.start));
    faults
}

/// Whether this host is this machine itself: what goes there crosses no network.
fn is_loopback(host: &str) -> bool {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Complains about a file that is not there or cannot be opened.
fn readable(path: &Path, span: Range<usize>, what: &str, faults: &mut Vec<Fault>) {
    let error = match File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_dir() => ErrorKind::IsADirectory.into(),
        Ok(_) => return,
        Err(error) => error,
    };
    let problem = why_unread(&error);
    let message = format!("{what} file `{}` cannot be read: {problem}", path.display());
    faults.push(Fault::error(span, message).help(cure(&error)));
}
