//! Which cipher suite a connection gets.

use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};

/// The same terms but for who chooses the cipher suite.
#[derive(Clone)]
pub(super) struct Configs {
    ours: Arc<ServerConfig>,
    theirs: Arc<ServerConfig>,
}

impl Configs {
    pub(super) fn of(mut server: ServerConfig) -> Self {
        server.ignore_client_order = true;
        let mut theirs = server.clone();
        theirs.ignore_client_order = false;
        Self {
            ours: Arc::new(server),
            theirs: Arc::new(theirs),
        }
    }

    /// We choose, unless the client's first choice is ChaCha20: then it has no hardware for AES.
    pub(super) fn suited(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let is_known = |suite: &&CipherSuite| !matches!(suite, CipherSuite::Unknown(_));
        let first = hello.cipher_suites().iter().find(is_known);
        let chacha = first
            .and_then(CipherSuite::as_str)
            .is_some_and(|name| name.contains("CHACHA20"));
        Arc::clone(if chacha { &self.theirs } else { &self.ours })
    }
}

/// Whether this suite costs more without protecting better: SHA-384, which few processors help with, takes a sixth of a
/// whole handshake, and AES-128 is as strong as the curves that its key is agreed on with.
pub(super) fn is_heavy(suite: &SupportedCipherSuite) -> bool {
    let name = suite.suite().as_str();
    name.is_some_and(|name| name.contains("AES_256"))
}
