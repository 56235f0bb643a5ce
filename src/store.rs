//! Our own durable state, behind one contract: a journal that only grows, and what is folded from it.
//!
//! The journal is the truth. Whatever else is stored (tombstones, tasks, holds, runs, checkpoints) is a
//! projection: written by folding alone, one transaction a step together with the position that it reached,
//! and rebuilt from the journal when it is lost. This is the only place with SQL on our own tables; it knows
//! nothing of sources and targets, and decides nothing.

pub mod chain;
mod requests;
pub mod sqlite;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::domain::{
    Entity, Event, Key, Outcome, Seq, Timestamp, Tombstone, TombstoneId,
    event::{Asked, Decided, Resolved, RunEnded, RunStarted, Settled, Started, Topology},
};
pub use requests::*;
pub use types::*;

/// A store that is shared by everything that needs one.
pub type SharedStore = Arc<dyn Store>;

/// The contract of a store. What `append` returned is on disk; everything else may be rebuilt.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends the drafts of one request in one transaction, together with those of other requests, and
    /// returns once they are on disk (I1). All of them or none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once when too many requests wait; [`StoreError::Unavailable`] when nothing
    /// can be written, in which case nothing was.
    async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Seq>, StoreError>;

    /// Returns once everything that was handed in before is on disk, or will never be: also what nobody waits
    /// for any more.
    ///
    /// # Errors
    /// As for [`Store::append`].
    async fn flush(&self) -> Result<(), StoreError>;

    /// Entries after `after`, oldest first: at most `entries_max`, ended early past `bytes_max` of bodies.
    async fn entries(&self, after: Seq, entries_max: u32, bytes_max: usize)
    -> Result<Vec<Entry>, StoreError>;

    /// The same, for one who goes along with the journal: what was just appended comes from memory.
    async fn ahead(&self, after: Seq, entries_max: u32, bytes_max: usize) -> Result<Vec<Entry>, StoreError>;

    /// The newest entry's number and hash; 0 and zeroes for an empty journal.
    async fn head(&self) -> Result<Position, StoreError>;

    /// One entry; `None` if there is none of that number.
    async fn entry(&self, seq: Seq) -> Result<Option<Entry>, StoreError>;

    /// The raw body that entry `seq` was made from, until it is purged.
    async fn body(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes raw bodies from before `before`, those of up to `limit` commits, and says how many they were.
    async fn purge_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Takes or renews the lease `name` until `until`; `false` if another holder has it and it is not over.
    async fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Gives the lease back, if `holder` has it.
    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Whether the journal can be written; changes as it stops and starts to.
    fn health(&self) -> watch::Receiver<Health>;

    /// Begins one step of folding: exclusive, and without effect unless it is committed.
    async fn fold(&self) -> Result<Box<dyn Fold>, StoreError>;

    /// What has been folded, for reading.
    async fn position(&self) -> Result<Position, StoreError>;

    /// Facts that await the brake, oldest first.
    async fn awaiting(&self, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Rows released within the window, by entity.
    async fn spent_since(&self, since: Timestamp) -> Result<Vec<(Entity, u64)>, StoreError>;

    /// Rows that targets confirmed as gone within the window.
    async fn removed_since(&self, since: Timestamp) -> Result<Vec<Removed>, StoreError>;

    /// Holds, the newest first.
    async fn holds(&self, open_only: bool) -> Result<Vec<Hold>, StoreError>;

    /// Up to `limit` facts of a hold.
    async fn held(&self, hold: Seq, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Due tasks of a target in the order of (entity, key), beginning after `after`.
    async fn due(
        &self,
        target: &str,
        after: Option<&(Entity, String)>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError>;

    /// When the next task that waits for a later try becomes due.
    async fn next_due_at(&self, target: &str) -> Result<Option<Timestamp>, StoreError>;

    /// Batches of a target that are not settled.
    async fn open_batches(&self, target: &str) -> Result<Vec<OpenBatch>, StoreError>;

    /// Length and age of a target's queue.
    async fn queue(&self, target: &str) -> Result<Queue, StoreError>;

    /// Checkpoint of a source's feed.
    async fn checkpoint(&self, source: &str) -> Result<Option<Timestamp>, StoreError>;

    /// The last runs, newest first; of one source, or of all.
    async fn runs(&self, source: Option<&str>, limit: u32) -> Result<Vec<Run>, StoreError>;

    /// What is known of one record.
    async fn story(&self, entity: &Entity, key: &Key) -> Result<Option<Story>, StoreError>;

    /// Counts for an overview.
    async fn tally(&self) -> Result<Tally, StoreError>;

    /// Parked tasks, newest first.
    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, StoreError>;

    /// Up to `limit` tombstones behind number `after`, in the order in which they were first heard of.
    async fn tombstones(
        &self,
        entity: Option<&Entity>,
        after: TombstoneId,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;

    /// The request with this receipt.
    async fn request(&self, receipt: Seq) -> Result<Option<Request>, StoreError>;

    /// The newest request of a token under a key that was read to its end and is younger than `since`.
    async fn request_again(
        &self,
        token: &str,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<Request>, StoreError>;

    /// How the records of a request stand, each counted once; `None` is the outcome of those that are not
    /// settled.
    async fn request_counts(&self, receipt: Seq) -> Result<Vec<(Option<Outcome>, u64)>, StoreError>;

    /// What became of up to `limit` ids of a request behind place `after`, in their order.
    async fn request_results(
        &self,
        receipt: Seq,
        after: u64,
        limit: u32,
        only: Only,
    ) -> Result<Vec<RequestResult>, StoreError>;
}

/// One step of folding. Dropped without [`Fold::commit`], it never happened.
#[async_trait]
pub trait Fold: Send {
    /// Where the last step ended.
    fn position(&self) -> Position;

    async fn topology(&mut self) -> Result<Topology, StoreError>;

    /// `seq` is the entry that tells of it. What was overtaken at a target that was not configured meanwhile ends.
    async fn set_topology(&mut self, topology: &Topology, seq: Seq) -> Result<(), StoreError>;

    /// The tombstones there are for these records, in any order.
    async fn tombstones(&mut self, records: &[(&Entity, &Key)]) -> Result<Vec<Tombstone>, StoreError>;

    /// The number that the next tombstone gets.
    async fn next_id(&mut self) -> Result<TombstoneId, StoreError>;

    /// Writes tombstones that changed, by id. Those whose fact is new (`true`) await a decision again, or
    /// (a re-listing) none.
    async fn put_tombstones(&mut self, tombstones: &[(Tombstone, bool)]) -> Result<(), StoreError>;

    /// Ends the open tasks of records of which something newer is known as superseded.
    async fn supersede(&mut self, records: &[TombstoneId], seq: Seq) -> Result<(), StoreError>;

    /// Releases facts: tasks at every target that the topology names, and what they spend.
    async fn decided(
        &mut self,
        seq: Seq,
        at: Timestamp,
        decided: &Decided,
        topology: &Topology,
    ) -> Result<(), StoreError>;

    async fn batch_started(&mut self, seq: Seq, started: &Started) -> Result<(), StoreError>;

    async fn settled(&mut self, seq: Seq, at: Timestamp, settled: &Settled) -> Result<(), StoreError>;

    async fn resolved(
        &mut self,
        seq: Seq,
        resolved: &Resolved,
        topology: &Topology,
    ) -> Result<(), StoreError>;

    async fn run_started(&mut self, seq: Seq, at: Timestamp, run: &RunStarted) -> Result<(), StoreError>;

    async fn run_read(&mut self, run: Seq, counts: RunCounts) -> Result<(), StoreError>;

    async fn run_ended(&mut self, seq: Seq, at: Timestamp, run: &RunEnded) -> Result<(), StoreError>;

    async fn unreadable(
        &mut self,
        seq: Seq,
        source: &str,
        at: Timestamp,
        faults: &[String],
    ) -> Result<(), StoreError>;

    /// Notes a request, or a part of one, with the tombstones that its notices made or met, in their order.
    async fn asked(
        &mut self,
        seq: Seq,
        at: Timestamp,
        asked: &Asked,
        tombstones: &[TombstoneId],
    ) -> Result<(), StoreError>;

    /// Makes the step, and the position that it reached, true.
    async fn commit(self: Box<Self>, position: Position) -> Result<(), StoreError>;
}

/// Why the store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the journal's queue is full")]
    Busy,
    /// Nothing was written; later it may work.
    #[error("state database unavailable: {0}")]
    Unavailable(String),
    #[error("{0}")]
    Refused(#[from] OpenError),
    #[error("state database holds something unreadable: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same call may succeed later without a person.
    #[must_use]
    pub const fn retry_can_help(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

/// Why a state database was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path}: schema version {found} is newer than this program's {known}; run the version of expunged that wrote it, or a later one"
    )]
    NewerSchema { path: String, found: i64, known: i64 },
    #[error("{path}: another daemon has this state open; stop it first, or give this one its own state.url")]
    InUse { path: String },
    #[error(
        "{path}: there is no journal here; relative paths start at the current directory, so run this where the daemon runs, or start the daemon once"
    )]
    Missing { path: String },
    #[error("{path}: {what}")]
    Failed { path: String, what: String },
}

/// Something to be appended.
#[derive(Clone, Debug)]
pub struct Draft {
    pub at: Timestamp,
    pub event: Event,
    /// The raw bytes that it was made from.
    pub body: Option<Bytes>,
}
