//! Arguments, logging, exit code. (placeholder, being written)

fn main() {}
