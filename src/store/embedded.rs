//! Sessions in one file, through redb.

/// The open file; clones share it.
#[derive(Debug, Clone)]
pub struct EmbeddedStore;
