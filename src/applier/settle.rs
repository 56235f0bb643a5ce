//! From what a target did to what is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backoff::{Backoff, Dice};
use crate::domain::{
    Action, Entity, Outcome, Timestamp,
    event::{Fact, Failure, Settlement},
};
use crate::store::Task;
use crate::targets::{Effect, RecordFailure, Unproven};
use crate::telemetry::metrics::Metrics;

/// Tries of one record before it is parked: with the waits below, a little over an hour, which outlasts a lock,
/// a race with an importer and a deployment.
pub const ATTEMPTS_MAX: u32 = 12;
/// Waits between tries of one record.
const RECORD: Backoff = Backoff { first: Duration::from_secs(2), cap: Duration::from_mins(15) };
/// Waits while an entity's table does not fit: a migration is mended within the hour or on Monday, and each look
/// at a long queue costs the journal an entry a record.
const UNFIT: Backoff = Backoff { first: Duration::from_mins(1), cap: Duration::from_hours(1) };

/// What became of `task`. `resumed` says that the target may have applied the batch before: what is absent
/// then is gone by our own work. `None` for what was not asked for: it stays in the queue.
pub fn settlement(
    task: &Task,
    effect: Effect,
    resumed: bool,
    now: Timestamp,
    dice: &Dice,
) -> Option<Settlement> {
    let (outcome, rows, failure) = match effect {
        Effect::Removed { rows } => (Outcome::Deleted, rows, None),
        Effect::Deactivated => (Outcome::Deactivated, 0, None),
        Effect::Absent if task.action == Action::Delete && (resumed || task.removed) => {
            (Outcome::AlreadyDeleted, 0, None)
        }
        Effect::Absent => (Outcome::NotFound, 0, None),
        Effect::Newer => (Outcome::Superseded, 0, None),
        Effect::Gone => (Outcome::AlreadyDeleted, 0, None),
        Effect::Failed(failed) => (Outcome::Failed, 0, Some(failure(task, failed, now, dice))),
        Effect::Unfit(message) => {
            let retry_at = Some(now.plus(UNFIT.wait(task.attempts + 1, dice)));
            // What an interrupted batch took is absent when the table fits again.
            let in_doubt = resumed;
            (Outcome::Failed, 0, Some(Failure { code: "schema".to_owned(), message, retry_at, in_doubt }))
        }
        Effect::Unproven(unproven) => (Outcome::Failed, 0, Some(in_doubt(unproven))),
        Effect::Waits(wait) if resumed => {
            // Back in the queue it would be a new one, and what the crash hid would be told as never there.
            let again = wait.until.unwrap_or_else(|| now.plus(RECORD.wait(task.attempts + 1, dice)));
            let unproven = Unproven { code: "interrupted", message: wait.reason, again: Some(again) };
            (Outcome::Failed, 0, Some(in_doubt(unproven)))
        }
        Effect::Waits(_) => return None,
    };
    let (entity, key) = (task.entity.clone(), task.key.clone());
    Some(Settlement { fact: task.fact, entity, key, outcome, rows, failure })
}

/// It is asked for again however often that was: each time the target, not the record, was at fault.
fn in_doubt(unproven: Unproven) -> Failure {
    let Unproven { code, message, again } = unproven;
    Failure { code: code.to_owned(), message, retry_at: again, in_doubt: true }
}

fn failure(task: &Task, failed: RecordFailure, now: Timestamp, dice: &Dice) -> Failure {
    let RecordFailure { code, message, retry } = failed;
    let tries = task.attempts + 1;
    let again = retry && tries < ATTEMPTS_MAX;
    let retry_at = again.then(|| now.plus(RECORD.wait(tries, dice)));
    Failure { code: code.to_owned(), message, retry_at, in_doubt: false }
}

/// Counts what was settled. `results` are in the order of `tasks`, and not all of these have one.
pub fn measure(metrics: &Metrics, target: &str, tasks: &[Task], results: &[Settlement], now: Timestamp) {
    let mut sums: BTreeMap<(&Entity, Outcome), (u64, u64)> = BTreeMap::new();
    for result in results {
        let (records, rows) = sums.entry((&result.entity, result.outcome)).or_default();
        *records += 1;
        *rows += result.rows;
    }
    for ((entity, outcome), (records, rows)) in sums {
        metrics.settled(target, entity, outcome, records);
        metrics.rows_removed(target, entity, rows);
    }
    let gone: BTreeSet<Fact> =
        results.iter().filter(|result| result.outcome.is_gone()).map(|result| result.fact).collect();
    let gone = tasks.iter().filter(|task| gone.contains(&task.fact));
    let since = |task: &Task| (task.upstream_time.then(|| now.since(task.at)), now.since(task.heard_at));
    metrics.gone(target, gone.map(since));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::Key;
    use crate::targets::Wait;

    fn task(attempts: u32, removed: bool) -> Task {
        Task {
            fact: Fact(1, 1),
            entity: Entity::new("listing"),
            key: Key::new(vec!["1".into()]).unwrap(),
            action: Action::Delete,
            at: Timestamp::from_seconds(0),
            upstream_time: true,
            heard_at: Timestamp::from_seconds(0),
            attempts,
            removed,
        }
    }

    fn told(task: &Task, effect: Effect, resumed: bool) -> Settlement {
        let dice: Dice = Arc::new(|| 1.0);
        settlement(task, effect, resumed, Timestamp::from_seconds(100), &dice).unwrap()
    }

    fn failed(retry: bool) -> Effect {
        Effect::Failed(RecordFailure { code: "foreign_key", message: "still referenced".into(), retry })
    }

    #[test]
    fn i8_absent_is_our_own_work_only_where_it_may_be() {
        assert_eq!(told(&task(0, false), Effect::Absent, false).outcome, Outcome::NotFound);
        assert_eq!(told(&task(0, false), Effect::Absent, true).outcome, Outcome::AlreadyDeleted);
        assert_eq!(told(&task(0, true), Effect::Absent, false).outcome, Outcome::AlreadyDeleted);
    }

    #[test]
    fn i8_what_was_not_asked_for_stays_in_the_queue_unless_a_crash_may_hide_that_it_was() {
        let dice: Dice = Arc::new(|| 1.0);
        let now = Timestamp::from_seconds(100);
        let waits = |until| Effect::Waits(Wait { until, reason: "no requests left today".into() });
        assert_eq!(settlement(&task(0, false), waits(None), false, now, &dice), None);
        let later = Timestamp::from_seconds(500);
        for (until, again) in [(Some(later), later), (None, Timestamp::from_seconds(102))] {
            let told = told(&task(0, false), waits(until), true);
            let failure = told.failure.unwrap();
            assert_eq!(
                (told.outcome, failure.retry_at, failure.in_doubt),
                (Outcome::Failed, Some(again), true)
            );
        }
    }

    #[test]
    fn i7_what_is_not_proven_is_asked_for_again_without_end_or_parked() {
        let unproven = |again| Effect::Unproven(Unproven { code: "accepted", message: String::new(), again });
        let again = Some(Timestamp::from_seconds(130));
        let often = told(&task(ATTEMPTS_MAX + 5, false), unproven(again), false).failure.unwrap();
        assert_eq!((often.retry_at, often.in_doubt), (again, true));
        assert_eq!(told(&task(0, false), unproven(None), false).failure.unwrap().retry_at, None);
        assert_eq!(told(&task(0, false), Effect::Gone, false).outcome, Outcome::AlreadyDeleted);
    }

    #[test]
    fn a_record_is_tried_until_the_last_attempt_and_then_parked_with_its_reason() {
        let next_to_last = told(&task(ATTEMPTS_MAX - 2, false), failed(true), false).failure.unwrap();
        assert_eq!(next_to_last.retry_at, Some(Timestamp::from_seconds(1_000)));
        let last = told(&task(ATTEMPTS_MAX - 1, false), failed(true), false).failure.unwrap();
        assert_eq!((last.retry_at, last.code.as_str()), (None, "foreign_key"));
        assert_eq!(told(&task(0, false), failed(false), false).failure.unwrap().retry_at, None);
    }

    #[test]
    fn i6_a_record_whose_table_does_not_fit_waits_without_end() {
        for (attempts, wait) in [(0, 60), (3, 480), (ATTEMPTS_MAX * 9, 3_600)] {
            let told = told(&task(attempts, false), Effect::Unfit("no table".into()), false);
            let failure = told.failure.unwrap();
            assert_eq!(failure.retry_at, Some(Timestamp::from_seconds(100 + wait)));
            assert_eq!((failure.code.as_str(), failure.message.as_str()), ("schema", "no table"));
        }
    }

    #[test]
    fn i8_what_an_interrupted_batch_may_have_taken_stays_in_doubt_while_its_table_does_not_fit() {
        for resumed in [true, false] {
            let told = told(&task(0, false), Effect::Unfit("no table".into()), resumed);
            assert_eq!(told.failure.unwrap().in_doubt, resumed);
        }
    }
}
