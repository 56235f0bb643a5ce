//! I2, I8: the moments at which a crash, a full disk or a stop hurts most, one by one, without chance.

#![allow(clippy::unwrap_used, reason = "a test's own steps")]

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use expunged::app::Parts;
use expunged::fold::Progress;
use expunged::store::Health;
use expunged::targets::{Batch, Effect, Target, TargetError};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::support::between::{Between, Seen};
use crate::support::crash::home::open;
use crate::support::crash::{Home, Setup, parts, until};

/// Where the process ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The batch is noted, and its target has not seen it.
    Noted,
    /// The target has committed, and nobody knows.
    Committed,
}

/// A target within a process that ends at `moment`: what awaits it never goes on.
struct Ending {
    inner: Arc<dyn Target>,
    moment: Moment,
    reached: Arc<Notify>,
}

#[async_trait]
impl Between for Ending {
    fn behind(&self) -> &dyn Target {
        &*self.inner
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        if matches!(self.moment, Moment::Committed) {
            self.inner.apply(batch).await?;
        }
        self.reached.notify_one();
        std::future::pending().await
    }
}

/// How a batch comes to its target.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Found in the queue.
    Queue,
    /// Begun together with the decision, at a target that waits for work.
    Handover,
}

const WAYS: [(&str, Way); 4] =
    [("replica", Way::Queue), ("search", Way::Queue), ("replica", Way::Handover), ("search", Way::Handover)];

const NUMBERS: [u32; 3] = [3, 5, 8];

/// Lets a process end at `moment`.
async fn crash(home: &Home, target: &str, way: Way, moment: Moment) {
    let parts = parts::open(home).await;
    let reached = Arc::new(Notify::new());
    let inner = parts::target(&parts, target).await;
    let ending = Arc::new(Seen(Ending { inner, moment, reached: reached.clone() }));
    let hear = async || {
        for number in NUMBERS {
            parts::hear(&parts, number).await;
        }
    };
    if matches!(way, Way::Queue) {
        hear().await;
    }
    let (progress, folded) = watch::channel(parts::release(&parts).await);
    let applier = parts::applier(&parts, ending, folded);
    let handover = applier.handover.clone();
    let applier = tokio::spawn(applier.run(CancellationToken::new()));
    let mut pipeline = None;
    if matches!(way, Way::Handover) {
        until("the target to wait", async || handover.is_awaited()).await;
        hear().await;
        let running = parts::pipeline(&parts, progress, vec![handover]);
        pipeline = Some(tokio::spawn(running.run(CancellationToken::new())));
    }
    reached.notified().await;
    for task in pipeline.into_iter().map(|it| it.abort_handle()).chain([applier.abort_handle()]) {
        task.abort();
    }
    assert!(applier.await.unwrap_err().is_cancelled());
}

/// Lets a process end at `moment`, and another one go on; what the journal tells of the listings then.
async fn told_after_a_crash(target: &str, way: Way, moment: Moment) -> BTreeSet<String> {
    let home = Home::new(Setup { listings: 20, ..Setup::default() }).await;
    crash(&home, target, way, moment).await;
    let parts = parts::open(&home).await;
    let (progress, folded) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let inner = parts::target(&parts, target).await;
    let pipeline = tokio::spawn(parts::pipeline(&parts, progress, vec![]).run(stop.clone()));
    let applier = tokio::spawn(parts::applier(&parts, inner, folded).run(stop.clone()));
    until("the queue to be empty", async || parts.store.queue(target).await.unwrap().due == 0).await;
    stop.cancel();
    pipeline.await.unwrap().unwrap();
    applier.await.unwrap().unwrap();

    home.journal().assert_every_step_has_its_cause();
    let ends = home.journal().ends(target);
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), NUMBERS);
    ends.into_values().collect()
}

#[tokio::test]
async fn i8_what_a_target_committed_before_the_crash_is_told_as_already_deleted() {
    for (target, way) in WAYS {
        let told = told_after_a_crash(target, way, Moment::Committed).await;
        assert_eq!(told, BTreeSet::from(["already_deleted".to_owned()]), "{target}, {way:?}");
    }
}

#[tokio::test]
async fn i8_what_no_target_saw_before_the_crash_is_told_as_deleted() {
    for (target, way) in WAYS {
        let told = told_after_a_crash(target, way, Moment::Noted).await;
        assert_eq!(told, BTreeSet::from(["deleted".to_owned()]), "{target}, {way:?}");
    }
}

/// Makes the journal refuse entries of one kind, as a disk does that is full just then.
async fn refuse(home: &Home, kind: &str) {
    let trigger = format!(
        "CREATE TRIGGER full BEFORE INSERT ON journal WHEN NEW.kind = '{kind}'
         BEGIN SELECT RAISE(ABORT, 'full'); END"
    );
    let mut journal = open(&home.journal_file()).await;
    sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&mut journal).await.unwrap();
    journal.close().await.unwrap();
}

async fn accept(home: &Home) {
    let mut journal = open(&home.journal_file()).await;
    sqlx::raw_sql("DROP TRIGGER full").execute(&mut journal).await.unwrap();
    journal.close().await.unwrap();
}

/// A released deletion of one listing, at a home.
async fn one_released() -> (Home, Parts, watch::Sender<Progress>, watch::Receiver<Progress>) {
    let home = Home::new(Setup { listings: 20, ..Setup::default() }).await;
    let parts = parts::open(&home).await;
    parts::hear(&parts, 7).await;
    let (progress, folded) = watch::channel(parts::release(&parts).await);
    (home, parts, progress, folded)
}

fn batches(home: &Home) -> usize {
    home.journal().of_kind("started").count()
}

/// The applier itself has this many receivers of the progress, and one more while it waits for it.
const RECEIVERS: usize = 2;

#[tokio::test]
async fn i8_a_batch_whose_settlement_was_not_written_is_resumed_even_before_it_is_folded() {
    let (home, parts, progress, folded) = one_released().await;
    refuse(&home, "settled").await;
    let stop = CancellationToken::new();
    let target = parts::target(&parts, "replica").await;
    let applier = tokio::spawn(parts::applier(&parts, target, folded).run(stop.clone()));

    let health = parts.store.health();
    until("the settlement to be refused", async || *health.borrow() != Health::Writable).await;
    until("the next step", async || progress.receiver_count() > RECEIVERS || batches(&home) > 1).await;
    accept(&home).await;
    let reached = parts::release(&parts).await;
    progress.send(reached).unwrap();
    until("the settlement", async || !home.journal().ends("replica").is_empty()).await;
    stop.cancel();
    applier.await.unwrap().unwrap();
    assert_eq!(home.journal().ends("replica")[&7], "already_deleted");
    assert_eq!(batches(&home), 1);
}

#[tokio::test]
async fn i8_a_stop_while_a_settlement_waits_to_be_folded_begins_no_second_batch() {
    let (home, parts, progress, folded) = one_released().await;
    let stop = CancellationToken::new();
    let target = parts::target(&parts, "replica").await;
    let applier = tokio::spawn(parts::applier(&parts, target, folded).run(stop.clone()));

    until("the settlement", async || !home.journal().ends("replica").is_empty()).await;
    until("the wait for folding", async || progress.receiver_count() > RECEIVERS).await;
    stop.cancel();
    applier.await.unwrap().unwrap();
    assert_eq!(home.journal().ends("replica")[&7], "deleted");
    assert_eq!(batches(&home), 1);
}

#[tokio::test]
async fn i5_a_burst_that_is_folded_in_several_steps_is_decided_on_once() {
    const BURST: u32 = 1_200;
    let home = Home::new(Setup { listings: 20, ..Setup::default() }).await;
    let parts = parts::open(&home).await;
    let parts = Arc::new(parts);
    let mut heard = tokio::task::JoinSet::new();
    for number in 1..=BURST {
        let parts = parts.clone();
        heard.spawn(async move { parts::hear(&parts, number).await });
    }
    heard.join_all().await;
    let (progress, _folded) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let pipeline = tokio::spawn(parts::pipeline(&parts, progress, vec![]).run(stop.clone()));
    until("every task", async || {
        parts.store.queue("replica").await.unwrap().due == u64::from(BURST)
            && parts.store.position().await.unwrap() == parts.store.head().await.unwrap()
    })
    .await;
    stop.cancel();
    pipeline.await.unwrap().unwrap();
    home.journal().assert_every_step_has_its_cause();
}
