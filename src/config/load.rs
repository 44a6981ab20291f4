//! From the text of `gateway.toml` to a [`Config`], with every fault found on the way.
//!
//! serde stops at its first error. So the entry that an error is about is taken out of the parsed document and the
//! rest is read again, until nothing is left to complain about. A required key that is missing is put in by a
//! stand-in for the same purpose. What comes out then is of no use but to have named every fault.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::document::{self, Step};
use super::expand::{self, Expanded, Surroundings};
use super::fault::Fault;
use super::render::Source;
use super::{Certificate, Config, Content, Fixed, UpstreamTls, check, wording};

/// More faults than this are not looked for: the first ones explain the others.
const MAX_FAULTS: usize = 200;

/// A configuration that can be used, and the text it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says, checked.
    pub config: Config,
    /// Its text, to show places in it.
    pub file: Source,
    /// What somebody should look at.
    pub warnings: Vec<Fault>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file cannot be read, or is not UTF-8.
    #[error("{} cannot be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file has errors; the list holds the warnings too.
    #[error("{} cannot be used as it is", .file.path.display())]
    Faults {
        /// Its text, to show places in it.
        file: Source,
        /// Everything that is wrong with it.
        faults: Vec<Fault>,
        /// Whether only each value by itself was looked at, because what they say together cannot be known yet.
        partly: bool,
    },
}

/// Reads and checks a configuration file. Values may refer to this process's environment.
///
/// # Errors
/// The file cannot be read, or what it says cannot be used.
pub fn read(path: &Path) -> Result<Loaded, Unreadable> {
    let text = std::fs::read_to_string(path).map_err(|source| Unreadable::File {
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let parsed = parse(&text, folder);
    let content = Content::of(text.as_bytes());
    let file = Source {
        path: path.to_owned(),
        text,
    };
    let mut config = match parsed {
        Ok(config) => config,
        Err(faults) => {
            return Err(Unreadable::Faults {
                file,
                faults,
                partly: true,
            });
        }
    };
    let found = check::run(&config);
    if found.iter().any(Fault::is_error) {
        return Err(Unreadable::Faults {
            file,
            faults: found,
            partly: false,
        });
    }
    config.files.text.insert(path.to_owned(), content);
    Ok(Loaded {
        config,
        file,
        warnings: found,
    })
}

/// Reads a configuration that stands in this folder. Values may refer to this process's environment.
///
/// Only what each value says is checked; [`check::run`] checks what they say together.
///
/// # Errors
/// Every fault found, in the order of the file.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Fault>> {
    parse_in(
        text,
        Surroundings {
            folder,
            variable: &|name| std::env::var(name).ok(),
            open: &|path| Ok(Box::new(File::open(path)?)),
        },
    )
}

/// Reads a configuration; values refer to these surroundings.
///
/// # Errors
/// Every fault found, in the order of the file.
pub fn parse_in(text: &str, surroundings: Surroundings<'_>) -> Result<Config, Vec<Fault>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax(text, &errors));
    }
    let mut root = root.into_inner();
    let places = document::places(&root);
    let (expanded, faults) = expand::expand(&mut root, surroundings);
    let mut reading = Reading {
        root,
        expanded,
        faults,
        removed: Vec::new(),
    };
    for span in reading.unexpanded() {
        reading.take_out(&span);
    }
    let fixed = Fixed::of(&reading.root);
    let files = reading.expanded.iter();
    let values = files.filter_map(|one| one.file.clone()).collect();
    match (reading.until_it_reads(), reading.faults.is_empty()) {
        (Some(mut config), true) => {
            config.places = places;
            config.fixed = fixed;
            config.files.text = values;
            config.settle(surroundings.folder);
            Ok(config)
        }
        (Some(_) | None, _) => {
            let mut faults = reading.faults;
            faults.sort_by_key(|fault| fault.span.as_ref().map_or(0, |span| span.start));
            Err(faults)
        }
    }
}

/// One fault a line: after the first the parser is only guessing what the rest of the line was meant to be.
fn syntax(text: &str, errors: &[toml::de::Error]) -> Vec<Fault> {
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    for error in errors {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|b| *b == b'\n').count();
        if !lines.contains(&line) && faults.len() < MAX_FAULTS {
            lines.push(line);
            faults.push(
                Fault::error(error.span(), error.message())
                    .help("this is not TOML; text stands in quotes, tables in brackets"),
            );
        }
    }
    faults
}

struct Reading<'i> {
    root: DeTable<'i>,
    expanded: Vec<Expanded>,
    faults: Vec<Fault>,
    /// What was taken out: the span of the table it stood in, and its name.
    removed: Vec<(Range<usize>, String)>,
}

impl Reading<'_> {
    fn until_it_reads(&mut self) -> Option<Config> {
        while self.faults.len() < MAX_FAULTS {
            let error = match deserialize(&self.root) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            if !self.put_right(&error) {
                return None;
            }
        }
        None
    }

    /// Records the fault and makes the document one fault smaller. Returns whether it could.
    fn put_right(&mut self, error: &toml::de::Error) -> bool {
        let Some(span) = error.span() else {
            self.faults.push(Fault::error(None, error.message()));
            return false;
        };
        if let Some(key) = missing(error) {
            let known = self
                .removed
                .iter()
                .any(|(table, name)| *table == span && name == key);
            if !known {
                self.record(error, span.clone());
            }
            return self.stand_in(&span, key) || self.take_out(&span);
        }
        let span = self.element(error, &span).unwrap_or(span);
        self.record(error, span.clone());
        self.take_out(&span)
    }

    /// An element that refuses its text is reported at its array. Which one it is shows in how much of the array can
    /// be read without that error.
    fn element(&self, error: &toml::de::Error, span: &Range<usize>) -> Option<Range<usize>> {
        let path = document::locate(&self.root, span)?;
        let mut trial = self.root.clone();
        let elements = document::array_at(&mut trial, &path)?.to_vec();
        let mut fails_with = |count: usize| {
            let array = document::array_at(&mut trial, &path)?;
            *array = elements.iter().take(count).cloned().collect();
            Some(deserialize(&trial).is_err_and(|other| {
                other.span().as_ref() == Some(span) && other.message() == error.message()
            }))
        };
        if fails_with(0)? {
            return None;
        }
        let (mut good, mut bad) = (0, elements.len());
        while good + 1 < bad {
            let middle = good + (bad - good) / 2;
            if fails_with(middle)? {
                bad = middle;
            } else {
                good = middle;
            }
        }
        elements.get(good).map(Spanned::span)
    }

    fn record(&mut self, error: &toml::de::Error, span: Range<usize>) {
        let path = document::locate(&self.root, &span).unwrap_or_default();
        let secret = path
            .iter()
            .any(|step| matches!(step, Step::Key(key) if super::render::is_secret(key)));
        let value = document::text_at(&mut self.root, &path);
        let mut fault = wording::fault(error, value.as_deref(), secret);
        let inside = |e: &&Expanded| span.start <= e.span.start && e.span.end <= span.end;
        for expanded in self.expanded.iter().filter(inside) {
            fault = wording::conceal(fault, expanded);
        }
        fault.span = Some(span);
        self.faults.push(fault);
    }

    fn take_out(&mut self, span: &Range<usize>) -> bool {
        let Some(path) = document::locate(&self.root, span) else {
            return false;
        };
        if let Some((Step::Key(key), parents)) = path.split_last() {
            let table = document::span_at(&mut self.root, parents);
            self.removed.push((table, key.clone()));
        }
        document::remove(&mut self.root, &path)
    }

    /// Puts something harmless where a required key is missing, so that what else is wrong is found.
    fn stand_in(&mut self, table: &Range<usize>, key: &str) -> bool {
        let empty = 0..0;
        let value = match key {
            "listeners" | "routes" | "endpoints" | "domains" => DeValue::Array(DeArray::new()),
            "store" | "upstreams" => DeValue::Table(DeTable::new()),
            "address" => DeValue::String("127.0.0.1:0".into()),
            "cert" | "key" | "upstream" | "cache" => DeValue::String("".into()),
            _ => return false,
        };
        let path = match *table == empty {
            true => Some(Vec::new()),
            false => document::locate(&self.root, table),
        };
        let Some(table) = path.and_then(|path| document::table_at(&mut self.root, &path)) else {
            return false;
        };
        let name = Spanned::new(empty.clone(), key.to_owned().into());
        table.insert(name, Spanned::new(empty, value)).is_none()
    }

    /// Values that could not be expanded: complaining about their type as well would only confuse.
    fn unexpanded(&self) -> Vec<Range<usize>> {
        self.faults
            .iter()
            .filter_map(|fault| fault.span.clone())
            .collect()
    }
}

fn deserialize(root: &DeTable<'_>) -> Result<Config, toml::de::Error> {
    // The span of the whole document is empty, so a fault of no entry in particular stands at 0..0.
    let document = Spanned::new(0..0, root.clone());
    Config::deserialize(toml::Deserializer::from(document))
}

/// The name of the key that is missing, if that is what the error says.
fn missing(error: &toml::de::Error) -> Option<&str> {
    error
        .message()
        .strip_prefix("missing field `")?
        .strip_suffix('`')
}

impl Config {
    /// Lets relative paths start at the configuration's folder.
    fn settle(&mut self, folder: &Path) {
        let settle = |path: &mut Spanned<PathBuf>| *path.get_mut() = folder.join(path.get_ref());
        let store = self.store.get_mut();
        let audit = self.audit.iter_mut().map(|audit| &mut audit.file);
        let written = audit.chain([&mut store.embedded, &mut self.access_log.file]);
        written.flatten().for_each(settle);
        let mut named = Vec::new();
        let mut absolute = |path: &mut Option<Spanned<PathBuf>>| {
            if let Some(path) = path {
                settle(path);
                named.push(path.get_ref().clone());
            }
        };
        absolute(&mut store.tls_ca);
        absolute(&mut self.limits.redis_ca);
        for provider in &mut self.oidc {
            absolute(&mut provider.tls_ca);
        }
        for upstream in self.upstreams.values_mut() {
            let UpstreamTls { ca, cert, key, .. } = &mut upstream.get_mut().tls;
            [ca, cert, key].into_iter().for_each(&mut absolute);
        }
        let signing = self.assertion.iter_mut().flat_map(|one| &mut one.keys);
        let mut pairs = Vec::new();
        for key in signing {
            settle(key);
            pairs.push(key.get_ref().clone());
        }
        let of_listeners = self.listeners.iter_mut().map(|one| &mut one.get_mut().tls);
        let of_admin = self.admin.iter_mut().map(|admin| &mut admin.tls);
        for tls in of_listeners.chain(of_admin).flatten() {
            absolute(&mut tls.client_ca);
            if let Some(acme) = &mut tls.acme {
                settle(&mut acme.cache);
                absolute(&mut acme.ca);
            }
            for certificate in &mut tls.certificates {
                let Certificate { cert, key } = certificate.get_mut();
                for path in [cert, key] {
                    settle(path);
                    pairs.push(path.get_ref().clone());
                }
            }
        }
        named.append(&mut pairs);
        let looked_at = |path: PathBuf| {
            let content = Content::of_file(&path);
            (path, content)
        };
        self.files.named = named.into_iter().map(looked_at).collect();
    }
}
