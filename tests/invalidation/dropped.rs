//! A network that drops packets without a word: over the link that tells of changes, over everything, and one way only.
//! No proxy stands between; the kernel drops them.

use std::time::{Duration, Instant};

use crate::bench::{Scene, TOKEN, becomes, bound, kept, status};
use crate::safeguards::without;
use crate::support::gateway::{log_in, log_out};
use crate::support::netns::Netns;
use crate::support::redis::Settings;
use crate::support::{Gateway, Redis, user};

const BOUND: Duration = Duration::from_secs(2);

/// What is dropped.
#[derive(Debug, Clone, Copy)]
enum Lost {
    /// What goes over the connection on which changes are told, both ways.
    Link,
    Everything,
    /// What comes from the gateway.
    Questions,
    /// What goes to it.
    Answers,
}

/// A Redis at the other end of a cable, and a gateway here that has the session in memory.
struct Cable {
    redis: Redis,
    gateway: Gateway,
    netns: Netns,
    /// Its upstream serves.
    _scene: Scene,
}

impl Cable {
    async fn new(rule: Option<&str>) -> Option<Self> {
        let netns = Netns::new()?;
        let redis = Settings::default()
            .elsewhere(netns.prefix(), netns.address())
            .start()
            .await;
        log_in(&redis, TOKEN, &user("alice", &[]));
        let scene = Scene::new().await;
        let store = format!("redis = \"{}\"", redis.url());
        let setup = without(scene.door_to(&store, &bound(2)), rule);
        let gateway = setup.start().await;
        becomes(&gateway, 200).await;
        kept(&redis, &gateway).await;
        Some(Self {
            redis,
            gateway,
            netns,
            _scene: scene,
        })
    }

    /// The port of the connection over which the gateway is told of changes.
    fn link(&self) -> u16 {
        let clients = self.redis.cli(&["CLIENT", "LIST"]);
        // `B`: it tracks by broadcast.
        let listens = |line: &&str| {
            line.split(' ')
                .any(|part| part.starts_with("flags=") && part.contains('B'))
        };
        let listener = clients.lines().find(listens).expect("it listens");
        let address = listener
            .split(' ')
            .find_map(|part| part.strip_prefix("addr="));
        let (_, port) = address.unwrap().rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    fn lose(&self, lost: Lost) {
        match lost {
            Lost::Link => self.netns.drop_packets(Some(self.link()), (true, true)),
            Lost::Everything => self.netns.drop_packets(None, (true, true)),
            Lost::Questions => self.netns.drop_packets(None, (true, false)),
            Lost::Answers => self.netns.drop_packets(None, (false, true)),
        }
    }

    /// Ends the session, asks until longer than the bound has passed, and tells how long after the end a request was begun
    /// that was let in.
    async fn let_in_for(&self) -> Duration {
        log_out(&self.redis, TOKEN);
        let over = Instant::now();
        let mut last = Duration::ZERO;
        loop {
            let age = over.elapsed();
            if age > BOUND + Duration::from_millis(800) {
                return last;
            }
            match status(&self.gateway).await {
                200 => last = age,
                401 | 503 => {}
                other => panic!("{other} is no answer"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn nobody_is_let_in_beyond_the_bound_when_packets_are_dropped() {
    for lost in [Lost::Link, Lost::Everything, Lost::Questions, Lost::Answers] {
        let Some(cable) = Cable::new(None).await else {
            return;
        };
        cable.lose(lost);

        let last = cable.let_in_for().await;

        println!("{lost:?}: let in for {last:?}");
        assert!(last <= BOUND, "{lost:?}: let in {last:?} after the end");
        cable.netns.mend();
        becomes(&cable.gateway, 401).await;
        log_in(&cable.redis, TOKEN, &user("alice", &[]));
        becomes(&cable.gateway, 200).await;
        kept(&cable.redis, &cable.gateway).await;
    }
}

/// The same without the rule that sees to it. Where only the link is lost, others would: see
/// `safeguards::epoch_has_asked_again_what_may_have_changed_unheard`.
#[tokio::test]
async fn without_age_a_dropped_packet_lets_somebody_in() {
    let Some(cable) = Cable::new(Some("age")).await else {
        return;
    };
    cable.lose(Lost::Everything);

    assert!(cable.let_in_for().await > BOUND);
}
