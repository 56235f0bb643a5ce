//! Reading the journal, the bodies beside it, and the leases.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::domain::{Seq, Timestamp};
use crate::store::{Entry, Position, StoreError};

/// Begins to write, and tells what there is, in one trip to the connection's thread.
const BEGIN: &str = "BEGIN IMMEDIATE; SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1";
const HEAD: &str = "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1";
const HASH_AT: &str = "SELECT hash FROM journal WHERE seq = ?";
const ENTRIES: &str = "SELECT seq, at, kind, body, hash FROM journal WHERE seq > ? ORDER BY seq LIMIT ?";
const BODY: &str = "SELECT body FROM bodies WHERE seq = ?";
const PURGE: &str =
    "DELETE FROM bodies WHERE seq IN (SELECT seq FROM bodies WHERE at < ? ORDER BY seq LIMIT ?)";
const LEASE: &str = "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?4)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE leases.holder = excluded.holder OR leases.until <= ?3";
const RELEASE: &str = "DELETE FROM leases WHERE name = ? AND holder = ?";

/// Entries fetched by one statement; bodies are at most 1 MiB or so each, and usually below 1 KiB.
const FETCH: u32 = 64;

pub async fn head(connection: &mut SqliteConnection) -> Result<Position, StoreError> {
    position(sqlx::query(HEAD).fetch_optional(connection).await?.as_ref())
}

/// Begins a writing transaction; where the journal ends.
pub async fn begin(connection: &mut SqliteConnection) -> Result<Position, StoreError> {
    position(sqlx::query(BEGIN).fetch_all(connection).await?.first())
}

fn position(row: Option<&SqliteRow>) -> Result<Position, StoreError> {
    row.map_or(Ok(Position::default()), |row| {
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

/// Entries after `after`, until `entries_max` or, between statements, `bytes_max` is reached.
pub async fn entries(
    pool: &SqlitePool,
    after: Seq,
    entries_max: u32,
    bytes_max: usize,
) -> Result<Vec<Entry>, StoreError> {
    let mut connection = pool.acquire().await?;
    let (mut found, mut bytes, mut reached): (Vec<Entry>, usize, Seq) = (Vec::new(), 0, after);
    loop {
        let wanted = FETCH.min(entries_max - u32::try_from(found.len()).unwrap_or(u32::MAX).min(entries_max));
        if wanted == 0 {
            return Ok(found);
        }
        let rows = sqlx::query(ENTRIES).bind(reached).bind(wanted).fetch_all(&mut *connection).await?;
        let complete = rows.len() < wanted as usize;
        for row in rows {
            let entry = entry(&row)?;
            bytes = bytes.saturating_add(entry.body.len());
            reached = entry.seq;
            found.push(entry);
        }
        if complete || bytes >= bytes_max {
            return Ok(found);
        }
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        seq: row.try_get(0)?,
        at: Timestamp::from_micros(row.try_get(1)?),
        kind: row.try_get(2)?,
        body: row.try_get(3)?,
        hash: hash(row.try_get(4)?)?,
    })
}

pub async fn body(pool: &SqlitePool, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar(BODY).bind(seq).fetch_optional(pool).await?)
}

pub async fn purge_bodies(pool: &SqlitePool, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let done = sqlx::query(PURGE).bind(before.micros()).bind(limit).execute(pool).await?;
    Ok(done.rows_affected())
}

pub async fn lease(
    pool: &SqlitePool,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(LEASE).bind(name).bind(holder).bind(now.micros()).bind(until.micros());
    Ok(query.execute(pool).await?.rows_affected() == 1)
}

pub async fn release_lease(pool: &SqlitePool, name: &str, holder: &str) -> Result<(), StoreError> {
    sqlx::query(RELEASE).bind(name).bind(holder).execute(pool).await?;
    Ok(())
}
