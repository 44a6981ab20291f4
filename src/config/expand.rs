//! `${NAME}`, `${NAME:-default}` and `file:PATH` inside text values.
//!
//! What they expand to may be a secret, so no fault ever quotes it: it quotes what the file says instead.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::document;
use super::fault::Fault;
use super::files::{Content, why_unread};

/// What values may refer to. A process has one environment and one file system; a test has its own.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The folder of the configuration file: relative paths start here.
    pub folder: &'a Path,
    /// Looks an environment variable up.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Opens a file that becomes a value (`file:PATH`).
    pub open: &'a dyn Fn(&Path) -> io::Result<Box<dyn Read>>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Largest file that `file:` reads. Secrets and addresses are short; `/dev/zero` is not.
const MAX_FILE: u64 = 64 * 1024;

/// A file that a value is taken from, and what was in it.
type Source = Option<(PathBuf, Content)>;

/// A value that holds something else than what the file says.
pub(super) struct Expanded {
    pub(super) span: Range<usize>,
    /// What the file says.
    pub(super) written: String,
    /// What it became.
    pub(super) content: String,
    /// The file whose content it became, and that content.
    pub(super) file: Source,
}

/// Expands every text value in place. Values that cannot be expanded stay as they are, each with a fault.
pub(super) fn expand(
    root: &mut DeTable<'_>,
    surroundings: Surroundings<'_>,
) -> (Vec<Expanded>, Vec<Fault>) {
    let mut done = Vec::new();
    let mut faults = Vec::new();
    document::for_each_text(root, &mut |span, text| {
        if !text.contains("${") && !text.starts_with("file:") {
            return;
        }
        match whole(text, surroundings) {
            Ok((content, file)) => {
                done.push(Expanded {
                    span,
                    written: text.to_string(),
                    content: content.clone(),
                    file,
                });
                *text = content.into();
            }
            Err(wrong) => {
                let mut fault = Fault::error(span, wrong.message);
                fault.help = Some(wrong.help);
                faults.push(fault);
            }
        }
    });
    (done, faults)
}

struct Wrong {
    message: String,
    help: String,
}

/// What a value becomes, and the file that it is taken from.
fn whole(text: &str, surroundings: Surroundings<'_>) -> Result<(String, Source), Wrong> {
    let expanded = variables(text, surroundings)?;
    // Decided by what the file says: a variable's content never makes the gateway open a file.
    match (text.starts_with("file:"), expanded.strip_prefix("file:")) {
        (true, Some(path)) => {
            let path = surroundings.folder.join(path);
            let (value, content) = file(text, (surroundings.open)(&path))?;
            Ok((value, Some((path, content))))
        }
        (true | false, _) => Ok((expanded, None)),
    }
}

fn variables(text: &str, surroundings: Surroundings<'_>) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, after) = after.split_once('}').ok_or_else(malformed)?;
        out.push_str(&variable(inside, surroundings)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inside: &str, surroundings: Surroundings<'_>) -> Result<String, Wrong> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        return Err(malformed());
    }
    let value = (surroundings.variable)(name);
    match (value, default) {
        // As in a shell: `:-` also stands in for a variable that is set but empty.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Wrong {
            message: format!("the environment variable `{name}` is not set"),
            help: format!("set it, or give a default: `${{{name}:-default}}`"),
        }),
    }
}

fn malformed() -> Wrong {
    Wrong {
        message: "`${` without a name and a closing `}`".to_owned(),
        help: "write `${NAME}` or `${NAME:-default}`; a literal `${` is written `$${`".to_owned(),
    }
}

fn file(written: &str, opened: io::Result<Box<dyn Read>>) -> Result<(String, Content), Wrong> {
    let wrong = |what: String| {
        Wrong {
        message: format!("`{written}`: {what}"),
        help: "the file's content becomes the value, without a newline at its end; a relative path starts at the configuration's folder".to_owned(),
    }
    };
    let mut content = String::new();
    opened
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut content))
        .map_err(|error| wrong(format!("the file cannot be read: {}", why_unread(&error))))?;
    if content.len() as u64 > MAX_FILE {
        return Err(wrong(format!("the file is larger than {MAX_FILE} bytes")));
    }
    let whole = Content::of(content.as_bytes());
    if content.ends_with('\n') {
        content.pop();
        if content.ends_with('\r') {
            content.pop();
        }
    }
    Ok((content, whole))
}
