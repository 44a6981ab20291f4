//! Faults as people read them: the place in the file, what was found, what is allowed.
//!
//! A snippet shows lines of the file, and those may hold a password. So they are shown with every secret painted
//! over, whatever the fault is about.

use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Severity};

/// A configuration file: where it is and what it says.
#[derive(Clone)]
pub struct Source {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its text. May hold secrets.
    pub text: String,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// The faults one after the other, each with its place as `file:line:column` and an empty line after it.
    /// Without secrets.
    pub fn render(&self, faults: &[Fault], color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let text = masked(&self.text);
        let path = self.path.display().to_string();
        let mut out = String::new();
        for fault in faults {
            let group = group(fault, &text, &path);
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out
    }

    /// Line and column of a place, both counted from 1, columns in characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

fn group<'a>(fault: &'a Fault, text: &'a str, path: &'a str) -> Group<'a> {
    let level = match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let place: Element<'a> = match &fault.span {
        None => Origin::path(path).into(),
        Some(span) => {
            let also = fault.also.iter().map(|(span, part)| {
                let label: &'a str = part;
                AnnotationKind::Context.span(fit(span, text)).label(label)
            });
            Snippet::source(text)
                .path(path)
                .annotation(AnnotationKind::Primary.span(fit(span, text)))
                .annotations(also)
                .into()
        }
    };
    let help = fault.help.as_deref().map(|help| Level::HELP.message(help));
    level
        .primary_title(fault.message.as_str())
        .element(place)
        .elements(help)
}

/// The span, cut to what the text has. Parsers point behind the end where something is missing.
fn fit(span: &Range<usize>, text: &str) -> Range<usize> {
    let border = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    border(span.start)..border(span.end.max(span.start))
}

/// Whether a value of this name is a secret. Misspelled names count: the value is no less secret for that.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "credential"]
        .iter()
        .any(|part| key.contains(part))
        || super::wording::nearest(&key, &["password"]).is_some()
}

/// The text with `*` in place of secrets; every other byte stays where it is.
fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let (root, _) = DeTable::parse_recoverable(text);
    mask_table(root.get_ref(), false, &mut bytes);
    mask_lines(&mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

fn mask_table(table: &DeTable<'_>, secret: bool, bytes: &mut [u8]) {
    for (key, value) in table.iter() {
        mask_value(value, secret || is_secret(key.get_ref()), bytes);
    }
}

fn mask_value(value: &Spanned<DeValue<'_>>, secret: bool, bytes: &mut [u8]) {
    match value.get_ref() {
        DeValue::Table(table) => mask_table(table, secret, bytes),
        DeValue::Array(array) => array
            .iter()
            .for_each(|element| mask_value(element, secret, bytes)),
        DeValue::String(text) => {
            // Where a secret comes from is no secret.
            let reference = text.starts_with("${") || text.starts_with("file:");
            let bearing = text.contains("://") && (text.contains('@') || text.contains("assword"));
            // An admin key that was written where its digest belongs.
            let key = text.starts_with("dba_");
            if (secret && !reference) || bearing || key {
                paint(bytes, value.span());
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            if secret {
                paint(bytes, value.span());
            }
        }
    }
}

/// Where the file is not TOML the parser may have missed a secret, so lines are looked at as well.
fn mask_lines(bytes: &mut [u8]) {
    for line in bytes.split_mut(|b| *b == b'\n') {
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        let found = text
            .split_once('=')
            .filter(|(key, value)| {
                is_secret(key.trim())
                    && !value.trim().starts_with("\"${")
                    && !value.trim().starts_with("\"file:")
            })
            .map(|(key, _)| key.len() + 1)
            .or_else(|| {
                let (before, after) = text.split_once("://")?;
                after.contains('@').then_some(before.len() + 3)
            });
        if let Some(start) = found {
            let end = line.len();
            paint(line, start..end);
        }
    }
}

/// Quotes, blanks and what makes up tables stay, so that the line still looks like what it is.
fn paint(bytes: &mut [u8], span: Range<usize>) {
    for byte in bytes.get_mut(span).unwrap_or_default() {
        if !b"\"' \t\r\n".contains(byte) {
            *byte = b'*';
        }
    }
}
