//! `drawbridge check`: everything that is wrong with a configuration, at once.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::assertion::{Assertions, KeyRing};
use crate::config::Config;
use crate::config::fault::Fault;
use crate::config::load::{self, Loaded, Unreadable};
use crate::metrics;
use crate::selfservice::SelfService;
use crate::server::Server;
use crate::upstream::{Services, Upstreams};

/// Prints every fault with its place in the file, and one closing line. Returns whether the gateway would start.
///
/// # Errors
/// Writing to `out` failed.
pub fn run(path: &Path, out: &mut dyn Write, color: bool) -> io::Result<bool> {
    let shown = path.display();
    match read(path) {
        Ok(loaded) => {
            write!(out, "{}", loaded.file.render(&loaded.warnings, color))?;
            let config = &loaded.config;
            let holds = format!(
                "{}, {}, {}",
                count(config.listeners.len(), "listener"),
                count(config.routes.len(), "route"),
                count(config.upstreams.len(), "upstream"),
            );
            match loaded.warnings.len() {
                0 => writeln!(out, "{shown} is fine: {holds}")?,
                warnings => writeln!(out, "{shown}: {}; {holds}", count(warnings, "warning"))?,
            }
            Ok(true)
        }
        Err(unreadable) => {
            refuse(path, &unreadable, out, color)?;
            Ok(false)
        }
    }
}

/// The configuration, if it can be served. Every fault and warning is told on `out` first.
///
/// # Errors
/// Writing to `out` failed.
pub fn load(path: &Path, out: &mut dyn Write, color: bool) -> io::Result<Option<Config>> {
    match read(path) {
        Ok(loaded) => {
            write!(out, "{}", loaded.file.render(&loaded.warnings, color))?;
            Ok(Some(loaded.config))
        }
        Err(unreadable) => {
            refuse(path, &unreadable, out, color)?;
            Ok(None)
        }
    }
}

/// Why a running gateway does not take a configuration over.
#[derive(Debug)]
pub(super) struct Refused {
    /// What [`run`] would print.
    pub(super) report: String,
    /// How many errors there are.
    pub(super) errors: usize,
    /// The first of them, in one line.
    pub(super) first: String,
}

/// The configuration for a running gateway, and its warnings as [`run`] would print them.
///
/// # Errors
/// If it cannot be served.
pub(super) fn reload(path: &Path) -> Result<(Config, String), Refused> {
    let unreadable = match read(path) {
        Ok(loaded) => {
            let warnings = loaded.file.render(&loaded.warnings, false);
            return Ok((loaded.config, warnings));
        }
        Err(unreadable) => unreadable,
    };
    let mut report = Vec::new();
    refuse(path, &unreadable, &mut report, false).expect("writing to memory cannot fail");
    let (errors, first) = match &unreadable {
        Unreadable::Faults { faults, .. } => {
            let mut errors = faults.iter().filter(|fault| fault.is_error());
            let first = errors.next().map(|fault| fault.message.clone());
            (errors.count() + 1, first.unwrap_or_default())
        }
        Unreadable::File { source, .. } => (1, source.to_string()),
    };
    Err(Refused {
        report: String::from_utf8_lossy(&report).into_owned(),
        errors,
        first,
    })
}

/// Reads the file, and what it names: certificates, keys, authorities.
fn read(path: &Path) -> Result<Loaded, Unreadable> {
    let Loaded {
        config,
        file,
        warnings,
    } = load::read(path)?;
    let mut faults = Server::check(&config);
    faults.extend(
        Upstreams::build(
            &config.upstreams,
            &Services::default(),
            &metrics::Worker::default(),
        )
        .err()
        .unwrap_or_default(),
    );
    faults.extend(SelfService::build(&config).err().unwrap_or_default());
    let signing = Assertions::build(&config, &Arc::new(KeyRing::default()));
    faults.extend(signing.err().unwrap_or_default());
    if let Err(error) = EnvFilter::try_new(&config.log.filter) {
        let span = config.places.value("log.filter");
        faults.push(Fault::error(
            span,
            format!("`{}` is not a log filter: {error}", config.log.filter),
        ));
    }
    if !faults.iter().any(Fault::is_error) {
        let mut warnings = warnings;
        warnings.append(&mut faults);
        return Ok(Loaded {
            config,
            file,
            warnings,
        });
    }
    faults.extend(warnings);
    Err(Unreadable::Faults {
        file,
        faults,
        partly: false,
    })
}

fn refuse(
    path: &Path,
    unreadable: &Unreadable,
    out: &mut dyn Write,
    color: bool,
) -> io::Result<()> {
    let shown = path.display();
    match unreadable {
        Unreadable::Faults {
            file,
            faults,
            partly,
        } => {
            write!(out, "{}", file.render(faults, color))?;
            let rest = match partly {
                true => "; whether the rest fits together is looked at when each value is right",
                false => "",
            };
            writeln!(out, "{shown}: {}{rest}", tally(faults))
        }
        Unreadable::File { source, .. } => {
            writeln!(out, "error: `{shown}` cannot be read: {source}")?;
            let help = if source.kind() == io::ErrorKind::NotFound {
                "name the file with --config FILE or in DRAWBRIDGE_CONFIG"
            } else if source.kind() == io::ErrorKind::IsADirectory {
                "name the file in it, such as gateway.toml"
            } else {
                return Ok(());
            };
            writeln!(out, "  = help: {help}")
        }
    }
}

/// "3 errors, 1 warning".
fn tally(faults: &[Fault]) -> String {
    let errors = faults.iter().filter(|fault| fault.is_error()).count();
    let errors_text = count(errors, "error");
    match faults.len() - errors {
        0 => errors_text,
        warnings => format!("{errors_text}, {}", count(warnings, "warning")),
    }
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        _ => format!("{n} {what}s"),
    }
}
