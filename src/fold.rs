//! From the journal to what follows from it: tombstones, tasks, holds, runs, checkpoints.
//!
//! Folding reads entries in order and writes what they mean, each step in one transaction with the position
//! that it reached. It may crash anywhere, run in two processes at once, or begin again from an empty file:
//! the result is the same (I2). It looks at nothing but the journal: no clock, no configuration, no target.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::domain::{
    Action, Door, Entity, Event, Key, Notice, Seq, Timestamp, Tombstone, TombstoneId,
    event::{Fact, Heard, RunEnded, Topology},
    tombstone::{Arrival, Hearing},
};
use crate::store::{Entry, Fold, Position, RunCounts, SharedStore, StoreError, Task};
use crate::telemetry::metrics::NoticeResult;

/// Entries in one step: few enough that a step takes milliseconds, and those who wait for it little longer.
const STEP_ENTRIES_MAX: u32 = 512;
/// Bytes of entries in one step: fifty pages of a feed, or one settled batch. What they mean takes ten times as
/// much memory.
const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Facts that a step hands to the brake itself: those of a usual moment. More are read by the brake, in its own steps.
const AWAITING_MAX: usize = 1_000;
/// Without a configured horizon: the longest retry schedule that is documented (Standard Webhooks, 75.6 h).
const RETRY_HORIZON: Duration = Duration::from_hours(76);

/// How far the journal is folded, as it is told to those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub reached: Seq,
    /// The last entry that may have given targets something to do.
    pub released: Seq,
    /// The last entry that may have ended something that a target was to do.
    pub overtaken: Seq,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// Where it ended.
    pub position: Position,
    pub entries: u64,
    /// It ended at its own limits: there may be more.
    pub more: bool,
    /// The last of its entries that may have given targets something to do.
    pub released: Option<Seq>,
    /// The last of its entries, or of those that another process has folded, that may have ended such a thing.
    pub overtaken: Option<Seq>,
    /// What of this step awaits the brake; `None` if it is much, or if there may be more.
    pub fresh: Option<Fresh>,
    /// Notices by source, door and what they were.
    pub heard: BTreeMap<(String, Door, NoticeResult), u64>,
    pub runs_ended: Vec<RunEnded>,
}

/// What a step has found to decide on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fresh {
    /// Oldest first.
    pub awaiting: Vec<Task>,
    /// Of tombstones from this one on, nothing was known before.
    pub unknown_from: TombstoneId,
    /// As it was when they were heard of.
    pub topology: Topology,
}

/// Folds what the journal holds beyond the last step; `entries` is 0 when there is nothing. `known` is where
/// the last step ended, for a caller who knows: it saves a question, and may be out of date.
///
/// # Errors
/// Nothing was changed.
pub async fn step(store: &SharedStore, known: Option<Position>) -> Result<Folded, StoreError> {
    let before = match known {
        Some(position) => position,
        None => store.position().await?,
    };
    let ahead = store.ahead(before.seq, STEP_ENTRIES_MAX, STEP_BYTES_MAX).await?;
    // What is not known to have been folded by us may hold anything.
    let by_others = |at: Position| (known != Some(at)).then_some(at.seq);
    if ahead.is_empty() {
        return Ok(Folded { position: before, overtaken: by_others(before), ..Folded::default() });
    }
    let mut fold = store.fold().await?;
    let mut position = fold.position();
    let entries = if position == before {
        ahead
    } else {
        // Another process has folded in between.
        store.ahead(position.seq, STEP_ENTRIES_MAX, STEP_BYTES_MAX).await?
    };
    let bytes: usize = entries.iter().map(|entry| entry.body.len()).sum();
    let more = entries.len() == STEP_ENTRIES_MAX as usize || bytes > STEP_BYTES_MAX;
    let alone = fold.position() == before && !more;
    let overtaken = by_others(position);
    let folded = Folded { entries: entries.len() as u64, more, overtaken, ..Folded::default() };
    let unknown_from = fold.next_id().await?;
    let mut step = Step { topology: fold.topology().await?, folded, awaiting: BTreeMap::new() };
    let mut run_of_heard: Vec<(&Entry, Heard)> = Vec::new();
    for entry in &entries {
        match entry.event()? {
            Event::Heard(heard) => run_of_heard.push((entry, heard)),
            other => {
                step.heard(&mut *fold, std::mem::take(&mut run_of_heard)).await?;
                step.other(&mut *fold, entry, other).await?;
            }
        }
        position = entry.position();
    }
    step.heard(&mut *fold, run_of_heard).await?;
    fold.commit(position).await?;
    step.folded.position = position;
    if alone && step.awaiting.len() <= AWAITING_MAX {
        let awaiting = step.awaiting.into_values().collect();
        step.folded.fresh = Some(Fresh { awaiting, unknown_from, topology: step.topology });
    }
    Ok(step.folded)
}

/// Folds until nothing is left; for commands that need to see everything.
pub async fn catch_up(store: &SharedStore) -> Result<Seq, StoreError> {
    let mut known = None;
    loop {
        let folded = step(store, known).await?;
        if folded.entries == 0 {
            return Ok(folded.position.seq);
        }
        known = Some(folded.position);
    }
}

struct Step {
    topology: Topology,
    folded: Folded,
    /// The facts that are new, by tombstone.
    awaiting: BTreeMap<TombstoneId, Task>,
}

impl Step {
    /// Neighbouring deliveries together, so that each record is read and written once.
    async fn heard(&mut self, fold: &mut dyn Fold, entries: Vec<(&Entry, Heard)>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut records = Records::load(fold, &entries).await?;
        for (entry, heard) in &entries {
            let counts = self.one_heard(&mut records, entry.seq, entry.at, heard);
            if let Some(run) = heard.run {
                fold.run_read(run, counts).await?;
            }
            if let Some(asked) = &heard.asked {
                fold.asked(entry.seq, entry.at, asked, &records.ids(&heard.notices)).await?;
            }
            if !heard.unreadable.is_empty() {
                fold.unreadable(entry.seq, &heard.source, entry.at, &heard.unreadable).await?;
                *self.count(heard, NoticeResult::Unreadable) += heard.unreadable.len() as u64;
            }
        }
        for (tombstone, _) in records.tombstones.iter().filter(|(_, fresh)| *fresh) {
            if tombstone.action == Action::Relisted {
                self.awaiting.remove(&tombstone.id);
            } else {
                self.awaiting.insert(tombstone.id, task(tombstone));
            }
        }
        let last = records.overtaken.values().max().copied();
        self.folded.overtaken = last.or(self.folded.overtaken);
        records.save(fold).await
    }

    fn one_heard(&mut self, records: &mut Records, seq: Seq, at: Timestamp, heard: &Heard) -> RunCounts {
        let horizon = self.topology.retry_horizons.get(&heard.source);
        let retry_horizon = horizon.map_or(RETRY_HORIZON, |seconds| Duration::from_secs(*seconds));
        let mut counts = RunCounts::default();
        for notice in &heard.notices {
            let (source, door) = (heard.source.as_str(), heard.door);
            let arrival = Arrival { notice, seq, heard_at: at, source, door, retry_horizon };
            let hearing = records.hear(&arrival);
            counts.count(hearing);
            *self.count(heard, result(hearing)) += 1;
        }
        counts
    }

    fn count(&mut self, heard: &Heard, result: NoticeResult) -> &mut u64 {
        self.folded.heard.entry((heard.source.clone(), heard.door, result)).or_default()
    }

    async fn other(&mut self, fold: &mut dyn Fold, entry: &Entry, event: Event) -> Result<(), StoreError> {
        let (seq, at) = (entry.seq, entry.at);
        match event {
            Event::Heard(_) => Ok(()),
            Event::Configured(topology) => {
                fold.set_topology(&topology, seq).await?;
                self.topology = topology;
                self.folded.overtaken = Some(seq);
                Ok(())
            }
            Event::Decided(decided) => {
                self.folded.released = Some(seq);
                fold.decided(seq, at, &decided, &self.topology).await
            }
            Event::Started(started) => fold.batch_started(seq, &started).await,
            Event::Settled(settled) => fold.settled(seq, at, &settled).await,
            Event::Resolved(resolved) => {
                self.folded.released = Some(seq);
                fold.resolved(seq, &resolved, &self.topology).await
            }
            Event::RunStarted(run) => fold.run_started(seq, at, &run).await,
            Event::RunEnded(run) => {
                fold.run_ended(seq, at, &run).await?;
                self.folded.runs_ended.push(run);
                Ok(())
            }
        }
    }
}

/// What the brake decides on.
fn task(tombstone: &Tombstone) -> Task {
    Task {
        fact: Fact(tombstone.id, tombstone.cause),
        entity: tombstone.entity.clone(),
        key: tombstone.key.clone(),
        action: tombstone.action,
        at: tombstone.at,
        upstream_time: tombstone.upstream_time,
        heard_at: tombstone.heard_at,
        attempts: 0,
        removed: false,
    }
}

const fn result(hearing: Hearing) -> NoticeResult {
    match hearing {
        Hearing::New => NoticeResult::New,
        Hearing::Repeat { .. } => NoticeResult::Repeat,
        Hearing::Late => NoticeResult::Late,
    }
}

/// The tombstones that a group of deliveries touches.
struct Records {
    by_record: HashMap<(Entity, Key), usize>,
    /// With whether the fact that stands is new.
    tombstones: Vec<(Tombstone, bool)>,
    /// Those of which another fact stood than one of this group that is no deletion: the entry of the first such.
    overtaken: BTreeMap<TombstoneId, Seq>,
    next_id: i64,
}

impl Records {
    async fn load(fold: &mut dyn Fold, entries: &[(&Entry, Heard)]) -> Result<Self, StoreError> {
        let notices = entries.iter().flat_map(|(_, heard)| &heard.notices);
        let names: Vec<(&Entity, &Key)> = notices.map(|notice| (&notice.entity, &notice.key)).collect();
        let known = fold.tombstones(&names).await?;
        let by_record = HashMap::with_capacity(names.len());
        let next_id = fold.next_id().await?;
        let mut records = Self { by_record, tombstones: vec![], overtaken: BTreeMap::new(), next_id };
        for tombstone in known {
            let name = (tombstone.entity.clone(), tombstone.key.clone());
            records.by_record.insert(name, records.tombstones.len());
            records.tombstones.push((tombstone, false));
        }
        Ok(records)
    }

    fn hear(&mut self, arrival: &Arrival<'_>) -> Hearing {
        let name = (arrival.notice.entity.clone(), arrival.notice.key.clone());
        if let Some(&index) = self.by_record.get(&name) {
            let (tombstone, fresh) = &mut self.tombstones[index];
            let before = tombstone.action;
            let hearing = tombstone.hear(arrival);
            *fresh |= hearing == Hearing::New;
            if tombstone.action != before && tombstone.action != Action::Delete {
                self.overtaken.entry(tombstone.id).or_insert(arrival.seq);
            }
            return hearing;
        }
        self.by_record.insert(name, self.tombstones.len());
        self.tombstones.push((Tombstone::first(self.next_id, arrival), true));
        self.next_id += 1;
        Hearing::New
    }

    /// The tombstones of notices that were heard, in their order.
    fn ids(&self, notices: &[Notice]) -> Vec<TombstoneId> {
        let index = |it: &Notice| self.by_record.get(&(it.entity.clone(), it.key.clone()));
        notices.iter().filter_map(index).map(|index| self.tombstones[*index].0.id).collect()
    }

    async fn save(&self, fold: &mut dyn Fold) -> Result<(), StoreError> {
        fold.put_tombstones(&self.tombstones).await?;
        // What waits is no longer meant, whatever else was told behind: the same in one step as in many.
        let mut overtaken: BTreeMap<Seq, Vec<TombstoneId>> = BTreeMap::new();
        for (id, cause) in &self.overtaken {
            overtaken.entry(*cause).or_default().push(*id);
        }
        for (cause, ids) in overtaken {
            fold.supersede(&ids, cause).await?;
        }
        Ok(())
    }
}
