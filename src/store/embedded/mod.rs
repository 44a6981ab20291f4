//! Sessions in one file, through redb.
//!
//! Reading happens where it is asked for: a snapshot costs about a microsecond. Writing belongs to one thread, which
//! commits what is waiting all at once; whoever gets `Ok` may rely on the disk.

mod change;
mod meter;
mod primitive;
mod writer;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition};

use crate::changes::Changes;
use crate::config;
use crate::session::{RecordFormat, Session};
use crate::token::Token;

use self::change::{Change, Outcome};
use self::meter::Meters;
use self::writer::Writer;
use super::key::{KeyFormat, belongs};
use super::{StoreError, now};

/// Key to end (Unix milliseconds) and record.
const SESSIONS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("sessions");
/// End and key, in the order in which sessions end.
const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");
/// The end of a session that has none.
const NEVER: u64 = u64::MAX;
/// The pages of a hundred thousand sessions; redb would take 1 GiB.
const CACHE: usize = 64 << 20;

/// The open file; clones share it. The last one to go closes it.
#[derive(Debug, Clone)]
pub struct EmbeddedStore(Arc<Open>);

#[derive(Debug)]
struct Open {
    database: Arc<Database>,
    writer: Writer,
    changes: Arc<Changes>,
    format: RecordFormat,
    keys: KeyFormat,
    meters: Meters,
}

impl EmbeddedStore {
    /// Opens the file, which is created if missing and readable by its owner only.
    ///
    /// # Errors
    /// If it cannot be opened, is damaged, or is in use by another process.
    pub fn open(
        file: &Path,
        config: &config::Store,
        at_rest: config::AtRest,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(database(file)?);
        let changes = Arc::new(Changes::whole());
        // Nobody else writes to the file, so nothing can be missed.
        changes.hear([0]);
        Ok(Self(Arc::new(Open {
            writer: Writer::start(Arc::clone(&database), Arc::clone(&changes))?,
            changes,
            database,
            format: RecordFormat::new(config),
            keys: KeyFormat::new(config.own_key(), at_rest),
            meters: Meters::default(),
        })))
    }

    /// See [`super::StoreSource::changes`].
    pub(in crate::store) fn changes(&self) -> &Arc<Changes> {
        &self.0.changes
    }

    /// See [`super::SessionStore::find`].
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, token: &Token) -> Result<Option<Session>, StoreError> {
        let key = self.0.keys.of(token);
        let snapshot = self.0.database.begin_read().map_err(failed)?;
        let sessions = snapshot.open_table(SESSIONS).map_err(failed)?;
        let Some(row) = sessions.get(key.as_str()).map_err(failed)? else {
            return Ok(None);
        };
        let (end, bytes) = row.value();
        let now = now();
        if end <= now {
            return Ok(None);
        }
        let record = self.0.format.decode(bytes)?;
        if !belongs(record.digest.as_deref(), token) {
            return Err(StoreError::Mismatch);
        }
        Ok(Some(record.session).filter(|session| session.is_live(now)))
    }

    /// See [`super::SessionStore::create`].
    ///
    /// # Errors
    /// If it could not be kept.
    pub async fn create(&self, token: &Token, session: &Session) -> Result<(), StoreError> {
        let change = Change::Put {
            key: self.0.keys.of(token),
            end: session.expires_at.unwrap_or(NEVER),
            value: self.0.format.encode(session, &token.sha256_hex())?,
        };
        self.0.writer.write(change).await.map(|_| ())
    }

    /// See [`super::SessionStore::remove`].
    ///
    /// # Errors
    /// If nobody knows whether it was ended.
    pub async fn remove(&self, token: &Token) -> Result<bool, StoreError> {
        let key = self.0.keys.of(token);
        let gone = self.0.writer.write(Change::Remove { key }).await?;
        Ok(matches!(gone, Outcome::Was(Some(_))))
    }
}

fn database(file: &Path) -> Result<Database, StoreError> {
    let wrong =
        |error: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {error}", file.display()));
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| wrong(&error))?;
    let database = Database::builder()
        .set_cache_size(CACHE)
        .create(file)
        .map_err(|error| {
            if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                return StoreError::InUse(file.display().to_string());
            }
            wrong(&error)
        })?;
    // A reader must find the tables, also before the first session.
    let tables = || -> Result<(), redb::Error> {
        let change = database.begin_write()?;
        change.open_table(SESSIONS)?;
        change.open_table(ENDS)?;
        change.commit()?;
        Ok(())
    };
    tables().map_err(|error| wrong(&error))?;
    Ok(database)
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(format!("session file: {}", error.into()))
}
