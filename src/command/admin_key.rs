//! `drawbridge admin-key`: a key for the admin API.

use std::io::Write;

use anyhow::Context as _;

use crate::token::Token;

/// What admin keys start with, so that secret scanners can find a leaked one.
const PREFIX: &str = "dba_";

/// Every scope there is, as the configuration writes it.
const SCOPES: [&str; 4] = ["sessions:read", "sessions:write", "rights:write", "limits"];

/// A key to be made.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: drawbridge admin-key backoffice --scope sessions:read --scope sessions:write"
)]
pub struct AdminKey {
    /// The name that the key has in the audit log.
    name: String,
    /// What it may do; may be given several times. Default: to look at sessions.
    #[arg(short, long = "scope", value_name = "SCOPE", value_parser = SCOPES, default_value = "sessions:read")]
    scopes: Vec<String>,
}

/// Makes a key and prints it on `out`, with the line for `gateway.toml`, which does not hold the key.
///
/// # Errors
/// If the operating system gives no random bytes, or writing failed.
pub fn run(order: &AdminKey, out: &mut dyn Write) -> anyhow::Result<()> {
    let key = Token::mint(PREFIX).context("cannot make a key")?;
    let mut entry = toml::Table::new();
    entry.insert("name".to_owned(), order.name.clone().into());
    entry.insert("sha256".to_owned(), key.sha256_hex().into());
    entry.insert("scopes".to_owned(), order.scopes.clone().into());
    let entry = toml::Value::from(entry);
    writeln!(
        out,
        "# The key. It is shown once and kept nowhere: give it to its holder.\n{}\n\n\
         # For `keys` of [admin] in gateway.toml:\n{entry}",
        key.expose()
    )?;
    Ok(())
}
