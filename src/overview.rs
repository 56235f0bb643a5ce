//! How everything stands, read in one go: for `expunged status`, `/api/v1/status` and the gauges.

use serde::Serialize;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::Timestamp;
use crate::store::{Health, Hold, Parked, Queue, Run, SharedStore, StoreError, Tally};
use crate::telemetry::metrics::Metrics;

/// Parked tasks that are shown; the count tells of the others.
const PARKED_SHOWN: u32 = 20;

/// What is looked at.
#[derive(Clone)]
pub struct Watched {
    pub store: SharedStore,
    pub clock: SharedClock,
    pub sources: Vec<String>,
    pub targets: Vec<String>,
}

impl Watched {
    #[must_use]
    pub fn new(config: &Config, store: SharedStore, clock: SharedClock) -> Self {
        Self {
            store,
            clock,
            sources: config.sources.iter().map(|source| source.name.clone()).collect(),
            targets: config.targets.iter().map(|target| target.name.clone()).collect(),
        }
    }
}

/// How everything stands, as far as it can be told without counting whole tables.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub at: Timestamp,
    /// Why deliveries cannot be acknowledged, if they cannot.
    pub journal_fault: Option<String>,
    /// Newest entry, and the newest one that is folded.
    pub journal_head: i64,
    pub folded: i64,
    pub sources: Vec<SourceView>,
    pub targets: Vec<TargetView>,
    pub holds: Vec<Hold>,
}

/// How everything stands.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    #[serde(flatten)]
    pub standing: Standing,
    pub parked: Vec<Parked>,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A source's part.
#[derive(Clone, Debug, Serialize)]
pub struct SourceView {
    pub name: String,
    pub checkpoint: Option<Timestamp>,
    pub last_run: Option<Run>,
}

/// A target's part.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    pub name: String,
    #[serde(flatten)]
    pub queue: Queue,
}

impl Standing {
    /// # Errors
    /// The store could not be read.
    pub async fn read(watched: &Watched) -> Result<Self, StoreError> {
        let store = &watched.store;
        let journal_fault = match &*store.health().borrow() {
            Health::Writable => None,
            Health::Unavailable(reason) => Some(reason.clone()),
        };
        let mut sources = Vec::new();
        for name in &watched.sources {
            let last_run = store.runs(Some(name), 1).await?.into_iter().next();
            sources.push(SourceView {
                name: name.clone(),
                checkpoint: store.checkpoint(name).await?,
                last_run,
            });
        }
        let mut targets = Vec::new();
        for name in &watched.targets {
            targets.push(TargetView { name: name.clone(), queue: store.queue(name).await? });
        }
        Ok(Self {
            at: watched.clock.now(),
            journal_fault,
            journal_head: store.head().await?.seq,
            folded: store.position().await?.seq,
            sources,
            targets,
            holds: store.holds(true).await?,
        })
    }

    /// Sets the gauges.
    pub fn measure(&self, metrics: &Metrics) {
        metrics.journal_available(self.journal_fault.is_none());
        for target in &self.targets {
            let oldest =
                target.queue.oldest.map_or(std::time::Duration::ZERO, |oldest| self.at.since(oldest));
            metrics.queue(&target.name, target.queue.due, oldest);
        }
        for source in &self.sources {
            if let Some(checkpoint) = source.checkpoint {
                metrics.checkpoint_age(&source.name, self.at.since(checkpoint));
            }
        }
        metrics.holds_open(self.holds.len() as u64);
        metrics.held(self.holds.iter().map(|hold| (&hold.entity, hold.facts)));
    }
}

impl Overview {
    /// # Errors
    /// The store could not be read.
    pub async fn read(watched: &Watched) -> Result<Self, StoreError> {
        Ok(Self {
            standing: Standing::read(watched).await?,
            parked: watched.store.parked(PARKED_SHOWN).await?,
            tally: watched.store.tally().await?,
        })
    }

    /// # Panics
    /// Never: every key is text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an overview has text as keys only")
    }
}
