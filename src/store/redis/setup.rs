//! From the configuration to fred's settings, each with its reason.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::types::RespVersion;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy,
    SentinelConfig, Server, ServerConfig, TcpConfig, TlsConfig, TlsConnector,
};

use crate::config;
use crate::config::value::Secret;

use super::tls::{self, Tls};
use super::tracking::{Address, Door, Sentinels, Topology};

/// TCP and TLS handshake of one connection, and each of fred's own commands on it.
const CONNECT: Duration = Duration::from_millis(500);
/// Between fred's own attempts, plus as much jitter, so that the workers do not come all at once.
const RETRY_MILLIS: u32 = 50;
/// Unacknowledged bytes for this long end the connection; frees a writer that the kernel holds.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);

/// Everything needed to make a connection, again and again.
#[derive(Debug)]
pub(super) struct Setup {
    config: Config,
    /// For connections that are not fred's.
    tls: Option<Tls>,
    deadline: Duration,
}

impl Setup {
    /// # Errors
    /// If the URL or `tls_ca` cannot be used; the text has no password.
    pub(super) fn new(store: &config::Store) -> Result<Self, String> {
        let url = store.redis.as_ref().ok_or("store.redis is not set")?;
        let url = url.get_ref().expose();
        let (plain_url, wants_tls) = without_tls(url);
        let mut config = Config::from_url(&plain_url)
            .map_err(|_| "store.redis is not a usable Redis URL".to_owned())?;
        let mut own_tls = None;
        if wants_tls {
            let ca = store.tls_ca.as_ref().map(|file| file.get_ref().as_path());
            let client = tls::client(ca)?;
            own_tls = Some(Tls::new(client.clone()));
            config.tls = Some(TlsConfig::from(TlsConnector::from(client)));
        }
        // RESP2 has no pushes, so none can be taken for an answer.
        config.version = RespVersion::RESP2;
        // A server that is not there yet is waited for.
        config.fail_fast = false;
        if let Some(name) = &store.username {
            config.username = Some(name.clone());
        }
        if let Some(password) = &store.password {
            config.password = Some(password.expose().to_owned());
        }
        if let ServerConfig::Clustered { policy, .. } = &mut config.server {
            // A node that was in the cluster when it was last seen can tell where the slots went.
            *policy = ClusterDiscoveryPolicy::UseCache;
        }
        Ok(Self {
            config,
            tls: own_tls,
            deadline: store.lookup_deadline.get(),
        })
    }

    /// A new client, not yet connected.
    pub(super) fn client(&self) -> Client {
        let performance = PerformanceConfig {
            default_command_timeout: self.deadline,
            ..PerformanceConfig::default()
        };
        Client::new(
            self.config.clone(),
            Some(performance),
            Some(connection()),
            Some(policy()),
        )
    }

    /// How long a sign of life may take: a slow server whose look-ups still arrive in time is not a dead one.
    pub(super) fn patience(&self) -> Duration {
        self.deadline
            .clamp(Duration::from_millis(250), Duration::from_secs(1))
    }

    /// Whether there are several masters at a time.
    pub(super) fn is_cluster(&self) -> bool {
        self.config.server.is_clustered()
    }

    /// The name that the sentinels know the master by, and how to reach each of them; nothing without sentinels.
    pub(super) fn sentinels(&self) -> Option<(&str, Vec<SentinelConfig>)> {
        let ServerConfig::Sentinel {
            hosts,
            service_name,
            username,
            password,
        } = &self.config.server
        else {
            return None;
        };
        let one = |server: &Server| SentinelConfig {
            host: server.host.to_string(),
            port: server.port,
            username: username.clone(),
            password: password.clone(),
            tls: self.config.tls.clone(),
        };
        Some((service_name, hosts.iter().map(one).collect()))
    }

    /// Which servers there are to listen to.
    pub(super) fn topology(&self) -> Topology {
        match &self.config.server {
            ServerConfig::Centralized { server } => Topology::Single(address(server)),
            ServerConfig::Clustered { hosts, .. } => {
                Topology::Cluster(hosts.iter().map(address).collect())
            }
            ServerConfig::Sentinel {
                hosts,
                service_name,
                username,
                password,
            } => Topology::Sentinel(Sentinels {
                name: service_name.clone(),
                known: hosts.iter().map(address).collect(),
                door: Door {
                    username: username.clone(),
                    password: password.clone().map(Secret::from),
                    tls: self.tls.clone(),
                },
            }),
            ServerConfig::Unix { path } => unreachable!("no URL leads to {}", path.display()),
        }
    }

    /// How to be let in where changes are told.
    pub(super) fn door(&self) -> Door {
        Door {
            username: self.config.username.clone(),
            password: self.config.password.clone().map(Secret::from),
            tls: self.tls.clone(),
        }
    }

    /// Where it connects to, for the log: hosts and ports.
    pub(super) fn place(&self) -> String {
        let hosts = self.config.server.hosts();
        let names: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        names.join(", ")
    }
}

/// How fred keeps a connection.
pub(super) fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: CONNECT,
        internal_command_timeout: CONNECT,
        // Anything else leaks in fred 10.1: after the first refusal the queue counter never returns to 0 and single
        // commands are not flushed any more.
        max_command_buffer_len: 0,
        // One dead master must not keep the others from being connected to.
        disable_cluster_health_check: true,
        tcp: TcpConfig {
            nodelay: Some(true),
            user_timeout: Some(UNACKNOWLEDGED),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

/// How often fred tries again by itself.
pub(super) fn policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_constant(0, RETRY_MILLIS);
    policy.set_jitter(RETRY_MILLIS);
    policy
}

fn address(server: &Server) -> Address {
    Address {
        host: Arc::from(&*server.host),
        port: server.port,
    }
}

/// The URL without the `s` for TLS, and whether it was there. fred would otherwise read the system's certificates by
/// itself, and fail if one of them is damaged.
fn without_tls(url: &str) -> (String, bool) {
    match url.strip_prefix("rediss") {
        Some(rest) => (format!("redis{rest}"), true),
        None => (url.to_owned(), false),
    }
}
