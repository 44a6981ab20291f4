//! What must hold whatever bytes come, one function for each kind: `cargo fuzz` looks for bytes for which it does not
//! (tests/fuzz), and the tests here try those that were found once.
//!
//! Each function panics where something does not hold, and does nothing else.

mod body;
mod config;
mod introduction;
mod outbound;
mod path;
mod request;
mod token;

pub use self::body::chunks;
pub use self::config::{gateway_toml, session_record};
pub use self::introduction::introduction;
pub use self::outbound::outbound;
pub use self::path::path;
pub use self::request::{head, layout};
pub use self::token::{cookie, token};

#[cfg(test)]
mod tests;
