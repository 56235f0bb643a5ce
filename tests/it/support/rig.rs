//! The daemon's parts in process, step by step or running, over a folder that outlives them.
//!
//! Wires as `app::serve` does, without listeners and schedule, so that a test may put its own targets in,
//! move the clock, and restart.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use expunged::app::{Parts, pipeline::Pipeline};
use expunged::applier::{Applier, Handover};
use expunged::brake::Brake;
use expunged::clock::SharedClock;
use expunged::config::Config;
use expunged::domain::event::{Decided, Topology};
use expunged::domain::{Action, Door, Entity, Event, Evidence, Key, Notice, Seq, Timestamp};
use expunged::fold::{self, Progress};
use expunged::intake::Delivery;
use expunged::store::Story;
use expunged::targets::Target;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take; only a test that has failed waits that long.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until it is so.
///
/// # Panics
/// It is not so within a generous time.
pub async fn until<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "never happened: {what}");
}

pub struct Rig {
    pub parts: Parts,
    pub targets: Vec<Arc<dyn Target>>,
    /// Those of the running loops, in the targets' order.
    pub handovers: Vec<Handover>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Rig {
    /// Over the configuration's own targets.
    pub async fn open(config: Config, clock: SharedClock) -> Self {
        let parts = Parts::open(config, clock, true).await.unwrap();
        parts.note_topology().await.unwrap();
        let targets = parts.targets().await.unwrap();
        Self { parts, targets, handovers: vec![], tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Over targets of the test, all of which hold listings.
    pub async fn over(config: Config, clock: SharedClock, targets: Vec<Arc<dyn Target>>) -> Self {
        let parts = Parts::open(config, clock, true).await.unwrap();
        let entities = BTreeMap::from([(Entity::new("listing"), false)]);
        let named = targets.iter().map(|target| (target.name().to_owned(), entities.clone()));
        let topology = Topology { targets: named.collect(), retry_horizons: BTreeMap::new() };
        fold::catch_up(&parts.store).await.unwrap();
        parts.intake.note(Event::Configured(topology)).await.unwrap();
        fold::catch_up(&parts.store).await.unwrap();
        Self { parts, targets, handovers: vec![], tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    pub fn brake(&self) -> Brake {
        Brake::new(
            self.parts.config.brake.clone(),
            self.parts.store.clone(),
            self.parts.intake.clone(),
            self.parts.clock.clone(),
            self.targets.clone(),
        )
    }

    /// Folds and decides by hand until nothing awaits.
    pub async fn decide(&self) -> Vec<Decided> {
        let mut brake = self.brake();
        let mut all = Vec::new();
        loop {
            let folded = fold::catch_up(&self.parts.store).await.unwrap();
            match brake.step(folded).await.unwrap() {
                Some(decided) => all.push(decided),
                None => return all,
            }
        }
    }

    /// Starts the loops.
    pub fn run(&mut self) {
        let (progress, folded) = watch::channel(Progress::default());
        self.handovers =
            self.targets.iter().map(|target| Handover::new(target.clone(), &self.parts.holder)).collect();
        let pipeline = Pipeline {
            store: self.parts.store.clone(),
            intake: self.parts.intake.clone(),
            bell: self.parts.bell.clone(),
            brake: self.brake(),
            clock: self.parts.clock.clone(),
            handovers: self.handovers.clone(),
            progress,
            metrics: self.parts.metrics.clone(),
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move { pipeline.run(stop).await.unwrap() });
        for (target, handover) in self.targets.iter().zip(self.handovers.clone()) {
            let applier = Applier {
                target: target.clone(),
                store: self.parts.store.clone(),
                intake: self.parts.intake.clone(),
                clock: self.parts.clock.clone(),
                // No luck: the shortest waits, which are a tenth of the longest.
                dice: Arc::new(|| 0.0),
                metrics: self.parts.metrics.clone(),
                folded: folded.clone(),
                handover,
                holder: self.parts.holder.clone(),
            };
            let stop = self.stop.clone();
            self.tasks.spawn(async move { applier.run(stop).await.unwrap() });
        }
    }

    /// Ends the loops, as a drain does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// Waits until everything that was heard is folded, decided and settled.
    pub async fn quiet(&self) {
        until("everything is settled", async || {
            let mut due = u64::from(!self.decided().await);
            for target in &self.targets {
                due += self.parts.store.queue(target.name()).await.unwrap().due;
                due += self.parts.store.open_batches(target.name()).await.unwrap().len() as u64;
            }
            due == 0
        })
        .await;
    }

    /// As `quiet`, but for what failed and waits for a later try.
    pub async fn quiet_or_waiting(&self) {
        until("everything is settled or waits", async || {
            let mut due = usize::from(!self.decided().await);
            for target in &self.targets {
                due += self.parts.store.due(target.name(), None, self.now(), 1).await.unwrap().len();
                due += self.parts.store.open_batches(target.name()).await.unwrap().len();
            }
            due == 0
        })
        .await;
    }

    /// Whether everything heard is folded and decided. Looked at before the tasks, which follow from it.
    async fn decided(&self) -> bool {
        let store = &self.parts.store;
        let folded = store.head().await.unwrap() == store.position().await.unwrap();
        folded && store.tally().await.unwrap().awaiting == 0
    }

    /// Hands notices in through a door.
    pub async fn record(&self, door: Door, notices: Vec<Notice>) -> Seq {
        self.parts.intake.record(delivery(door, notices)).await.unwrap()
    }

    pub async fn story(&self, key: &Key) -> Option<Story> {
        self.parts.store.story(&Entity::new("listing"), key).await.unwrap()
    }

    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

pub fn delivery(door: Door, notices: Vec<Notice>) -> Delivery {
    Delivery {
        source: "repliers".into(),
        door,
        run: None,
        notices,
        unreadable: vec![],
        reason: None,
        body: None,
    }
}

/// A listing's key.
pub fn listing(mls_number: impl Into<String>) -> Key {
    Key::new(vec!["2".into(), mls_number.into()]).unwrap()
}

/// What happened to a listing, with the upstream's time for it.
pub fn notice(key: &Key, action: Action, at: Timestamp) -> Notice {
    let evidence = Evidence { updated_at: Some(at), ..Evidence::default() };
    Notice { entity: Entity::new("listing"), key: key.clone(), action, evidence }
}
