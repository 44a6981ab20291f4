//! What these tests have in common: several gateways on one store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drawbridge::clock;
use drawbridge::config::Config;
use drawbridge::session::{Device, Session, Why};
use drawbridge::sessions::{Grant, Login, LoginError, Queues, Sessions, Standing};
use drawbridge::store::{Keys, SessionStore, StoreSource};
use drawbridge::token::Token;
use tempfile::TempDir;

use crate::redis::{Cluster, Redis};

/// Longer than anything that is not broken takes, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the sessions of a test lie.
pub(crate) enum Place {
    Embedded(TempDir),
    Redis(Redis),
    Cluster(Cluster),
}

/// Several gateways on one store.
pub(crate) struct Bench {
    pub(crate) place: Place,
    pub(crate) config: Config,
    source: StoreSource,
}

impl Bench {
    /// On a store at this place, with these settings in `[sessions]`.
    pub(crate) fn on(place: Place, settings: &str) -> Self {
        let url = match &place {
            Place::Embedded(dir) => {
                format!("embedded = \"{}\"", dir.path().join("s").display())
            }
            Place::Redis(redis) => format!("redis = \"{}\"", redis.url()),
            Place::Cluster(cluster) => format!("redis = \"{}\"", cluster.url()),
        };
        let config = config(&url, settings);
        let source = StoreSource::open(config.store.get_ref(), &config.tokens).unwrap();
        Self {
            place,
            config,
            source,
        }
    }

    pub(crate) async fn embedded(settings: &str) -> Self {
        Self::on(Place::Embedded(tempfile::tempdir().unwrap()), settings)
    }

    pub(crate) async fn redis(settings: &str) -> Self {
        Self::on(Place::Redis(Redis::start().await), settings)
    }

    pub(crate) async fn cluster(settings: &str) -> Self {
        Self::on(Place::Cluster(Cluster::start(0).await), settings)
    }

    /// One more gateway. It shares nothing with the others but the store.
    pub(crate) async fn gateway(&self) -> Arc<Sessions> {
        self.gateway_with(Arc::default()).await
    }

    /// One more worker of the gateway with these queues.
    pub(crate) async fn gateway_with(&self, queues: Arc<Queues>) -> Arc<Sessions> {
        let store = Arc::new(self.source.connect().await.unwrap());
        reachable(&store).await;
        Arc::new(Sessions::new(store, &self.config, queues))
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.config)
    }

    /// All servers.
    pub(crate) fn servers(&self) -> Vec<&Redis> {
        match &self.place {
            Place::Embedded(_) => Vec::new(),
            Place::Redis(redis) => vec![redis],
            Place::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }
}

/// A whole configuration on this store, with these settings in `[sessions]`. Tokens are kept as digests.
pub(crate) fn config(store: &str, settings: &str) -> Config {
    let text = format!(
        "listeners = []\nroutes = []\n[store]\n{store}\nlookup_deadline = \"5s\"\n[tokens]\n\
         at_rest = \"sha256\"\n[upstreams]\n[sessions]\n{settings}\n"
    );
    toml::from_str(&text).unwrap()
}

/// Waits until the store can be asked.
pub(crate) async fn reachable(store: &SessionStore) {
    let start = Instant::now();
    loop {
        let key = Keys::new(&config("embedded = \"x\"", "")).realm();
        match store.get(&[key], drawbridge::store::Ends::None).await {
            Ok(_) => return,
            Err(error) => assert!(start.elapsed() < PATIENCE, "still: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A login of this user on this device.
pub(crate) fn login(user: &str, device: &str, kind: &str) -> Login {
    Login {
        user_id: user.to_owned(),
        device: Device {
            id: device.into(),
            kind: kind.into(),
            name: "".into(),
        },
        permissions: vec!["orders:read".to_owned()],
        roles: vec!["clerk".to_owned()],
        ..Login::default()
    }
}

/// The same with a refresh token.
pub(crate) fn refreshable(user: &str, device: &str) -> Login {
    Login {
        refresh: true,
        ..login(user, device, "phone")
    }
}

pub(crate) async fn enter(sessions: &Sessions, login: Login) -> Grant {
    sessions.login(login).await.unwrap()
}

pub(crate) async fn standing(sessions: &Sessions, token: &Token) -> Standing {
    sessions.find(token).await.unwrap()
}

/// The live session of this token.
pub(crate) async fn live(sessions: &Sessions, grant: &Grant) -> Arc<Session> {
    match standing(sessions, grant.access.token()).await {
        Standing::Live(session) => session,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn is_live(sessions: &Sessions, grant: &Grant) -> bool {
    matches!(
        standing(sessions, grant.access.token()).await,
        Standing::Live(_)
    )
}

/// Why the session of this token is over.
pub(crate) async fn why(sessions: &Sessions, grant: &Grant) -> Why {
    match standing(sessions, grant.access.token()).await {
        Standing::Ended(ended) => ended.why,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn is_too_many(answer: &Result<Grant, LoginError>) -> bool {
    matches!(answer, Err(LoginError::TooMany))
}

pub(crate) fn refresh_of(grant: &Grant) -> &str {
    grant.refresh.as_ref().unwrap().expose()
}

/// Waits until `now` is past.
pub(crate) async fn past(millis: u64) {
    while clock::now() <= millis {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a scenario on every kind of store.
macro_rules! everywhere {
    ($name:ident, $settings:expr) => {
        mod $name {
            #[tokio::test]
            async fn embedded() {
                super::$name(crate::bench::Bench::embedded($settings).await).await;
            }

            #[tokio::test]
            async fn redis() {
                super::$name(crate::bench::Bench::redis($settings).await).await;
            }

            #[tokio::test]
            async fn cluster() {
                super::$name(crate::bench::Bench::cluster($settings).await).await;
            }
        }
    };
}

pub(crate) use everywhere;
