//! Requests for deletions: what was asked, and how it stands now.
//!
//! How a record stands is one number for the database, so that a hundred thousand of them are counted where
//! they lie: its place in [`STANDINGS`], over all targets the first that applies.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::bulk;
use super::decide::whole;
use super::rows::{action, count, key};
use super::script::Script;
use crate::domain::event::{Asked, Refusal};
use crate::domain::{Entity, Outcome, Seq, Timestamp, TombstoneId};
use crate::store::{AtTarget, Listed, Only, Request, RequestEnd, RequestResult, StoreError};

/// What has to be done or looked at comes before what is over, so that no record is called gone while a target
/// still has it. The numbers in [`AT_TARGET`] and [`STANDING`] are places in this list.
const STANDINGS: [Option<Outcome>; 9] = [
    None,
    Some(Outcome::Held),
    Some(Outcome::Failed),
    Some(Outcome::Rejected),
    Some(Outcome::Superseded),
    Some(Outcome::Deleted),
    Some(Outcome::Deactivated),
    Some(Outcome::AlreadyDeleted),
    Some(Outcome::NotFound),
];
const AT_TARGET: &str = "CASE WHEN q.target IS NOT NULL THEN 0 WHEN o.outcome = 'failed' THEN 2
    WHEN o.outcome = 'superseded' THEN 4 WHEN o.outcome = 'deleted' THEN 5
    WHEN o.outcome = 'deactivated' THEN 6 WHEN o.outcome = 'already_deleted' THEN 7 ELSE 8 END";
/// The tasks of tombstone `t` at the targets that there are, waiting (`q`) or settled (`o`).
const TASKS: &str = "json_each((SELECT value FROM state WHERE name = 'topology'), '$.targets') AS g
    LEFT JOIN queue AS q ON q.target = g.key AND q.entity = t.entity AND q.key = t.key
    LEFT JOIN outcomes AS o ON o.target = g.key AND o.tombstone = t.id
    WHERE (q.target IS NOT NULL OR o.target IS NOT NULL)";
/// A record without any task is one that was listed again before it was let go, or that no target holds.
const STANDING: &str = "CASE WHEN a.tombstone IS NULL THEN CASE a.outcome WHEN 'failed' THEN 2 ELSE 8 END
    WHEN t.decision = 'awaited' THEN 0 WHEN t.decision = 'held' THEN 1 WHEN t.decision = 'rejected' THEN 3
    ELSE coalesce((SELECT min({at_target}) FROM {tasks}), CASE t.action WHEN 'relisted' THEN 4 ELSE 8 END) END";
const ASKED: &str = "asked AS a LEFT JOIN tombstones AS t ON t.id = a.tombstone";

const BEGIN: &str = "INSERT INTO requests (id, token, key, at) VALUES (?, ?, ?, ?)";
const END: &str = "UPDATE requests SET fingerprint = ?, received = ?, refused = ? WHERE id = ?";
const PART: &str = "INSERT INTO asked (request, place, seq, tombstone, outcome, code, message)";
const REQUEST: &str = "SELECT id, token, at, fingerprint, received, refused FROM requests WHERE id = ?";
const AGAIN: &str = "SELECT id, token, at, fingerprint, received, refused FROM requests
    WHERE token = ? AND key = ? AND fingerprint IS NOT NULL AND at > ? ORDER BY id DESC LIMIT 1";
const TOMBSTONES: &str =
    "SELECT id, entity, key, action, at, upstream_time, heard_at, source, notices, decision,
    hold FROM tombstones WHERE id > ?1 AND (?2 IS NULL OR entity = ?2) ORDER BY id LIMIT ?3";

fn standing_sql() -> String {
    STANDING.replace("{at_target}", AT_TARGET).replace("{tasks}", TASKS)
}

fn outcome(standing: i64) -> Result<Option<Outcome>, StoreError> {
    let known = usize::try_from(standing).ok().and_then(|place| STANDINGS.get(place));
    known.copied().ok_or_else(|| StoreError::Corrupt(format!("standing {standing}")))
}

/// What one row of a request says: the record's tombstone, or why it has none.
struct Part<'a> {
    place: u64,
    tombstone: Option<TombstoneId>,
    refusal: Option<&'a Refusal>,
}

pub async fn asked(
    connection: &mut SqliteConnection,
    script: &mut Script,
    (seq, at): (Seq, Timestamp),
    asked: &Asked,
    tombstones: &[TombstoneId],
) -> Result<(), StoreError> {
    let request = asked.request.unwrap_or(seq);
    if asked.request.is_none() {
        script.push(BEGIN).bind(seq).bind(asked.by.as_str()).bind(asked.key.as_deref()).bind(at.micros());
    }
    let told = asked.places.iter().zip(tombstones);
    let told = told.map(|(place, id)| Part { place: *place, tombstone: Some(*id), refusal: None });
    let refused = asked.refused.iter();
    let refused = refused.map(|it| Part { place: it.place, tombstone: None, refusal: Some(it) });
    let parts: Vec<Part<'_>> = told.chain(refused).collect();
    bulk::insert(connection, script, (PART, 7, ""), &parts, |script, part| {
        script.bind(request).bind(whole(part.place)).bind(seq).bind(part.tombstone);
        script.bind(part.refusal.map(|it| it.outcome.as_str()));
        script.bind(part.refusal.map(|it| it.code.as_str())).bind(part.refusal.map(|it| it.message.as_str()));
    })
    .await?;
    if let Some(end) = &asked.ended {
        let script = script.push(END).bind(end.fingerprint.as_str());
        script.bind(whole(end.received)).bind(whole(end.refused)).bind(request);
    }
    Ok(())
}

fn request_of(row: &SqliteRow) -> Result<Request, StoreError> {
    let fingerprint: Option<String> = row.try_get("fingerprint")?;
    let received: Option<i64> = row.try_get("received")?;
    let refused: Option<i64> = row.try_get("refused")?;
    Ok(Request {
        receipt: row.try_get("id")?,
        token: row.try_get("token")?,
        at: Timestamp::from_micros(row.try_get("at")?),
        end: fingerprint.zip(received).map(|(fingerprint, received)| RequestEnd {
            fingerprint,
            received: count(received),
            refused: count(refused.unwrap_or(0)),
        }),
    })
}

pub async fn request(connection: &mut SqliteConnection, receipt: Seq) -> Result<Option<Request>, StoreError> {
    sqlx::query(REQUEST)
        .bind(receipt)
        .fetch_optional(&mut *connection)
        .await?
        .as_ref()
        .map(request_of)
        .transpose()
}

pub async fn again(
    connection: &mut SqliteConnection,
    token: &str,
    key: &str,
    since: Timestamp,
) -> Result<Option<Request>, StoreError> {
    let query = sqlx::query(AGAIN).bind(token).bind(key).bind(since.micros());
    query.fetch_optional(&mut *connection).await?.as_ref().map(request_of).transpose()
}

/// A record that was named twice stands once (I8); what became no notice is counted by its place.
pub async fn counts(
    connection: &mut SqliteConnection,
    receipt: Seq,
) -> Result<Vec<(Option<Outcome>, u64)>, StoreError> {
    let standing = standing_sql();
    let query = format!(
        "SELECT standing, count(*) FROM (SELECT {standing} AS standing FROM
           (SELECT DISTINCT tombstone, outcome, iif(tombstone IS NULL, place, 0) FROM asked WHERE request = ?)
           AS a LEFT JOIN tombstones AS t ON t.id = a.tombstone)
         GROUP BY standing ORDER BY standing"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).bind(receipt).fetch_all(&mut *connection).await?;
    rows.iter().map(|row| Ok((outcome(row.try_get(0)?)?, count(row.try_get(1)?)))).collect()
}

pub async fn results(
    connection: &mut SqliteConnection,
    receipt: Seq,
    after: u64,
    limit: u32,
    only: Only,
) -> Result<Vec<RequestResult>, StoreError> {
    let wanted = match only {
        Only::All => String::new(),
        Only::Refused => "AND a.tombstone IS NULL".into(),
        Only::Standing(outcome) => {
            let place = STANDINGS.iter().position(|it| *it == outcome).unwrap_or(STANDINGS.len());
            format!("AND standing = {place}")
        }
    };
    let query = format!(
        "SELECT a.place, {} AS standing, t.entity, t.key, t.hold, coalesce(t.cause > a.seq, FALSE) AS overtaken, a.code,
           a.message, (SELECT json_group_array(json_array(g.key, {AT_TARGET}, coalesce(q.code, o.code), coalesce(q.message, o.message)))
             FROM {TASKS} AND t.decision IN ('released', 'none')) AS targets
         FROM {ASKED} WHERE a.request = ? AND a.place > ? {wanted} ORDER BY a.place LIMIT ?",
        standing_sql()
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(receipt);
    let query = query.bind(i64::try_from(after).unwrap_or(i64::MAX)).bind(limit);
    query.fetch_all(&mut *connection).await?.iter().map(result).collect()
}

fn result(row: &SqliteRow) -> Result<RequestResult, StoreError> {
    let targets: Vec<(String, i64, Option<String>, Option<String>)> =
        serde_json::from_str(row.try_get("targets")?)
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let at_target = |(target, standing, code, message)| {
        Ok::<_, StoreError>(AtTarget { target, outcome: outcome(standing)?, code, message })
    };
    Ok(RequestResult {
        n: count(row.try_get("place")?),
        entity: row.try_get::<Option<String>, _>("entity")?.map(Entity::new),
        key: row.try_get::<Option<&str>, _>("key")?.map(key).transpose()?,
        outcome: outcome(row.try_get("standing")?)?,
        hold: row.try_get::<Option<Seq>, _>("hold")?.map(|hold| hold.to_string()),
        overtaken: row.try_get("overtaken")?,
        code: row.try_get("code")?,
        message: row.try_get("message")?,
        targets: targets.into_iter().map(at_target).collect::<Result<_, _>>()?,
    })
}

pub async fn tombstones(
    connection: &mut SqliteConnection,
    entity: Option<&Entity>,
    after: TombstoneId,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    let query = sqlx::query(TOMBSTONES).bind(after).bind(entity.map(Entity::as_str)).bind(limit);
    let listed = |row: &SqliteRow| {
        Ok(Listed {
            id: row.try_get("id")?,
            entity: Entity::new(row.try_get::<String, _>("entity")?),
            key: key(row.try_get("key")?)?,
            action: action(row.try_get("action")?)?,
            at: Timestamp::from_micros(row.try_get("at")?),
            upstream_time: row.try_get("upstream_time")?,
            heard_at: Timestamp::from_micros(row.try_get("heard_at")?),
            source: row.try_get("source")?,
            notices: count(row.try_get("notices")?),
            decision: row.try_get("decision")?,
            hold: row.try_get("hold")?,
        })
    };
    query.fetch_all(&mut *connection).await?.iter().map(listed).collect()
}
