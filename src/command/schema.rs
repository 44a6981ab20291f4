//! `drawbridge schema`: the JSON schema of `gateway.toml`, for editors that complete and check while one types.

use std::io::{self, Write};

use schemars::Schema;
use schemars::generate::SchemaSettings;

use crate::config::Config;

/// Prints the schema.
///
/// # Errors
/// Writing to `out` failed.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&schema())?;
    writeln!(out, "{text}")
}

/// The schema: JSON Schema draft 2020-12, with the manual of every key as its description.
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "drawbridge gateway.toml".into());
    schema
}
