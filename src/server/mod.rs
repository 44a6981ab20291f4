//! Workers, listeners, connections. (placeholder, being written)
