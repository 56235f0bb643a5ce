//! Carrying out: one loop a target, in bounded steps: lease, batch, apply, settle.
//!
//! A batch is what has gathered while the last one ran; there is no timer. Before a target sees a batch, its
//! number and members are on disk, and they never change: after a crash the same batch is applied again, and
//! what is absent then is told as gone by our own work (I8). While one batch is applied, the last one is
//! settled and the next one is made ready. A loop knows of its own target alone, so that one that is down
//! harms no other (I6).

mod handover;
mod hold;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::{Backoff, Dice};
use crate::brake::removal;
use crate::clock::SharedClock;
use crate::domain::{
    Entity, Event, Seq, Timestamp,
    event::{Settled, Settlement, Started},
};
use crate::fold::Progress;
use crate::intake::Intake;
use crate::store::{SharedStore, StoreError, Task};
use crate::targets::{Batch, Effect, RecordFailure, Target, TargetError};
use crate::telemetry::metrics::{Ended, Metrics};
use handover::Handed;
pub use handover::Handover;
use hold::Hold;

/// Tasks in a batch: the knee of throughput in every database measured, at a transaction of 20 to 50 ms.
const BATCH_TASKS: u32 = 1_000;
/// Tasks in a batch when a full batch has left more behind: a backlog is worth a longer transaction.
const BATCH_TASKS_BEHIND: u32 = 10_000;
/// Tasks in a batch for a target that sent the last one away.
const PROBE_TASKS: u32 = 1;
/// How long a batch is taken to be at work before another process may take it over.
const LEASE: Duration = Duration::from_mins(5);
/// Waits between tries at a target that is down: soon at first, then once a minute without end.
const DOWN: Backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_mins(1) };
/// How often the queue is looked at without being woken: a lost wake-up costs at most this.
const SCAN_EVERY: Duration = Duration::from_secs(5);

/// What an applier works with.
#[derive(Clone)]
pub struct Applier {
    pub target: Arc<dyn Target>,
    pub store: SharedStore,
    pub intake: Intake,
    pub clock: SharedClock,
    pub dice: Dice,
    pub metrics: Arc<Metrics>,
    pub folded: watch::Receiver<Progress>,
    pub handover: Handover,
    /// Names this process in the journal.
    pub holder: String,
}

/// A batch on its way.
struct Leased {
    number: Seq,
    tasks: Vec<Task>,
    /// It was open when this process began: the target may have done it already.
    resumed: bool,
}

/// Where the loop stands.
#[derive(Default)]
struct Round {
    /// The last task's place: the next batch begins behind it, so that a large backlog is taken in the
    /// order of its keys, and nothing starves.
    cursor: Option<(Entity, String)>,
    /// The last batch was full.
    behind: bool,
    /// Entry of the last settlement: the queue tells the truth once it is folded.
    settled: Seq,
}

impl Applier {
    /// Works until it is cancelled; a batch that is being applied then is finished first.
    ///
    /// # Errors
    /// The store holds something that cannot be read; everything else is tried again.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let mut failures = 0;
        let mut resume = true;
        let hold = Hold::default();
        let mut folded = self.folded.clone();
        let mut handed = None;
        while !cancel.is_cancelled() || handed.is_some() {
            // Seen before looking: what is released while we work wakes us again.
            let seen = folded.borrow_and_update().released;
            let outcome = async {
                if let Some(handed) = handed.take()
                    && !self.take(handed, &hold, &cancel).await?
                {
                    return Ok(());
                }
                if resume {
                    resume = !self.resume(&hold, &cancel).await?;
                }
                // What may have been carried out already is not taken for new.
                if resume { Ok(()) } else { self.drain(&hold, &cancel).await }
            }
            .await;
            self.intake.ring();
            match outcome {
                Ok(()) => {
                    failures = 0;
                    handed = self.idle(&hold, &mut folded, seen, &cancel).await?;
                }
                Err(error) if error.retry_can_help() => {
                    failures += 1;
                    // A batch may have been left open on the way.
                    resume = true;
                    let wait = DOWN.wait(failures, &self.dice);
                    tracing::warn!(target = self.target.name(), %error, "applying pauses: our own state cannot be used");
                    cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Carries out what was handed over; `false` if it was kept from knowing what the queue holds after it.
    async fn take(
        &self,
        handed: Handed,
        hold: &Hold,
        cancel: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let Handed { number, tasks } = handed;
        let leased = Leased { number, tasks, resumed: false };
        let Some(settled) = self.carry_out(leased, hold, cancel).await? else { return Ok(false) };
        let seq = self.intake.note(Event::Settled(settled)).await?;
        Ok(self.folded_to(seq, cancel).await)
    }

    /// Finishes the batches that a crash, or a journal that could not be written, left open; `false` if it
    /// was kept from that.
    async fn resume(&self, hold: &Hold, cancel: &CancellationToken) -> Result<bool, StoreError> {
        // The last of them may not be folded yet, and would not be seen.
        let head = self.store.head().await?.seq;
        if !self.folded_to(head, cancel).await {
            return Ok(false);
        }
        for open in self.store.open_batches(self.target.name()).await? {
            tracing::info!(
                target = self.target.name(),
                batch = open.number,
                tasks = open.tasks.len(),
                "resuming a batch"
            );
            let leased = Leased { number: open.number, tasks: open.tasks, resumed: true };
            let Some(settled) = self.carry_out(leased, hold, cancel).await? else { return Ok(false) };
            let seq = self.intake.note(Event::Settled(settled)).await?;
            if !self.folded_to(seq, cancel).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies batch after batch until nothing is due. While one is applied, the one before is settled and
    /// the one behind is leased.
    async fn drain(&self, hold: &Hold, cancel: &CancellationToken) -> Result<(), StoreError> {
        let mut round = Round::default();
        let mut done: Option<Settled> = None;
        let mut next = self.lease(&mut round, hold).await?;
        loop {
            let Some(leased) = next.take() else {
                if let Some(settled) = done.take() {
                    round.settled = self.intake.note(Event::Settled(settled)).await?;
                }
                if round.cursor.take().is_none() || cancel.is_cancelled() {
                    return Ok(());
                }
                // From the start again, once everything settled has left the queue.
                if !self.folded_to(round.settled, cancel).await {
                    return Ok(());
                }
                next = self.lease(&mut round, hold).await?;
                if next.is_none() {
                    return Ok(());
                }
                continue;
            };
            let settling = async {
                match done.take() {
                    Some(settled) => self.intake.note(Event::Settled(settled)).await.map(Some),
                    None => Ok(None),
                }
            };
            let leasing =
                async { if cancel.is_cancelled() { Ok(None) } else { self.lease(&mut round, hold).await } };
            let (applied, settled, leased) =
                tokio::join!(self.carry_out(leased, hold, cancel), settling, leasing);
            next = leased?;
            if let Some(seq) = settled? {
                round.settled = seq;
            }
            match applied? {
                Some(settled) => done = Some(settled),
                // Cancelled while the target was down: the batch stays open, and is resumed at the next start.
                None => return Ok(()),
            }
        }
    }

    /// Takes the tasks behind the cursor, and makes the batch durable; nothing while the target takes nothing.
    async fn lease(&self, round: &mut Round, hold: &Hold) -> Result<Option<Leased>, StoreError> {
        let now = self.clock.now();
        if hold.left(now).is_some() {
            return Ok(None);
        }
        let limit = if round.behind { BATCH_TASKS_BEHIND } else { BATCH_TASKS };
        let limit = if hold.probes() { PROBE_TASKS } else { limit.min(self.target.batch_max()).max(1) };
        let tasks = self.store.due(self.target.name(), round.cursor.as_ref(), now, limit).await?;
        let Some(last) = tasks.last() else { return Ok(None) };
        round.cursor = Some((last.entity.clone(), last.key.canonical()));
        round.behind = tasks.len() == limit as usize;
        self.start(tasks).await.map(Some)
    }

    async fn start(&self, tasks: Vec<Task>) -> Result<Leased, StoreError> {
        let started = started(self.target.name(), &self.holder, &tasks, self.clock.now());
        let number = self.intake.note(Event::Started(started)).await?;
        Ok(Leased { number, tasks, resumed: false })
    }

    /// Applies a batch, in halves where the target refuses it whole; `None` if cancelled on the way.
    async fn carry_out(
        &self,
        leased: Leased,
        hold: &Hold,
        cancel: &CancellationToken,
    ) -> Result<Option<Settled>, StoreError> {
        let mut waiting = VecDeque::from([leased]);
        loop {
            let Some(leased) = waiting.pop_front() else {
                return Err(StoreError::Corrupt("a batch without members".into()));
            };
            let span = tracing::info_span!(
                "batch",
                target = self.target.name(),
                number = leased.number,
                tasks = leased.tasks.len()
            );
            let mut leased = leased;
            let applied = self.apply(&mut leased, hold, cancel).instrument(span).await;
            let Some(applied) = applied else { return Ok(None) };
            let results = match applied {
                Applied::Told(results) => results,
                Applied::Split => {
                    waiting.extend(self.halve(leased).await?);
                    continue;
                }
            };
            let settled = Settled { target: self.target.name().to_owned(), batch: leased.number, results };
            if waiting.is_empty() {
                return Ok(Some(settled));
            }
            self.intake.note(Event::Settled(settled)).await?;
        }
    }

    /// Gives a refused batch up and opens its halves, so that the record at fault comes to stand alone.
    async fn halve(&self, leased: Leased) -> Result<[Leased; 2], StoreError> {
        let Leased { number, mut tasks, resumed } = leased;
        let right = tasks.split_off(tasks.len() / 2);
        let target = self.target.name().to_owned();
        self.intake.note(Event::Settled(Settled { target, batch: number, results: vec![] })).await?;
        let (mut left, mut right) = (self.start(tasks).await?, self.start(right).await?);
        (left.resumed, right.resumed) = (resumed, resumed);
        Ok([left, right])
    }

    /// Applies one batch, again and again while the target is down; `None` if cancelled meanwhile.
    async fn apply(&self, leased: &mut Leased, hold: &Hold, cancel: &CancellationToken) -> Option<Applied> {
        if let Some(wait) = hold.wait(self.clock.now()) {
            // Leased before the one ahead of it was sent away.
            return Some(Applied::Told(
                self.settlements(leased, vec![Effect::Waits(wait); leased.tasks.len()]),
            ));
        }
        let batch = Batch { number: leased.number, removals: leased.tasks.iter().map(removal).collect() };
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let error = match self.target.apply(&batch).await {
                Ok(effects) => {
                    let takes = hold.note(&effects, self.clock.now(), &self.dice);
                    self.metrics.target_up(self.target.name(), takes);
                    self.metrics.quota_left(self.target.name(), self.target.quota_left());
                    self.metrics.batch(self.target.name(), Ended::Done, began.elapsed());
                    return Some(Applied::Told(self.settlements(leased, effects)));
                }
                Err(TargetError::Refused { code, message }) => {
                    self.metrics.batch(self.target.name(), Ended::Failed, began.elapsed());
                    return Some(self.refused(leased, code, message));
                }
                Err(error) => error,
            };
            failures += 1;
            // What is absent at the next try may be gone by this one (I8).
            leased.resumed |= matches!(error, TargetError::Unknown(_));
            self.metrics.target_up(self.target.name(), false);
            self.metrics.batch(self.target.name(), Ended::Failed, began.elapsed());
            let halted = matches!(error, TargetError::Halted(_));
            let wait = if halted { DOWN.cap } else { DOWN.wait(failures, &self.dice) };
            let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            if halted {
                tracing::error!(failures, retry_in_ms, %error, "the target needs a person; nothing is applied");
            } else {
                tracing::warn!(
                    failures, retry_in_ms, %error, "not applied, will be tried again"
                );
            }
            cancel.run_until_cancelled(tokio::time::sleep(wait)).await?;
        }
    }

    fn settlements(&self, leased: &Leased, effects: Vec<Effect>) -> Vec<Settlement> {
        let now = self.clock.now();
        let results: Vec<Settlement> = leased
            .tasks
            .iter()
            .zip(effects)
            .filter_map(|(task, effect)| settle::settlement(task, effect, leased.resumed, now, &self.dice))
            .collect();
        settle::measure(&self.metrics, self.target.name(), &leased.tasks, &results, now);
        tracing::info!(settled = results.len(), "applied");
        results
    }

    fn refused(&self, leased: &Leased, code: &'static str, message: String) -> Applied {
        if leased.tasks.len() > 1 {
            tracing::warn!(code, %message, "refused, trying halves");
            return Applied::Split;
        }
        let now = self.clock.now();
        let failure = RecordFailure { code, message, retry: true };
        let effects = vec![Effect::Failed(failure)];
        let results = leased
            .tasks
            .iter()
            .zip(effects)
            .filter_map(|(task, effect)| settle::settlement(task, effect, leased.resumed, now, &self.dice))
            .collect();
        Applied::Told(results)
    }

    /// Waits until the journal is folded up to `seq`; `false` if cancelled, or if the folding ended, before
    /// that: the queue tells what was true once, and nothing may be taken from it.
    async fn folded_to(&self, seq: Seq, cancel: &CancellationToken) -> bool {
        self.intake.ring();
        let mut folded = self.folded.clone();
        let reached = async { folded.wait_for(|progress| progress.reached >= seq).await.is_ok() };
        cancel.run_until_cancelled(reached).await.unwrap_or(false)
    }

    /// Waits until something may be due, or a batch is handed over.
    async fn idle(
        &self,
        hold: &Hold,
        folded: &mut watch::Receiver<Progress>,
        seen: Seq,
        cancel: &CancellationToken,
    ) -> Result<Option<Handed>, StoreError> {
        let now = self.clock.now();
        let wait = match self.store.next_due_at(self.target.name()).await {
            Ok(next) => next.map_or(SCAN_EVERY, |at| at.since(now).min(SCAN_EVERY)),
            Err(error) if error.retry_can_help() => SCAN_EVERY,
            Err(error) => return Err(error),
        };
        let left = hold.left(now);
        let wait = left.map_or(wait, |left| left.min(SCAN_EVERY));
        let released = async { drop(folded.wait_for(|progress| progress.released != seen).await) };
        let mut woken = std::pin::pin!(async {
            tokio::select! {
                () = released => {}
                () = tokio::time::sleep(wait) => self.target.rest().await,
                () = cancel.cancelled() => {}
            }
        });
        if left.is_some() || hold.probes() {
            // The target takes nothing, or is asked for one record at a time.
            woken.await;
            return Ok(None);
        }
        let mut handed = self.handover.offer();
        tokio::select! {
            handed = &mut handed => Ok(handed.ok()),
            () = &mut woken => Ok(self.handover.withdraw(handed).await),
        }
    }
}

/// The entry of a batch that begins.
fn started(target: &str, holder: &str, tasks: &[Task], now: Timestamp) -> Started {
    Started {
        target: target.to_owned(),
        members: tasks.iter().map(|task| task.fact).collect(),
        holder: holder.to_owned(),
        leased_until: now.plus(LEASE),
    }
}

enum Applied {
    Told(Vec<Settlement>),
    Split,
}
