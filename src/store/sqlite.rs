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
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod requests;
mod rows;
mod script;
mod settle;
mod tail;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc, watch};

use readers::Readers;

pub use open::OpenOptions;
pub use writer::Writer;

use super::{
    Draft, Entry, Fold, Health, Hold, Listed, Only, OpenBatch, OpenError, Parked, Position, Queue, Removed,
    Request, RequestResult, Run, Store, StoreError, Story, Tally, Task,
};
use crate::domain::{Entity, Key, Outcome, Seq, Timestamp, TombstoneId};

/// A store in two SQLite files.
#[derive(Debug)]
pub struct SqliteStore {
    appends: mpsc::Sender<writer::Append>,
    health: watch::Receiver<Health>,
    journal: Readers,
    tail: Arc<tail::Tail>,
    projections: Readers,
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

/// Refuses a journal that is not there, where opening would begin one.
///
/// # Errors
/// There is none, or it cannot be looked at.
pub fn expect_journal(path: &Path) -> Result<(), OpenError> {
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::Missing { path: place }),
        Err(error) => Err(OpenError::Failed { path: place, what: error.to_string() }),
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
        journal::entries(&mut *self.journal.get().await?, after, entries_max, bytes_max).await
    }

    async fn ahead(&self, after: Seq, entries_max: u32, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let newest = self.tail.after(after, entries_max, bytes_max);
        if newest.is_empty() {
            return self.entries(after, entries_max, bytes_max).await;
        }
        Ok(newest)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let mut connection = self.journal.get().await?;
        journal::head(&mut connection).await
    }

    async fn entry(&self, seq: Seq) -> Result<Option<Entry>, StoreError> {
        Ok(journal::entries(&mut *self.journal.get().await?, seq - 1, 1, usize::MAX)
            .await?
            .into_iter()
            .find(|it| it.seq == seq))
    }

    async fn body(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        journal::body(&mut *self.journal.get().await?, seq).await
    }

    async fn purge_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        journal::purge_bodies(&mut *self.journal.get().await?, before, limit).await
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        journal::lease(&mut *self.journal.get().await?, name, holder, now, until).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        journal::release_lease(&mut *self.journal.get().await?, name, holder).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    async fn fold(&self) -> Result<Box<dyn Fold>, StoreError> {
        Ok(Box::new(fold::SqliteFold::begin(Arc::clone(&self.folding)).await?))
    }

    async fn position(&self) -> Result<Position, StoreError> {
        let mut connection = self.projections.get().await?;
        fold::position(&mut connection).await
    }

    async fn awaiting(&self, limit: u32) -> Result<Vec<Task>, StoreError> {
        read::awaiting(&mut *self.projections.get().await?, limit).await
    }

    async fn spent_since(&self, since: Timestamp) -> Result<Vec<(Entity, u64)>, StoreError> {
        read::spent_since(&mut *self.projections.get().await?, since).await
    }

    async fn removed_since(&self, since: Timestamp) -> Result<Vec<Removed>, StoreError> {
        read::removed_since(&mut *self.projections.get().await?, since).await
    }

    async fn holds(&self, open_only: bool) -> Result<Vec<Hold>, StoreError> {
        read::holds(&mut *self.projections.get().await?, open_only).await
    }

    async fn held(&self, hold: Seq, limit: u32) -> Result<Vec<Task>, StoreError> {
        read::held(&mut *self.projections.get().await?, hold, limit).await
    }

    async fn due(
        &self,
        target: &str,
        after: Option<&(Entity, String)>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        read::due(&mut *self.projections.get().await?, target, after, now, limit).await
    }

    async fn next_due_at(&self, target: &str) -> Result<Option<Timestamp>, StoreError> {
        read::next_due_at(&mut *self.projections.get().await?, target).await
    }

    async fn open_batches(&self, target: &str) -> Result<Vec<OpenBatch>, StoreError> {
        read::open_batches(&mut *self.projections.get().await?, target).await
    }

    async fn queue(&self, target: &str) -> Result<Queue, StoreError> {
        read::queue(&mut *self.projections.get().await?, target).await
    }

    async fn checkpoint(&self, source: &str) -> Result<Option<Timestamp>, StoreError> {
        read::checkpoint(&mut *self.projections.get().await?, source).await
    }

    async fn runs(&self, source: Option<&str>, limit: u32) -> Result<Vec<Run>, StoreError> {
        read::runs(&mut *self.projections.get().await?, source, limit).await
    }

    async fn story(&self, entity: &Entity, key: &Key) -> Result<Option<Story>, StoreError> {
        read::story(&mut *self.projections.get().await?, entity, key).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        read::tally(&mut *self.projections.get().await?).await
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, StoreError> {
        read::parked(&mut *self.projections.get().await?, limit).await
    }

    async fn tombstones(
        &self,
        entity: Option<&Entity>,
        after: TombstoneId,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        requests::tombstones(&mut *self.projections.get().await?, entity, after, limit).await
    }

    async fn request(&self, receipt: Seq) -> Result<Option<Request>, StoreError> {
        requests::request(&mut *self.projections.get().await?, receipt).await
    }

    async fn request_again(
        &self,
        token: &str,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<Request>, StoreError> {
        requests::again(&mut *self.projections.get().await?, token, key, since).await
    }

    async fn request_counts(&self, receipt: Seq) -> Result<Vec<(Option<Outcome>, u64)>, StoreError> {
        requests::counts(&mut *self.projections.get().await?, receipt).await
    }

    async fn request_results(
        &self,
        receipt: Seq,
        after: u64,
        limit: u32,
        only: Only,
    ) -> Result<Vec<RequestResult>, StoreError> {
        requests::results(&mut *self.projections.get().await?, receipt, after, limit, only).await
    }
}
