//! The admin API of a gateway under test, the keys to it, and its audit log.

use std::net::SocketAddr;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tokio::net::TcpStream;

use super::client::{Call, Connection, Reply};
use super::gateway::{Gateway, Setup};

/// Holders of keys, each with what it may do.
const HOLDERS: [(&str, &str); 4] = [
    ("reader", "\"sessions:read\""),
    ("writer", "\"sessions:write\""),
    ("rights", "\"rights:write\""),
    (
        "root",
        "\"sessions:read\", \"sessions:write\", \"rights:write\", \"limits\"",
    ),
];

/// The key of this holder.
pub(crate) fn key(holder: &str) -> String {
    format!("dba_{holder:k<43}")
}

/// Its digest in hex, as the configuration wants it.
fn digest_of(key: &str) -> String {
    let digest = digest(&SHA256, key.as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The `keys` of `[admin]`: one for `reader`, `writer`, `rights` and `root` each.
pub(crate) fn keys() -> String {
    let keys = HOLDERS.map(|(name, scopes)| {
        let digest = digest_of(&key(name));
        format!("{{ name = \"{name}\", sha256 = \"{digest}\", scopes = [{scopes}] }}")
    });
    format!("keys = [{}]", keys.join(", "))
}

impl Setup {
    /// Sessions that can be ended, an admin API with [`keys`], and an audit log in a file.
    pub(crate) fn admin(self) -> Self {
        self.toml("[audit]\nfile = \"audit.jsonl\"\nstrangers = \"10000/s\"")
            .admin_with(&keys())
    }

    /// Sessions that can be ended, and an admin API with these lines in its table.
    pub(crate) fn admin_with(self, lines: &str) -> Self {
        let keyed = HOLDERS
            .iter()
            .fold(self, |setup, (name, _)| setup.secret(&key(name)));
        keyed.toml(&format!(
            "[sessions]\n[admin]\nlisten = \"127.0.0.1:0\"\n{lines}"
        ))
    }
}

impl Gateway {
    /// Where its admin API is.
    pub(crate) fn admin(&self) -> SocketAddr {
        let address = self.said("administered", "address");
        address.as_str().unwrap().parse().unwrap()
    }

    /// A call of its admin API with the key of this holder.
    pub(crate) async fn administer(&self, holder: &str, call: Call) -> Reply {
        self.administer_as_is(call.bearer(&key(holder))).await
    }

    /// A call of its admin API, over a connection of its own.
    pub(crate) async fn administer_as_is(&self, call: Call) -> Reply {
        let stream = TcpStream::connect(self.admin()).await.unwrap();
        Connection::h1_over(stream).await.send(call).await
    }

    /// The file with its audit log.
    pub(crate) fn audit_file(&self) -> PathBuf {
        self.config().parent().unwrap().join("audit.jsonl")
    }

    /// The lines of its audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A call with a JSON body.
pub(crate) fn json(method: &str, target: &str, body: &Value) -> Call {
    Call::new(method, target)
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// A call with a form in its body.
pub(crate) fn form(target: &str, body: &str) -> Call {
    Call::new("POST", target)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned())
}
