//! Real sockets and real handshakes.
