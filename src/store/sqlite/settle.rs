//! From a batch to what came of it: the statements that settle many tasks at once.
//!
//! Lists of facts are as in [`decide`](super::decide). A settlement whose fact was overtaken while the target was
//! at work ends nothing; what went there, or may have, is the record's all the same.

use std::collections::BTreeMap;

use super::decide::{object, whole};
use super::rows::json;
use super::script::Script;
use crate::domain::{
    Entity, Outcome, Seq, Timestamp, TombstoneId,
    event::{Fact, Failure, Settled, Settlement, Started},
};
use crate::store::StoreError;

const BATCH: &str =
    "INSERT INTO batches (number, target, members, holder, leased_until) VALUES (?, ?, ?, ?, ?)";
const UNBATCH: &str = "DELETE FROM batches WHERE number = ?";
// The lists of what is updated are materialised, so that their few facts lead to their rows: otherwise each row is
// compared with each fact, which is minutes for ten thousand.
/// Settled before, as one that was superseded on the way: the target's word is the last.
const CORRECT: &str = "WITH f (target, outcome, settled, tombstone, cause) AS MATERIALIZED
      (SELECT ?, ?, ?, CAST(key AS INTEGER), value FROM json_each(?))
    UPDATE outcomes SET outcome = f.outcome, settled = f.settled, code = NULL, message = NULL FROM f
    WHERE outcomes.tombstone = f.tombstone AND outcomes.target = f.target AND outcomes.cause = f.cause";
const END: &str = "INSERT INTO outcomes (tombstone, target, cause, outcome, settled, attempts, removed, code, message)
    SELECT q.tombstone, q.target, q.cause, told.outcome, told.settled, q.attempts, q.removed OR told.gone,
      iif(told.outcome = 'failed', q.code, NULL), iif(told.outcome = 'failed', q.message, NULL)
    FROM (SELECT ? AS target, ? AS outcome, ? AS settled, ? AS gone) AS told CROSS JOIN json_each(?) AS f
      CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER)
      CROSS JOIN queue AS q ON q.target = told.target AND q.entity = t.entity AND q.key = t.key
    WHERE q.cause = f.value";
const UNQUEUE: &str = "DELETE FROM queue WHERE (target, entity, key, cause) IN
    (SELECT told.target, t.entity, t.key, f.value FROM (SELECT ? AS target) AS told CROSS JOIN json_each(?) AS f
      CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER))";
const TOOK_FROM_WAITING: &str = "WITH f (target, entity, key) AS MATERIALIZED
      (SELECT ?, t.entity, t.key FROM json_each(?) AS f CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER))
    UPDATE queue SET removed = 1 FROM f
    WHERE queue.target = f.target AND queue.entity = f.entity AND queue.key = f.key AND NOT queue.removed";
const TOOK_FROM_SETTLED: &str = "WITH f (target, tombstone) AS MATERIALIZED
      (SELECT ?, CAST(key AS INTEGER) FROM json_each(?))
    UPDATE outcomes SET removed = 1 FROM f
    WHERE outcomes.tombstone = f.tombstone AND outcomes.target = f.target AND NOT outcomes.removed";
const WENT: &str = "INSERT INTO removed (seq, target, entity, at, rows) VALUES (?, ?, ?, ?, ?)";
const FAIL: &str = "WITH f (target, entity, key, cause, due_at, code, message) AS MATERIALIZED
      (SELECT ?, t.entity, t.key, f.value ->> 1, f.value ->> 2, f.value ->> 3, f.value ->> 4
      FROM json_each(?) AS f CROSS JOIN tombstones AS t ON t.id = f.value ->> 0)
    UPDATE queue SET attempts = attempts + 1, due_at = f.due_at, code = f.code, message = f.message, settled = ?
    FROM f WHERE queue.target = f.target AND queue.entity = f.entity AND queue.key = f.key AND queue.cause = f.cause";

pub fn batch_started(script: &mut Script, seq: Seq, started: &Started) -> Result<(), StoreError> {
    script.push(BATCH).bind(seq).bind(started.target.as_str()).bind(json(&started.members)?);
    script.bind(started.holder.as_str()).bind(started.leased_until.micros());
    Ok(())
}

pub fn settled(script: &mut Script, seq: Seq, at: Timestamp, settled: &Settled) -> Result<(), StoreError> {
    went(script, seq, at, settled);
    fail(script, seq, settled)?;
    let mut ended: BTreeMap<Outcome, Vec<Fact>> = BTreeMap::new();
    for result in settled.results.iter().filter(|result| result.failure.is_none()) {
        ended.entry(result.outcome).or_default().push(result.fact);
    }
    for (outcome, facts) in ended {
        let facts = object(&facts)?;
        let gone = matches!(outcome, Outcome::Deleted | Outcome::AlreadyDeleted);
        script.push(CORRECT).bind(settled.target.as_str()).bind(outcome.as_str()).bind(seq).bind(facts.as_str());
        end(script, seq, settled, (outcome, gone), &facts);
        if gone {
            took(script, settled, &facts);
        }
    }
    script.push(UNBATCH).bind(settled.batch);
    Ok(())
}

/// From the queue to what came of it.
fn end(script: &mut Script, seq: Seq, settled: &Settled, (outcome, gone): (Outcome, bool), facts: &str) {
    let target = settled.target.as_str();
    script.push(END).bind(target).bind(outcome.as_str()).bind(seq).bind(gone).bind(facts);
    script.push(UNQUEUE).bind(target).bind(facts);
}

/// What went belongs to the record: a later fact that waits by now finds it gone by our own work.
fn took(script: &mut Script, settled: &Settled, facts: &str) {
    for statement in [TOOK_FROM_WAITING, TOOK_FROM_SETTLED] {
        script.push(statement).bind(settled.target.as_str()).bind(facts);
    }
}

/// Notes failures, and parks those that are not tried again. A fact that waits no more, as of a record that was
/// listed again meanwhile, does not come back to the queue.
fn fail(script: &mut Script, seq: Seq, settled: &Settled) -> Result<(), StoreError> {
    let failed: Vec<_> = settled.results.iter().filter_map(failure).collect();
    if failed.is_empty() {
        return Ok(());
    }
    script.push(FAIL).bind(settled.target.as_str()).bind(json(&failed)?).bind(seq);
    let facts = |which: fn(&Failure) -> bool| {
        let of = settled.results.iter().filter(|it| it.failure.as_ref().is_some_and(which));
        of.map(|it| it.fact).collect::<Vec<Fact>>()
    };
    let parked = facts(|failure| failure.retry_at.is_none());
    if !parked.is_empty() {
        end(script, seq, settled, (Outcome::Failed, false), &object(&parked)?);
    }
    let in_doubt = facts(|failure| failure.in_doubt);
    if !in_doubt.is_empty() {
        took(script, settled, &object(&in_doubt)?);
    }
    Ok(())
}

/// What the statement on failures takes of one.
fn failure(result: &Settlement) -> Option<(TombstoneId, Seq, i64, &str, &str)> {
    let Failure { code, message, retry_at, in_doubt: _ } = result.failure.as_ref()?;
    let due_at = retry_at.map_or(0, Timestamp::micros);
    Some((result.fact.0, result.fact.1, due_at, code.as_str(), message.as_str()))
}

/// Notes the rows that went, by entity, for the brake's window.
fn went(script: &mut Script, seq: Seq, at: Timestamp, settled: &Settled) {
    let mut rows: BTreeMap<&Entity, u64> = BTreeMap::new();
    for result in settled.results.iter().filter(|result| result.rows > 0) {
        let sum = rows.entry(&result.entity).or_default();
        *sum = sum.saturating_add(result.rows);
    }
    for (entity, rows) in rows {
        script.push(WENT).bind(seq).bind(settled.target.as_str()).bind(entity.as_str());
        script.bind(at.micros()).bind(whole(rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::plans;

    #[tokio::test]
    async fn a_long_queue_is_not_gone_through_for_each_batch() {
        for statement in [CORRECT, END, UNQUEUE, TOOK_FROM_WAITING, TOOK_FROM_SETTLED, FAIL] {
            plans::leads_to_its_rows(statement).await;
        }
    }
}
