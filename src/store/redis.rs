//! Sessions in Redis or Valkey, through fred. The only file that names it.

/// One worker's connection.
#[derive(Debug)]
pub struct RedisStore;
