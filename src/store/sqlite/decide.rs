//! From a decision to tasks, from a batch to outcomes: the statements that move many rows at once.
//!
//! Lists of facts go in as one JSON object `{"tombstone": cause}`: `json_each` gives both without parsing each
//! element again. A fact whose cause is no longer the tombstone's was overtaken, and is passed over.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::rows::json;
use crate::domain::{
    Entity, Outcome, Seq, Timestamp, TombstoneId,
    event::{Decided, Fact, HeldSet, Resolved, Settled, Settlement, Started, Topology},
};
use crate::store::StoreError;

const SUPERSEDE: &str =
    "UPDATE tasks SET state = 'done', outcome = 'superseded', code = NULL, message = NULL,
    settled = ?2 WHERE tombstone IN (SELECT value FROM json_each(?1)) AND target IN
    (SELECT key FROM json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets'))
    AND state <> 'done'";
const TASKS: &str = "INSERT INTO tasks (target, tombstone, entity, key, action, at, cause, heard_at, state)
    SELECT ?1, t.id, t.entity, t.key, t.action, t.at, t.cause, t.heard_at, 'due'
    FROM json_each(?2) AS f CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER)
    WHERE t.cause = f.value AND t.decision IN ('awaited', 'held')
      AND (t.action = 'delete' AND t.entity IN (SELECT value FROM json_each(?3))
        OR t.action = 'deactivate' AND t.entity IN (SELECT value FROM json_each(?4)))
    ON CONFLICT (target, tombstone) DO UPDATE SET action = excluded.action, at = excluded.at,
      cause = excluded.cause, heard_at = excluded.heard_at, state = 'due', attempts = 0, due_at = 0,
      outcome = NULL, code = NULL, message = NULL, settled = NULL";
const DECIDE: &str = "UPDATE tombstones SET decision = ?2, decided = ?3, hold = ?4
    FROM json_each(?1) AS f
    WHERE tombstones.id = CAST(f.key AS INTEGER) AND cause = f.value AND decision IN ('awaited', 'held')";
const SPEND: &str = "INSERT INTO spent (seq, entity, at, rows) VALUES (?, ?, ?, ?)";
const HOLD: &str = "INSERT INTO holds (id, entity, opened_at, rows, allowed, gone, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open')
    ON CONFLICT (id) DO UPDATE SET rows = rows + excluded.rows";
const BATCH: &str =
    "INSERT INTO batches (number, target, members, holder, leased_until) VALUES (?, ?, ?, ?, ?)";
const UNBATCH: &str = "DELETE FROM batches WHERE number = ?";
// Materialised, so that the few facts lead to their tasks: otherwise each task of the target is compared with
// each fact, which is minutes for ten thousand.
const SETTLE: &str = "WITH f (target, tombstone, cause) AS MATERIALIZED
      (SELECT ?1, CAST(key AS INTEGER), value FROM json_each(?2))
    UPDATE tasks SET state = 'done', outcome = ?3, code = NULL, message = NULL, settled = ?4,
      removed = removed OR ?3 IN ('deleted', 'already_deleted')
    FROM f WHERE tasks.target = f.target AND tasks.tombstone = f.tombstone AND tasks.cause = f.cause";
/// What went belongs to the record: a later fact that has opened the task again finds it gone by our own work.
const REMOVED: &str = "WITH f (target, tombstone, cause) AS MATERIALIZED
      (SELECT ?1, CAST(key AS INTEGER), value FROM json_each(?2))
    UPDATE tasks SET removed = 1
    FROM f WHERE tasks.target = f.target AND tasks.tombstone = f.tombstone AND tasks.cause <> f.cause";
const WENT: &str = "INSERT INTO removed (seq, target, entity, at, rows) VALUES (?, ?, ?, ?, ?)";
const FAIL: &str = "UPDATE tasks SET state = ?4, outcome = 'failed', attempts = attempts + 1, due_at = ?5,
      code = ?6, message = ?7, settled = ?8, removed = removed OR ?9
    WHERE target = ?1 AND tombstone = ?2 AND cause = ?3";
const RESOLVE: &str = "UPDATE holds SET state = ?2, actor = ?3, reason = ?4, resolved = ?5
    WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM tombstones WHERE hold = ?1 AND decision = 'held')";
const MEMBERS: &str = "SELECT json_group_object(id, cause) FROM tombstones WHERE hold = ? AND decision = 'held' AND decided <= ?";

/// Facts as `{"tombstone": cause}`.
fn object(facts: &[Fact]) -> Result<String, StoreError> {
    json(&facts.iter().map(|Fact(id, cause)| (id, cause)).collect::<BTreeMap<_, _>>())
}

pub async fn supersede(
    connection: &mut SqliteConnection,
    records: &[TombstoneId],
    seq: Seq,
) -> Result<(), StoreError> {
    sqlx::query(SUPERSEDE).bind(json(records)?).bind(seq).execute(connection).await?;
    Ok(())
}

pub async fn decided(
    connection: &mut SqliteConnection,
    seq: Seq,
    at: Timestamp,
    decided: &Decided,
    topology: &Topology,
) -> Result<(), StoreError> {
    release(connection, seq, &object(&decided.released)?, topology).await?;
    for (entity, rows) in &decided.spent {
        let rows = i64::try_from(*rows).unwrap_or(i64::MAX);
        let query = sqlx::query(SPEND).bind(seq).bind(entity.as_str()).bind(at.micros()).bind(rows);
        query.execute(&mut *connection).await?;
    }
    for set in &decided.held {
        hold(connection, seq, at, set).await?;
    }
    Ok(())
}

/// Tasks at every target that holds the entity; then the tombstones are released.
async fn release(
    connection: &mut SqliteConnection,
    seq: Seq,
    facts: &str,
    topology: &Topology,
) -> Result<(), StoreError> {
    for (target, entities) in &topology.targets {
        let all: Vec<&Entity> = entities.keys().collect();
        let deactivating: Vec<&Entity> =
            entities.iter().filter(|(_, deactivates)| **deactivates).map(|(entity, _)| entity).collect();
        let query = sqlx::query(TASKS).bind(target.as_str()).bind(facts);
        query.bind(json(&all)?).bind(json(&deactivating)?).execute(&mut *connection).await?;
    }
    decide(connection, facts, "released", seq, None).await
}

async fn decide(
    connection: &mut SqliteConnection,
    facts: &str,
    decision: &'static str,
    seq: Seq,
    hold: Option<Seq>,
) -> Result<(), StoreError> {
    let query = sqlx::query(DECIDE).bind(facts).bind(decision).bind(seq).bind(hold);
    query.execute(connection).await?;
    Ok(())
}

async fn hold(
    connection: &mut SqliteConnection,
    seq: Seq,
    at: Timestamp,
    set: &HeldSet,
) -> Result<(), StoreError> {
    let count = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    let id = set.hold.unwrap_or(seq);
    let query = sqlx::query(HOLD).bind(id).bind(set.entity.as_str()).bind(at.micros());
    let query = query.bind(count(set.rows)).bind(count(set.allowed)).bind(count(set.gone));
    query.execute(&mut *connection).await?;
    decide(connection, &object(&set.facts)?, "held", seq, Some(id)).await
}

pub async fn batch_started(
    connection: &mut SqliteConnection,
    seq: Seq,
    started: &Started,
) -> Result<(), StoreError> {
    let query = sqlx::query(BATCH).bind(seq).bind(started.target.as_str()).bind(json(&started.members)?);
    query.bind(started.holder.as_str()).bind(started.leased_until.micros()).execute(connection).await?;
    Ok(())
}

pub async fn settled(
    connection: &mut SqliteConnection,
    seq: Seq,
    at: Timestamp,
    settled: &Settled,
) -> Result<(), StoreError> {
    went(connection, seq, at, settled).await?;
    let mut ended: BTreeMap<Outcome, Vec<Fact>> = BTreeMap::new();
    for result in &settled.results {
        if result.failure.is_some() {
            fail(connection, seq, &settled.target, result).await?;
        } else {
            ended.entry(result.outcome).or_default().push(result.fact);
        }
    }
    for (outcome, facts) in ended {
        let (target, facts) = (settled.target.as_str(), object(&facts)?);
        if matches!(outcome, Outcome::Deleted | Outcome::AlreadyDeleted) {
            sqlx::query(REMOVED).bind(target).bind(facts.as_str()).execute(&mut *connection).await?;
        }
        let query = sqlx::query(SETTLE).bind(target).bind(facts);
        query.bind(outcome.as_str()).bind(seq).execute(&mut *connection).await?;
    }
    sqlx::query(UNBATCH).bind(settled.batch).execute(connection).await?;
    Ok(())
}

/// Notes the rows that went, by entity, for the brake's window.
async fn went(
    connection: &mut SqliteConnection,
    seq: Seq,
    at: Timestamp,
    settled: &Settled,
) -> Result<(), StoreError> {
    let mut rows: BTreeMap<&Entity, u64> = BTreeMap::new();
    for result in settled.results.iter().filter(|result| result.rows > 0) {
        let sum = rows.entry(&result.entity).or_default();
        *sum = sum.saturating_add(result.rows);
    }
    for (entity, rows) in rows {
        let query = sqlx::query(WENT).bind(seq).bind(settled.target.as_str()).bind(entity.as_str());
        let query = query.bind(at.micros()).bind(i64::try_from(rows).unwrap_or(i64::MAX));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn fail(
    connection: &mut SqliteConnection,
    seq: Seq,
    target: &str,
    result: &Settlement,
) -> Result<(), StoreError> {
    let Some(failure) = &result.failure else { return Ok(()) };
    let state = if failure.retry_at.is_some() { "due" } else { "parked" };
    let due_at = failure.retry_at.map_or(0, Timestamp::micros);
    let Fact(tombstone, cause) = result.fact;
    let query = sqlx::query(FAIL).bind(target).bind(tombstone).bind(cause).bind(state).bind(due_at);
    let query = query.bind(failure.code.as_str()).bind(failure.message.as_str()).bind(seq);
    query.bind(failure.in_doubt).execute(connection).await?;
    Ok(())
}

pub async fn resolved(
    connection: &mut SqliteConnection,
    seq: Seq,
    resolved: &Resolved,
    topology: &Topology,
) -> Result<(), StoreError> {
    let query = sqlx::query_scalar(MEMBERS).bind(resolved.hold).bind(resolved.through);
    let facts: String = query.fetch_one(&mut *connection).await?;
    let state = if resolved.approve {
        release(connection, seq, &facts, topology).await?;
        "approved"
    } else {
        decide(connection, &facts, "rejected", seq, Some(resolved.hold)).await?;
        "rejected"
    };
    let query = sqlx::query(RESOLVE).bind(resolved.hold).bind(state).bind(resolved.actor.as_str());
    query.bind(resolved.reason.as_deref()).bind(seq).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Row};

    use super::*;

    /// How the database would find the rows that a statement changes.
    async fn plan(statement: &str) -> Vec<String> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let schema = include_str!("../../../migrations/projections/0001_projections.sql");
        sqlx::raw_sql(schema).execute(&mut connection).await.unwrap();
        let text = format!("EXPLAIN QUERY PLAN {statement}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    #[tokio::test]
    async fn a_long_queue_is_not_gone_through_for_each_batch() {
        for statement in [SETTLE, REMOVED, DECIDE, TASKS, FAIL] {
            let steps = plan(statement).await;
            let by_target = |step: &String| step.contains("PRIMARY KEY (target=?)");
            assert!(!steps.iter().any(by_target), "{statement}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN t")), "{statement}: {steps:?}");
        }
    }
}
