//! The subcommands that look at things rather than serve: each prints to where it is told.

pub mod check;
pub mod schema;
