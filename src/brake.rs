//! The protection against mass deletion: no more than an allowed number of rows goes without a person (I5).
//!
//! What an entity may lose within a sliding window is `max(rows, percent of the mirrored rows)`. The decision
//! is a pure function over what the store and the targets say; what has gone is kept in the store, so that
//! it holds over restarts, over all doors and over several processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::config;
use crate::domain::{
    Action, Entity, Event, Seq, Timestamp,
    event::{Decided, Fact, HeldSet},
};
use crate::intake::Intake;
use crate::store::{Removed, SharedStore, StoreError, Task};
use crate::targets::{Removal, Target};

/// Facts decided at once: a burst in one decision, and a step that stays within tens of milliseconds.
const STEP_FACTS_MAX: u32 = 2_000;
/// How long a count of the mirrored rows is good for: counting a large table takes long, and it changes by
/// little in a minute.
const BASIS_AGE_MAX: Duration = Duration::from_mins(1);

/// A fact, and the rows that carrying it out would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub fact: Fact,
    pub entity: Entity,
    pub rows: u64,
}

/// What an entity may lose within the window, and what it has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    pub allowed: u64,
    pub gone: u64,
    /// The hold that is open, if one is.
    pub hold: Option<Seq>,
}

/// Rows of one entity that may go within the window. `before` counts what was there when the window began:
/// what has gone since counts, so that the allowance does not shrink with the table, and what was only let
/// go does not, since it is still there and would count twice.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of rows, rounded down"
)]
pub fn allowed(limits: &config::Brake, before: u64) -> u64 {
    let share = (before as f64 * limits.percent / 100.0).floor();
    limits.rows.max(share.max(0.0) as u64)
}

/// Releases candidates in their order as long as they fit; what would pass the allowance is held.
#[must_use]
pub fn decide(candidates: &[Candidate], allowances: &BTreeMap<Entity, Allowance>) -> Decided {
    let mut decided = Decided::default();
    let mut held: BTreeMap<&Entity, HeldSet> = BTreeMap::new();
    for Candidate { fact, entity, rows } in candidates {
        let allowance = allowances.get(entity).copied().unwrap_or_default();
        let spent = decided.spent.get(entity).copied().unwrap_or(0);
        let total = allowance.gone.saturating_add(spent).saturating_add(*rows);
        if *rows == 0 || total <= allowance.allowed {
            decided.released.push(*fact);
            if *rows > 0 {
                *decided.spent.entry(entity.clone()).or_default() += rows;
            }
            continue;
        }
        let set = held.entry(entity).or_insert_with(|| HeldSet {
            entity: entity.clone(),
            hold: allowance.hold,
            facts: vec![],
            rows: 0,
            allowed: allowance.allowed,
            gone: allowance.gone.saturating_add(spent),
        });
        set.facts.push(*fact);
        set.rows += rows;
    }
    decided.held = held.into_values().collect();
    decided
}

/// Decides on what awaits it, step by step.
pub struct Brake {
    limits: config::Brake,
    store: SharedStore,
    intake: Intake,
    clock: SharedClock,
    targets: Vec<Arc<dyn Target>>,
    /// The last decision: nothing is decided before it is folded, since its facts still seem to await one.
    decided: Seq,
    /// Entity → rows before the window and when they were counted. A measurement, not a state: it may be lost.
    basis: BTreeMap<Entity, (u64, Instant)>,
    /// Entity → the largest mean weight of a record seen: what one is taken for while a target is down.
    mean: BTreeMap<Entity, u64>,
}

impl Brake {
    #[must_use]
    pub fn new(
        limits: config::Brake,
        store: SharedStore,
        intake: Intake,
        clock: SharedClock,
        targets: Vec<Arc<dyn Target>>,
    ) -> Self {
        Self {
            limits,
            store,
            intake,
            clock,
            targets,
            decided: 0,
            basis: BTreeMap::new(),
            mean: BTreeMap::new(),
        }
    }

    /// Decides on the oldest facts that await it, and notes the decision in the journal; `None` when nothing
    /// awaits, or while the last decision is not among what is folded, up to `folded`.
    pub async fn step(&mut self, folded: Seq) -> Result<Option<Decided>, StoreError> {
        if folded < self.decided {
            return Ok(None);
        }
        let awaiting = self.store.awaiting(STEP_FACTS_MAX).await?;
        self.decide_on(&awaiting).await
    }

    /// Decides on facts that await it, and notes the decision.
    async fn decide_on(&mut self, awaiting: &[Task]) -> Result<Option<Decided>, StoreError> {
        if awaiting.is_empty() {
            return Ok(None);
        }
        let decided = self.verdict(awaiting).await?;
        self.note(decided.clone(), vec![]).await?;
        Ok(Some(decided))
    }

    /// What it decides on facts that await it, for a caller who knows that no older ones do, and who notes it.
    pub async fn verdict(&mut self, awaiting: &[Task]) -> Result<Decided, StoreError> {
        let decided = if self.limits.on {
            let candidates = self.weigh(awaiting).await;
            let allowances = self.allowances(&candidates).await?;
            decide(&candidates, &allowances)
        } else {
            Decided { released: awaiting.iter().map(|task| task.fact).collect(), ..Decided::default() }
        };
        for set in &decided.held {
            tracing::error!(
                entity = %set.entity, facts = set.facts.len(), rows = set.rows, allowed = set.allowed, gone = set.gone,
                "the brake holds deletions back: review with `expunged holds list`"
            );
        }
        Ok(decided)
    }

    /// Notes a decision in the journal and, in the same transaction, what follows from it; the numbers of the latter.
    pub async fn note(&mut self, decided: Decided, following: Vec<Event>) -> Result<Vec<Seq>, StoreError> {
        let events = std::iter::once(Event::Decided(decided)).chain(following);
        let mut seqs = self.intake.note_all(events).await?.into_iter();
        self.decided = seqs.next().unwrap_or(self.decided);
        Ok(seqs.collect())
    }

    async fn weigh(&mut self, awaiting: &[Task]) -> Vec<Candidate> {
        let mut rows = vec![0_u64; awaiting.len()];
        let mut by_entity: BTreeMap<&Entity, Vec<usize>> = BTreeMap::new();
        for (place, task) in awaiting.iter().enumerate() {
            by_entity.entry(&task.entity).or_default().push(place);
        }
        for target in &self.targets {
            // Each by itself: a table that cannot be asked leaves the others' weights what they are.
            for (entity, places) in &by_entity {
                let removals: Vec<Removal> = places.iter().map(|place| removal(&awaiting[*place])).collect();
                let weights = target.weigh(&removals).await.unwrap_or_else(|error| {
                    tracing::warn!(target = target.name(), %entity, %error, "the brake cannot weigh: it goes by earlier weights");
                    let mean = self.mean.get(*entity).copied().unwrap_or(1);
                    removals.iter().map(|it| if it.action == Action::Delete { mean } else { 0 }).collect()
                });
                for (place, weight) in places.iter().zip(weights) {
                    rows[*place] = rows[*place].max(weight);
                }
            }
        }
        let candidates: Vec<Candidate> = awaiting
            .iter()
            .zip(rows)
            .map(|(task, rows)| Candidate { fact: task.fact, entity: task.entity.clone(), rows })
            .collect();
        self.learn(&candidates);
        candidates
    }

    fn learn(&mut self, candidates: &[Candidate]) {
        let mut sums: BTreeMap<&Entity, (u64, u64)> = BTreeMap::new();
        for candidate in candidates.iter().filter(|candidate| candidate.rows > 0) {
            let (rows, records) = sums.entry(&candidate.entity).or_default();
            *rows += candidate.rows;
            *records += 1;
        }
        for (entity, (rows, records)) in sums {
            let mean = self.mean.entry(entity.clone()).or_default();
            *mean = (*mean).max(rows.div_ceil(records));
        }
    }

    async fn allowances(
        &mut self,
        candidates: &[Candidate],
    ) -> Result<BTreeMap<Entity, Allowance>, StoreError> {
        let since = self.clock.now().minus(self.limits.window);
        let gone: BTreeMap<Entity, u64> = self.store.spent_since(since).await?.into_iter().collect();
        let holds = self.store.holds(true).await?;
        let mut allowances = BTreeMap::new();
        for candidate in candidates {
            let entity = &candidate.entity;
            if allowances.contains_key(entity) {
                continue;
            }
            let gone = gone.get(entity).copied().unwrap_or(0);
            let hold = holds.iter().find(|hold| hold.entity == *entity).map(|hold| hold.id);
            let before = self.before(entity, since).await?;
            let allowed = allowed(&self.limits, before);
            allowances.insert(entity.clone(), Allowance { allowed, gone, hold });
        }
        Ok(allowances)
    }

    /// The largest number of rows that a target mirrored at `since`: those that are there, and those that went.
    /// The last count while no target can be asked.
    async fn before(&mut self, entity: &Entity, since: Timestamp) -> Result<u64, StoreError> {
        let last = self.basis.get(entity).copied();
        if let Some((rows, counted)) = last
            && counted.elapsed() < BASIS_AGE_MAX
        {
            return Ok(rows);
        }
        // Read before the rows are counted: what goes in between is missing, and not counted twice.
        let removed = self.store.removed_since(since).await?;
        let mut rows = None;
        for target in &self.targets {
            if let Ok(count) = target.mirrored(entity).await {
                let of_this = |it: &&Removed| it.target == target.name() && it.entity == *entity;
                let gone = removed.iter().find(of_this).map_or(0, |it| it.rows);
                rows = rows.max(Some(count.saturating_add(gone)));
            }
        }
        let rows = rows.or(last.map(|(rows, _)| rows)).unwrap_or(0);
        self.basis.insert(entity.clone(), (rows, Instant::now()));
        Ok(rows)
    }
}

/// A task as targets see it.
#[must_use]
pub fn removal(task: &Task) -> Removal {
    Removal { entity: task.entity.clone(), key: task.key.clone(), action: task.action, at: task.at }
}

#[cfg(test)]
mod tests;
