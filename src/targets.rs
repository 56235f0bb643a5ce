//! Places where copies live, behind one contract: carry out one batch, and say for each record what happened.
//!
//! A target knows nothing of sources, of the store or of other targets. It decides nothing about retrying:
//! its errors say whether trying again can help, and the applier does the rest.

pub mod api;
pub mod search;
pub mod sql;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::{Action, Entity, Key, Outcome, Timestamp};

/// One tombstone to be carried out here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub entity: Entity,
    pub key: Key,
    /// `Delete` or `Deactivate`; never `Relisted`.
    pub action: Action,
    /// The upstream's time of the deletion: a row that is newer stays (I3), an equally old one goes.
    pub at: Timestamp,
}

/// Removals that are applied in one commit, under a number that is durable before the target sees it.
///
/// A batch that was interrupted comes again with the same number and the same removals. No two removals of
/// a batch name the same record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Rises with every batch of this target.
    pub number: i64,
    pub removals: Vec<Removal>,
}

/// What one removal did, as the target itself confirmed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The record was there and is gone. `rows` counts it and all that went with it.
    Removed { rows: u64 },
    /// The record was there and is marked inactive.
    Deactivated,
    /// There is no such record.
    Absent,
    /// The record is newer than the deletion, and was left alone.
    Newer,
    /// This record alone could not be handled; the others of the batch are not concerned.
    Failed(RecordFailure),
    /// What holds the records of this entity does not fit the configuration, as said here: nothing was tried,
    /// and the record waits for a person to mend it, however long that takes.
    Unfit(String),
    /// There is no such record any more, and a request of ours that went before may have taken it.
    Gone,
    /// It was asked for, and nothing proves that it happened (I7).
    Unproven(Unproven),
    /// It was not asked for, since the target takes nothing more now: it goes back to the queue, where a
    /// re-listing can still overtake it.
    Waits(Wait),
}

/// What was asked for and is not known to be done: no answer came, one that only took the work, or one that
/// does not say which records it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// Stable and short: `unanswered`, `accepted`, `unconfirmed`.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// When it is asked for again, however often that was; `None`: only a person can find out.
    pub again: Option<Timestamp>,
}

/// How long a target takes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// As the target says; `None`: nobody knows, and it is tried again sooner at first and later then.
    pub until: Option<Timestamp>,
    /// For people. No content of any answer.
    pub reason: String,
}

/// Why one record failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFailure {
    /// Stable and short: `key_type`, `guard_unreadable`, `foreign_key`, …
    pub code: &'static str,
    /// For people. Holds names of tables and columns, never the content of a row.
    pub message: String,
    /// Whether the same removal may work later without a person.
    pub retry: bool,
}

/// Why a batch failed. With every variant but `Unknown`, nothing of the batch has changed at the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Down, locked, busy: the same batch may be tried again, without end.
    #[error("target unavailable: {0}")]
    Unavailable(String),
    /// Out of disk, or damaged: it needs a person soon, and no haste of ours. Nothing has changed.
    #[error("target halted: {0}")]
    Halted(String),
    /// The answer to a commit was lost: the batch may have been carried out, and applying it again tells.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The target refused the batch and did not say for which record: try it in halves.
    #[error("batch refused ({code}): {message}")]
    Refused { code: &'static str, message: String },
    /// What the configuration says does not fit what is there. Only a person can help.
    #[error("target does not fit its configuration: {0}")]
    Misconfigured(String),
}

/// What a removal would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// As [`Target::apply`] would tell it.
    pub effect: Effect,
    /// The rows that would go, by table, the record's own first; empty where a target has no tables.
    pub tables: Vec<(String, u64)>,
}

impl Foreseen {
    /// How it would end; with the code and the message of what stands in its way, if anything does.
    #[must_use]
    pub fn told(&self) -> (Outcome, Option<(&'static str, String)>) {
        match &self.effect {
            Effect::Removed { .. } => (Outcome::Deleted, None),
            Effect::Deactivated => (Outcome::Deactivated, None),
            Effect::Absent => (Outcome::NotFound, None),
            Effect::Newer => (Outcome::Superseded, None),
            Effect::Gone => (Outcome::AlreadyDeleted, None),
            Effect::Failed(failure) => (Outcome::Failed, Some((failure.code, failure.message.clone()))),
            Effect::Unproven(unproven) => (Outcome::Failed, Some((unproven.code, unproven.message.clone()))),
            Effect::Waits(wait) => (Outcome::Failed, Some(("waits", wait.reason.clone()))),
            Effect::Unfit(reason) => (Outcome::Failed, Some(("target_unfit", reason.clone()))),
        }
    }

    /// The rows that all of them would take, by table.
    pub fn rows<'f>(all: impl IntoIterator<Item = &'f Self>) -> BTreeMap<&'f str, u64> {
        let mut sums = BTreeMap::new();
        for (table, rows) in all.into_iter().flat_map(|foreseen| &foreseen.tables) {
            *sums.entry(table.as_str()).or_default() += rows;
        }
        sums
    }
}

/// What another identifier of a record leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identified {
    Key(Key),
    /// No record has it.
    Nobody,
    /// More than one record has it.
    Several,
    /// The columns cannot hold it exactly, or the record has no key that can be told.
    Unfit,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Deletions work, and something about them is slow, risky or left out.
    Warning,
    /// Deletions would fail or go wrong.
    Fault,
}

/// Something that `check` has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// Where, as the configuration names it: `targets.replica.entities.listing.children[0]`.
    pub place: String,
    /// What it is and what it means for a deletion.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

/// Words in a guard's name that tell of our own clock, not of the upstream's.
const LOCAL_TIMES: [&str; 7] = ["sync", "import", "fetch", "load", "ingest", "replicat", "indexed"];

/// Whether a guard of this name looks like the time of our own copying, which is newer than every deletion.
fn tells_of_copying(guard: &str) -> bool {
    let guard = guard.to_ascii_lowercase();
    LOCAL_TIMES.iter().any(|word| guard.contains(word))
}

/// A place where copies live.
#[async_trait]
pub trait Target: Send + Sync {
    /// The name that the configuration gives it.
    fn name(&self) -> &str;

    /// Removals or requests that the target's own quota still allows, as far as that is known.
    fn quota_left(&self) -> Option<u64> {
        None
    }

    /// Looks at what is there and compares it with the configuration. An empty list is a clean bill.
    ///
    /// # Errors
    /// The target could not be reached.
    async fn check(&self) -> Result<Vec<Finding>, TargetError>;

    /// Rows that this target mirrors for `entity`, children that would go with them included: the basis of
    /// the brake.
    ///
    /// # Errors
    /// The target could not be asked.
    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError>;

    /// For each removal, in order, the rows that it would take now, children included: 0 if there is no
    /// such record, if it is newer, or if the removal only marks it.
    ///
    /// # Errors
    /// The target could not be asked.
    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError>;

    /// For each removal, in order, what it would do now. A target that cannot tell a newer record from none
    /// says that there is none.
    ///
    /// # Errors
    /// The target could not be asked.
    async fn foresee(&self, removals: &[Removal]) -> Result<Vec<Foreseen>, TargetError> {
        let foreseen = |rows: u64| {
            let effect = if rows > 0 { Effect::Removed { rows } } else { Effect::Absent };
            Foreseen { effect, tables: Vec::new() }
        };
        Ok(self.weigh(removals).await?.into_iter().map(foreseen).collect())
    }

    /// For each identifier, in order, the record of `entity` that has it. `alternate` is the name that the
    /// configuration gives to this kind of identifier, and each identifier has as many parts as it has columns.
    ///
    /// # Errors
    /// The target could not be asked, or knows no such kind.
    async fn look_up(
        &self,
        entity: &Entity,
        alternate: &str,
        identifiers: &[Key],
    ) -> Result<Vec<Identified>, TargetError> {
        let _ = identifiers;
        Err(TargetError::Misconfigured(format!("{entity} has no identifier {alternate:?} here")))
    }

    /// Waits until others who use the target suffer no more than the configuration says by a further batch. What is to
    /// go may be overtaken meanwhile: it is looked at behind this, right before [`Target::apply`].
    ///
    /// # Errors
    /// The target could not be asked, or bears nothing for now.
    async fn ready(&self) -> Result<(), TargetError> {
        Ok(())
    }

    /// Applies the batch in one commit, and says for each removal, in order, what happened. Applying a batch
    /// again leaves the same contents (I2). A target that cannot commit a batch as one tells each removal's
    /// own part, and what it did not come to as [`Effect::Waits`].
    ///
    /// # Errors
    /// Only when nothing changed. Not cancel-safe: once dropped, the outcome is unknown until the same batch
    /// is applied again.
    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError>;

    /// Removals that it wants in one batch at most, as things are.
    fn batch_max(&self) -> u32 {
        u32::MAX
    }

    /// Nothing has been due for some seconds: gives back what others may be waiting for, such as a lock. The
    /// next batch takes it again.
    async fn rest(&self) {}
}
