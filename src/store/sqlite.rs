//! The store on SQLite: two files side by side.
//!
//! `expunged.db` is the journal, written with `synchronous=FULL` by one writer that commits many requests at
//! once. `expunged.projections.db` holds what is folded from it; it is written without an fsync a commit,
//! since losing its tail costs a moment of folding, and losing all of it a rebuild. Apart, the two never wait
//! for each other's write lock, and the journal's pages stay sequential: that is what makes an
//! acknowledgement cheap.

mod bulk;
mod checkpoint;
mod decide;
mod fold;
mod journal;
mod open;
mod read;
mod requests;
mod rows;
mod script;
mod tail;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::sync::{Mutex, mpsc, watch};

pub use open::OpenOptions;
pub use writer::Writer;

use super::{
    Draft, Entry, Fold, Health, Hold, Listed, Only, OpenBatch, Parked, Position, Queue, Removed, Request,
    RequestResult, Run, Store, StoreError, Story, Tally, Task,
};
use crate::domain::{Entity, Key, Outcome, Seq, Timestamp, TombstoneId};

/// A store in two SQLite files.
#[derive(Debug)]
pub struct SqliteStore {
    appends: mpsc::Sender<writer::Append>,
    health: watch::Receiver<Health>,
    journal: SqlitePool,
    tail: Arc<tail::Tail>,
    projections: SqlitePool,
    folding: Arc<Mutex<fold::Projector>>,
    /// Held by the daemon for as long as it lives; a second daemon finds it taken.
    _daemon: Option<File>,
}

impl SqliteStore {
    /// Opens both files, creating and migrating them. The writer does nothing until it is run.
    ///
    /// # Errors
    /// A newer schema, another daemon, or a file that cannot be opened.
    pub async fn open(path: &Path, options: OpenOptions) -> Result<(Self, Writer), StoreError> {
        open::open(path, options).await
    }
}

/// The projections' file: beside the journal's, with `.projections` before the extension.
#[must_use]
pub fn projections_path(journal: &Path) -> PathBuf {
    let extension = journal.extension().map_or_else(|| "db".into(), |it| it.to_string_lossy().into_owned());
    journal.with_extension(format!("projections.{extension}"))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_ERROR is a statement that does not fit the schema: no waiting mends that.
        let misfit = error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("1"));
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt(error.to_string()),
            other if misfit => Self::Corrupt(other.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Seq>, StoreError> {
        writer::append(&self.appends, drafts).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        writer::flush(&self.appends).await
    }

    async fn entries(
        &self,
        after: Seq,
        entries_max: u32,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        journal::entries(&self.journal, after, entries_max, bytes_max).await
    }

    async fn ahead(&self, after: Seq, entries_max: u32, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let newest = self.tail.after(after, entries_max, bytes_max);
        if newest.is_empty() {
            return self.entries(after, entries_max, bytes_max).await;
        }
        Ok(newest)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let mut connection = self.journal.acquire().await?;
        journal::head(&mut connection).await
    }

    async fn entry(&self, seq: Seq) -> Result<Option<Entry>, StoreError> {
        Ok(journal::entries(&self.journal, seq - 1, 1, usize::MAX)
            .await?
            .into_iter()
            .find(|it| it.seq == seq))
    }

    async fn body(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        journal::body(&self.journal, seq).await
    }

    async fn purge_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        journal::purge_bodies(&self.journal, before, limit).await
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        journal::lease(&self.journal, name, holder, now, until).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        journal::release_lease(&self.journal, name, holder).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    async fn fold(&self) -> Result<Box<dyn Fold>, StoreError> {
        Ok(Box::new(fold::SqliteFold::begin(Arc::clone(&self.folding)).await?))
    }

    async fn position(&self) -> Result<Position, StoreError> {
        let mut connection = self.projections.acquire().await?;
        fold::position(&mut connection).await
    }

    async fn awaiting(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        read::awaiting(&self.projections, limit).await
    }

    async fn spent_since(&self, since: Timestamp) -> Result<Vec<(Entity, u64)>, StoreError> {
        read::spent_since(&self.projections, since).await
    }

    async fn removed_since(&self, since: Timestamp) -> Result<Vec<Removed>, StoreError> {
        read::removed_since(&self.projections, since).await
    }

    async fn holds(&self, open_only: bool) -> Result<Vec<Hold>, StoreError> {
        read::holds(&self.projections, open_only).await
    }

    async fn held(&self, hold: Seq, limit: u32) -> Result<Vec<Task>, StoreError> {
        read::held(&self.projections, hold, limit).await
    }

    async fn due(
        &self,
        target: &str,
        after: Option<&(Entity, String)>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        read::due(&self.projections, target, after, now, limit).await
    }

    async fn next_due_at(&self, target: &str) -> Result<Option<Timestamp>, StoreError> {
        read::next_due_at(&self.projections, target).await
    }

    async fn open_batches(&self, target: &str) -> Result<Vec<OpenBatch>, StoreError> {
        read::open_batches(&self.projections, target).await
    }

    async fn queue(&self, target: &str) -> Result<Queue, StoreError> {
        read::queue(&self.projections, target).await
    }

    async fn checkpoint(&self, source: &str) -> Result<Option<Timestamp>, StoreError> {
        read::checkpoint(&self.projections, source).await
    }

    async fn runs(&self, source: Option<&str>, limit: u32) -> Result<Vec<Run>, StoreError> {
        read::runs(&self.projections, source, limit).await
    }

    async fn story(&self, entity: &Entity, key: &Key) -> Result<Option<Story>, StoreError> {
        read::story(&self.projections, entity, key).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        read::tally(&self.projections).await
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, StoreError> {
        read::parked(&self.projections, limit).await
    }

    async fn tombstones(
        &self,
        entity: Option<&Entity>,
        after: TombstoneId,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        requests::tombstones(&self.projections, entity, after, limit).await
    }

    async fn request(&self, receipt: Seq) -> Result<Option<Request>, StoreError> {
        requests::request(&self.projections, receipt).await
    }

    async fn request_again(
        &self,
        token: &str,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<Request>, StoreError> {
        requests::again(&self.projections, token, key, since).await
    }

    async fn request_counts(&self, receipt: Seq) -> Result<Vec<(Option<Outcome>, u64)>, StoreError> {
        requests::counts(&self.projections, receipt).await
    }

    async fn request_results(
        &self,
        receipt: Seq,
        after: u64,
        limit: u32,
        only: Only,
    ) -> Result<Vec<RequestResult>, StoreError> {
        requests::results(&self.projections, receipt, after, limit, only).await
    }
}
