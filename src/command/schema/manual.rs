//! The manual of `gateway.toml` in Markdown: what the schema says of every key, in the order of the shipped file and with
//! its examples.

use std::ops::Range;

use schemars::Schema;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// The file that shows every key, live or behind this mark.
const SHIPPED: &str = include_str!("../../../gateway.toml");
const OFF: &str = "#: ";

/// Stands for a name that the file's author chooses.
const ANY: &str = "NAME";

const INTRODUCTION: &str = "\
# Configuration

Every key of `gateway.toml`, in the order of [the shipped file](../gateway.toml). `drawbridge schema --markdown` prints this;
`drawbridge schema` prints the same for editors, and `drawbridge check` says everything that is wrong with a file.

Any text value may hold `${NAME}` or `${NAME:-default}` (an environment variable; a literal `${` is written `$${`), or be
`\"file:PATH\"` as a whole (the file's content, without the newline at its end). Relative paths start at the folder of the file.
Unknown keys are errors. Where no default is named, the text says what it means that the key is absent.
";

/// The whole manual.
pub(super) fn of(schema: &Schema) -> String {
    let text: String = SHIPPED
        .lines()
        .flat_map(|line| [line.strip_prefix(OFF).unwrap_or(line), "\n"])
        .collect();
    let (file, _) = DeTable::parse_recoverable(&text);
    let manual = Manual {
        root: schema.as_value(),
        text: &text,
    };
    let mut out = INTRODUCTION.to_owned();
    let top = Table {
        name: String::new(),
        header: String::new(),
        part: manual.root,
        shown: vec![file.get_ref()],
    };
    manual.index(&top, &mut out);
    manual.table(&top, 1, &mut out);
    manual.words(&mut out);
    out
}

struct Manual<'a> {
    root: &'a Value,
    text: &'a str,
}

/// One table of the file, with every example of it.
struct Table<'a> {
    /// As keys are joined: `upstreams.NAME.health`.
    name: String,
    /// As the file has it: `[upstreams.NAME.health]`.
    header: String,
    part: &'a Value,
    shown: Vec<&'a DeTable<'a>>,
}

/// One key of a table.
struct Key<'a> {
    name: &'a str,
    part: &'a Value,
    /// Where it stands in the shipped file first, and what it says there.
    place: usize,
    examples: Vec<(Range<usize>, &'a DeValue<'a>)>,
}

impl<'a> Manual<'a> {
    /// What there is at the top of the file.
    fn index(&self, top: &Table<'a>, out: &mut String) {
        out.push_str("\n| table | what it is about |\n|---|---|\n");
        for key in self.keys(top) {
            let about = flat(&self.about(key.part));
            let link = match self.inner(key.part) {
                Some((_, Shape::Named)) => format!("{}{}", key.name, ANY.to_lowercase()),
                Some(_) | None => key.name.to_owned(),
            };
            out.push_str(&format!("| [`{}`](#{link}) | {about} |\n", key.name));
        }
    }

    /// A table: its plain keys first, then the tables in it.
    fn table(&self, table: &Table<'a>, depth: usize, out: &mut String) {
        let keys = self.keys(table);
        let (inner, plain): (Vec<_>, Vec<_>) =
            keys.iter().partition(|key| self.inner(key.part).is_some());
        for key in plain {
            self.key(table, key, out);
        }
        for key in inner {
            // A table that the file does not show is one that does nothing there: the TLS of the admin API orders nothing.
            let below = self.below(table, key);
            if let Some(inner) = below.filter(|inner| !inner.shown.is_empty()) {
                let depth = (depth + 1).min(3);
                out.push_str(&format!("\n{} `{}`\n", "#".repeat(depth), inner.header));
                paragraph(&self.about(key.part), out);
                self.table(&inner, depth, out);
            }
        }
    }

    /// The keys of a table, in the order of the shipped file.
    fn keys(&self, table: &Table<'a>) -> Vec<Key<'a>> {
        let properties = table.part["properties"].as_object().into_iter().flatten();
        let mut keys: Vec<Key<'a>> = properties
            .map(|(name, part)| {
                let entries = table.shown.iter().flat_map(|shown| shown.iter());
                let found: Vec<_> = entries
                    .filter(|(key, _)| key.get_ref().as_ref() == name.as_str())
                    .collect();
                let places = found.iter().map(|(key, _)| key.span().start);
                Key {
                    name,
                    part,
                    place: places.min().unwrap_or(usize::MAX),
                    examples: found
                        .iter()
                        .map(|(_, value)| (value.span(), value.get_ref()))
                        .collect(),
                }
            })
            .collect();
        keys.sort_by_key(|key| key.place);
        keys
    }

    fn key(&self, table: &Table<'a>, key: &Key<'a>, out: &mut String) {
        let name = join(&table.name, key.name);
        out.push_str(&format!("\n#### `{name}`\n"));
        paragraph(&self.about(key.part), out);
        let mut facts = vec![self.kind(key.part)];
        let required = table.part["required"].as_array().into_iter().flatten();
        if required.into_iter().any(|one| one == key.name) {
            facts.push("required".to_owned());
        }
        if let Some(default) = key.part.get("default").filter(|value| !value.is_null()) {
            facts.push(format!("default: `{default}`"));
        }
        if let Some((span, value)) = key.examples.first() {
            let example = self.example(span, value);
            facts.push(format!("example: `{} = {example}`", key.name));
        }
        out.push_str(&format!("\n{}\n", facts.join(" · ")));
        self.choices(key.part, out);
    }

    /// A value as the shipped file has it; of a table with a header of its own the first entry.
    fn example(&self, span: &Range<usize>, value: &DeValue<'_>) -> String {
        let written = |span: Range<usize>| flat(self.text.get(span).unwrap_or_default());
        let text = written(span.clone());
        let entries = value.as_table().filter(|_| text.starts_with('['));
        let first = entries
            .into_iter()
            .flat_map(DeTable::iter)
            .min_by_key(|(key, _)| key.span().start);
        match first {
            Some((key, value)) => format!("{{ {} = {} }}", key.get_ref(), written(value.span())),
            None => text,
        }
    }

    /// What a choice of words means, one by one.
    fn choices(&self, part: &Value, out: &mut String) {
        let choices = self.alternatives(self.element(part));
        if choices.iter().any(|(_, about)| !about.is_empty()) {
            out.push('\n');
            for (word, about) in choices {
                out.push_str(&format!("- `{word}`: {}\n", flat(about)));
            }
        }
    }

    /// What kind of value it is, with its unit and bounds.
    fn kind(&self, part: &Value) -> String {
        let whole = self.resolve(part);
        if whole["type"] == "object" || array_like(&whole["type"], "object") {
            let entry = entry_of(whole).map_or(String::new(), |entry| self.kind(entry));
            return format!("table, each entry: {entry}");
        }
        if let Some(items) = whole.get("items") {
            return format!("list, each element: {}", self.kind(items));
        }
        let choices = self.alternatives(whole);
        if !choices.is_empty() {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("`{word}`"))
                .collect();
            return words.join(", ");
        }
        if let Some(word) = self.word(part) {
            return format!("[{}](#{})", spaced(word, " "), spaced(word, "-"));
        }
        let is = |kind| whole["type"] == kind || array_like(&whole["type"], kind);
        if is("boolean") {
            "`true` or `false`".to_owned()
        } else if is("integer") {
            match (&whole["minimum"], &whole["maximum"]) {
                (Value::Number(least), Value::Number(most)) => {
                    format!("whole number, {least} to {most}")
                }
                (Value::Number(least), _) => format!("whole number, {least} or more"),
                (_, _) => "whole number".to_owned(),
            }
        } else {
            "text".to_owned()
        }
    }

    /// The texts with a form of their own, which keys refer to.
    fn words(&self, out: &mut String) {
        out.push_str("\n## Forms of text\n");
        let all = self.root["$defs"].as_object().into_iter().flatten();
        for (name, part) in all.filter(|(_, part)| has_form(part)) {
            out.push_str(&format!("\n#### {}\n", spaced(name, " ")));
            paragraph(part["description"].as_str().unwrap_or_default(), out);
            if let Some(pattern) = part["pattern"]
                .as_str()
                .filter(|pattern| !pattern.is_empty())
            {
                // A pattern may hold the mark that ends code.
                out.push_str(&format!("\nPattern: `` {pattern} ``\n"));
            }
        }
    }

    /// The name of the form that a text has to have.
    fn word(&self, part: &'a Value) -> Option<&'a str> {
        let part = without_null(part);
        let reference = part["$ref"].as_str()?;
        has_form(self.resolve(part)).then(|| reference.rsplit('/').next())?
    }

    /// The words that may be chosen from, with what each means.
    fn alternatives(&self, part: &'a Value) -> Vec<(&'a Value, &'a str)> {
        let mut found = Vec::new();
        for word in part["enum"].as_array().into_iter().flatten() {
            found.push((word, ""));
        }
        for one in part["oneOf"].as_array().into_iter().flatten() {
            let about = one["description"].as_str().unwrap_or_default();
            found.extend(one.get("const").map(|word| (word, about)));
            found.extend(self.alternatives(one));
        }
        found
    }

    /// What the elements of a list, or the entries of a table, are; or the value itself.
    fn element(&self, part: &'a Value) -> &'a Value {
        let part = self.resolve(part);
        match part.get("items").or_else(|| entry_of(part)) {
            Some(inner) => self.resolve(inner),
            None => part,
        }
    }

    /// The table that a key holds, and how it is written there.
    fn inner(&self, part: &'a Value) -> Option<(&'a Value, Shape)> {
        let part = self.resolve(part);
        let (inner, shape) = if let Some(items) = part.get("items") {
            (self.resolve(items), Shape::List)
        } else if let Some(entry) = entry_of(part) {
            (self.resolve(entry), Shape::Named)
        } else {
            (part, Shape::Plain)
        };
        inner.get("properties").map(|_| (inner, shape))
    }

    fn below(&self, table: &Table<'a>, key: &Key<'a>) -> Option<Table<'a>> {
        let (part, shape) = self.inner(key.part)?;
        let name = join(&table.name, key.name);
        let (name, header) = match shape {
            Shape::Plain => (name.clone(), format!("[{name}]")),
            Shape::List => (name.clone(), format!("[[{name}]]")),
            Shape::Named => (join(&name, ANY), format!("[{name}.{ANY}]")),
        };
        let mut shown = Vec::new();
        for (_, value) in &key.examples {
            match (value, shape) {
                (DeValue::Table(all), Shape::Named) => {
                    shown.extend(all.values().filter_map(|entry| entry.get_ref().as_table()));
                }
                (DeValue::Table(one), Shape::Plain | Shape::List) => shown.push(one),
                (DeValue::Array(all), _) => {
                    shown.extend(all.iter().filter_map(|entry| entry.get_ref().as_table()));
                }
                (_, _) => {}
            }
        }
        Some(Table {
            name,
            header,
            part,
            shown,
        })
    }

    /// What a key's own manual says, or else that of its type.
    fn about(&self, part: &'a Value) -> String {
        let own = part["description"].as_str();
        own.or_else(|| self.resolve(part)["description"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// Follows references; a value that may be absent is what it is when it is there.
    fn resolve(&self, part: &'a Value) -> &'a Value {
        let part = without_null(part);
        let target = part["$ref"]
            .as_str()
            .and_then(|reference| self.root.pointer(reference.trim_start_matches('#')));
        target.map_or(part, |target| self.resolve(target))
    }
}

/// How a table is written under its key.
#[derive(Clone, Copy)]
enum Shape {
    /// `[key]`
    Plain,
    /// `[[key]]`
    List,
    /// `[key.NAME]`
    Named,
}

fn without_null(part: &Value) -> &Value {
    let first = part["anyOf"].as_array().and_then(|all| all.first());
    first.unwrap_or(part)
}

fn has_form(part: &Value) -> bool {
    part["type"] == "string" && part.get("enum").is_none()
}

fn array_like(kind: &Value, word: &str) -> bool {
    kind.as_array()
        .is_some_and(|all| all.iter().any(|one| one == word))
}

/// What every entry of a table with names of its author's choice is.
fn entry_of(part: &Value) -> Option<&Value> {
    let patterns = part["patternProperties"].as_object();
    let named = patterns.and_then(|all| all.values().next());
    named.or_else(|| {
        part.get("additionalProperties")
            .filter(|rest| rest.is_object())
    })
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of a type's name in lower case, with this between them.
fn spaced(name: &str, between: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push_str(between);
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn paragraph(text: &str, out: &mut String) {
    if !text.is_empty() {
        out.push_str(&format!("\n{text}\n"));
    }
}
