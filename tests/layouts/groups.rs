//! Frameworks whose sessions lie in several servers that belong together: keys of one session in several of them, and the
//! server that has it dies.

use serde_json::json;

use crate::application::Application;
use crate::support::gateway::now;
use crate::support::redis::{Cluster, Redis, Sentinel, eventually};
use crate::support::{PATIENCE, Upstream, soon, upstream};
use crate::{Gateway, get, reading_at};

/// For so long a verdict may be kept: whatever is seen sooner was heard of.
const LONG: &str = "[cache]\nmax_staleness = \"1h\"";

enum Group {
    Sentinel(Box<Sentinel>),
    Cluster(Cluster),
}

impl Group {
    fn url(&self) -> String {
        match self {
            Self::Sentinel(group) => group.url(),
            Self::Cluster(group) => group.url(),
        }
    }

    fn servers(&self) -> &[Redis] {
        match self {
            Self::Sentinel(group) => &group.servers,
            Self::Cluster(group) => &group.nodes,
        }
    }

    /// The place of the master that has this key.
    fn holder(&self, key: &str) -> Option<usize> {
        self.servers().iter().position(|server| {
            let is_master = || server.cli(&["ROLE"]).starts_with("master");
            server.is_running() && is_master() && server.cli(&["EXISTS", key]) == "1"
        })
    }

    /// Carried out by whoever has the key.
    fn cli(&self, words: &[&str]) -> String {
        self.servers()[0].cli(&[&["-c"], words].concat())
    }

    /// Waits until the replicas have as much as the masters.
    async fn copied(&self) {
        let count = |masters: bool| -> u32 {
            let servers = self.servers().iter();
            let servers = servers.filter(|one| one.cli(&["ROLE"]).starts_with("master") == masters);
            let sizes = servers.map(|one| one.cli(&["DBSIZE"]));
            sizes.map(|size| size.parse::<u32>().unwrap()).sum()
        };
        eventually("the replicas have it all", PATIENCE, || {
            count(true) == count(false)
        })
        .await;
    }

    fn kill(&mut self, place: usize) {
        match self {
            Self::Sentinel(group) => group.servers[place].kill(),
            Self::Cluster(group) => group.nodes[place].kill(),
        }
    }
}

/// Somebody with a session of a framework.
struct Visitor {
    gateway: Gateway,
    header: (&'static str, String),
    user: &'static str,
    /// Where the session itself lies, and what ends it there, as the framework does.
    key: String,
    end: Vec<String>,
}

impl Visitor {
    async fn status(&self) -> u16 {
        let header = (self.header.0, self.header.1.as_str());
        get(&self.gateway, "/", header).await.status
    }

    /// Waits for this answer; until then it may be one of these and no other.
    async fn becomes(&self, status: u16, until: &[u16]) {
        let answered = async {
            loop {
                let found = self.status().await;
                if found == status {
                    return;
                }
                assert!(until.contains(&found), "{}: {found}", self.key);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        soon("another answer", answered).await;
    }
}

async fn sa_token(group: &Group, upstream: &Upstream, account: &'static str) -> Visitor {
    let (token, user) = (format!("t-{account}"), account);
    let put = |kind: &str, name: &str, value: &str| {
        group.cli(&[
            "SET",
            &format!("satoken:login:{kind}:{name}"),
            value,
            "EX",
            "600",
        ]);
    };
    let record = json!({
        "dataMap": {"PERMISSION_LIST": ["orders:read"], "ROLE_LIST": ["clerk"]},
        "terminalList": [{"tokenValue": token, "deviceType": "APP"}],
    });
    put("token", &token, account);
    put("last-active", &token, &now().to_string());
    put("session", account, &record.to_string());
    let setup = reading_at(&group.url(), "sa-token", "\"header:satoken\"", upstream);
    let key = format!("satoken:login:token:{token}");
    let end = ["SET", &key, "-5", "KEEPTTL"].map(str::to_owned).to_vec();
    Visitor {
        gateway: setup.toml(LONG).start().await,
        header: ("satoken", token),
        user,
        key,
        end,
    }
}

async fn spring(group: &Group, upstream: &Upstream) -> Visitor {
    let (id, used) = ("spring-1", now().to_string());
    let key = format!("spring:session:sessions:{id}");
    let name = "sessionAttr:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME";
    group.cli(&[
        "HSET",
        &key,
        "creationTime",
        &used,
        "lastAccessedTime",
        &used,
        "maxInactiveInterval",
        "1800",
        name,
        "\"bob\"",
    ]);
    group.cli(&["EXPIRE", &key, "2100"]);
    let setup = reading_at(
        &group.url(),
        "spring-session",
        "\"header:x-auth-token\"",
        upstream,
    );
    // As it is while Spring has logged it out, and its key is still there.
    let end = ["HSET", &key, "maxInactiveInterval", "0"]
        .map(str::to_owned)
        .to_vec();
    Visitor {
        gateway: setup.toml(LONG).start().await,
        header: ("x-auth-token", id.to_owned()),
        user: "bob",
        key,
        end,
    }
}

async fn express(group: &Group, app: &Application, upstream: &Upstream) -> Visitor {
    let (cookie, id) = app.log_in("user=alice").await;
    let setup = reading_at(
        &group.url(),
        "connect-redis",
        "\"cookie:connect.sid\"",
        upstream,
    );
    let key = format!("sess:{id}");
    let end = ["DEL", &key].map(str::to_owned).to_vec();
    Visitor {
        gateway: setup
            .toml(&format!("[store.foreign]\nsecrets = [\"s\"]\n{LONG}"))
            .start()
            .await,
        header: ("cookie", cookie),
        user: "alice",
        key,
        end,
    }
}

/// Sessions of several frameworks are let in; outlive the death of the server that has them, without a moment in which
/// their users would be told to log in again; and end when their framework ends them.
async fn outlive(mut group: Group, app: &Application) {
    let upstream = upstream();
    let visitors = [
        sa_token(&group, &upstream, "10001").await,
        spring(&group, &upstream).await,
        express(&group, app, &upstream).await,
    ];
    for visitor in &visitors {
        visitor.becomes(200, &[503]).await;
        assert_eq!(upstream.last().header("x-user-id"), Some(visitor.user));
    }
    bans_are_heard_of(&group, &upstream).await;
    let other = express(&group, app, &upstream).await;
    other.becomes(200, &[503]).await;
    app.log_out(&other.header.1).await;
    other.becomes(401, &[200, 503]).await;

    group.copied().await;
    let place = group.holder(&visitors[0].key).expect("a master has it");
    group.kill(place);
    eventually("another server has them", PATIENCE, || {
        visitors
            .iter()
            .all(|visitor| group.holder(&visitor.key).is_some())
    })
    .await;
    for visitor in &visitors {
        visitor.becomes(200, &[503]).await;
    }

    for visitor in &visitors {
        let holder = group.holder(&visitor.key).expect("a master has it");
        let words: Vec<&str> = visitor.end.iter().map(String::as_str).collect();
        group.servers()[holder].cli(&words);
        visitor.becomes(401, &[200, 503]).await;
    }
}

/// A verdict rests on more keys than the token's, wherever they lie.
async fn bans_are_heard_of(group: &Group, upstream: &Upstream) {
    let visitor = sa_token(group, upstream, "20002").await;
    visitor.becomes(200, &[503]).await;
    let ban = "satoken:login:disable:login:20002";
    group.cli(&["SET", ban, "1", "EX", "600"]);
    visitor.becomes(403, &[200, 503]).await;
    if let Group::Cluster(_) = group {
        let account = "satoken:login:session:20002";
        let keys = [&visitor.key, ban, account];
        let places = keys.map(|key| group.holder(key).expect("a master has it"));
        let one = places.iter().all(|place| *place == places[0]);
        assert!(
            !one,
            "keys of one verdict are to lie on several nodes: {places:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn sessions_of_frameworks_outlive_the_death_of_a_master_of_sentinel() {
    let group = Sentinel::start().await;
    let app = Application::express(&group.servers[0], &json!({"secret": "s"}));
    outlive(Group::Sentinel(Box::new(group)), &app).await;
}

#[tokio::test]
#[ignore = "needs express-session: tests/run.sh"]
async fn sessions_of_frameworks_outlive_the_death_of_a_node_of_a_cluster() {
    let group = Cluster::start(1).await;
    let app = Application::express(&group.nodes[0], &json!({"secret": "s", "cluster": true}));
    outlive(Group::Cluster(group), &app).await;
}
