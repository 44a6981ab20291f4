//! Certificates that the gateway orders itself, from a real ACME server.

mod support;

#[path = "acme/pebble.rs"]
mod pebble;
#[path = "acme/renewal.rs"]
mod renewal;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pebble::{Pebble, Settings, curl};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use support::redis::{eventually, free_port};
use support::{Authority, Gateway, Setup, Upstream, gateway, upstream};

/// An order may fail once, and is then tried again after some seconds.
const ORDER: Duration = Duration::from_secs(60);

const DAY: u64 = 24 * 3600;

const TAKEN: &str = "the configuration taken over";

/// What a test plays with: who signs what is no certificate of ACME, where everybody is, and where certificates are kept.
struct Stage {
    dir: tempfile::TempDir,
    authority: Authority,
    upstream: Upstream,
    pebble: u16,
    port: u16,
    monitor: u16,
}

impl Stage {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            upstream: upstream(),
            pebble: free_port(),
            port: free_port(),
            monitor: free_port(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("acme")
    }

    /// Where the certificates of this Pebble lie.
    fn folder(&self) -> PathBuf {
        self.cache().join(format!("127.0.0.1-{}-dir", self.pebble))
    }

    /// The `acme` entry for these names.
    fn acme(&self, domains: &[&str], rest: &str) -> String {
        let (cache, ca, port) = (self.cache(), self.authority.file(), self.pebble);
        format!(
            "acme = {{ domains = {domains:?}, accept_terms = true, cache = {cache:?}, \
             directory = \"https://127.0.0.1:{port}/dir\", ca = {ca:?}{rest} }}"
        )
    }

    /// A gateway in the making whose one listener has these settings of its `tls` table.
    fn listening(&self, leaves: &[support::certs::Leaf], tls: &str) -> Setup {
        gateway()
            .toml(&format!(
                "[metrics]\nlisten = \"127.0.0.1:{}\"",
                self.monitor
            ))
            .upstream("app", &self.upstream)
            .route("prefix = \"/\"\nauth = \"public\"\nupstream = \"app\"")
            .workers(2)
            .tls_with(leaves, tls)
            .at(self.port)
            .secret("PRIVATE KEY")
    }

    async fn pebble_with(&self, change: impl FnOnce(&mut Settings)) -> Pebble {
        let mut settings = Settings {
            port: self.pebble,
            looks_at: self.port,
            lifetime: 90 * DAY,
            external: None,
        };
        change(&mut settings);
        Pebble::start(settings, &self.authority).await
    }

    async fn pebble(&self) -> Pebble {
        self.pebble_with(|_| {}).await
    }

    /// Waits until this name has a certificate of this Pebble.
    async fn served(&self, pebble: &Pebble, name: &str) {
        let root = pebble.root();
        let served = || curl(&root, name, self.port).as_deref() == Some("200");
        eventually(name, ORDER, served).await;
    }

    /// The account, as it is kept.
    fn account(&self) -> Value {
        let text = std::fs::read(self.folder().join("account.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Puts there what is kept of this name: a certificate of nobody, good from one day to another since 1970.
    fn lies_there(&self, name: &str, days: std::ops::Range<u64>) -> Vec<u8> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let day = |day| date_time_ymd(1970, 1, 1) + Duration::from_secs(day * DAY);
        (params.not_before, params.not_after) = (day(days.start), day(days.end));
        let key = KeyPair::generate().unwrap();
        let text = key.serialize_pem() + &params.self_signed(&key).unwrap().pem();
        std::fs::create_dir_all(self.folder()).unwrap();
        std::fs::write(self.folder().join(format!("{name}.pem")), &text).unwrap();
        text.into_bytes()
    }

    fn certificate(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(format!("{name}.pem"))).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

async fn ready(gateway: &Gateway) -> (u16, Value) {
    let reply = gateway.monitor("/ready").await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[tokio::test]
async fn certificates_are_ordered_shown_and_kept_and_a_restart_orders_nothing() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let pebble = stage.pebble().await;
    let tls = stage.acme(&["a.test", "B.test"], ", contact = \"mailto:ops@a.test\"");
    let mut gateway = stage.listening(&[], &tls).start().await;

    stage.served(&pebble, "a.test").await;
    stage.served(&pebble, "b.test").await;

    assert_eq!(pebble.issued(), 2);
    let series = "certificate_orders_total{result=\"obtained\"}";
    assert_eq!(gateway.metric(series).await, 2.0);
    let file = stage.folder().join("a.test.pem");
    let series = format!(
        "certificate_expiry_timestamp_seconds{{listener=\"127.0.0.1:{}\",file={file:?}}}",
        stage.port
    );
    assert!(gateway.metric(&series).await > 1.7e9, "{series}");
    assert_eq!(mode(&stage.folder()), 0o700);
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(stage.folder()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        kept.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    kept.sort();
    assert_eq!(kept, ["a.test.pem", "account.json", "b.test.pem", "lock"]);
    let account = stage.account();
    let key = account["credentials"]["key_pkcs8"].as_str().unwrap();
    assert!(
        !gateway.logs().contains(key),
        "the account's key was logged"
    );

    let orders = gateway.told("ordering a certificate");
    gateway.terminate();
    gateway.restart().await;
    stage.served(&pebble, "a.test").await;
    stage.served(&pebble, "b.test").await;
    assert_eq!(
        ready(&gateway).await,
        (200, json!({"ready": true, "missing": []}))
    );
    assert_eq!(gateway.told("ordering a certificate"), orders);
    assert_eq!(
        gateway.told("another gateway has obtained a certificate"),
        0,
        "it was not shown from the start"
    );
    assert_eq!(pebble.issued(), 2);
}

#[tokio::test]
async fn a_file_stands_beside_and_wins_for_its_names() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let pebble = stage.pebble().await;
    let leaf = stage.authority.sign(&["file.test", "*.file.test"]);
    let tls = stage.acme(&["a.test", "file.test", "below.file.test"], "");
    let gateway = stage.listening(&[leaf], &tls).start().await;

    stage.served(&pebble, "a.test").await;

    let ca = stage.authority.file();
    for name in ["file.test", "below.file.test"] {
        assert_eq!(
            curl(&ca, name, stage.port).as_deref(),
            Some("200"),
            "{name}"
        );
    }
    assert_eq!(pebble.issued(), 1);
    assert_eq!(
        ready(&gateway).await.1,
        json!({"ready": true, "missing": []})
    );
    let report = std::process::Command::new(gateway::PROGRAM)
        .args(["check", "--config"])
        .arg(gateway.config())
        .output()
        .unwrap();
    let report =
        String::from_utf8(report.stderr).unwrap() + &String::from_utf8_lossy(&report.stdout);
    for name in ["file.test", "below.file.test"] {
        let said = format!("`{name}` is not ordered: a certificate from a file is for it");
        assert!(report.contains(&said), "{report}");
    }
}

#[tokio::test]
async fn while_the_authority_is_away_other_names_are_served_and_then_the_certificate_arrives() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let leaf = stage.authority.sign(&["file.test"]);
    let tls = stage.acme(&["a.test"], "");
    let gateway = stage.listening(&[leaf], &tls).start().await;

    gateway.tells("a certificate cannot be obtained", 2).await;
    let why = gateway.said(
        "a certificate cannot be obtained: clients that ask for this name are turned away",
        "error",
    );
    assert!(
        why.as_str().unwrap().contains("127.0.0.1: cannot connect"),
        "{why}"
    );
    let ca = stage.authority.file();
    assert_eq!(curl(&ca, "file.test", stage.port).as_deref(), Some("200"));
    assert_eq!(curl(&ca, "a.test", stage.port), None);
    let waits = json!({"ready": true, "missing": [], "without_certificate": ["a.test"]});
    assert_eq!(ready(&gateway).await, (200, waits));
    assert!(
        gateway
            .metric("certificate_orders_total{result=\"failed\"}")
            .await
            >= 2.0
    );

    let pebble = stage.pebble().await;

    stage.served(&pebble, "a.test").await;
    assert_eq!(
        ready(&gateway).await,
        (200, json!({"ready": true, "missing": []}))
    );
}

#[tokio::test]
async fn a_certificate_that_has_ended_or_ends_soon_is_renewed() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let old = stage.lies_there("a.test", 18_000..18_090);
    let pebble = stage.pebble_with(|settings| settings.lifetime = 15).await;
    let gateway = stage
        .listening(&[], &stage.acme(&["a.test"], ""))
        .start()
        .await;

    stage.served(&pebble, "a.test").await;
    let first = stage.certificate("a.test");
    assert_ne!(first, old);
    let series = format!(
        "certificate_expiry_timestamp_seconds{{listener=\"127.0.0.1:{}\",file={:?}}}",
        stage.port,
        stage.folder().join("a.test.pem")
    );
    assert!(gateway.metric(&series).await > 1.7e9, "{series}");

    let renewed = || stage.certificate("a.test") != first;
    eventually("the second certificate", ORDER, renewed).await;
    gateway.tells("a certificate has been obtained", 2).await;
    stage.served(&pebble, "a.test").await;
}

#[tokio::test]
async fn a_reload_keeps_what_there_is_and_takes_up_new_names() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let pebble = stage.pebble().await;
    let tls = stage.acme(&["a.test", "gone.test"], "");
    let gateway = stage.listening(&[], &tls).start().await;
    stage.served(&pebble, "a.test").await;
    stage.served(&pebble, "gone.test").await;
    let first = stage.certificate("a.test");

    gateway.edit(
        "\"gone.test\"], ",
        "\"new.test\"], contact = \"mailto:ops@a.test\", ",
    );
    gateway.signal("-HUP");

    stage.served(&pebble, "new.test").await;
    assert_eq!(stage.account()["contact"], "mailto:ops@a.test");
    assert!(pebble.log().contains("POST /my-account/"));
    stage.served(&pebble, "a.test").await;
    assert_eq!(stage.certificate("a.test"), first);
    assert_eq!(curl(&pebble.root(), "gone.test", stage.port), None);
    assert_eq!(pebble.issued(), 3);
    assert_eq!(gateway.told("an account has been opened"), 1);
}

#[tokio::test]
async fn an_external_account_is_named_and_a_listener_that_asks_for_certificates_asks_none_of_the_authority()
 {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = stage
        .pebble_with(|settings| settings.external = Some(("kid-1", secret)))
        .await;
    let account = format!(", external_account = {{ id = \"kid-1\", secret = \"{secret}\" }}");
    let ca = stage.authority.file();
    let tls = format!(
        "client_auth = \"required\"\nclient_ca = {ca:?}\n{}",
        stage.acme(&["a.test"], &account)
    );

    let gateway = stage.listening(&[], &tls).secret(secret).start().await;

    let obtained = || gateway.told("a certificate has been obtained") == 1;
    eventually("the certificate", ORDER, obtained).await;
    assert_eq!(pebble.issued(), 1);
    assert_eq!(
        curl(&pebble.root(), "a.test", stage.port),
        None,
        "it let in a stranger"
    );
}

#[tokio::test]
async fn a_gateway_that_shares_the_folder_answers_for_another_and_takes_what_that_has_ordered() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let elsewhere = Stage::new();
    let pebble = stage.pebble().await;
    // The names lead to the first one, which does not believe the authority and so orders nothing itself.
    let stranger = elsewhere.authority.file();
    let believes = format!("ca = {:?}", stage.authority.file());
    let tls = stage.acme(&["a.test"], "");
    let doubting = tls.replace(&believes, &format!("ca = {stranger:?}"));
    assert_ne!(tls, doubting);
    let reached = stage.listening(&[], &doubting).start().await;

    let orders = elsewhere.listening(&[], &tls).start().await;

    let obtained = || orders.told("a certificate has been obtained") == 1;
    eventually("the certificate", ORDER, obtained).await;
    stage.served(&pebble, "a.test").await;
    assert_eq!(pebble.issued(), 1);
    assert_eq!(
        reached.told("another gateway has obtained a certificate"),
        1
    );
    assert_eq!(reached.told("a certificate has been obtained"), 0);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_gets_none_and_the_log_says_what_the_authority_saw() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let _pebble = stage
        .pebble_with(|settings| settings.looks_at = free_port())
        .await;
    let gateway = stage
        .listening(&[], &stage.acme(&["a.test"], ""))
        .start()
        .await;

    let refused = || gateway.told("the authority did not see that the name leads here") > 0;
    eventually("the refusal", ORDER, refused).await;

    let logs = gateway.logs();
    let lines = logs.lines();
    let told: Vec<_> = lines.filter(|line| line.contains("did not see")).collect();
    assert!(
        told[0].contains("Failed to connect to 127.0.0.1"),
        "{told:?}"
    );
    assert!(told[0].contains("\"again_in\":\"5m\""), "{told:?}");
    assert!(!stage.folder().join("a.test.challenge").exists());
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_opened_anew() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let tls = stage.acme(&["a.test"], "");
    let first = stage.pebble().await;
    let gateway = stage.listening(&[], &tls).start().await;
    stage.served(&first, "a.test").await;
    drop(first);
    // It keeps nothing.
    let second = stage.pebble().await;

    gateway.edit("\"a.test\"", "\"a.test\", \"b.test\"");
    gateway.signal("-HUP");

    stage.served(&second, "b.test").await;
    assert_eq!(gateway.told("opening another one"), 1);
    assert_eq!(gateway.told("an account has been opened"), 2);
}

#[tokio::test]
async fn what_is_kept_and_cannot_be_read_is_ordered_anew() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    std::fs::create_dir_all(stage.folder()).unwrap();
    for broken in ["a.test.pem", "account.json"] {
        std::fs::write(stage.folder().join(broken), "{ half of").unwrap();
    }
    let pebble = stage.pebble().await;
    let gateway = stage
        .listening(&[], &stage.acme(&["a.test"], ""))
        .start()
        .await;

    stage.served(&pebble, "a.test").await;

    assert!(gateway.told("what is kept there is no certificate to show") > 0);
    assert_eq!(gateway.told("what is kept there is no account"), 1);
    assert_eq!(pebble.issued(), 1);
    assert!(stage.account()["credentials"]["id"].is_string());
}

#[tokio::test]
async fn after_a_refusal_only_other_settings_make_it_try_again_at_once() {
    if pebble::there_is_none() {
        return;
    }
    let stage = Stage::new();
    let (right, wrong) = ("cmlnaHQtc2VjcmV0LW9mLXRoZS1hY2NvdW50", "d3Jvbmc");
    let pebble = stage
        .pebble_with(|settings| settings.external = Some(("kid-1", right)))
        .await;
    let account = format!(", external_account = {{ id = \"kid-1\", secret = \"{wrong}\" }}");
    let tls = stage.acme(&["a.test"], &account);
    let gateway = stage.listening(&[], &tls).secret(right).start().await;
    let failed = "a certificate cannot be obtained: clients that ask for this name are turned away";
    gateway.tells(failed, 1).await;
    assert_eq!(gateway.said(failed, "again_in"), "5m");

    gateway.edit("prefix = \"/\"", "prefix = \"/other\"");
    gateway.signal("-HUP");
    gateway.tells(TAKEN, 1).await;
    gateway.edit(wrong, right);
    gateway.signal("-HUP");

    gateway.tells("a certificate has been obtained", 1).await;
    assert_eq!(pebble.issued(), 1);
    assert_eq!(gateway.told("ordering a certificate"), 2);
}

#[tokio::test]
async fn what_cannot_be_renewed_is_told_louder_when_it_ends_soon() {
    let stage = Stage::new();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let today = now.as_secs() / DAY;
    stage.lies_there("later.test", today - 900..today + 100);
    stage.lies_there("soon.test", today - 900..today + 7);

    let tls = stage.acme(&["later.test", "soon.test"], "");
    let gateway = stage.listening(&[], &tls).start().await;

    for (said, level, name) in [
        ("a certificate cannot be renewed", "WARN", "later.test"),
        (
            "a certificate cannot be renewed and ends soon",
            "ERROR",
            "soon.test",
        ),
    ] {
        let told = || gateway.told(&format!("\"{said}\"")) > 0;
        eventually(said, ORDER, told).await;
        assert_eq!(gateway.said(said, "level"), level);
        assert_eq!(gateway.said(said, "domain"), name);
    }
}
