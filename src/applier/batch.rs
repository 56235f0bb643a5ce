//! One batch at its target: applied until the target takes it, in halves where it refuses it whole.

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::hold::Hold;
use super::{Applier, DOWN, settle};
use crate::brake::removal;
use crate::domain::{
    Event, Seq,
    event::{Fact, Settled, Settlement},
};
use crate::store::{StoreError, Task};
use crate::targets::{Batch, Effect, RecordFailure, TargetError, Unproven, Wait};
use crate::telemetry::metrics::Ended;

/// A batch on its way.
pub(super) struct Leased {
    number: Seq,
    tasks: Vec<Task>,
    /// It was open when this process began: the target may have done it already.
    resumed: bool,
    /// Up to this entry nothing is known that overtakes its members.
    known_to: Seq,
    /// What is to be told of members that have been left out.
    told: Vec<Settlement>,
}

impl Leased {
    pub fn new(number: Seq, tasks: Vec<Task>, known_to: Seq) -> Self {
        Self { number, tasks, resumed: false, known_to, told: vec![] }
    }

    pub fn resumed(number: Seq, tasks: Vec<Task>, known_to: Seq, told: Vec<Settlement>) -> Self {
        Self { resumed: true, told, ..Self::new(number, tasks, known_to) }
    }
}

/// What one try came to.
enum Tried {
    Applied(Applied),
    Failed(TargetError),
    Cancelled,
}

enum Applied {
    Told(Vec<Settlement>),
    Split,
}

impl Applier {
    /// Applies a batch, in halves where the target refuses it whole; `None` if cancelled on the way.
    pub(super) async fn carry_out(
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
            let applied = self.apply(&mut leased, hold, cancel).instrument(span).await?;
            let Some(applied) = applied else { return Ok(None) };
            let results = match applied {
                Applied::Told(results) => {
                    leased.told.extend(results);
                    leased.told
                }
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
        let Leased { number, mut tasks, resumed, known_to, told } = leased;
        let right = tasks.split_off(tasks.len() / 2);
        let target = self.target.name().to_owned();
        self.intake.note(Event::Settled(Settled { target, batch: number, results: told })).await?;
        let (mut left, mut right) = (self.start(tasks, known_to).await?, self.start(right, known_to).await?);
        (left.resumed, right.resumed) = (resumed, resumed);
        Ok([left, right])
    }

    /// Applies one batch, again and again while the target is down; `None` if cancelled meanwhile.
    async fn apply(
        &self,
        leased: &mut Leased,
        hold: &Hold,
        cancel: &CancellationToken,
    ) -> Result<Option<Applied>, StoreError> {
        if let Some(wait) = hold.wait(self.clock.now()) {
            // Leased before the one ahead of it was sent away.
            return Ok(Some(self.sent_back(leased, &wait)));
        }
        let mut failures = 0;
        loop {
            let error = match self.once(leased, hold, cancel).await? {
                Tried::Applied(applied) => return Ok(Some(applied)),
                Tried::Cancelled => return Ok(None),
                Tried::Failed(error) => error,
            };
            failures += 1;
            if !self.pause(failures, &error, cancel).await {
                return Ok(None);
            }
        }
    }

    /// Back to the queue, but for what the target may have seen.
    fn sent_back(&self, leased: &Leased, wait: &Wait) -> Applied {
        Applied::Told(self.settlements(leased, vec![Effect::Waits(wait.clone()); leased.tasks.len()]))
    }

    /// Waits until the target bears it, looks again at what is still meant, and applies that.
    async fn once(
        &self,
        leased: &mut Leased,
        hold: &Hold,
        cancel: &CancellationToken,
    ) -> Result<Tried, StoreError> {
        tokio::select! {
            biased;
            ready = self.target.ready() => if let Err(error) = ready {
                self.metrics.target_up(self.target.name(), false);
                return Ok(Tried::Failed(error));
            },
            () = cancel.cancelled() => {
                let wait = Wait { until: None, reason: "the daemon ended before its turn came".into() };
                return Ok(Tried::Applied(self.sent_back(leased, &wait)));
            }
        }
        match self.leave_out_overtaken(leased, cancel).await {
            Ok(true) => {}
            Ok(false) => return Ok(Tried::Cancelled),
            // Given up here, it would be resumed as one that the target may have seen.
            Err(error) if error.retry_can_help() => {
                return Ok(Tried::Failed(TargetError::Unavailable(error.to_string())));
            }
            Err(error) => return Err(error),
        }
        Ok(self.attempt(leased, hold).await.map_or_else(Tried::Failed, Tried::Applied))
    }

    async fn attempt(&self, leased: &mut Leased, hold: &Hold) -> Result<Applied, TargetError> {
        if leased.tasks.is_empty() {
            return Ok(Applied::Told(vec![]));
        }
        let batch = Batch { number: leased.number, removals: leased.tasks.iter().map(removal).collect() };
        let began = Instant::now();
        match self.target.apply(&batch).await {
            Ok(effects) => {
                let takes = hold.note(&effects, self.clock.now(), &self.dice);
                self.metrics.target_up(self.target.name(), takes);
                self.metrics.quota_left(self.target.name(), self.target.quota_left());
                self.metrics.batch(self.target.name(), Ended::Done, began.elapsed());
                Ok(Applied::Told(self.settlements(leased, effects)))
            }
            Err(TargetError::Refused { code, message }) => {
                self.metrics.batch(self.target.name(), Ended::Failed, began.elapsed());
                Ok(self.refused(leased, code, message))
            }
            Err(error) => {
                // What is absent at the next try may be gone by this one (I8).
                leased.resumed |= matches!(error, TargetError::Unknown(_));
                self.metrics.target_up(self.target.name(), false);
                self.metrics.batch(self.target.name(), Ended::Failed, began.elapsed());
                Err(error)
            }
        }
    }

    /// Waits for the next try; `false` if cancelled meanwhile.
    async fn pause(&self, failures: u32, error: &TargetError, cancel: &CancellationToken) -> bool {
        let halted = matches!(error, TargetError::Halted(_));
        let wait = if halted { DOWN.cap } else { DOWN.wait(failures, &self.dice) };
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if halted {
            tracing::error!(failures, retry_in_ms, %error, "the target needs a person; nothing is applied");
        } else {
            tracing::warn!(failures, retry_in_ms, %error, "not applied, will be tried again");
        }
        cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
    }

    /// Leaves out what another fact has overtaken while the batch waited: a target may be down for hours, and a record
    /// that is listed again meanwhile is not to go when it is back. `false` if it was kept from knowing.
    async fn leave_out_overtaken(
        &self,
        leased: &mut Leased,
        cancel: &CancellationToken,
    ) -> Result<bool, StoreError> {
        if self.folded.borrow().overtaken <= leased.known_to {
            return Ok(true);
        }
        // Before that it would seem to have no members.
        if !self.folded_to(leased.number, cancel).await {
            return Ok(false);
        }
        let known_to = self.folded.borrow().reached;
        let open = self.store.open_batches(self.target.name()).await?;
        let open = open.into_iter().find(|open| open.number == leased.number);
        let meant: BTreeSet<Fact> =
            open.into_iter().flat_map(|open| open.tasks).map(|task| task.fact).collect();
        let all = std::mem::take(&mut leased.tasks).into_iter();
        let (meant, overtaken): (Vec<Task>, Vec<Task>) = all.partition(|task| meant.contains(&task.fact));
        (leased.tasks, leased.known_to) = (meant, known_to);
        if !overtaken.is_empty() {
            tracing::info!(overtaken = overtaken.len(), "left out: something newer is known of them");
        }
        if leased.resumed {
            leased.told.extend(self.doubts(&overtaken));
        }
        Ok(true)
    }

    /// What is told of tasks that have ended by now, and yet the target may have taken before.
    pub(super) fn doubts(&self, overtaken: &[Task]) -> Vec<Settlement> {
        let (now, reason) = (self.clock.now(), "overtaken while the target's answer was unknown");
        let doubt =
            || Effect::Unproven(Unproven { code: "interrupted", message: reason.into(), again: None });
        let told = |task| settle::settlement(task, doubt(), true, now, &self.dice);
        overtaken.iter().filter_map(told).collect()
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
}
