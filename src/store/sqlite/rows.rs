//! Between columns and values: what several statements read and write the same way.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::{Action, Entity, Key, Timestamp, Tombstone, tombstone::ToldBy};
use crate::store::StoreError;

pub const fn action_text(action: Action) -> &'static str {
    match action {
        Action::Delete => "delete",
        Action::Deactivate => "deactivate",
        Action::Relisted => "relisted",
    }
}

pub fn action(text: &str) -> Result<Action, StoreError> {
    match text {
        "delete" => Ok(Action::Delete),
        "deactivate" => Ok(Action::Deactivate),
        "relisted" => Ok(Action::Relisted),
        other => Err(StoreError::Corrupt(format!("action {other:?}"))),
    }
}

/// A count as the database has it; never negative there.
pub fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub fn key(text: &str) -> Result<Key, StoreError> {
    Key::from_canonical(text).map_err(|fault| StoreError::Corrupt(format!("key {text:?}: {fault}")))
}

/// A list as the JSON text that `json_each` takes.
pub fn json<T: serde::Serialize + ?Sized>(list: &T) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub fn tombstone(row: &SqliteRow) -> Result<Tombstone, StoreError> {
    let fingerprints: &str = row.try_get("fingerprints")?;
    Ok(Tombstone {
        id: row.try_get("id")?,
        entity: Entity::new(row.try_get::<String, _>("entity")?),
        key: key(row.try_get("key")?)?,
        action: action(row.try_get("action")?)?,
        at: Timestamp::from_micros(row.try_get("at")?),
        upstream_time: row.try_get("upstream_time")?,
        cause: row.try_get("cause")?,
        heard_at: Timestamp::from_micros(row.try_get("heard_at")?),
        source: row.try_get("source")?,
        told_by: ToldBy { webhook: row.try_get("by_webhook")?, feed: row.try_get("by_feed")? },
        last_heard_at: Timestamp::from_micros(row.try_get("last_heard_at")?),
        notices: row.try_get("notices")?,
        fingerprints: serde_json::from_str(fingerprints)
            .map_err(|error| StoreError::Corrupt(format!("fingerprints: {error}")))?,
    })
}
