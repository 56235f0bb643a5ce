//! Carrying out: one loop a target, in bounded steps: lease, batch, apply, settle.
//!
//! A batch is what has gathered while the last one ran; there is no timer. Before a target sees a batch, its number and
//! members are on disk, and nothing ever joins it: after a crash the same batch is applied again, without what is no
//! longer meant, and what is absent then is told as gone by our own work (I8). While one batch is applied, the last one
//! is settled and the next one is made ready. A loop knows of its own target alone, so that one that is down harms no
//! other (I6).

mod batch;
mod handover;
mod hold;
mod settle;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Dice};
use crate::clock::SharedClock;
use crate::domain::{
    Entity, Event, Seq, Timestamp,
    event::{Settled, Started},
};
use crate::fold::Progress;
use crate::intake::Intake;
use crate::store::{SharedStore, StoreError, Task};
use crate::targets::Target;
use crate::telemetry::metrics::Metrics;
use batch::Leased;
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
        // Nothing came between what it was decided on and its beginning.
        let leased = Leased::new(number, tasks, number);
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
        let known_to = self.folded.borrow().reached;
        for open in self.store.open_batches(self.target.name()).await? {
            tracing::info!(
                target = self.target.name(),
                batch = open.number,
                tasks = open.tasks.len(),
                overtaken = open.overtaken.len(),
                "resuming a batch"
            );
            let told = self.doubts(&open.overtaken);
            let leased = Leased::resumed(open.number, open.tasks, known_to, told);
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
        let known_to = self.folded.borrow().reached;
        let tasks = self.store.due(self.target.name(), round.cursor.as_ref(), now, limit).await?;
        let Some(last) = tasks.last() else { return Ok(None) };
        round.cursor = Some((last.entity.clone(), last.key.canonical()));
        round.behind = tasks.len() == limit as usize;
        self.start(tasks, known_to).await.map(Some)
    }

    async fn start(&self, tasks: Vec<Task>, known_to: Seq) -> Result<Leased, StoreError> {
        let started = started(self.target.name(), &self.holder, &tasks, self.clock.now());
        let number = self.intake.note(Event::Started(started)).await?;
        Ok(Leased::new(number, tasks, known_to))
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
