//! drawbridge (placeholder, being written)

pub mod body;
pub mod command;
pub mod config;
pub mod headers;
pub mod peer;
pub mod server;
pub mod session;
pub mod store;
pub mod token;
pub mod upstream;
