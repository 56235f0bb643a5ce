//! A target in memory that does what a test says: is down, refuses, fails, and remembers what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use expunged::clock::SharedClock;
use expunged::domain::{Action, Entity, Key, Timestamp};
use expunged::targets::{Batch, Effect, Finding, RecordFailure, Removal, Target, TargetError};

pub struct Memory {
    name: &'static str,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    /// Rows that go with a record, and the record's guard.
    pub rows: BTreeMap<Key, (u64, Timestamp)>,
    pub down: bool,
    /// What is asked for is done, and nobody hears of it.
    pub answers_are_lost: bool,
    /// Batches with one of these are refused as a whole.
    pub poison: BTreeSet<Key>,
    /// These fail by themselves.
    pub failing: BTreeMap<Key, RecordFailure>,
    /// Every batch that was asked for while the target was up.
    pub batches: Vec<Batch>,
    /// Batches that found the target down.
    pub turned_away: usize,
    /// When a record went, and how many rows with it.
    pub gone: Vec<(Timestamp, Key, u64)>,
}

impl Memory {
    pub fn new(name: &'static str, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { name, clock, state: Mutex::default() })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn put(&self, key: &Key, rows: u64, guard: Timestamp) {
        self.state().rows.insert(key.clone(), (rows, guard));
    }

    pub fn has(&self, key: &Key) -> bool {
        self.state().rows.contains_key(key)
    }

    pub fn rows_gone(&self) -> u64 {
        self.state().gone.iter().map(|(_, _, rows)| rows).sum()
    }

    /// The most rows that went within any window of that length.
    pub fn most_within(&self, window: std::time::Duration) -> u64 {
        let state = self.state();
        let within = |end: Timestamp| {
            let since = end.minus(window);
            state.gone.iter().filter(|(at, _, _)| *at > since && *at <= end).map(|(_, _, rows)| rows).sum()
        };
        state.gone.iter().map(|(at, _, _)| within(*at)).max().unwrap_or(0)
    }
}

impl State {
    fn up(&self) -> Result<(), TargetError> {
        if self.down { Err(TargetError::Unavailable("told to be down".into())) } else { Ok(()) }
    }

    fn carry_out(&mut self, now: Timestamp, removal: &Removal) -> Effect {
        if let Some(failure) = self.failing.get(&removal.key) {
            return Effect::Failed(failure.clone());
        }
        match self.rows.get(&removal.key) {
            None => Effect::Absent,
            Some((_, guard)) if *guard > removal.at => Effect::Newer,
            Some(_) if removal.action == Action::Deactivate => Effect::Deactivated,
            Some(&(rows, _)) => {
                self.rows.remove(&removal.key);
                self.gone.push((now, removal.key.clone(), rows));
                Effect::Removed { rows }
            }
        }
    }
}

#[async_trait]
impl Target for Memory {
    fn name(&self) -> &str {
        self.name
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        Ok(vec![])
    }

    async fn mirrored(&self, _: &Entity) -> Result<u64, TargetError> {
        let state = self.state();
        state.up()?;
        Ok(state.rows.values().map(|(rows, _)| rows).sum())
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        let state = self.state();
        state.up()?;
        let weight = |removal: &Removal| match state.rows.get(&removal.key) {
            Some((rows, guard)) if *guard <= removal.at && removal.action == Action::Delete => *rows,
            _ => 0,
        };
        Ok(removals.iter().map(weight).collect())
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Err(down) = state.up() {
            state.turned_away += 1;
            return Err(down);
        }
        state.batches.push(batch.clone());
        if batch.removals.iter().any(|removal| state.poison.contains(&removal.key)) {
            return Err(TargetError::Refused { code: "poison", message: "one of them is poisonous".into() });
        }
        let effects = batch.removals.iter().map(|removal| state.carry_out(now, removal)).collect();
        if state.answers_are_lost { Err(TargetError::Unknown("cut".into())) } else { Ok(effects) }
    }
}
