//! How the database would carry a statement out; for tests that a long queue is not gone through.

use sqlx::{Connection, Row, SqliteConnection};

use super::open::PROJECTIONS;

/// The steps, in the database's words.
pub async fn plan(statement: &str) -> Vec<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for (_, _, schema) in PROJECTIONS.migrations {
        sqlx::raw_sql(*schema).execute(&mut connection).await.unwrap();
    }
    let text = format!("EXPLAIN QUERY PLAN {statement}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

/// Asserts that a statement goes from what it is given to the rows of that, and through no table of records.
pub async fn leads_to_its_rows(statement: &str) {
    let steps = plan(statement).await;
    let through = |step: &&String| {
        let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
        let of_records = |table| ["tombstones", "queue", "outcomes", "t", "q", "o"].contains(&table);
        scanned.is_some_and(of_records) || step.contains("(target=?)")
    };
    assert!(!steps.iter().any(|step| through(&step)), "{statement}: {steps:#?}");
}
