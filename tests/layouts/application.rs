//! An application of a framework, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::client::{Call, Connection, Reply};
use crate::support::redis::Redis;
use crate::support::{Program, installed};

pub(crate) struct Application(Program);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/layouts")
        .join(name)
}

/// A script with the modules of node.
pub(crate) fn node(name: &str) -> Command {
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", installed("layouts-node/node_modules"))
        .arg(script(name));
    command
}

impl Application {
    pub(crate) fn express(redis: &Redis, settings: &Value) -> Self {
        Self::start(node("express.cjs"), redis, settings)
    }

    pub(crate) fn flask(redis: &Redis, settings: &Value) -> Self {
        let mut command = Command::new(installed("layouts-python/bin/python"));
        command.arg(script("flask_app.py"));
        Self::start(command, redis, settings)
    }

    fn start(mut command: Command, redis: &Redis, settings: &Value) -> Self {
        Self(Program::start(
            command.arg(redis.url()).arg(settings.to_string()),
        ))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    pub(crate) async fn send(&self, call: Call) -> Reply {
        let stream = TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .unwrap();
        Connection::h1_over(stream).await.send(call).await
    }

    /// Logs in, and says which cookie came of it, and how the framework itself calls the session.
    pub(crate) async fn log_in(&self, query: &str) -> (String, String) {
        let reply = self
            .send(Call::new("POST", &format!("/login?{query}")))
            .await;
        assert_eq!(reply.status, 200);
        let cookie = reply.header("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        (cookie, String::from_utf8(reply.body.to_vec()).unwrap())
    }

    pub(crate) async fn log_out(&self, cookie: &str) {
        let reply = self
            .send(Call::new("POST", "/logout").header("cookie", cookie))
            .await;
        assert_eq!(reply.status, 200);
    }

    pub(crate) async fn visit(&self, cookie: &str) {
        let reply = self
            .send(Call::get("/visit").header("cookie", cookie))
            .await;
        assert_eq!(reply.status, 200);
    }
}
