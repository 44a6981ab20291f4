//! Real sockets on both sides.
