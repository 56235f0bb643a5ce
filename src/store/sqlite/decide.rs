//! From a decision to what waits at the targets: the statements that move many facts at once.
//!
//! Lists of facts go in as one JSON object `{"tombstone": cause}`: `json_each` gives both without parsing each
//! element again. A fact whose cause is no longer the tombstone's was overtaken, and is passed over.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::rows::json;
use super::script::Script;
use crate::domain::{
    Entity, Seq, Timestamp, TombstoneId,
    event::{Decided, Fact, HeldSet, Resolved, Topology},
};
use crate::store::StoreError;

/// What waits for the tombstones of a list at the targets that there are.
const WAITING: &str = "FROM json_each(?) AS f CROSS JOIN tombstones AS t ON t.id = f.value
    CROSS JOIN json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets') AS g
    CROSS JOIN queue AS q ON q.target = g.key AND q.entity = t.entity AND q.key = t.key";
const SUPERSEDE: &str = "INSERT INTO outcomes (tombstone, target, cause, outcome, settled, attempts, removed)
    SELECT q.tombstone, q.target, q.cause, 'superseded', ?, q.attempts, q.removed";
const UNQUEUE: &str = "DELETE FROM queue WHERE (target, entity, key) IN (SELECT q.target, q.entity, q.key";
const SUPERSEDE_PARKED: &str =
    "UPDATE outcomes SET outcome = 'superseded', settled = ?, code = NULL, message = NULL
    WHERE tombstone IN (SELECT value FROM json_each(?)) AND outcome = 'failed' AND target IN
    (SELECT key FROM json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets'))";
const QUEUE: &str = "INSERT INTO queue (target, entity, key, tombstone, cause, action, at, upstream_time, heard_at, removed)
    SELECT g.target, t.entity, t.key, t.id, t.cause, t.action, t.at, t.upstream_time, t.heard_at, coalesce(o.removed, 0)
    FROM (SELECT ? AS target) AS g CROSS JOIN json_each(?) AS f
      CROSS JOIN tombstones AS t ON t.id = CAST(f.key AS INTEGER)
      LEFT JOIN outcomes AS o ON o.tombstone = t.id AND o.target = g.target
    WHERE t.cause = f.value AND t.decision IN ('awaited', 'held')
      AND (t.action = 'delete' AND t.entity IN (SELECT value FROM json_each(?))
        OR t.action = 'deactivate' AND t.entity IN (SELECT value FROM json_each(?)))
    ON CONFLICT (target, entity, key) DO UPDATE SET action = excluded.action, at = excluded.at,
      upstream_time = excluded.upstream_time, cause = excluded.cause, heard_at = excluded.heard_at,
      attempts = 0, due_at = 0, code = NULL, message = NULL, settled = NULL";
/// What came of an earlier fact is over once the record waits again.
const FORGET: &str = "DELETE FROM outcomes WHERE tombstone IN (SELECT CAST(key AS INTEGER) FROM json_each(?))
    AND EXISTS (SELECT 1 FROM tombstones AS t CROSS JOIN queue AS q
      ON q.target = outcomes.target AND q.entity = t.entity AND q.key = t.key WHERE t.id = outcomes.tombstone)";
const DECIDE: &str = "UPDATE tombstones SET decision = ?, decided = ?, hold = ?
    FROM json_each(?) AS f
    WHERE tombstones.id = CAST(f.key AS INTEGER) AND cause = f.value AND decision IN ('awaited', 'held')";
const SPEND: &str = "INSERT INTO spent (seq, entity, at, rows) VALUES (?, ?, ?, ?)";
const HOLD: &str = "INSERT INTO holds (id, entity, opened_at, rows, allowed, gone, state)
    VALUES (?, ?, ?, ?, ?, ?, 'open')
    ON CONFLICT (id) DO UPDATE SET rows = iif(state = 'open', rows, 0) + excluded.rows";
/// A person's word may come between the brake's look at a hold and what it adds to it.
const REOPEN: &str = "UPDATE holds SET state = 'open', actor = NULL, reason = NULL, resolved = NULL
    WHERE id = ? AND state <> 'open' AND EXISTS (SELECT 1 FROM tombstones WHERE hold = holds.id AND decision = 'held')";
const RESOLVE: &str = "UPDATE holds SET state = ?, actor = ?, reason = ?, resolved = ?
    WHERE id = ? AND NOT EXISTS (SELECT 1 FROM tombstones WHERE hold = holds.id AND decision = 'held')";
/// What waits for a target although a fact that is no deletion stands since.
const STALE: &str = "FROM queue AS q CROSS JOIN tombstones AS t ON t.id = q.tombstone
    WHERE t.cause <> q.cause AND t.action <> 'delete'";
const MEMBERS: &str = "SELECT json_group_object(id, cause) FROM tombstones WHERE hold = ? AND decision = 'held' AND decided <= ?";

/// Facts as `{"tombstone": cause}`.
fn object(facts: &[Fact]) -> Result<String, StoreError> {
    json(&facts.iter().map(|Fact(id, cause)| (id, cause)).collect::<BTreeMap<_, _>>())
}

pub fn supersede(script: &mut Script, records: &[TombstoneId], seq: Seq) -> Result<(), StoreError> {
    let records = json(records)?;
    script.push(&format!("{SUPERSEDE} {WAITING}")).bind(seq).bind(records.clone());
    script.push(&format!("{UNQUEUE} {WAITING})")).bind(records.clone());
    script.push(SUPERSEDE_PARKED).bind(seq).bind(records);
    Ok(())
}

/// Ends what was overtaken while its target was not configured: until then nobody looked for it there.
pub fn supersede_stale(script: &mut Script, seq: Seq) {
    script.push(&format!("{SUPERSEDE} {STALE}")).bind(seq);
    script.push(&format!("{UNQUEUE} {STALE})"));
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
        script.push(QUEUE).bind(target.as_str()).bind(facts).bind(json(&all)?).bind(json(&deactivating)?);
    }
    script.push(FORGET).bind(facts);
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
    script.push(REOPEN).bind(id);
    Ok(())
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
    use crate::store::sqlite::plans;

    #[tokio::test]
    async fn a_long_queue_is_not_gone_through_for_each_decision() {
        let (supersede, unqueue) = (format!("{SUPERSEDE} {WAITING}"), format!("{UNQUEUE} {WAITING})"));
        for statement in [QUEUE, FORGET, DECIDE, &supersede, &unqueue, SUPERSEDE_PARKED] {
            plans::leads_to_its_rows(statement).await;
        }
    }
}
