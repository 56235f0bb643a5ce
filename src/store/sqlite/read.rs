//! Reading what has been folded.

use sqlx::query::QueryScalar;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite, SqliteConnection};

use super::rows::{action, key, tombstone};
use crate::domain::{
    Entity, Key, Outcome, Seq, Timestamp,
    event::{Fact, Failure},
};
use crate::store::{
    Hold, OpenBatch, Parked, Queue, Removed, Run, RunCounts, StoreError, Story, StoryTask, Tally, Task,
};

/// The columns of a task. Many of them come as one value: a row each costs a trip to the connection's thread
/// for every few of them, and an allocation for every column.
const GATHERED: &str = "SELECT json_group_array(json_array(id, cause, entity, key, action, at, upstream_time,
    heard_at, attempts, removed)) FROM";
const FACT: &str = "SELECT id, cause, entity, key, action, at, upstream_time, heard_at, 0 AS attempts,
    0 AS removed FROM tombstones";
const TASK: &str = "SELECT q.tombstone AS id, q.cause, q.entity, q.key, q.action, q.at, q.upstream_time,
    q.heard_at, q.attempts, q.removed FROM";
const DUE: &str = "queue AS q WHERE q.target = ? AND (q.entity, q.key) > (?, ?) AND q.due_at <= ?
    ORDER BY q.entity, q.key LIMIT ?";
/// From the members to their tasks, since the queue may be much longer than a batch.
const MEMBERS: &str = "json_each(?1) AS m CROSS JOIN tombstones AS t ON t.id = m.value ->> 0
    CROSS JOIN queue AS q ON q.target = ?2 AND q.entity = t.entity AND q.key = t.key
    WHERE q.cause = m.value ->> 1 ORDER BY q.entity, q.key";
/// The members that wait no more.
const OVERTAKEN: &str = "SELECT t.id, m.value ->> 1 AS cause, t.entity, t.key, t.action, t.at, t.upstream_time,
    t.heard_at, 0 AS attempts, 0 AS removed FROM json_each(?1) AS m CROSS JOIN tombstones AS t ON t.id = m.value ->> 0
    WHERE NOT EXISTS (SELECT 1 FROM queue AS q WHERE q.target = ?2 AND q.entity = t.entity AND q.key = t.key
      AND q.cause = m.value ->> 1)
    ORDER BY t.entity, t.key";
const SPENT: &str = "SELECT entity, sum(rows) FROM spent WHERE at > ? GROUP BY entity";
const REMOVED: &str = "SELECT target, entity, sum(rows) FROM removed WHERE at > ? GROUP BY target, entity";
const HOLDS: &str = "SELECT id, entity, opened_at, rows, allowed, gone, state, actor, reason,
    (SELECT count(*) FROM tombstones WHERE hold = holds.id AND decision = 'held') AS facts
    FROM holds WHERE state = 'open' OR NOT ? ORDER BY id DESC";
const NEXT_DUE: &str = "SELECT min(due_at) FROM queue WHERE target = ? AND due_at > 0";
const BATCHES: &str = "SELECT number, members FROM batches WHERE target = ? ORDER BY number";
const QUEUE: &str = "SELECT count(*), min(heard_at) FROM queue WHERE target = ?";
const QUEUE_PARKED: &str = "SELECT count(*) FROM outcomes WHERE target = ? AND outcome = 'failed'";
const CHECKPOINT: &str = "SELECT at FROM checkpoints WHERE source = ?";
const RUNS: &str = "SELECT * FROM runs WHERE ?1 IS NULL OR source = ?1 ORDER BY id DESC LIMIT ?2";
const STORY: &str = "SELECT * FROM tombstones WHERE entity = ? AND key = ?";
const STORY_TASKS: &str = "WITH g (target) AS
      (SELECT key FROM json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets'))
    SELECT q.target AS target, 'due' AS state, q.attempts, iif(q.code IS NULL, NULL, 'failed') AS outcome, q.cause, q.settled,
      q.code, q.message, q.due_at, q.removed
    FROM g CROSS JOIN queue AS q ON q.target = g.target AND q.entity = ?1 AND q.key = ?2
    UNION ALL SELECT o.target, iif(o.outcome = 'failed', 'parked', 'done'), o.attempts, o.outcome, o.cause, o.settled,
      o.code, o.message, 0, o.removed
    FROM g CROSS JOIN outcomes AS o ON o.tombstone = ?3 AND o.target = g.target
    ORDER BY target";
const TALLY: &str = "SELECT count(*), count(*) FILTER (WHERE decision = 'awaited'),
    count(*) FILTER (WHERE decision = 'held'), (SELECT count(*) FROM unreadable) FROM tombstones";
const OUTCOMES: &str = "SELECT target, what, sum(number) FROM
      (SELECT target, iif(code IS NULL, 'due', 'failed') AS what, count(*) AS number FROM queue GROUP BY target, what
      UNION ALL SELECT target, outcome, count(*) FROM outcomes GROUP BY target, outcome)
    GROUP BY target, what ORDER BY target, what";
const PARKED: &str = "SELECT o.target, t.entity, t.key, o.code, o.message FROM outcomes AS o
    CROSS JOIN tombstones AS t ON t.id = o.tombstone WHERE o.outcome = 'failed' ORDER BY o.settled DESC LIMIT ?";

type Scalar<'q> = QueryScalar<'q, Sqlite, String, SqliteArguments>;
type Columns = (i64, i64, String, String, String, i64, u8, i64, u32, u8);

fn task(columns: Columns) -> Result<Task, StoreError> {
    let (id, cause, entity, key, action, at, upstream_time, heard_at, attempts, removed) = columns;
    Ok(Task {
        fact: Fact(id, cause),
        entity: Entity::new(entity),
        key: self::key(&key)?,
        action: self::action(&action)?,
        at: Timestamp::from_micros(at),
        upstream_time: upstream_time != 0,
        heard_at: Timestamp::from_micros(heard_at),
        attempts,
        removed: removed != 0,
    })
}

/// The tasks that a query gives, in its order.
async fn tasks<'q>(
    connection: &mut SqliteConnection,
    query: &str,
    bind: impl FnOnce(Scalar<'q>) -> Scalar<'q>,
) -> Result<Vec<Task>, StoreError> {
    let text = format!("{GATHERED} ({query})");
    let list = bind(sqlx::query_scalar(sqlx::AssertSqlSafe(text))).fetch_one(&mut *connection).await?;
    let rows: Vec<Columns> =
        serde_json::from_str(&list).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    rows.into_iter().map(task).collect()
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}

pub async fn awaiting(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<Task>, StoreError> {
    let query = format!("{FACT} WHERE decision = 'awaited' ORDER BY id LIMIT ?");
    tasks(connection, &query, |query| query.bind(limit)).await
}

pub async fn held(connection: &mut SqliteConnection, hold: Seq, limit: u32) -> Result<Vec<Task>, StoreError> {
    let query = format!("{FACT} WHERE hold = ? AND decision = 'held' ORDER BY id LIMIT ?");
    tasks(connection, &query, |query| query.bind(hold).bind(limit)).await
}

pub async fn due(
    connection: &mut SqliteConnection,
    target: &str,
    after: Option<&(Entity, String)>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Task>, StoreError> {
    let query = format!("{TASK} {DUE}");
    let (entity, key) = after.map_or(("", ""), |(entity, key)| (entity.as_str(), key.as_str()));
    tasks(connection, &query, |query| {
        query.bind(target).bind(entity).bind(key).bind(now.micros()).bind(limit)
    })
    .await
}

pub async fn next_due_at(
    connection: &mut SqliteConnection,
    target: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(NEXT_DUE).bind(target).fetch_one(&mut *connection).await?;
    Ok(found.map(Timestamp::from_micros))
}

pub async fn open_batches(
    connection: &mut SqliteConnection,
    target: &str,
) -> Result<Vec<OpenBatch>, StoreError> {
    let waiting = format!("{TASK} {MEMBERS}");
    let mut batches = Vec::new();
    for row in sqlx::query(BATCHES).bind(target).fetch_all(&mut *connection).await? {
        let members: &str = row.try_get("members")?;
        let number = row.try_get("number")?;
        let overtaken = tasks(connection, OVERTAKEN, |query| query.bind(members).bind(target)).await?;
        let tasks = tasks(connection, &waiting, |query| query.bind(members).bind(target)).await?;
        batches.push(OpenBatch { number, tasks, overtaken });
    }
    Ok(batches)
}

pub async fn queue(connection: &mut SqliteConnection, target: &str) -> Result<Queue, StoreError> {
    let row = sqlx::query(QUEUE).bind(target).fetch_one(&mut *connection).await?;
    let parked: i64 = sqlx::query_scalar(QUEUE_PARKED).bind(target).fetch_one(&mut *connection).await?;
    Ok(Queue {
        due: u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0),
        parked: u64::try_from(parked).unwrap_or(0),
        oldest: row.try_get::<Option<i64>, _>(1)?.map(Timestamp::from_micros),
    })
}

pub async fn spent_since(
    connection: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Vec<(Entity, u64)>, StoreError> {
    let rows = sqlx::query(SPENT).bind(since.micros()).fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            let spent: i64 = row.try_get(1)?;
            Ok((Entity::new(row.try_get::<String, _>(0)?), u64::try_from(spent).unwrap_or(0)))
        })
        .collect()
}

pub async fn removed_since(
    connection: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Vec<Removed>, StoreError> {
    let rows = sqlx::query(REMOVED).bind(since.micros()).fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            let removed: i64 = row.try_get(2)?;
            let entity = Entity::new(row.try_get::<String, _>(1)?);
            Ok(Removed { target: row.try_get(0)?, entity, rows: u64::try_from(removed).unwrap_or(0) })
        })
        .collect()
}

pub async fn holds(connection: &mut SqliteConnection, open_only: bool) -> Result<Vec<Hold>, StoreError> {
    let rows = sqlx::query(HOLDS).bind(open_only).fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Hold {
                id: row.try_get("id")?,
                entity: Entity::new(row.try_get::<String, _>("entity")?),
                opened_at: Timestamp::from_micros(row.try_get("opened_at")?),
                facts: count(row, "facts")?,
                rows: count(row, "rows")?,
                allowed: count(row, "allowed")?,
                gone: count(row, "gone")?,
                state: row.try_get("state")?,
                actor: row.try_get("actor")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

pub async fn checkpoint(
    connection: &mut SqliteConnection,
    source: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar(CHECKPOINT).bind(source).fetch_optional(&mut *connection).await?;
    Ok(found.map(Timestamp::from_micros))
}

pub async fn runs(
    connection: &mut SqliteConnection,
    source: Option<&str>,
    limit: u32,
) -> Result<Vec<Run>, StoreError> {
    let rows = sqlx::query(RUNS).bind(source).bind(limit).fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Run {
                id: row.try_get("id")?,
                source: row.try_get("source")?,
                started_at: Timestamp::from_micros(row.try_get("started_at")?),
                window_from: time(row, "window_from")?,
                window_to: time(row, "window_to")?,
                ended_at: time(row, "ended_at")?,
                pages: count(row, "pages")?,
                found: count(row, "found")?,
                counts: RunCounts {
                    fresh: count(row, "fresh")?,
                    by_webhook: count(row, "by_webhook")?,
                    repeated: count(row, "repeated")?,
                },
                checkpoint: time(row, "checkpoint")?,
                error: row.try_get("error")?,
            })
        })
        .collect()
}

pub async fn story(
    connection: &mut SqliteConnection,
    entity: &Entity,
    key: &Key,
) -> Result<Option<Story>, StoreError> {
    let query = sqlx::query(STORY).bind(entity.as_str()).bind(key.canonical());
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let stone = tombstone(&row)?;
    let query = sqlx::query(STORY_TASKS).bind(entity.as_str()).bind(key.canonical()).bind(stone.id);
    let rows = query.fetch_all(&mut *connection).await?;
    Ok(Some(Story {
        tombstone: stone,
        decision: row.try_get("decision")?,
        decided: row.try_get("decided")?,
        hold: row.try_get("hold")?,
        tasks: rows.iter().map(story_task).collect::<Result<_, _>>()?,
    }))
}

fn story_task(row: &SqliteRow) -> Result<StoryTask, StoreError> {
    let outcome: Option<&str> = row.try_get("outcome")?;
    let code: Option<String> = row.try_get("code")?;
    let message: Option<String> = row.try_get("message")?;
    let due_at: i64 = row.try_get("due_at")?;
    let retry_at = (due_at > 0).then(|| Timestamp::from_micros(due_at));
    let in_doubt = row.try_get("removed")?;
    Ok(StoryTask {
        target: row.try_get("target")?,
        state: row.try_get("state")?,
        attempts: row.try_get("attempts")?,
        outcome: outcome.and_then(Outcome::parse),
        cause: row.try_get("cause")?,
        settled: row.try_get("settled")?,
        failure: code.map(|code| Failure { code, message: message.unwrap_or_default(), retry_at, in_doubt }),
    })
}

pub async fn tally(connection: &mut SqliteConnection) -> Result<Tally, StoreError> {
    let row = sqlx::query(TALLY).fetch_one(&mut *connection).await?;
    let number =
        |index: usize| Ok::<_, StoreError>(u64::try_from(row.try_get::<i64, _>(index)?).unwrap_or(0));
    let outcomes = sqlx::query(OUTCOMES).fetch_all(&mut *connection).await?;
    Ok(Tally {
        tombstones: number(0)?,
        awaiting: number(1)?,
        held: number(2)?,
        unreadable: number(3)?,
        outcomes: outcomes
            .iter()
            .map(|row| {
                let number: i64 = row.try_get(2)?;
                Ok((row.try_get(0)?, row.try_get(1)?, u64::try_from(number).unwrap_or(0)))
            })
            .collect::<Result<_, StoreError>>()?,
    })
}

pub async fn parked(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<Parked>, StoreError> {
    let rows = sqlx::query(PARKED).bind(limit).fetch_all(&mut *connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Parked {
                target: row.try_get("target")?,
                entity: Entity::new(row.try_get::<String, _>("entity")?),
                key: key(row.try_get("key")?)?,
                code: row.try_get("code")?,
                message: row.try_get("message")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::plans;

    #[tokio::test]
    async fn what_is_due_is_one_stretch_of_the_queue() {
        for statement in [&format!("{TASK} {DUE}"), NEXT_DUE, QUEUE] {
            let steps = plans::plan(statement).await;
            let [step] = &steps[..] else { panic!("{statement}: {steps:?}") };
            assert!(step.contains("USING PRIMARY KEY (target=?"), "{statement}: {steps:?}");
        }
    }

    #[tokio::test]
    async fn a_long_queue_is_not_gone_through_for_one_record_or_batch() {
        for statement in [&format!("{TASK} {MEMBERS}"), STORY_TASKS] {
            plans::leads_to_its_rows(statement).await;
        }
    }
}
