//! From what a target did to what is told of it.

use std::time::Duration;

use crate::backoff::{Backoff, Dice};
use crate::domain::{
    Action, Outcome, Timestamp,
    event::{Failure, Settlement},
};
use crate::store::Task;
use crate::targets::{Effect, RecordFailure};

/// Tries of one record before it is parked: with the waits below, a little over an hour, which outlasts a lock,
/// a race with an importer and a deployment.
pub const ATTEMPTS_MAX: u32 = 12;
/// Waits between tries of one record.
const RECORD: Backoff = Backoff { first: Duration::from_secs(2), cap: Duration::from_mins(15) };
/// Waits while an entity's table does not fit: a migration is mended within the hour or on Monday, and each look
/// at a long queue costs the journal an entry a record.
const UNFIT: Backoff = Backoff { first: Duration::from_mins(1), cap: Duration::from_hours(1) };

/// What became of `task`. `resumed` says that the target may have applied the batch before: what is absent
/// then is gone by our own work.
pub fn settlement(task: &Task, effect: Effect, resumed: bool, now: Timestamp, dice: &Dice) -> Settlement {
    let (outcome, rows, failure) = match effect {
        Effect::Removed { rows } => (Outcome::Deleted, rows, None),
        Effect::Deactivated => (Outcome::Deactivated, 0, None),
        Effect::Absent if task.action == Action::Delete && (resumed || task.removed) => {
            (Outcome::AlreadyDeleted, 0, None)
        }
        Effect::Absent => (Outcome::NotFound, 0, None),
        Effect::Newer => (Outcome::Superseded, 0, None),
        Effect::Failed(failed) => (Outcome::Failed, 0, Some(failure(task, failed, now, dice))),
        Effect::Waits(message) => {
            let retry_at = Some(now.plus(UNFIT.wait(task.attempts + 1, dice)));
            (Outcome::Failed, 0, Some(Failure { code: "schema".to_owned(), message, retry_at }))
        }
    };
    Settlement { fact: task.fact, entity: task.entity.clone(), key: task.key.clone(), outcome, rows, failure }
}

fn failure(task: &Task, failed: RecordFailure, now: Timestamp, dice: &Dice) -> Failure {
    let RecordFailure { code, message, retry } = failed;
    let tries = task.attempts + 1;
    let again = retry && tries < ATTEMPTS_MAX;
    let retry_at = again.then(|| now.plus(RECORD.wait(tries, dice)));
    Failure { code: code.to_owned(), message, retry_at }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Entity, Key, event::Fact};

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
        settlement(task, effect, resumed, Timestamp::from_seconds(100), &dice)
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
            let told = told(&task(attempts, false), Effect::Waits("no table".into()), false);
            let failure = told.failure.unwrap();
            assert_eq!(failure.retry_at, Some(Timestamp::from_seconds(100 + wait)));
            assert_eq!((failure.code.as_str(), failure.message.as_str()), ("schema", "no table"));
        }
    }
}
