//! What a store hands out: rows as plain values.

use std::sync::Arc;

use serde::Serialize;

use crate::domain::{
    Action, Entity, Event, Key, Outcome, Seq, Timestamp, Tombstone,
    event::{Fact, Failure},
    tombstone::Hearing,
};

/// A place in the journal: an entry's number and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub seq: Seq,
    pub hash: [u8; 32],
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub seq: Seq,
    pub at: Timestamp,
    pub kind: String,
    pub body: Arc<str>,
    pub hash: [u8; 32],
}

impl Entry {
    /// # Errors
    /// The entry is not one of this program.
    pub fn event(&self) -> Result<Event, super::StoreError> {
        Event::decode(&self.kind, &self.body)
            .map_err(|error| super::StoreError::Corrupt(format!("journal entry {}: {error}", self.seq)))
    }

    #[must_use]
    pub const fn position(&self) -> Position {
        Position { seq: self.seq, hash: self.hash }
    }
}

/// Whether the journal can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// With the reason, for people.
    Unavailable(String),
}

/// One fact to be carried out, or decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub fact: Fact,
    pub entity: Entity,
    pub key: Key,
    pub action: Action,
    pub at: Timestamp,
    /// Whether `at` is the upstream's time.
    pub upstream_time: bool,
    pub heard_at: Timestamp,
    /// Tries that failed.
    pub attempts: u32,
    /// Whether a deletion was carried out here before.
    pub removed: bool,
}

/// A batch that a target may have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBatch {
    pub number: Seq,
    pub tasks: Vec<Task>,
    /// Members that another fact has overtaken since it was begun.
    pub overtaken: Vec<Task>,
}

/// A set of facts that the brake stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub id: Seq,
    pub entity: Entity,
    pub opened_at: Timestamp,
    pub facts: u64,
    pub rows: u64,
    pub allowed: u64,
    pub gone: u64,
    pub state: String,
    pub actor: Option<String>,
    pub reason: Option<String>,
}

/// Rows of one entity that went at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub target: String,
    pub entity: Entity,
    pub rows: u64,
}

/// A target's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    pub due: u64,
    pub parked: u64,
    pub oldest: Option<Timestamp>,
}

/// One reconciliation of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    pub id: Seq,
    pub source: String,
    pub started_at: Timestamp,
    pub window_from: Option<Timestamp>,
    pub window_to: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub pages: u64,
    pub found: u64,
    #[serde(flatten)]
    pub counts: RunCounts,
    pub checkpoint: Option<Timestamp>,
    pub error: Option<String>,
}

/// What a run's notices were, against what was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunCounts {
    /// Facts that no webhook had told.
    pub fresh: u64,
    /// Facts that a webhook had told, and that a run found for the first time.
    pub by_webhook: u64,
    /// Known from an earlier run, or overtaken.
    pub repeated: u64,
}

impl RunCounts {
    /// Counts one notice of a run.
    pub fn count(&mut self, hearing: Hearing) {
        match hearing {
            Hearing::New => self.fresh += 1,
            Hearing::Repeat { first_by_feed: true } => self.by_webhook += 1,
            Hearing::Repeat { first_by_feed: false } | Hearing::Late => self.repeated += 1,
        }
    }

    /// The share that the webhooks missed, of what they should have told; `None` if there was nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn missed_by_webhooks(&self) -> Option<f64> {
        let told = self.fresh + self.by_webhook;
        (told > 0).then(|| self.fresh as f64 / told as f64)
    }
}

/// What is known of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    pub tombstone: Tombstone,
    pub decision: String,
    pub decided: Option<Seq>,
    pub hold: Option<Seq>,
    pub tasks: Vec<StoryTask>,
}

/// One target's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoryTask {
    pub target: String,
    pub state: String,
    pub attempts: u32,
    pub outcome: Option<Outcome>,
    pub cause: Seq,
    pub settled: Option<Seq>,
    pub failure: Option<Failure>,
}

/// A task that only a person can help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    pub target: String,
    pub entity: Entity,
    pub key: Key,
    pub code: String,
    pub message: String,
}

/// Counts for an overview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub tombstones: u64,
    pub awaiting: u64,
    pub held: u64,
    pub unreadable: u64,
    /// Target, outcome (or `due`), number.
    pub outcomes: Vec<(String, String, u64)>,
}
