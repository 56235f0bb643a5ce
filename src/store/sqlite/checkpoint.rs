//! Moving the journal's WAL into its file beside the writer, so that no request pays for it.
//!
//! SQLite does it by itself at the end of some commit, which then takes ten times as long as the others. Here a
//! connection of its own moves almost all of it while the writer goes on, and the writer moves the few pages
//! that came in meanwhile: only what is moved to the last page lets the WAL begin anew.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::task::JoinHandle;

/// Bytes that are written before the WAL is moved: seldom enough that its syncs do not count, often enough that
/// what must be read again after a crash stays small.
const MOVED_BYTES: u64 = 16 << 20;
/// What a commit writes at least, bytes: a few pages, however small the entry is.
const COMMIT_BYTES: u64 = 16 << 10;
/// Pages that are few enough for the writer: a millisecond.
const FEW_PAGES: i64 = 64;
/// Passes after which the rest is left to the writer all the same: under load, more comes in with each.
const PASSES_MAX: usize = 3;
const PASS: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// What is to be moved, and who is at it.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    written: u64,
    moving: Option<JoinHandle<()>>,
}

impl Checkpoint {
    /// After each commit of the writer, with the bytes of its entries. A failure is no harm: the WAL grows, and
    /// the next commit finds it so.
    pub async fn committed(
        &mut self,
        bytes: u64,
        options: &SqliteConnectOptions,
        writer: &mut SqliteConnection,
    ) {
        self.written += bytes + COMMIT_BYTES;
        match &self.moving {
            Some(moving) if moving.is_finished() => {
                self.moving = None;
                match pass(writer).await {
                    Ok(_) => self.written = 0,
                    Err(error) => tracing::debug!(%error, "the journal's WAL was not moved to its end"),
                }
            }
            None if self.written >= MOVED_BYTES => self.moving = Some(tokio::spawn(most(options.clone()))),
            _ => {}
        }
    }
}

async fn most(options: SqliteConnectOptions) {
    let moved = async {
        let mut connection = options.connect().await?;
        for _ in 0..PASSES_MAX {
            if pass(&mut connection).await? <= FEW_PAGES {
                break;
            }
        }
        connection.close().await
    };
    if let Err(error) = moved.await {
        tracing::debug!(%error, "the journal's WAL was not moved into its file");
    }
}

/// Moves what can be moved; the pages that are left.
async fn pass(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let (_, pages, moved): (i64, i64, i64) = sqlx::query_as(PASS).fetch_one(connection).await?;
    Ok(pages - moved)
}
