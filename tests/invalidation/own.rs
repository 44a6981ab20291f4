//! Sessions that we made: what one gateway decides about them, another one knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drawbridge::cache::MaxAge;
use drawbridge::config::{Config, load};
use drawbridge::session::{Device, Session, Why};
use drawbridge::sessions::{Grant, Login, NewBan, RightsEdit, Sessions, Standing, Whom, memory};
use drawbridge::store::StoreSource;
use drawbridge::token::{Token, TokenShape};

use crate::support::proxy::{Proxy, Way, Which};
use crate::support::redis::eventually;
use crate::support::{PATIENCE, Redis};

const AGE: MaxAge = MaxAge::new(Duration::from_secs(60));

/// The sessions of a gateway beside this Redis, in this process.
pub(crate) struct Desk {
    pub(crate) sessions: Arc<Sessions>,
    shape: TokenShape,
}

fn config(url: &str, bound: Duration) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[store]\nredis = \"{url}\"\n[sessions]\nrefresh_grace = \"1s\"\n\
         [cache]\nmax_staleness = \"{}s\"\n[upstreams.app]\nendpoints = [\"http://127.0.0.1:9\"]\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"app\"\n",
        bound.as_secs()
    );
    std::fs::write(&file, text).unwrap();
    match load::read(&file) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error:?}"),
    }
}

impl Desk {
    pub(crate) async fn open(redis: &Redis) -> Self {
        Self::open_at(&redis.url()).await
    }

    pub(crate) async fn open_at(url: &str) -> Self {
        Self::open_within(url, Duration::from_secs(61)).await
    }

    /// The same with this bound.
    pub(crate) async fn open_within(url: &str, bound: Duration) -> Self {
        let config = config(url, bound);
        let mut source = StoreSource::open(config.store.get_ref(), &config.tokens).unwrap();
        source.listen(&config).unwrap();
        let memory = memory(&config, Arc::clone(source.changes().unwrap()));
        let store = Arc::new(source.connect().await.unwrap());
        store.settle(PATIENCE).await;
        let sessions = Sessions::new(store, &config, Arc::default()).remembering(Some(memory));
        Self {
            sessions: Arc::new(sessions),
            shape: TokenShape::new(&config.tokens),
        }
    }

    pub(crate) async fn log_in(&self, device: &str) -> Grant {
        self.log_in_as("alice", device).await
    }

    async fn log_in_as(&self, user: &str, device: &str) -> Grant {
        let login = Login {
            user_id: user.to_owned(),
            device: Device {
                id: device.into(),
                kind: "phone".into(),
                ..Device::default()
            },
            refresh: true,
            ..Login::default()
        };
        self.sessions.login(login).await.unwrap()
    }

    fn token(&self, grant: &Grant) -> Token {
        self.shape.check(grant.access.expose().as_bytes()).unwrap()
    }

    async fn recall(&self, grant: &Grant) -> Standing {
        self.sessions.recall(&self.token(grant), AGE).await.unwrap()
    }

    /// The session, from memory.
    async fn keeps(&self, grant: &Grant, redis: &Redis) -> Arc<Session> {
        let start = Instant::now();
        loop {
            let before = redis.calls("get");
            let found = self.recall(grant).await;
            if let (Standing::Live(session), true) = (found, redis.calls("get") == before) {
                return session;
            }
            assert!(start.elapsed() < PATIENCE, "it is not kept");
        }
    }

    async fn ends(&self, grant: &Grant) -> Why {
        let start = Instant::now();
        loop {
            if let Standing::Ended(ended) = self.recall(grant).await {
                return ended.why;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Two gateways that both have the session in memory.
async fn scene() -> (Redis, Desk, Desk, Grant) {
    let redis = Redis::start().await;
    let (here, there) = (Desk::open(&redis).await, Desk::open(&redis).await);
    let grant = here.log_in("d1").await;
    here.keeps(&grant, &redis).await;
    there.keeps(&grant, &redis).await;
    (redis, here, there, grant)
}

#[tokio::test]
async fn kick_is_known_here_when_it_is_acknowledged_and_there_at_once() {
    let (redis, here, there, grant) = scene().await;
    let other = here.log_in("d2").await;
    there.keeps(&other, &redis).await;

    let whom = Whom::Session(grant.session.sid.clone());
    here.sessions
        .kick("alice", whom, Why::Kicked)
        .await
        .unwrap();

    let here_now = here.recall(&grant).await;
    assert!(matches!(here_now, Standing::Ended(_)), "{here_now:?}");
    assert_eq!(there.ends(&grant).await, Why::Kicked);
    assert!(matches!(there.recall(&other).await, Standing::Live(_)));
}

#[tokio::test]
async fn own_kick_is_known_here_even_if_nobody_tells_of_it() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port());
    let here = Desk::open_at(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let grant = here.log_in("d1").await;
    here.keeps(&grant, &redis).await;

    proxy.hold(Which::Listeners, Way::Back);
    let whom = Whom::Session(grant.session.sid.clone());
    here.sessions
        .kick("alice", whom, Why::Kicked)
        .await
        .unwrap();

    let now = here.recall(&grant).await;
    assert!(matches!(now, Standing::Ended(_)), "{now:?}");
}

#[tokio::test]
async fn realm_bans_and_rights_are_known_there() {
    let (redis, here, there, grant) = scene().await;

    let edit = RightsEdit {
        grant: vec!["new:right".to_owned()],
        ..RightsEdit::default()
    };
    here.sessions.edit_rights("alice", edit).await.unwrap();
    let start = Instant::now();
    loop {
        let Standing::Live(session) = there.recall(&grant).await else {
            panic!("it is live");
        };
        if session.permissions == ["new:right"] {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the right does not come");
    }

    let ban = NewBan {
        service: Some("billing".to_owned()),
        until: None,
        reason: String::new(),
        end_sessions: false,
    };
    there.keeps(&grant, &redis).await;
    here.sessions.ban("alice", ban).await.unwrap();
    let start = Instant::now();
    while there.keeps(&grant, &redis).await.extras.bans.is_empty() {
        assert!(start.elapsed() < PATIENCE, "the ban does not come");
    }

    here.sessions.kick_realm(Why::Realm).await.unwrap();
    assert_eq!(there.ends(&grant).await, Why::Realm);
}

#[tokio::test]
async fn stream_outlives_its_token_and_not_its_session() {
    let (redis, here, there, grant) = scene().await;
    let session = there.keeps(&grant, &redis).await;
    let token = there.token(&grant);
    let mut over = there.sessions.over((&token, &session), AGE, None);
    let mut open = tokio::spawn(async move { over.come().await });

    let refresh = grant.refresh.as_ref().unwrap().expose().to_owned();
    here.sessions.refresh(&refresh).await.unwrap();
    let gone = redis.cli(&["DEL", &format!("login:token:{}", token.expose())]);
    assert_eq!(gone, "1");
    let still = tokio::time::timeout(Duration::from_millis(700), &mut open).await;
    assert!(still.is_err(), "it was cut although its session goes on");
    assert_eq!(there.recall(&grant).await, Standing::Unknown);

    let whom = Whom::Device("d1".to_owned());
    here.sessions
        .kick("alice", whom, Why::Kicked)
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap();
}

#[tokio::test]
async fn stream_ends_with_the_realm_and_with_a_ban() {
    for realm in [true, false] {
        let (redis, here, there, grant) = scene().await;
        let session = there.keeps(&grant, &redis).await;
        let mut over = there
            .sessions
            .over((&there.token(&grant), &session), AGE, None);
        let open = tokio::spawn(async move { over.come().await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!open.is_finished());

        if realm {
            here.sessions.kick_realm(Why::Realm).await.unwrap();
        } else {
            let ban = NewBan {
                service: None,
                until: None,
                reason: String::new(),
                end_sessions: false,
            };
            here.sessions.ban("alice", ban).await.unwrap();
        }

        tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn whoever_acts_as_somebody_is_out_when_their_own_session_ends() {
    let (redis, here, there, alice) = scene().await;
    let helper = here.log_in_as("helper", "desk").await;
    let actor = here.keeps(&helper, &redis).await;
    let hour = Duration::from_secs(3600);
    let acting = here.sessions.act_as(&actor, "alice", hour).await.unwrap();
    let session = there.keeps(&acting, &redis).await;
    let mut over = there
        .sessions
        .over((&there.token(&acting), &session), AGE, None);
    let open = tokio::spawn(async move { over.come().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!open.is_finished());

    let whom = Whom::Device("desk".to_owned());
    let kicked = here.sessions.kick("helper", whom, Why::Kicked).await;
    assert_eq!(kicked.unwrap().sids.len(), 1);

    assert_eq!(there.ends(&acting).await, Why::Kicked);
    tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap();
    assert!(matches!(there.recall(&alice).await, Standing::Live(_)));
}

#[tokio::test]
async fn refreshed_token_stays_dead_though_its_record_comes_back() {
    let redis = Redis::start().await;
    let (here, there) = (Desk::open(&redis).await, Desk::open(&redis).await);
    let grant = here.log_in("d1").await;
    let key = format!("login:token:{}", grant.access.expose());
    let record = redis.cli(&["GET", &key]);
    let refresh = grant.refresh.as_ref().unwrap().expose().to_owned();
    here.sessions.refresh(&refresh).await.unwrap();
    eventually("its grace is over", PATIENCE, || {
        redis.cli(&["EXISTS", &key]) == "0" && redis.cli(&["--scan"]).contains(":refreshed:")
    })
    .await;

    redis.cli(&["SET", &key, &record]);

    for desk in [&here, &there] {
        assert_eq!(desk.recall(&grant).await, Standing::Unknown);
    }
    let late = Desk::open(&redis).await;
    let back = late.recall(&grant).await;
    assert!(
        matches!(back, Standing::Live(_)),
        "who has heard of nothing believes the record: {back:?}"
    );
}
