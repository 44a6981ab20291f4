//! `drawbridge schema`: the JSON schema of `gateway.toml`, for editors that complete and check while one types, or the
//! same as a manual to read.

mod manual;

use std::io::{self, Write};

use schemars::Schema;
use schemars::generate::SchemaSettings;

use crate::config::Config;

/// How to print it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Form {
    /// As a manual in Markdown: every key with its default, what is allowed, and an example. It is docs/configuration.md.
    #[arg(long)]
    pub markdown: bool,
}

/// Prints the schema.
///
/// # Errors
/// Writing to `out` failed.
pub fn run(form: Form, out: &mut dyn Write) -> io::Result<()> {
    let text = if form.markdown {
        manual::of(&schema())
    } else {
        serde_json::to_string_pretty(&schema())?
    };
    writeln!(out, "{}", text.trim_end())
}

/// The schema: JSON Schema draft 2020-12, with the manual of every key as its description, and its default.
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "drawbridge gateway.toml".into());
    schema
}
