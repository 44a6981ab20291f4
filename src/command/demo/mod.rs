//! `drawbridge demo`: the whole gateway in a minute, on nothing but this machine.
//!
//! The same code as `drawbridge run`, on a configuration that is written out into a temporary folder, with the embedded
//! store and a self-signed certificate. Everything is gone when it ends.

mod legacy;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use self::legacy::{BackOffice, local_socket, serve_back_office, serve_orders};
use super::run;
use crate::config::{Config, load};
use crate::session::{Device, Session};
use crate::store::StoreSource;
use crate::token::Token;

/// How long a demo session lives.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Runs the demo until it is told to stop.
///
/// # Errors
/// If an address is taken or the temporary folder cannot be written.
pub async fn run(
    listen: SocketAddr,
    out: &mut (dyn Write + Send),
    control: run::Control,
) -> anyhow::Result<()> {
    let folder = Folder::create()?;
    let (orders, orders_at) = local_socket().await?;
    let (office, office_at) = local_socket().await?;
    let config = configure(&folder.path, listen, orders_at)?;
    let source = StoreSource::open(config.store.get_ref(), &config.tokens)
        .context("the demo's store cannot be opened")?;
    let store = source
        .connect()
        .await
        .context("the demo's store cannot be opened")?;
    let tokens = admit_users(&store, config.tokens.prefix.as_str()).await?;
    let bound = run::bind(&config)?;
    let gateway_at = bound.addresses().first().copied().unwrap_or(listen);
    let story = Story {
        folder: &folder.path,
        gateway_at,
        office_at,
        tokens: &tokens,
    };
    story.tell(out)?;
    tokio::spawn(serve_orders(orders));
    tokio::spawn(serve_back_office(
        office,
        Arc::new(BackOffice { store, tokens }),
    ));
    run::serve(&config, source, bound, control).await
}

/// A folder that is removed with all that is in it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("drawbridge-demo-{}", std::process::id()));
        // The key in it is nobody else's business.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the demo's folder could not be removed");
        }
    }
}

fn configure(folder: &Path, listen: SocketAddr, orders: SocketAddr) -> anyhow::Result<Config> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .context("cannot make a self-signed certificate")?;
    std::fs::write(folder.join("cert.pem"), own.cert.pem())?;
    std::fs::write(folder.join("key.pem"), own.signing_key.serialize_pem())?;
    let text = format!(
        r#"[server]
drain_delay = "0s"

[[listeners]]
address = "{listen}"
tls = {{ certificates = [{{ cert = "cert.pem", key = "key.pem" }}] }}

[store]
embedded = "sessions.redb"

[tokens]
sources = ["bearer", "cookie:session"]
at_rest = "sha256"

[upstreams.orders]
endpoints = ["http://{orders}"]

[[routes]]
name = "health"
exact = "/health"
auth = "public"
upstream = "orders"

[[routes]]
name = "read orders"
prefix = "/orders"
methods = ["GET"]
require = {{ all = ["orders:read"] }}
upstream = "orders"

[[routes]]
name = "change orders"
prefix = "/orders"
methods = ["POST", "PUT", "DELETE"]
require = {{ all = ["orders:write"] }}
upstream = "orders"
"#
    );
    let path = folder.join("gateway.toml");
    std::fs::write(&path, text)?;
    Ok(load::read(&path)
        .context("the demo's own configuration")?
        .config)
}

async fn admit_users(
    store: &crate::store::SessionStore,
    prefix: &str,
) -> anyhow::Result<HashMap<&'static str, Token>> {
    let users = [
        ("alice", &["orders:*"][..], "clerk", ("a-laptop", "laptop")),
        ("bob", &["orders:read"][..], "guest", ("b-phone", "phone")),
    ];
    let end = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + LIFETIME;
    let mut tokens = HashMap::new();
    for (user, permissions, role, (device, kind)) in users {
        let session = Session {
            user_id: user.into(),
            permissions: permissions
                .iter()
                .map(|permission| (*permission).to_owned())
                .collect(),
            roles: vec![role.to_owned()].into(),
            device: Device {
                id: device.into(),
                kind: kind.into(),
                name: "".into(),
            },
            expires_at: u64::try_from(end.as_millis()).ok(),
            ..Session::default()
        };
        let token = Token::mint(prefix)?;
        store
            .create(&token, &session)
            .await
            .context("the demo's sessions cannot be stored")?;
        tokens.insert(user, token);
    }
    Ok(tokens)
}

/// What is printed.
struct Story<'a> {
    folder: &'a Path,
    gateway_at: SocketAddr,
    office_at: SocketAddr,
    tokens: &'a HashMap<&'static str, Token>,
}

impl Story<'_> {
    fn tell(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let port = self.gateway_at.port();
        let cert = self.folder.join("cert.pem");
        let curl = format!(
            "curl -sS -w '-> %{{http_code}}\\n' --cacert {}",
            cert.display()
        );
        let bearer = |user: &str| {
            let token = self.tokens.get(user).map(Token::expose).unwrap_or_default();
            format!("-H 'Authorization: Bearer {token}'")
        };
        let (alice, bob, url) = (
            bearer("alice"),
            bearer("bob"),
            format!("https://localhost:{port}/orders"),
        );
        writeln!(
            out,
            "drawbridge demo: the gateway is at https://localhost:{port}, a sample legacy order system is behind it."
        )?;
        writeln!(
            out,
            "Its configuration is {}; all of it is gone when you press Ctrl-C.",
            self.folder.join("gateway.toml").display()
        )?;
        writeln!(out, "Paste these into another terminal, in this order:\n")?;
        writeln!(
            out,
            "# Alice reads orders; the upstream is told who she is -> 200\n{curl} {alice} {url}\n"
        )?;
        writeln!(
            out,
            "# a forged identity header does not get through -> 200\n{curl} {alice} -H 'X_User_Id: root' {url}\n"
        )?;
        writeln!(out, "# without a token -> 401\n{curl} {url}\n")?;
        writeln!(
            out,
            "# Bob may read orders, not delete them -> 403\n{curl} {bob} -X DELETE {url}/1\n"
        )?;
        writeln!(
            out,
            "# the back office kicks Alice out -> 200\ncurl -sS -X POST -w '-> %{{http_code}}\\n' http://{}/kick/alice\n",
            self.office_at
        )?;
        writeln!(
            out,
            "# the very same line as the first, a moment later -> 401\n{curl} {alice} {url}\n"
        )?;
        writeln!(
            out,
            "# a public route needs no token -> 200\n{curl} https://localhost:{port}/health\n"
        )?;
        out.flush()
    }
}
