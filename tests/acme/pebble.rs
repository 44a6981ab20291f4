//! A real ACME server: Pebble, by the makers of Let's Encrypt, with a DNS server that leads every name to this machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::redis::{eventually, free_port};
use crate::support::{Authority, PATIENCE};

/// What it is started with.
pub(crate) struct Settings {
    /// Its own port.
    pub(crate) port: u16,
    /// Where it looks whether a name leads to us.
    pub(crate) looks_at: u16,
    /// Seconds that its certificates are good for.
    pub(crate) lifetime: u64,
    /// The account that it wants to know: id and key.
    pub(crate) external: Option<(&'static str, &'static str)>,
}

/// It, until it is dropped.
pub(crate) struct Pebble {
    dir: TempDir,
    processes: Vec<Child>,
    management: u16,
    ca: PathBuf,
}

/// Whether there is one on this machine; told if not.
pub(crate) fn there_is_none() -> bool {
    let missing = Command::new("pebble-challtestsrv")
        .arg("--help")
        .output()
        .is_err();
    assert!(
        !missing || !cfg!(target_os = "linux"),
        "pebble is not there; bash tests/run.sh installs it"
    );
    if missing {
        eprintln!(
            "NOT TESTED: there is no package of Pebble for this system, so no certificate is ordered"
        );
    }
    missing
}

impl Pebble {
    /// Its own certificate is signed by this authority.
    pub(crate) async fn start(settings: Settings, authority: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let leaf = authority.sign(&["127.0.0.1"]);
        let (management, dns) = (free_port(), free_port());
        let keys = settings.external.map(|(id, key)| json!({ id: key }));
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", settings.port),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": leaf.cert,
            "privateKey": leaf.key,
            "httpPort": free_port(),
            "tlsPort": settings.looks_at,
            "externalAccountBindingRequired": keys.is_some(),
            "externalAccountMACKeys": keys.unwrap_or_else(|| json!({})),
            "certificateValidityPeriod": settings.lifetime,
        }});
        let file = dir.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let names = Command::new("pebble-challtestsrv")
            .args(["-dns01", &format!("127.0.0.1:{dns}"), "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{}", free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let server = Command::new("pebble")
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pebble = Self {
            dir,
            processes: vec![server, names],
            management,
            ca: authority.file(),
        };
        let asked = || pebble.fetch("roots/0").is_some();
        eventually("Pebble", PATIENCE + Duration::from_secs(10), asked).await;
        pebble
    }

    fn fetch(&self, path: &str) -> Option<Vec<u8>> {
        let url = format!("https://127.0.0.1:{}/{path}", self.management);
        let mut curl = Command::new("curl");
        let curl = curl.args(["-sf", "--cacert"]).arg(&self.ca).arg(url);
        let output = curl.output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// A PEM file with the root of what it issues.
    pub(crate) fn root(&self) -> PathBuf {
        let file = self.dir.path().join("root.pem");
        std::fs::write(&file, self.fetch("roots/0").unwrap()).unwrap();
        file
    }

    /// How many certificates it has issued.
    pub(crate) fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    /// Everything it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().ok();
            process.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("Pebble's last lines:\n{}", tail.join("\n"));
        }
    }
}

/// What curl is answered over TLS at this port by whoever has this name; `None` if it does not believe in who is there.
pub(crate) fn curl(root: &Path, name: &str, port: u16) -> Option<String> {
    let output = Command::new("curl")
        .args([
            "-s",
            "--max-time",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
        ])
        .arg(root)
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .arg(format!("https://{name}:{port}/"))
        .output()
        .unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(status)
}
