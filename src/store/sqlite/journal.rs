//! Reading the journal, the bodies beside it, and the leases.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::count;
use crate::domain::{Seq, Timestamp};
use crate::store::{Entry, Position, StoreError};

const HEAD: &str = "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1";
const HASH_AT: &str = "SELECT hash FROM journal WHERE seq = ?";
/// Entries behind ?1, at most ?2, until ?3 bytes of bodies are passed. The sizes are summed up first, from the
/// rows' heads: a settled batch has a megabyte, and what is fetched is in memory at once.
const ENTRIES: &str = "SELECT j.seq, j.at, j.kind, j.body, j.hash
    FROM (SELECT seq, sum(bytes) OVER (ORDER BY seq) - bytes AS before
      FROM (SELECT seq, octet_length(body) AS bytes FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2)) AS s
    CROSS JOIN journal AS j ON j.seq = s.seq WHERE s.before <= ?3";
/// Cut out by the database: a commit may hold the largest bodies there are.
const BODY: &str = "SELECT substr(bytes,
      1 + (SELECT coalesce(sum(value), 0) FROM json_each(lengths) WHERE key < ?1 - seq),
      (SELECT value FROM json_each(lengths) WHERE key = ?1 - seq))
    FROM (SELECT * FROM bodies WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1)";
const PURGE: &str =
    "DELETE FROM bodies WHERE seq IN (SELECT seq FROM bodies WHERE at < ? ORDER BY seq LIMIT ?)
    RETURNING (SELECT count(value) FROM json_each(lengths))";
const LEASE: &str = "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?4)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE leases.holder = excluded.holder OR leases.until <= ?3";
const RELEASE: &str = "DELETE FROM leases WHERE name = ? AND holder = ?";

pub async fn head(connection: &mut SqliteConnection) -> Result<Position, StoreError> {
    sqlx::query(HEAD).fetch_optional(connection).await?.map_or(Ok(Position::default()), |row| {
        Ok(Position { seq: row.try_get(0)?, hash: hash(row.try_get(1)?)? })
    })
}

pub async fn hash_at(connection: &mut SqliteConnection, seq: Seq) -> Result<Option<[u8; 32]>, StoreError> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(HASH_AT).bind(seq).fetch_optional(connection).await?;
    found.map(hash).transpose()
}

fn hash(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash in the journal is not 32 bytes long".into()))
}

/// Entries after `after`, until `entries_max` is reached or `bytes_max` is passed.
pub async fn entries(
    connection: &mut SqliteConnection,
    after: Seq,
    entries_max: u32,
    bytes_max: usize,
) -> Result<Vec<Entry>, StoreError> {
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let query = sqlx::query(ENTRIES).bind(after).bind(entries_max).bind(bytes_max);
    let mut found: Vec<Entry> =
        query.fetch_all(&mut *connection).await?.iter().map(entry).collect::<Result<_, _>>()?;
    // They come in this order already; having the database sort them would copy every body.
    found.sort_unstable_by_key(|entry| entry.seq);
    Ok(found)
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        seq: row.try_get(0)?,
        at: Timestamp::from_micros(row.try_get(1)?),
        kind: row.try_get(2)?,
        body: row.try_get::<String, _>(3)?.into(),
        hash: hash(row.try_get(4)?)?,
    })
}

pub async fn body(connection: &mut SqliteConnection, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
    let found: Option<Option<Vec<u8>>> =
        sqlx::query_scalar(BODY).bind(seq).fetch_optional(&mut *connection).await?;
    Ok(found.flatten())
}

pub async fn purge_bodies(
    connection: &mut SqliteConnection,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar(PURGE).bind(before.micros()).bind(limit);
    let removed: Vec<i64> = query.fetch_all(&mut *connection).await?;
    Ok(removed.into_iter().map(count).sum())
}

pub async fn lease(
    connection: &mut SqliteConnection,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(LEASE).bind(name).bind(holder).bind(now.micros()).bind(until.micros());
    Ok(query.execute(&mut *connection).await?.rows_affected() == 1)
}

pub async fn release_lease(
    connection: &mut SqliteConnection,
    name: &str,
    holder: &str,
) -> Result<(), StoreError> {
    sqlx::query(RELEASE).bind(name).bind(holder).execute(&mut *connection).await?;
    Ok(())
}
