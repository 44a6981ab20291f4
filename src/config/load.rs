//! From the text of `gateway.toml` to a [`Config`], with every fault found on the way.

use super::Config;
use super::fault::Fault;

/// Reads a configuration.
///
/// # Errors
/// Every fault found, together.
pub fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    toml::from_str(text).map_err(|error| vec![Fault::error(error.span(), error.message())])
}
