//! Who changed what, and who was refused: one JSON line each.
//!
//! A change has two lines with the same id: the intent, written before anything is done, and the outcome. If the intent
//! cannot be written the change is not made, so nothing is ever changed without a trace; if only the outcome cannot be
//! written, the change stands, its caller is told how it went, and the log tells of the missing line. A refusal has one
//! line; if that cannot be written the refusal stands all the same.
//!
//! A line never holds a token, a key, or the payload of a one-time token.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use crate::config;
use crate::log_file::LogFile;
use crate::store::{SessionStore, StoreError};

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Entry<'a> {
    /// The request's id; the intent and the outcome of a change share it.
    pub id: &'a str,
    /// Who: the name of the key or of the certificate, `cli`, or `-` for somebody unknown.
    pub who: &'a str,
    /// How that is known: `key`, `certificate`, `cli`, `loopback` (everybody on this machine is let in), or `-`.
    pub by: &'a str,
    /// Where the call came from; absent for the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What: an action such as `user.ban`, or method and path of a call that was refused before it came to one.
    pub what: &'a str,
    /// Whom or what it concerns: a user, a role, a realm; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whom: Option<&'a str>,
    /// `intent`, `done`, or the reason code of a refusal or failure.
    pub result: &'a str,
    /// Particulars: what was asked for, or what came of it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// The line could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// To the file.
    #[error("the audit log cannot be written: {0}")]
    File(#[from] io::Error),
    /// To the stream.
    #[error("the audit log cannot be written: {0}")]
    Stream(#[from] StoreError),
}

/// Where lines go.
#[derive(Debug)]
pub struct Audit(Sink);

#[derive(Debug)]
enum Sink {
    Log,
    File(LogFile),
    Stream {
        store: Arc<SessionStore>,
        key: String,
        max_entries: u64,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

impl Audit {
    /// Whether the file that the configuration names can be opened, if it names one.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check(config: Option<&config::Audit>) -> io::Result<()> {
        match config.and_then(|config| config.file.as_ref()) {
            Some(path) => LogFile::open(path.get_ref()).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The audit log that the configuration names; the program's log if it names none.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(config: Option<&config::Audit>, store: &Arc<SessionStore>) -> io::Result<Self> {
        let Some(config) = config else {
            return Ok(Self(Sink::Log));
        };
        Ok(Self(match (&config.file, &config.stream) {
            (Some(path), _) => Sink::File(LogFile::open(path.get_ref())?),
            (None, Some(key)) => Sink::Stream {
                store: Arc::clone(store),
                key: key.get_ref().clone(),
                max_entries: config.max_entries,
            },
            (None, None) => Sink::Log,
        }))
    }

    /// Writes a line, stamped with the time (UTC, RFC 3339). When this returns `Ok` the system has it: it outlives this
    /// process, but a file's last lines may be lost with the machine's power.
    ///
    /// # Errors
    /// If it could not be written, or nobody knows.
    pub async fn write(&self, entry: &Entry<'_>) -> Result<(), AuditError> {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = serde_json::to_string(&Line { time, entry }).map_err(io::Error::from)?;
        match &self.0 {
            Sink::Log => {
                tracing::info!(target: "drawbridge::audit", line, "audit");
                Ok(())
            }
            Sink::File(file) => Ok(file.write((line + "\n").as_bytes())?),
            Sink::Stream {
                store,
                key,
                max_entries,
            } => Ok(store.append(key, *max_entries, &line).await?),
        }
    }
}
