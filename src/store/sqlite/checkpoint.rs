//! Moving the journal's WAL into its file beside the writer, so that no request pays for it.
//!
//! SQLite does it by itself at the end of some commit, which then takes ten times as long as the others. Here a
//! connection of its own moves almost all of it while the writer goes on, and the writer moves the few pages
//! that came in meanwhile: only what is moved to the last page lets the WAL begin anew.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::Notify;

/// Bytes that are written before the WAL is moved: seldom enough that its syncs do not count, often enough that
/// what must be read again after a crash stays small.
const MOVED_BYTES: u64 = 16 << 20;
/// What a commit writes at least, bytes: a page of entries and one of bodies, however small the entry is.
const COMMIT_BYTES: u64 = 32 << 10;
const PASS: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// What the two agree on.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    due: Notify,
    /// Almost all is moved: the rest is the writer's.
    nearly: AtomicBool,
}

impl Checkpoint {
    /// After each commit of the writer, which has written so many bytes of entries since the WAL was moved last;
    /// how many that are now. A failure is no harm: the WAL grows, and the next commit finds it so.
    pub async fn committed(&self, written: u64, bytes: u64, writer: &mut SqliteConnection) -> u64 {
        let written = written + bytes + COMMIT_BYTES;
        if self.nearly.swap(false, Ordering::AcqRel) {
            match pass(writer).await {
                Ok(()) => return 0,
                Err(error) => tracing::debug!(%error, "the journal's WAL was not moved to its end"),
            }
        } else if written >= MOVED_BYTES {
            self.due.notify_one();
        }
        written
    }

    /// Moves almost all of the WAL whenever it is due, beside the writer and as long as that runs.
    pub async fn run(&self, options: &SqliteConnectOptions) {
        loop {
            self.due.notified().await;
            match most(options).await {
                Ok(()) => self.nearly.store(true, Ordering::Release),
                Err(error) => tracing::debug!(%error, "the journal's WAL was not moved into its file"),
            }
        }
    }
}

async fn most(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    // Once: each pass syncs both files, and what comes in meanwhile is a small part of it.
    pass(&mut connection).await?;
    connection.close().await
}

/// Moves what can be moved now.
async fn pass(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(PASS).fetch_one(connection).await.map(drop)
}
