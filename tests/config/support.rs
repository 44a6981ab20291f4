//! A small valid file to spoil, and a way to say what should be said about it.

use std::path::Path;

use drawbridge::config::fault::{Fault, Severity};
use drawbridge::config::render::Source;
use drawbridge::config::{Config, Surroundings, check, load};

/// Valid, and nothing to warn about.
pub(crate) const VALID: &str = r#"
[[listeners]]
address = "127.0.0.1:0"
[store]
embedded = "s.redb"
[upstreams.app]
endpoints = ["http://127.0.0.1:9000"]
[[routes]]
prefix = "/"
upstream = "app"
"#;

/// Reads in a folder where nothing is, with one variable set.
pub(crate) fn read(text: &str) -> Result<Config, Vec<Fault>> {
    read_in(text, Path::new("/nowhere"))
}

pub(crate) fn read_in(text: &str, folder: &Path) -> Result<Config, Vec<Fault>> {
    let variable = |name: &str| match name {
        "PORT" => Some("8080".to_owned()),
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("hunter2".to_owned()),
        "LINK" => Some("file:/etc/hostname".to_owned()),
        _ => None,
    };
    load::parse_in(
        text,
        Surroundings {
            folder,
            variable: &variable,
            open: &|path| Ok(Box::new(std::fs::File::open(path)?)),
        },
    )
}

/// All faults: of values, and if there are none across values.
pub(crate) fn faults(text: &str) -> Vec<Fault> {
    match read(text) {
        Ok(config) => check::run(&config),
        Err(faults) => faults,
    }
}

/// "error 3:5 message" of each.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let source = source(text);
    faults(text)
        .iter()
        .map(|fault| {
            let severity = match fault.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let (line, column) = source.position(fault.span.as_ref().map_or(0, |span| span.start));
            format!("{severity} {line}:{column} {}", fault.message)
        })
        .collect()
}

pub(crate) fn source(text: &str) -> Source {
    Source {
        path: "gateway.toml".into(),
        text: text.to_owned(),
    }
}

/// Everything that is printed about this text.
pub(crate) fn rendered(text: &str) -> String {
    source(text).render(&faults(text), false)
}
