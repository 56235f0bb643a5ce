//! From a batch to what came of it: the statements that settle many tasks at once.
//!
//! Lists of facts of one entity go in as one JSON object `{"key": cause}`. A settlement whose fact was overtaken while
//! the target was at work ends nothing; what went there, or may have, is the record's all the same.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::decide::whole;
use super::rows::json;
use super::script::Script;
use crate::domain::{
    Entity, Outcome, Seq, Timestamp,
    event::{Failure, Settled, Settlement, Started},
};
use crate::store::StoreError;

const BATCH: &str =
    "INSERT INTO batches (number, target, members, holder, leased_until) VALUES (?, ?, ?, ?, ?)";
const UNBATCH: &str = "DELETE FROM batches WHERE number = ?";
const END: &str = "INSERT INTO outcomes (tombstone, target, cause, outcome, settled, attempts, removed, code, message)
    SELECT q.tombstone, q.target, q.cause, w.outcome, w.settled, q.attempts, q.removed OR w.gone,
      iif(w.outcome = 'failed', q.code, NULL), iif(w.outcome = 'failed', q.message, NULL)
    FROM (SELECT ? AS target, ? AS entity, ? AS outcome, ? AS settled, ? AS gone) AS w CROSS JOIN json_each(?) AS f
      CROSS JOIN queue AS q ON q.target = w.target AND q.entity = w.entity AND q.key = f.key
    WHERE q.cause = f.value";
const UNQUEUE: &str =
    "DELETE FROM queue WHERE target = ? AND entity = ? AND key IN (SELECT key FROM json_each(?))";
const ENDED: &str = "AND EXISTS (SELECT 1 FROM outcomes AS o
    WHERE o.tombstone = queue.tombstone AND o.target = queue.target)";
// The lists of what is updated are materialised, so that their few facts lead to their rows: otherwise each row is
// compared with each fact, which is minutes for ten thousand.
const CORRECT: &str = "WITH f (target, outcome, settled, tombstone, cause) AS MATERIALIZED
      (SELECT w.target, w.outcome, w.settled, t.id, f.value
      FROM (SELECT ? AS target, ? AS entity, ? AS outcome, ? AS settled) AS w CROSS JOIN json_each(?) AS f
        CROSS JOIN tombstones AS t ON t.entity = w.entity AND t.key = f.key)
    UPDATE outcomes SET outcome = f.outcome, settled = f.settled, code = NULL, message = NULL FROM f
    WHERE outcomes.tombstone = f.tombstone AND outcomes.target = f.target AND outcomes.cause = f.cause";
const TOOK_FROM_WAITING: &str = "UPDATE queue SET removed = 1
    WHERE target = ? AND entity = ? AND key IN (SELECT key FROM json_each(?)) AND NOT removed";
const TOOK_FROM_SETTLED: &str = "WITH f (target, tombstone) AS MATERIALIZED
      (SELECT w.target, t.id FROM (SELECT ? AS target, ? AS entity) AS w CROSS JOIN json_each(?) AS f
        CROSS JOIN tombstones AS t ON t.entity = w.entity AND t.key = f.key)
    UPDATE outcomes SET removed = 1 FROM f
    WHERE outcomes.tombstone = f.tombstone AND outcomes.target = f.target AND NOT outcomes.removed";
const WENT: &str = "INSERT INTO removed (seq, target, entity, at, rows) VALUES (?, ?, ?, ?, ?)";
const FAIL: &str = "WITH f (target, entity, key, cause, due_at, code, message) AS MATERIALIZED
      (SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?))
    UPDATE queue SET attempts = attempts + 1, due_at = f.due_at, code = f.code, message = f.message, settled = ?
    FROM f WHERE queue.target = f.target AND queue.entity = f.entity AND queue.key = f.key AND queue.cause = f.cause";

/// Settlements of one batch that are alike: the causes by key.
type Alike<'a, W> = BTreeMap<(&'a Entity, W), BTreeMap<String, Seq>>;

pub fn batch_started(script: &mut Script, seq: Seq, started: &Started) -> Result<(), StoreError> {
    script.push(BATCH).bind(seq).bind(started.target.as_str()).bind(json(&started.members)?);
    script.bind(started.holder.as_str()).bind(started.leased_until.micros());
    Ok(())
}

pub async fn settled(
    connection: &mut SqliteConnection,
    script: &mut Script,
    (seq, at): (Seq, Timestamp),
    settled: &Settled,
) -> Result<(), StoreError> {
    went(script, seq, at, settled);
    let failed: Vec<_> = settled.results.iter().filter_map(failure).collect();
    if !failed.is_empty() {
        script.push(FAIL).bind(settled.target.as_str()).bind(json(&failed)?).bind(seq);
    }
    let (mut ended, mut in_doubt) = (Alike::<Outcome>::new(), Alike::<()>::new());
    for result in &settled.results {
        let (key, cause) = (result.key.canonical(), result.fact.1);
        if result.failure.as_ref().is_some_and(|failure| failure.in_doubt) {
            in_doubt.entry((&result.entity, ())).or_default().insert(key.clone(), cause);
        }
        // What is tried again stays where it is.
        if result.failure.as_ref().is_none_or(|failure| failure.retry_at.is_none()) {
            ended.entry((&result.entity, result.outcome)).or_default().insert(key, cause);
        }
    }
    for ((entity, outcome), causes) in ended {
        end(connection, script, (seq, settled.target.as_str(), entity, outcome), &causes).await?;
    }
    for ((entity, ()), causes) in in_doubt {
        took(script, (settled.target.as_str(), entity), &json(&causes)?);
    }
    script.push(UNBATCH).bind(settled.batch);
    Ok(())
}

/// From the queue to what came of it.
async fn end(
    connection: &mut SqliteConnection,
    script: &mut Script,
    (seq, target, entity, outcome): (Seq, &str, &Entity, Outcome),
    causes: &BTreeMap<String, Seq>,
) -> Result<(), StoreError> {
    let keys = json(causes)?;
    let gone = matches!(outcome, Outcome::Deleted | Outcome::AlreadyDeleted);
    script.run(connection).await?;
    script.push(END).bind(target).bind(entity.as_str()).bind(outcome.as_str()).bind(seq).bind(gone);
    let ended = script.bind(keys.as_str()).run(connection).await?;
    if ended == causes.len() as u64 {
        script.push(UNQUEUE).bind(target).bind(entity.as_str()).bind(keys);
        return Ok(());
    }
    // Some were overtaken.
    script.push(&format!("{UNQUEUE} {ENDED}")).bind(target).bind(entity.as_str()).bind(keys.as_str());
    if outcome != Outcome::Failed {
        // Superseded on the way: the target's word is the last.
        script.push(CORRECT).bind(target).bind(entity.as_str()).bind(outcome.as_str()).bind(seq);
        script.bind(keys.as_str());
    }
    if gone {
        took(script, (target, entity), &keys);
    }
    Ok(())
}

/// What went, or may have, belongs to the record: a later fact that waits by now finds it gone by our own work.
fn took(script: &mut Script, (target, entity): (&str, &Entity), keys: &str) {
    for statement in [TOOK_FROM_WAITING, TOOK_FROM_SETTLED] {
        script.push(statement).bind(target).bind(entity.as_str()).bind(keys);
    }
}

/// What the statement on failures takes of one. A fact that waits no more, as of a record that was listed again
/// meanwhile, does not come back to the queue by it.
fn failure(result: &Settlement) -> Option<(&str, String, Seq, i64, &str, &str)> {
    let Failure { code, message, retry_at, in_doubt: _ } = result.failure.as_ref()?;
    let due_at = retry_at.map_or(0, Timestamp::micros);
    let (entity, key) = (result.entity.as_str(), result.key.canonical());
    Some((entity, key, result.fact.1, due_at, code.as_str(), message.as_str()))
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
        let careful = format!("{UNQUEUE} {ENDED}");
        for statement in [END, UNQUEUE, &careful, CORRECT, TOOK_FROM_WAITING, TOOK_FROM_SETTLED, FAIL] {
            plans::leads_to_its_rows(statement).await;
        }
    }
}
