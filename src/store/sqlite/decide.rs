//! From a decision to tasks, from a batch to outcomes: the statements that move many rows at once.
//!
//! Lists of facts go in as one JSON object `{"tombstone": cause}`: `json_each` gives both without parsing each
//! element again. A fact whose cause is no longer the tombstone's was overtaken, and is passed over.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::rows::json;
use super::script::Script;
use crate::domain::{
    Entity, Outcome, Seq, Timestamp, TombstoneId,
    event::{Decided, Fact, Failure, HeldSet, Resolved, Settled, Settlement, Started, Topology},
};
use crate::store::StoreError;

const SUPERSEDE: &str =
    "UPDATE tasks SET state = 'done', outcome = 'superseded', code = NULL, message = NULL,
    settled = ? WHERE tombstone IN (SELECT value FROM json_each(?)) AND target IN
    (SELECT key FROM json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets'))
    AND state <> 'done'";
const TASKS: &str = "INSERT INTO tasks (target, tombstone, entity, key, action, at, upstream_time, cause, heard_at, state)
    SELECT ?, t.id, t.entity, t.key, t.action, t.at, t.upstream_time, t.cause, t.heard_at, 'due'
    FROM json_each(?) AS f CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER)
    WHERE t.cause = f.value AND t.decision IN ('awaited', 'held')
      AND (t.action = 'delete' AND t.entity IN (SELECT value FROM json_each(?))
        OR t.action = 'deactivate' AND t.entity IN (SELECT value FROM json_each(?)))
    ON CONFLICT (target, tombstone) DO UPDATE SET action = excluded.action, at = excluded.at,
      upstream_time = excluded.upstream_time, cause = excluded.cause, heard_at = excluded.heard_at, state = 'due', attempts = 0, due_at = 0,
      outcome = NULL, code = NULL, message = NULL, settled = NULL";
const DECIDE: &str = "UPDATE tombstones SET decision = ?, decided = ?, hold = ?
    FROM json_each(?) AS f
    WHERE tombstones.id = CAST(f.key AS INTEGER) AND cause = f.value AND decision IN ('awaited', 'held')";
const SPEND: &str = "INSERT INTO spent (seq, entity, at, rows) VALUES (?, ?, ?, ?)";
const HOLD: &str = "INSERT INTO holds (id, entity, opened_at, rows, allowed, gone, state)
    VALUES (?, ?, ?, ?, ?, ?, 'open')
    ON CONFLICT (id) DO UPDATE SET rows = rows + excluded.rows";
const BATCH: &str =
    "INSERT INTO batches (number, target, members, holder, leased_until) VALUES (?, ?, ?, ?, ?)";
const UNBATCH: &str = "DELETE FROM batches WHERE number = ?";
// Materialised, so that the few facts lead to their tasks: otherwise each task of the target is compared with
// each fact, which is minutes for ten thousand.
const SETTLE: &str = "WITH f (target, tombstone, cause) AS MATERIALIZED
      (SELECT ?, CAST(key AS INTEGER), value FROM json_each(?))
    UPDATE tasks SET state = 'done', outcome = ?, code = NULL, message = NULL, settled = ?
    FROM f WHERE tasks.target = f.target AND tasks.tombstone = f.tombstone AND tasks.cause = f.cause";
/// What went belongs to the record: a later fact that has opened the task again finds it gone by our own work.
const SETTLE_GONE: &str = "WITH f (target, tombstone, cause) AS MATERIALIZED
      (SELECT ?, CAST(key AS INTEGER), value FROM json_each(?))
    UPDATE tasks SET removed = 1,
      state = iif(tasks.cause = f.cause, 'done', state),
      outcome = iif(tasks.cause = f.cause, ?, outcome),
      code = iif(tasks.cause = f.cause, NULL, code),
      message = iif(tasks.cause = f.cause, NULL, message),
      settled = iif(tasks.cause = f.cause, ?, settled)
    FROM f WHERE tasks.target = f.target AND tasks.tombstone = f.tombstone";
const WENT: &str = "INSERT INTO removed (seq, target, entity, at, rows) VALUES (?, ?, ?, ?, ?)";
const FAIL: &str = "WITH f (target, tombstone, cause, state, due_at, code, message, in_doubt) AS MATERIALIZED
      (SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
      value ->> 6 FROM json_each(?))
    UPDATE tasks SET state = f.state, outcome = 'failed', attempts = attempts + 1, due_at = f.due_at,
      code = f.code, message = f.message, settled = ?,
      removed = removed OR f.in_doubt
    FROM f WHERE tasks.target = f.target AND tasks.tombstone = f.tombstone AND tasks.cause = f.cause";
const RESOLVE: &str = "UPDATE holds SET state = ?, actor = ?, reason = ?, resolved = ?
    WHERE id = ? AND NOT EXISTS (SELECT 1 FROM tombstones WHERE hold = holds.id AND decision = 'held')";
const MEMBERS: &str = "SELECT json_group_object(id, cause) FROM tombstones WHERE hold = ? AND decision = 'held' AND decided <= ?";

/// Facts as `{"tombstone": cause}`.
fn object(facts: &[Fact]) -> Result<String, StoreError> {
    json(&facts.iter().map(|Fact(id, cause)| (id, cause)).collect::<BTreeMap<_, _>>())
}

pub fn supersede(script: &mut Script, records: &[TombstoneId], seq: Seq) -> Result<(), StoreError> {
    script.push(SUPERSEDE).bind(seq).bind(json(records)?);
    Ok(())
}

pub fn decided(
    script: &mut Script,
    seq: Seq,
    at: Timestamp,
    decided: &Decided,
    topology: &Topology,
) -> Result<(), StoreError> {
    release(script, seq, &object(&decided.released)?, topology)?;
    for (entity, rows) in &decided.spent {
        script.push(SPEND).bind(seq).bind(entity.as_str()).bind(at.micros()).bind(whole(*rows));
    }
    for set in &decided.held {
        hold(script, seq, at, set)?;
    }
    Ok(())
}

/// A count as SQLite keeps it.
pub fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Tasks at every target that holds the entity; then the tombstones are released.
fn release(script: &mut Script, seq: Seq, facts: &str, topology: &Topology) -> Result<(), StoreError> {
    for (target, entities) in &topology.targets {
        let all: Vec<&Entity> = entities.keys().collect();
        let deactivating: Vec<&Entity> =
            entities.iter().filter(|(_, deactivates)| **deactivates).map(|(entity, _)| entity).collect();
        script.push(TASKS).bind(target.as_str()).bind(facts).bind(json(&all)?).bind(json(&deactivating)?);
    }
    decide(script, facts, "released", seq, None);
    Ok(())
}

fn decide(script: &mut Script, facts: &str, decision: &'static str, seq: Seq, hold: Option<Seq>) {
    script.push(DECIDE).bind(decision).bind(seq).bind(hold).bind(facts);
}

fn hold(script: &mut Script, seq: Seq, at: Timestamp, set: &HeldSet) -> Result<(), StoreError> {
    let id = set.hold.unwrap_or(seq);
    script.push(HOLD).bind(id).bind(set.entity.as_str()).bind(at.micros());
    script.bind(whole(set.rows)).bind(whole(set.allowed)).bind(whole(set.gone));
    decide(script, &object(&set.facts)?, "held", seq, Some(id));
    Ok(())
}

pub fn batch_started(script: &mut Script, seq: Seq, started: &Started) -> Result<(), StoreError> {
    script.push(BATCH).bind(seq).bind(started.target.as_str()).bind(json(&started.members)?);
    script.bind(started.holder.as_str()).bind(started.leased_until.micros());
    Ok(())
}

pub fn settled(script: &mut Script, seq: Seq, at: Timestamp, settled: &Settled) -> Result<(), StoreError> {
    went(script, seq, at, settled);
    let failed: Vec<_> = settled.results.iter().filter_map(failure).collect();
    if !failed.is_empty() {
        script.push(FAIL).bind(settled.target.as_str()).bind(json(&failed)?).bind(seq);
    }
    let mut ended: BTreeMap<Outcome, Vec<Fact>> = BTreeMap::new();
    for result in settled.results.iter().filter(|result| result.failure.is_none()) {
        ended.entry(result.outcome).or_default().push(result.fact);
    }
    for (outcome, facts) in ended {
        let gone = matches!(outcome, Outcome::Deleted | Outcome::AlreadyDeleted);
        script.push(if gone { SETTLE_GONE } else { SETTLE });
        script.bind(settled.target.as_str()).bind(object(&facts)?).bind(outcome.as_str()).bind(seq);
    }
    script.push(UNBATCH).bind(settled.batch);
    Ok(())
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

/// What the statement on failures takes of one.
fn failure(result: &Settlement) -> Option<(TombstoneId, Seq, &str, i64, &str, &str, bool)> {
    let Failure { code, message, retry_at, in_doubt } = result.failure.as_ref()?;
    let state = if retry_at.is_some() { "due" } else { "parked" };
    let due_at = retry_at.map_or(0, Timestamp::micros);
    Some((result.fact.0, result.fact.1, state, due_at, code.as_str(), message.as_str(), *in_doubt))
}

/// The facts of a hold that a person's word is about.
pub async fn members(connection: &mut SqliteConnection, resolved: &Resolved) -> Result<String, StoreError> {
    let query = sqlx::query_scalar(MEMBERS).bind(resolved.hold).bind(resolved.through);
    Ok(query.fetch_one(connection).await?)
}

pub fn resolved(
    script: &mut Script,
    seq: Seq,
    resolved: &Resolved,
    members: &str,
    topology: &Topology,
) -> Result<(), StoreError> {
    let state = if resolved.approve {
        release(script, seq, members, topology)?;
        "approved"
    } else {
        decide(script, members, "rejected", seq, Some(resolved.hold));
        "rejected"
    };
    script.push(RESOLVE).bind(state).bind(resolved.actor.as_str()).bind(resolved.reason.as_deref());
    script.bind(seq).bind(resolved.hold);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::plans::plan;

    #[tokio::test]
    async fn a_long_queue_is_not_gone_through_for_each_batch() {
        for statement in [SETTLE, SETTLE_GONE, DECIDE, TASKS, FAIL] {
            let steps = plan(statement).await;
            let by_target = |step: &String| step.contains("PRIMARY KEY (target=?)");
            assert!(!steps.iter().any(by_target), "{statement}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN t")), "{statement}: {steps:?}");
        }
    }
}
