//! Where the commands about sessions, users and roles are carried out: here, in the store itself, or by a running gateway.
//!
//! Both ways are the same calls of the admin API. Here they are made within this process, over the store that the
//! configuration names; there they go to the address of a gateway's `[admin]`.

mod ended;
mod table;

use std::io::{BufRead as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::opened::opened;
use super::{Verdict, check};
use crate::admin::{Admin, Counters};
use crate::audit::Audit;
use crate::config::Config;
use crate::config::value::Origin;
use crate::sessions::{Queues, Sessions};
use crate::store::StoreError;
use crate::upstream::Direct;

pub(super) use self::ended::Wait;
pub(super) use self::ended::{ended, far_enough};
pub(super) use self::table::{Table, at, moment, words};

/// Where to carry a command out, and how to tell of it.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// The configuration that names the store.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "gateway.toml",
        env = "DRAWBRIDGE_CONFIG"
    )]
    config: PathBuf,
    /// Let the gateway do it whose admin API is at this address, such as http://127.0.0.1:9090. Needed where a running
    /// gateway has the embedded store open. The configuration is not read then.
    #[arg(long, value_name = "URL", env = "DRAWBRIDGE_ADMIN")]
    admin: Option<String>,
    /// File with the admin key; without it the key is taken from DRAWBRIDGE_ADMIN_KEY.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_key_file: Option<PathBuf>,
    /// PEM file with the authorities that may have signed the admin API's certificate. Default: the system's.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_ca: Option<PathBuf>,
    /// PEM file with the client certificate to show to the admin API.
    #[arg(long, value_name = "FILE", requires_all = ["admin", "admin_cert_key"])]
    admin_cert: Option<PathBuf>,
    /// PEM file with the private key of that certificate.
    #[arg(long, value_name = "FILE", requires_all = ["admin", "admin_cert"])]
    admin_cert_key: Option<PathBuf>,
    /// Print JSON, as the admin API answers it.
    #[arg(long)]
    pub(super) json: bool,
}

/// The variable that holds the admin key. It is no argument: other users of a machine can see those.
const KEY_VARIABLE: &str = "DRAWBRIDGE_ADMIN_KEY";

/// Somebody to make calls to.
#[derive(Debug)]
pub(super) enum Desk {
    Here(Box<Admin>),
    There {
        server: Direct,
        key: Option<HeaderValue>,
    },
}

/// Why a command was not done, and the exit code for it.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) verdict: Verdict,
    pub(super) told: String,
}

impl Failed {
    pub(super) fn usage(told: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Usage,
            told: told.into(),
        }
    }

    pub(super) fn unknown(told: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::CannotTell,
            told: told.into(),
        }
    }
}

impl Desk {
    pub(super) async fn open(reach: &Reach) -> Result<Self, Failed> {
        match &reach.admin {
            Some(url) => Self::there(url, reach),
            None => Self::here(&reach.config).await,
        }
    }

    async fn here(path: &Path) -> Result<Self, Failed> {
        let mut told = Vec::new();
        let config = check::load(path, &mut told, false);
        let config = config.map_err(|error| Failed::usage(error.to_string()))?;
        let config =
            config.ok_or_else(|| Failed::usage(String::from_utf8_lossy(&told).into_owned()))?;
        if config.sessions.is_none() {
            return Err(Failed::usage(format!(
                "there is no [sessions] in {}, so users have no records; add the table",
                path.display()
            )));
        }
        let store = opened(&config).await;
        let store = store.map_err(|error| cannot_open(&config, &error))?;
        let audit = Audit::open(config.audit.as_ref(), &store)
            .map_err(|error| Failed::unknown(format!("the audit log cannot be opened: {error}")))?;
        let queues = Arc::new(Queues::default());
        let sessions = Arc::new(Sessions::new(store, &config, queues));
        let counters = Counters::default();
        counters.limits.learn(&config);
        let admin = Admin::new(&config, sessions, audit, counters);
        Ok(Self::Here(Box::new(admin)))
    }

    fn there(url: &str, reach: &Reach) -> Result<Self, Failed> {
        let origin = Origin::try_from(url.to_owned()).map_err(Failed::usage)?;
        let identity = reach
            .admin_cert
            .as_deref()
            .zip(reach.admin_cert_key.as_deref());
        let server =
            Direct::new(origin, reach.admin_ca.as_deref(), identity).map_err(Failed::usage)?;
        let key = match &reach.admin_key_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failed::usage(format!("{} cannot be read: {error}", file.display()))
            })?),
            None => std::env::var(KEY_VARIABLE).ok(),
        };
        let key = key.map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim()))
                .map_err(|_| Failed::usage("the admin key has characters that no key has"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self::There {
            server,
            key: key.transpose()?,
        })
    }

    /// Makes a call with a JSON body, or without a body. `None` is an answer without one.
    ///
    /// # Errors
    /// If it was refused, or nobody knows.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failed> {
        let kind = body.as_ref().map(|_| "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(method, path, kind, body).await
    }

    /// Makes a call with a form.
    ///
    /// # Errors
    /// If it was refused, or nobody knows.
    pub(super) async fn ask_about(&self, path: &str, token: &str) -> Result<Value, Failed> {
        let form = format!("token={}", utf8_percent_encode(token, NON_ALPHANUMERIC));
        let kind = Some("application/x-www-form-urlencoded");
        self.send(Method::POST, path, kind, form).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&'static str>,
        body: String,
    ) -> Result<Value, Failed> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|_| Failed::usage("a name is too long"))?;
        if let Some(kind) = kind {
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let (status, body) = match self {
            Self::Here(admin) => {
                let response = admin.ask(request).await;
                (response.status(), response.into_body())
            }
            Self::There { server, key } => {
                let headers = request.headers_mut();
                headers.extend(key.clone().map(|key| (AUTHORIZATION, key)));
                let response = server.send(request).await;
                let response = response.map_err(|error| {
                    Failed::unknown(format!("the admin API gave no answer: {error}"))
                })?;
                (response.status(), response.into_body())
            }
        };
        let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let detail = at(&answer, "/detail").as_str();
        let told = detail.map_or_else(|| format!("the answer was {status}"), str::to_owned);
        let verdict = match status.as_u16() {
            400 | 405 | 413 | 415 => Verdict::Usage,
            401 | 403 | 404 | 409 => Verdict::No,
            _ => Verdict::CannotTell,
        };
        Err(Failed { verdict, told })
    }
}

fn cannot_open(config: &Config, error: &StoreError) -> Failed {
    let StoreError::InUse(_) = error else {
        return Failed::unknown(format!("the session store cannot be opened: {error}"));
    };
    let way = match &config.admin {
        Some(admin) => {
            let scheme = if admin.tls.is_some() { "https" } else { "http" };
            format!("--admin {scheme}://{}", admin.listen)
        }
        None => "--admin URL, once the gateway has an [admin] table".to_owned(),
    };
    Failed::unknown(format!(
        "the session file is in use by another process, most likely a running gateway; let that do it: {way}, \
         with the key in {KEY_VARIABLE} or --admin-key-file"
    ))
}

/// What must be escaped in a part of a path: all but what is never read in another way.
const PART: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A path of fixed parts and names.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |path, part| {
        format!("{path}/{}", utf8_percent_encode(part, &PART))
    })
}

/// The token, or the first line of standard input in place of `-`.
pub(super) fn token_or_stdin(token: String) -> anyhow::Result<String> {
    if token != "-" {
        return Ok(token);
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read the token from standard input")?;
    Ok(line.trim().to_owned())
}

/// Prints what came of a command: the answer as JSON or in words, or why there is none.
///
/// # Errors
/// Writing failed.
pub(super) fn tell(
    outcome: Result<Value, Failed>,
    json: bool,
    streams: (&mut dyn Write, &mut dyn Write),
    words: impl FnOnce(&Value) -> String,
) -> anyhow::Result<Verdict> {
    let (out, err) = streams;
    match outcome {
        Ok(answer) if json => {
            if !answer.is_null() {
                writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
            }
            Ok(Verdict::Done)
        }
        Ok(answer) => {
            out.write_all(words(&answer).as_bytes())?;
            Ok(Verdict::Done)
        }
        Err(Failed { verdict, told }) => {
            writeln!(err, "drawbridge: {}", told.trim_end())?;
            Ok(verdict)
        }
    }
}
