//! What is counted, with methods named after what happened: callers know nothing of Prometheus.
//!
//! The registry is a value, not a global. A label takes only names from the configuration and words of this
//! program; any other name is counted as `other`, so that a caller cannot make series without end. Series
//! whose labels are known stand at zero from the start, since a rate over a series that just appeared is
//! wrong. The names, their help and their labels are in `families`.

mod families;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use families::{
    AtListener, CallLabels, CodeLabels, DeliveryLabels, Families, NoticeLabels, OfEntity, OfRoute, OfSource,
    OfTarget, OutcomeLabels, RefusalLabels, RequestLabels, ResultAtTarget, ResultOfSource, RowLabels,
    SecretLabels,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::domain::{Door, Entity, Outcome, Timestamp};

/// What became of a notice at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeResult {
    /// It tells of something that was not known.
    New,
    /// It tells again what was known.
    Repeat,
    /// Something later is known already.
    Late,
    /// Its event means nothing to us.
    Ignored,
    /// It is authentic, and nobody can read it.
    Unreadable,
}

impl NoticeResult {
    pub const ALL: [Self; 5] = [Self::New, Self::Repeat, Self::Late, Self::Ignored, Self::Unreadable];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Repeat => "repeat",
            Self::Late => "late",
            Self::Ignored => "ignored",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How a batch at a target, or a run of a source, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    Failed,
}

impl Ended {
    pub const ALL: [Self; 2] = [Self::Done, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Names that may be labels.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub sources: BTreeSet<String>,
    /// A target's name and an entity that lives there.
    pub targets: BTreeSet<(String, Entity)>,
}

impl From<&Config> for Known {
    fn from(config: &Config) -> Self {
        Self {
            sources: config
                .sources
                .iter()
                .map(|source| source.name.clone())
                .chain([OPERATOR.into()])
                .collect(),
            targets: config
                .targets
                .iter()
                .flat_map(|target| target.entities().into_keys().map(|entity| (target.name.clone(), entity)))
                .collect(),
        }
    }
}

/// The source of what an operator deletes by hand.
const OPERATOR: &str = "operator";
/// What stands for a name that the configuration does not have.
const OTHER: &str = "other";
/// Answers that every source is expected to get some day.
const STATUSES: [u16; 5] = [202, 401, 413, 429, 503];

/// Classes of the statuses that the operators' API answers with.
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    sources: BTreeSet<String>,
    targets: BTreeSet<String>,
    entities: BTreeSet<String>,
}

impl Metrics {
    /// The type of [`Metrics::render`]'s text, for the header of an answer.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    #[must_use]
    pub fn new(known: &Known) -> Self {
        let mut registry = Registry::with_prefix("expunged");
        let families = Families::register(&mut registry);
        let metrics = Self {
            registry,
            families,
            sources: known.sources.clone(),
            targets: known.targets.iter().map(|(target, _)| target.clone()).collect(),
            entities: known.targets.iter().map(|(_, entity)| entity.as_str().to_owned()).collect(),
        };
        metrics.stand_at_zero(known);
        metrics
    }

    /// All series as OpenMetrics text.
    ///
    /// # Panics
    /// Never: only a writer that fails could make it, and a string does not.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    fn stand_at_zero(&self, known: &Known) {
        for source in &known.sources {
            for (door, result) in
                Door::ALL.iter().flat_map(|door| NoticeResult::ALL.map(|result| (door, result)))
            {
                self.notices(source, *door, result, 0);
            }
            for status in STATUSES {
                let labels = DeliveryLabels { source: source.clone(), status };
                drop(self.families.deliveries.get_or_create(&labels));
            }
            for result in Ended::ALL.map(Ended::as_str) {
                drop(self.families.runs.get_or_create(&ResultOfSource { source: source.clone(), result }));
            }
        }
        for target in &self.targets {
            self.queue(target, 0, Duration::ZERO);
            for result in Ended::ALL.map(Ended::as_str) {
                drop(self.families.batches.get_or_create(&ResultAtTarget { target: target.clone(), result }));
            }
            let labels = OfTarget { target: target.clone() };
            drop(self.families.batch_seconds.get_or_create(&labels));
            drop(self.families.upstream_to_gone.get_or_create(&labels));
            drop(self.families.acknowledged_to_gone.get_or_create(&labels));
        }
        for (target, entity) in &known.targets {
            for outcome in Outcome::ALL {
                self.settled(target, entity, outcome, 0);
            }
            self.rows_removed(target, entity, 0);
        }
        self.held([]);
    }

    fn source(&self, name: &str) -> String {
        known_or_other(&self.sources, name)
    }

    fn target(&self, name: &str) -> String {
        known_or_other(&self.targets, name)
    }

    fn entity(&self, entity: &Entity) -> String {
        known_or_other(&self.entities, entity.as_str())
    }

    /// `count` notices of one kind were recorded.
    pub fn notices(&self, source: &str, door: Door, result: NoticeResult, count: u64) {
        let source = self.source(source);
        let labels = NoticeLabels { source, door: door.as_str(), result: result.as_str() };
        self.families.notices.get_or_create(&labels).inc_by(count);
    }

    /// A webhook was answered.
    pub fn delivery(&self, source: &str, status: u16) {
        self.families.deliveries.get_or_create(&DeliveryLabels { source: self.source(source), status }).inc();
    }

    /// A delivery verified with the secret at `index`: 0 is the current one, 1 the one before it.
    pub fn secret_used(&self, source: &str, index: usize, at: Timestamp) {
        let secret = if index == 0 { "current".to_owned() } else { format!("old{index}") };
        let labels = SecretLabels { source: self.source(source), secret };
        self.families.secret_last_used.get_or_create(&labels).set(at.seconds());
    }

    /// A delivery was refused; `reason` is a word of this program, never of the request.
    pub fn refused(&self, source: &str, reason: &'static str) {
        self.families.refused.get_or_create(&RefusalLabels { source: self.source(source), reason }).inc();
    }

    /// From the head of a webhook to the answer that acknowledged it.
    pub fn acknowledged(&self, took: Duration) {
        self.families.acknowledge_seconds.observe(took.as_secs_f64());
    }

    /// What waits at a target: tasks that are due, and the time that the oldest has been.
    pub fn queue(&self, target: &str, due: u64, oldest: Duration) {
        let labels = OfTarget { target: self.target(target) };
        self.families.queue_tasks.get_or_create(&labels).set(gauge(due));
        self.families.queue_oldest.get_or_create(&labels).set(oldest.as_secs_f64());
    }

    /// `count` tasks came to `outcome`.
    pub fn settled(&self, target: &str, entity: &Entity, outcome: Outcome, count: u64) {
        let (target, entity) = (self.target(target), self.entity(entity));
        let labels = OutcomeLabels { target, entity, outcome: outcome.as_str() };
        self.families.outcomes.get_or_create(&labels).inc_by(count);
    }

    /// Rows that went, children included.
    pub fn rows_removed(&self, target: &str, entity: &Entity, rows: u64) {
        let labels = RowLabels { target: self.target(target), entity: self.entity(entity) };
        self.families.rows_removed.get_or_create(&labels).inc_by(rows);
    }

    /// Records are gone: for each the time since its deletion upstream, where that is known, and since we
    /// acknowledged it.
    pub fn gone(&self, target: &str, records: impl IntoIterator<Item = (Option<Duration>, Duration)>) {
        let labels = OfTarget { target: self.target(target) };
        let upstream = self.families.upstream_to_gone.get_or_create_owned(&labels);
        let acknowledged = self.families.acknowledged_to_gone.get_or_create_owned(&labels);
        for (since_upstream, since_acknowledged) in records {
            if let Some(since) = since_upstream {
                upstream.observe(since.as_secs_f64());
            }
            acknowledged.observe(since_acknowledged.as_secs_f64());
        }
    }

    /// A batch ended at a target.
    pub fn batch(&self, target: &str, result: Ended, took: Duration) {
        let target = self.target(target);
        let labels = ResultAtTarget { target: target.clone(), result: result.as_str() };
        self.families.batches.get_or_create(&labels).inc();
        self.families.batch_seconds.get_or_create(&OfTarget { target }).observe(took.as_secs_f64());
    }

    /// A target answers, or does not.
    pub fn target_up(&self, target: &str, up: bool) {
        let labels = OfTarget { target: self.target(target) };
        self.families.target_up.get_or_create(&labels).set(i64::from(up));
    }

    /// What a target's own quota still allows; nothing of a target that has none, or does not say.
    pub fn quota_left(&self, target: &str, left: Option<u64>) {
        if let Some(left) = left {
            let labels = OfTarget { target: self.target(target) };
            self.families.quota_left.get_or_create(&labels).set(gauge(left));
        }
    }

    /// A reconciliation ended. `missed` is the share (0 to 1) of what it found that no webhook had told.
    pub fn run(&self, source: &str, result: Ended, missed: Option<f64>) {
        let source = self.source(source);
        let labels = ResultOfSource { source: source.clone(), result: result.as_str() };
        self.families.runs.get_or_create(&labels).inc();
        if let Some(missed) = missed {
            self.families.run_missed.get_or_create(&OfSource { source }).set(missed);
        }
    }

    /// How far the checkpoint of a source's feed lies back.
    pub fn checkpoint_age(&self, source: &str, age: Duration) {
        let labels = OfSource { source: self.source(source) };
        self.families.checkpoint_age.get_or_create(&labels).set(age.as_secs_f64());
    }

    pub fn journal_appended(&self, entries: u64) {
        self.families.journal_entries.inc_by(entries);
    }

    pub fn journal_available(&self, available: bool) {
        self.families.journal_unavailable.set(i64::from(!available));
    }

    pub fn holds_open(&self, holds: u64) {
        self.families.holds_open.set(gauge(holds));
    }

    /// Tombstones that wait for a person, by hold; of an entity that is not named, none do.
    pub fn held<'a>(&self, holds: impl IntoIterator<Item = (&'a Entity, u64)>) {
        let mut held: BTreeMap<String, u64> = self.entities.iter().map(|name| (name.clone(), 0)).collect();
        for (entity, tombstones) in holds {
            *held.entry(self.entity(entity)).or_default() += tombstones;
        }
        for (entity, tombstones) in held {
            self.families.held_tombstones.get_or_create(&OfEntity { entity }).set(gauge(tombstones));
        }
    }

    /// Open connections of a listener.
    pub fn connections(&self, listener: &'static str, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.families.connections.get_or_create(&AtListener { listener }).set(open);
    }

    /// A connection was turned away, since there are too many.
    pub fn connection_refused(&self, listener: &'static str) {
        self.families.connections_refused.get_or_create(&AtListener { listener }).inc();
    }

    /// Requests to this route of the operators' API are counted from now on.
    pub fn api_route(&self, route: &'static str) {
        for status in CLASSES {
            drop(self.families.api_requests.get_or_create(&CallLabels { route, status }));
        }
        drop(self.families.api_seconds.get_or_create(&OfRoute { route }));
    }

    /// A request of the operators' API was answered; `route` is as it is declared, never as it was asked for.
    pub fn api_request(&self, route: &'static str, status: u16, took: Duration) {
        let status = match status {
            ..400 => CLASSES[0],
            400..500 => CLASSES[1],
            500.. => CLASSES[2],
        };
        self.families.api_requests.get_or_create(&CallLabels { route, status }).inc();
        self.families.api_seconds.get_or_create(&OfRoute { route }).observe(took.as_secs_f64());
    }

    /// Why a request of the operators' API was refused: the code of its answer.
    pub fn api_refused(&self, code: &'static str) {
        self.families.api_refused.get_or_create(&CodeLabels { code }).inc();
    }

    /// The listener itself answered a request, since it broke a limit.
    pub fn request_refused(&self, listener: &'static str, reason: &'static str) {
        self.families.requests_refused.get_or_create(&RequestLabels { listener, reason }).inc();
    }
}

fn known_or_other(known: &BTreeSet<String>, name: &str) -> String {
    if known.contains(name) { name.to_owned() } else { OTHER.to_owned() }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
