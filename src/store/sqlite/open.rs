//! Opening the two files: folders, migrations, the daemon's lock, and the check that they belong together.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::Mutex;

use super::readers::Readers;
use super::tail::Tail;
use super::{SqliteStore, Writer, fold, journal, projections_path, writer};
use crate::store::{OpenError, StoreError};

/// How long a statement waits for another process's lock: a command beside the daemon writes for
/// milliseconds, so that a longer wait means that something is wrong.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages after which the WAL is moved into the file: 16 MiB. Smaller ones sync too often, larger ones make the
/// request that pays for it wait.
const CHECKPOINT_PAGES: &str = "4000";
/// Rows that a connection's thread may be ahead of their reader: a step's entries, so that the two do not take
/// turns row by row.
const ROWS_AHEAD: usize = 512;
/// Page cache of the folding connection, KiB (negative is SQLite's way to say so): its index of keys is touched at
/// random, and a backlog of 100,000 is settled a tenth faster than with half of it. Filled as it is needed.
const FOLD_CACHE_KIB: &str = "-32768";
/// Page cache of each reader, KiB: what they read is in the system's cache, a page away.
const READER_CACHE_KIB: &str = "-1024";

/// Prepared texts of the folding connection: what a step of few entries comes to, in its usual combinations.
const FOLD_STATEMENTS_KEPT: usize = 256;

/// What a file is made of.
pub(super) struct Schema {
    /// Of a file that is made anew; one that is there keeps what it has. Bytes.
    page_bytes: u32,
    /// Number, name and text of each.
    pub migrations: &'static [(i64, &'static str, &'static str)],
}

const JOURNAL: Schema = Schema {
    // Only ever added to: a commit of many entries is a few pages, each of which costs a write to the WAL and one to
    // the file. Larger ones would have a single entry write too much.
    page_bytes: 16_384,
    migrations: &[
        (1, "journal", include_str!("../../../migrations/journal/0001_journal.sql")),
        (2, "bodies by commit", include_str!("../../../migrations/journal/0002_bodies_by_commit.sql")),
        (
            3,
            "append in one statement",
            include_str!("../../../migrations/journal/0003_append_in_one_statement.sql"),
        ),
    ],
};
pub(super) const PROJECTIONS: Schema = Schema {
    // Touched at random: what is written of a page is little.
    page_bytes: 4_096,
    migrations: &[
        (1, "projections", include_str!("../../../migrations/projections/0001_projections.sql")),
        (2, "due in one index", include_str!("../../../migrations/projections/0002_due_in_one_index.sql")),
        (
            3,
            "queue and outcomes",
            include_str!("../../../migrations/projections/0003_queue_and_outcomes.sql"),
        ),
    ],
};

/// Who opens, and how much may wait.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Take the daemon's lock, and refuse if it is taken.
    pub daemon: bool,
    /// Requests that may wait for the writer.
    pub queue_max: usize,
}

pub async fn open(path: &Path, options: OpenOptions) -> Result<(SqliteStore, Writer), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    }
    let daemon = if options.daemon { Some(lock(path)?) } else { None };

    migrate(path, &JOURNAL).await?;
    let beside = projections_path(path);
    migrate(&beside, &PROJECTIONS).await?;
    rebuild_if_foreign(path, &beside).await?;

    let tail = Arc::new(Tail::default());
    let (appends, health, writer) = writer::new(writer_options(path), options.queue_max, Arc::clone(&tail));
    let folding = connect_options(&beside, SqliteSynchronous::Normal)
        .pragma("cache_size", FOLD_CACHE_KIB)
        .statement_cache_capacity(FOLD_STATEMENTS_KEPT);
    let store = SqliteStore {
        appends,
        health,
        journal: readers(path),
        tail,
        projections: readers(&beside),
        folding: Arc::new(Mutex::new(fold::Projector::new(folding))),
        _daemon: daemon,
    };
    Ok((store, writer))
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    // See `checkpoint`.
    connect_options(path, SqliteSynchronous::Full).pragma("wal_autocheckpoint", "0")
}

fn connect_options(path: &Path, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROWS_AHEAD)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        // Otherwise a statement that changes many rows keeps what it would undo in a file.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn readers(path: &Path) -> Readers {
    Readers::new(connect_options(path, SqliteSynchronous::Full).pragma("cache_size", READER_CACHE_KIB))
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    OpenError::Failed { path: path.display().to_string(), what: error.to_string() }.into()
}

/// The daemon's lock: the kernel gives it back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| failed(Path::new(&name), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.display().to_string() }.into()),
        Err(TryLockError::Error(error)) => Err(failed(path, &error)),
    }
}

async fn migrate(path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let known = schema.migrations;
    let mut connection = connect_options(path, SqliteSynchronous::Full)
        .page_size(schema.page_bytes)
        .connect()
        .await
        .map_err(|error| failed(path, &error))?;
    let migrations = known
        .iter()
        .map(|&(version, name, sql)| {
            let sql = sqlx::SqlStr::from_static(sql);
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        })
        .collect();
    let result = Migrator::with_migrations(migrations).run_direct(None, &mut connection, false).await;
    connection.close().await.map_err(|error| failed(path, &error))?;
    result.map_err(|error| match error {
        MigrateError::VersionMissing(found) => OpenError::NewerSchema {
            path: path.display().to_string(),
            found,
            known: known.last().map_or(0, |&(version, _, _)| version),
        }
        .into(),
        other => failed(path, &other),
    })
}

/// Projections that were not folded from this journal (a restored backup, a swapped file) are emptied; the
/// first fold fills them again.
async fn rebuild_if_foreign(journal: &Path, projections: &Path) -> Result<(), StoreError> {
    let mut folded = connect_options(projections, SqliteSynchronous::Normal).connect().await?;
    let reached = fold::position(&mut folded).await?;
    let mut truth = connect_options(journal, SqliteSynchronous::Full).connect().await?;
    let belongs = reached.seq == 0 || journal::hash_at(&mut truth, reached.seq).await? == Some(reached.hash);
    truth.close().await?;
    if !belongs {
        tracing::warn!(
            journal.seq = reached.seq,
            "projections were folded from another journal: rebuilding them"
        );
        empty(&mut folded).await?;
    }
    folded.close().await?;
    Ok(())
}

async fn empty(projections: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = projections.begin_with("BEGIN IMMEDIATE").await?;
    for statement in [
        "DELETE FROM state",
        "DELETE FROM tombstones",
        "DELETE FROM queue",
        "DELETE FROM outcomes",
        "DELETE FROM batches",
        "DELETE FROM holds",
        "DELETE FROM spent",
        "DELETE FROM removed",
        "DELETE FROM runs",
        "DELETE FROM checkpoints",
        "DELETE FROM unreadable",
        "DELETE FROM requests",
        "DELETE FROM asked",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
