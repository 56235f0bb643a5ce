//! Every series that there is: name, help, labels, buckets. Changing one breaks dashboards and alarms.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// Declares label sets: `name { label: type }`.
macro_rules! labels {
    ($($name:ident { $($label:ident: $type:ty),+ })+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: $type),+ }
    )+};
}

labels! {
    NoticeLabels { source: String, door: &'static str, result: &'static str }
    DeliveryLabels { source: String, status: u16 }
    SecretLabels { source: String, secret: String }
    RefusalLabels { source: String, reason: &'static str }
    OfSource { source: String }
    ResultOfSource { source: String, result: &'static str }
    OfTarget { target: String }
    ResultAtTarget { target: String, result: &'static str }
    OutcomeLabels { target: String, entity: String, outcome: &'static str }
    RowLabels { target: String, entity: String }
    OfEntity { entity: String }
    AtListener { listener: &'static str }
    RequestLabels { listener: &'static str, reason: &'static str }
    OfRoute { route: &'static str }
    CallLabels { route: &'static str, status: &'static str }
    CodeLabels { code: &'static str }
}

/// A gauge of seconds or of a share.
type Fraction = Gauge<f64, AtomicU64>;
type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// From a local SSD's fsync to the patience of the least patient sender, seconds.
const ACKNOWLEDGE: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// From one row to the largest batch under contention, seconds.
const BATCH: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];
/// From a look at our own state to the longest wait for outcomes, and an upload beyond it, seconds.
const CALL: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];
/// 1 ms to one hour: our own part of the way.
const ACKNOWLEDGED_TO_GONE: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0];
/// 5 ms to seven days: a lost webhook is found by the feed, perhaps after a weekend.
const UPSTREAM_TO_GONE: [f64; 14] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0];

#[derive(Debug)]
pub(super) struct Families {
    pub(super) notices: Family<NoticeLabels, Counter>,
    pub(super) deliveries: Family<DeliveryLabels, Counter>,
    pub(super) secret_last_used: Family<SecretLabels, Gauge>,
    pub(super) refused: Family<RefusalLabels, Counter>,
    pub(super) acknowledge_seconds: Histogram,
    pub(super) queue_tasks: Family<OfTarget, Gauge>,
    pub(super) queue_oldest: Family<OfTarget, Fraction>,
    pub(super) outcomes: Family<OutcomeLabels, Counter>,
    pub(super) rows_removed: Family<RowLabels, Counter>,
    pub(super) upstream_to_gone: Histograms<OfTarget>,
    pub(super) acknowledged_to_gone: Histograms<OfTarget>,
    pub(super) batches: Family<ResultAtTarget, Counter>,
    pub(super) batch_seconds: Histograms<OfTarget>,
    pub(super) target_up: Family<OfTarget, Gauge>,
    pub(super) quota_left: Family<OfTarget, Gauge>,
    pub(super) runs: Family<ResultOfSource, Counter>,
    pub(super) run_missed: Family<OfSource, Fraction>,
    pub(super) checkpoint_age: Family<OfSource, Fraction>,
    pub(super) journal_entries: Counter,
    pub(super) journal_unavailable: Gauge,
    pub(super) holds_open: Gauge,
    pub(super) held_tombstones: Family<OfEntity, Gauge>,
    pub(super) connections: Family<AtListener, Gauge>,
    pub(super) connections_refused: Family<AtListener, Counter>,
    pub(super) requests_refused: Family<RequestLabels, Counter>,
    pub(super) api_requests: Family<CallLabels, Counter>,
    pub(super) api_seconds: Histograms<OfRoute>,
    pub(super) api_refused: Family<CodeLabels, Counter>,
}

impl Families {
    /// Counters get `_total` behind their name from the encoder, and `build` gets `_info`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        Self {
            notices: add(registry, "notices", "Notices recorded, by what they told"),
            deliveries: add(registry, "deliveries", "Webhooks answered, by HTTP status"),
            secret_last_used: add(
                registry,
                "secret_last_used_timestamp_seconds",
                "When a secret last verified a delivery: an old one that is still used is not to be removed",
            ),
            refused: add(registry, "refused", "Deliveries refused, by reason"),
            acknowledge_seconds: put(
                registry,
                "acknowledge_seconds",
                "From the head of a webhook to its durable acknowledgement",
                Histogram::new(ACKNOWLEDGE),
            ),
            queue_tasks: add(registry, "queue_tasks", "Tasks that are due at a target"),
            queue_oldest: add(registry, "queue_oldest_seconds", "How long the oldest due task has been due"),
            outcomes: add(registry, "outcomes", "Tasks settled, by outcome"),
            rows_removed: add(registry, "rows_removed", "Rows removed, children included"),
            upstream_to_gone: histograms(
                registry,
                "upstream_to_gone_seconds",
                "From the deletion upstream to its confirmation by the target",
                || Histogram::new(UPSTREAM_TO_GONE),
            ),
            acknowledged_to_gone: histograms(
                registry,
                "acknowledged_to_gone_seconds",
                "From our acknowledgement of a deletion to its confirmation by the target",
                || Histogram::new(ACKNOWLEDGED_TO_GONE),
            ),
            batches: add(registry, "batches", "Batches applied, by how they ended"),
            batch_seconds: histograms(registry, "batch_seconds", "Time of one batch at a target", || {
                Histogram::new(BATCH)
            }),
            target_up: add(registry, "target_up", "Whether the target answers, and takes deletions"),
            quota_left: add(registry, "quota_left", "Deletions, or requests, that the target's quota allows"),
            runs: add(registry, "runs", "Reconciliations, by how they ended"),
            run_missed: add(
                registry,
                "run_missed_by_webhooks_ratio",
                "Share of what the last reconciliation found that no webhook had told",
            ),
            checkpoint_age: add(
                registry,
                "checkpoint_age_seconds",
                "How far the feed's checkpoint lies back",
            ),
            journal_entries: add(registry, "journal_entries", "Entries appended to the journal"),
            journal_unavailable: add(
                registry,
                "journal_unavailable",
                "1 while the journal cannot be written and deliveries are turned away",
            ),
            holds_open: add(registry, "holds_open", "Holds that wait for a person"),
            held_tombstones: add(registry, "held_tombstones", "Tombstones that wait for a person"),
            connections: add(registry, "connections", "Open connections"),
            connections_refused: add(registry, "connections_refused", "Connections over the limit, closed"),
            requests_refused: add(registry, "requests_refused", "Requests that broke a limit, by reason"),
            api_requests: add(registry, "api_requests", "Requests of the operators' API answered, by status"),
            api_seconds: histograms(
                registry,
                "api_seconds",
                "From the head of a request of the operators' API to its answer, waiting for outcomes included",
                || Histogram::new(CALL),
            ),
            api_refused: add(registry, "api_refused", "Requests of the operators' API refused, by code"),
        }
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    put(registry, name, help, M::default())
}

fn histograms<L>(registry: &mut Registry, name: &str, help: &str, new: fn() -> Histogram) -> Histograms<L>
where
    Histograms<L>: Metric + Clone,
    L: Clone + std::hash::Hash + Eq,
{
    put(registry, name, help, Family::new_with_constructor(new))
}

fn put<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
