//! The daemon's loops around the bounded steps: folding and braking, polling, keeping house.
//!
//! Each loop is woken, and looks by itself from time to time: a lost wake-up costs latency, never a deletion.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::applier::Handover;
use crate::backoff::{Backoff, Dice};
use crate::brake::Brake;
use crate::clock::SharedClock;
use crate::collect::{CollectError, Collector};
use crate::config;
use crate::domain::{Event, Seq};
use crate::fold::{self, Folded, Fresh, Progress};
use crate::intake::Intake;
use crate::reconcile::{self, Reconciler, RunError};
use crate::store::{Position, SharedStore, StoreError};
use crate::telemetry::metrics::{Ended, Metrics};

/// How often the journal is looked at without a wake: what a command beside the daemon wrote is found by then.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Steps of folding before the brake looks: enough that it decides on many facts at once behind a backlog.
const STEPS_MAX: usize = 16;
/// Waits after the store could not be used.
const STORE_DOWN: Backoff = Backoff { first: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// Waits after a run failed that may end well later; the schedule goes on beside it.
const RUN_FAILED: Backoff = Backoff { first: Duration::from_mins(1), cap: Duration::from_hours(1) };
/// Tries of a run between two slots of its schedule.
const RUN_TRIES_MAX: u32 = 5;
/// Waits after a pull endpoint could not be used, on top of each request's own tries.
const PULL_FAILED: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(5) };
/// Old bodies are removed that often, and those of so many commits at a time, so that no delivery waits for it
/// long: a commit has some dozen when it has many.
const PURGE_EVERY: Duration = Duration::from_hours(1);
const PURGE_BATCH: u32 = 50;

/// Where the folding loop stands.
struct Standing {
    /// Something may await the brake that is not heard in a round: at the start, and behind a decision.
    undecided: bool,
    /// Where the last step ended.
    position: Option<Position>,
}

/// Folds what the journal gets, and lets the brake decide on it.
pub struct Pipeline {
    pub store: SharedStore,
    pub intake: Intake,
    pub bell: Arc<Notify>,
    pub brake: Brake,
    pub clock: SharedClock,
    /// Those of all targets.
    pub handovers: Vec<Handover>,
    pub progress: watch::Sender<Progress>,
    pub metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// The journal holds something that this program cannot read.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut failures = 0;
        let mut standing = Standing { undecided: true, position: None };
        let dice = crate::backoff::fair_dice();
        while !cancel.is_cancelled() {
            match self.round(&mut standing).await {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = tokio::time::sleep(SCAN_EVERY) => {}
                        () = cancel.cancelled() => {}
                    }
                }
                Err(error) if error.retry_can_help() => {
                    failures += 1;
                    standing = Standing { undecided: true, position: None };
                    tracing::warn!(%error, failures, "folding pauses: our own state cannot be used");
                    let wait = STORE_DOWN.wait(failures, &dice);
                    cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Folds what there is, in so many steps that the brake need not wait long, then brakes once; whether there
    /// may be more to do at once.
    async fn round(&mut self, standing: &mut Standing) -> Result<bool, StoreError> {
        let (mut more, mut heard, mut quiet) = (true, false, true);
        let mut fresh = None;
        for steps in 0..STEPS_MAX {
            let folded = fold::step(&self.store, standing.position).await?;
            standing.position = Some(folded.position);
            let counted = self.count(&folded).await;
            // Whoever waits for a step learns of it though counting it failed.
            self.reached(&folded);
            counted?;
            fresh = folded.fresh.filter(|_| steps == 0 && !standing.undecided);
            heard |= !folded.heard.is_empty();
            quiet &= folded.entries == 0;
            more = folded.more;
            if !more {
                break;
            }
        }
        // Most entries tell of batches: looking for something to decide on would cost each of them a question.
        // A scan that finds nothing does look: a command beside the daemon may have folded what it heard by itself.
        if let Some(fresh) = fresh {
            // All that awaits: it need not be read again.
            if !fresh.awaiting.is_empty() {
                let folded = standing.position.unwrap_or_default().seq;
                self.decide_on(&fresh, folded).await?;
            }
        } else if heard || standing.undecided || quiet {
            let folded = standing.position.unwrap_or_default().seq;
            // Before the end, the last decision may not be folded, and the brake not have looked.
            standing.undecided = self.brake.step(folded).await?.is_some() || more;
        }
        Ok(more || standing.undecided)
    }

    /// Decides on what was just heard of, up to entry `folded`. What is let go begins with the decision where a target
    /// waits for work.
    async fn decide_on(&mut self, fresh: &Fresh, folded: Seq) -> Result<(), StoreError> {
        let decided = self.brake.verdict(&fresh.awaiting).await?;
        let now = self.clock.now();
        let ready: Vec<_> = self.handovers.iter().filter_map(|it| it.prepare(fresh, &decided, now)).collect();
        let started = ready.iter().map(|it| Event::Started(it.started.clone())).collect();
        let numbers = self.brake.note(decided, started).await?;
        // What was heard of between may have overtaken the decision, as a re-listing does: the queue knows.
        let overtaken = numbers.first().is_some_and(|first| *first != folded + 2);
        if overtaken {
            let given_up = ready.iter().zip(&numbers).map(|(ready, number)| ready.given_up(*number));
            self.intake.note_all(given_up).await?;
            return Ok(());
        }
        for (ready, number) in ready.into_iter().zip(numbers) {
            ready.go(number);
        }
        Ok(())
    }

    /// Tells how far the journal is folded, be it by us or by another process.
    fn reached(&self, folded: &Folded) {
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            progress.reached = folded.position.seq;
            progress.released = folded.released.unwrap_or(before.released);
            progress.overtaken = folded.overtaken.unwrap_or(before.overtaken);
            *progress != before
        });
    }

    async fn count(&self, folded: &Folded) -> Result<(), StoreError> {
        self.metrics.journal_appended(folded.entries);
        for ((source, door, result), count) in &folded.heard {
            self.metrics.notices(source, *door, *result, *count);
        }
        for ended in &folded.runs_ended {
            let runs = self.store.runs(Some(&ended.source), 1).await?;
            let missed = runs.first().and_then(|run| run.counts.missed_by_webhooks());
            let result = if ended.error.is_none() { Ended::Done } else { Ended::Failed };
            self.metrics.run(&ended.source, result, missed);
            tracing::info!(
                source = ended.source,
                run = ended.run,
                pages = ended.pages,
                found = ended.found,
                fresh = runs.first().map_or(0, |run| run.counts.fresh),
                error = ended.error,
                "reconciled"
            );
        }
        Ok(())
    }
}

/// Polls one source's feed whenever it is woken.
pub struct Poller {
    pub source: config::Source,
    pub reconciler: Reconciler,
    pub metrics: Arc<Metrics>,
    pub dice: Dice,
}

impl Poller {
    /// Runs until cancelled; a run that fails is tried again a few times, then at its next slot.
    ///
    /// # Errors
    /// The store holds something that cannot be read.
    pub async fn run(
        self,
        mut woken: mpsc::Receiver<()>,
        cancel: CancellationToken,
    ) -> Result<(), StoreError> {
        while cancel.run_until_cancelled(woken.recv()).await.flatten().is_some() {
            for failures in 1..=RUN_TRIES_MAX {
                let run = self.reconciler.run(&self.source, None, &|_, _| {});
                let Some(result) = cancel.run_until_cancelled(run).await else { return Ok(()) };
                match result {
                    Ok(_) => break,
                    // Another process is at it, or ended without giving its lease back: by then it is over.
                    Err(RunError::UnderWay) => {
                        cancel.run_until_cancelled(tokio::time::sleep(reconcile::LEASE)).await;
                        continue;
                    }
                    Err(RunError::Store(error)) if !error.retry_can_help() => return Err(error),
                    Err(error) => {
                        tracing::error!(source = self.source.name, %error, failures, "reconciliation failed, the checkpoint stays");
                        if !error.retry_can_help() {
                            break;
                        }
                    }
                }
                let wait = RUN_FAILED.wait(failures, &self.dice);
                cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
        }
        Ok(())
    }
}

/// Collects from one source's pull endpoints, over and over.
pub struct Gatherer {
    pub source: String,
    pub collector: Collector,
    /// Between two looks that found nothing more.
    pub every: Duration,
    pub dice: Dice,
}

impl Gatherer {
    /// Runs until cancelled. What was not acknowledged by then waits for the next start.
    ///
    /// # Errors
    /// The store holds something that cannot be read.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut failures = 0;
        while let Some(result) = cancel.run_until_cancelled(self.collector.round()).await {
            let wait = match result {
                Ok(round) if round.more => Duration::ZERO,
                Ok(round) => {
                    failures = 0;
                    if round.taken > 0 {
                        tracing::debug!(source = self.source, ?round, "collected");
                    }
                    self.every
                }
                Err(CollectError::Store(error)) if !error.retry_can_help() => return Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::error!(source = self.source, %error, failures, "collecting failed: events wait where they are");
                    let hopeless = !error.retry_can_help();
                    if hopeless { PULL_FAILED.cap } else { PULL_FAILED.wait(failures, &self.dice) }
                }
            };
            cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
        Ok(())
    }
}

/// Removes raw bodies that have been kept long enough (I10).
///
/// # Errors
/// The store holds something that cannot be read.
pub async fn purge(
    store: SharedStore,
    clock: SharedClock,
    kept: Duration,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    while !cancel.is_cancelled() {
        match store.purge_bodies(clock.now().minus(kept), PURGE_BATCH).await {
            Ok(removed) if removed >= u64::from(PURGE_BATCH) => continue,
            Ok(_) => {}
            Err(error) if error.retry_can_help() => {
                tracing::warn!(%error, "old bodies are kept a little longer");
            }
            Err(error) => return Err(error),
        }
        cancel.run_until_cancelled(tokio::time::sleep(PURGE_EVERY)).await;
    }
    Ok(())
}
