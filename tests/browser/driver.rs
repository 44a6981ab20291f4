//! A Chromium of its own for one test, led by ChromeDriver (W3C WebDriver), until the value is dropped.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::redis::free_port;
use crate::support::{Call, Connection, PATIENCE};

/// What keeps it quiet on a machine without a screen and without an internet.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
];

/// A running browser with an empty profile.
pub(crate) struct Chromium {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Chromium {
    /// One that finds every host below `.test` at this address.
    pub(crate) async fn start(gateway: SocketAddr) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let program = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let driver = Command::new(program)
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // With the browser in one group, so that both end together.
            .process_group(0)
            .spawn()
            .expect("chromedriver is installed; tests/run.sh does that");
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
            _profile: profile,
        };
        browser.answers().await;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        let folder = browser._profile.path().display();
        flags.push(format!("--user-data-dir={folder}"));
        flags.push(format!("--host-resolver-rules=MAP *.test {gateway}"));
        let mut options = json!({ "args": flags });
        if let Ok(binary) = std::env::var("CHROMIUM") {
            options["binary"] = binary.into();
        }
        let wanted = json!({ "acceptInsecureCerts": true, "goog:chromeOptions": options });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let begun = browser.call("POST", "/session", &wanted).await;
        begun["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser
    }

    /// Waits until the driver listens.
    async fn answers(&self) {
        let start = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "chromedriver does not start");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut call = Call::new(method, path).host(&self.address.to_string());
        if method == "POST" {
            let text = body.to_string();
            call = call.header("content-type", "application/json").body(text);
        }
        let reply = Connection::h1_over(stream).await.send(call).await;
        let value = reply.json()["value"].clone();
        assert_eq!(reply.status, 200, "{method} {path}: {value}");
        value
    }

    async fn ask(&self, method: &str, what: &str, body: Value) -> Value {
        let path = format!("/session/{}/{what}", self.session);
        self.call(method, &path, &body).await
    }

    /// Types this address in and waits until the page is there.
    pub(crate) async fn go(&self, address: &str) {
        self.ask("POST", "url", json!({ "url": address })).await;
    }

    /// The address that it shows.
    pub(crate) async fn address(&self) -> String {
        let address = self.ask("GET", "url", Value::Null).await;
        address.as_str().unwrap().to_owned()
    }

    /// The page's text.
    pub(crate) async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The status that the page came with.
    pub(crate) async fn status(&self) -> u64 {
        let script = "return performance.getEntriesByType('navigation')[0].responseStatus";
        self.run(script).await.as_u64().unwrap()
    }

    /// What this script says in the page; a promise is waited for.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.ask("POST", "execute/sync", body).await
    }

    /// Clicks on what this selector finds, and waits for the page that comes of it.
    pub(crate) async fn click(&self, selector: &str) {
        let body = json!({ "using": "css selector", "value": selector });
        let element = self.ask("POST", "element", body).await;
        // The name that the standard gives to references to elements.
        let id = element["element-6066-11e4-a52e-4f735466cecf"]
            .as_str()
            .unwrap();
        let click = format!("element/{id}/click");
        self.ask("POST", &click, json!({})).await;
    }

    /// The cookie of this name that it would send with the page.
    pub(crate) async fn cookie(&self, name: &str) -> Option<Value> {
        let all = self.ask("GET", "cookie", Value::Null).await;
        let mut all = all.as_array().unwrap().iter();
        all.find(|cookie| cookie["name"] == name).cloned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        Command::new("kill")
            .args(["-KILL", "--", &group])
            .status()
            .ok();
        self.driver.wait().ok();
    }
}
