//! Inserting many rows with few statements.
//!
//! A statement a row costs a trip to the connection's thread each; one statement of any length is prepared
//! anew each time. So rows go in groups of a few fixed sizes, whose texts the connection's cache knows.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

/// Rows a statement: powers of two, so that any number takes few statements. 64 × the widest row stays far
/// below SQLite's 32,766 parameters.
const GROUPS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// A query whose parameters are being bound.
pub type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Runs `{prefix} VALUES (?, …), (?, …) {suffix}` for all rows, `bind` giving each row's parameters.
pub async fn insert<T>(
    connection: &mut SqliteConnection,
    prefix: &str,
    columns: usize,
    suffix: &str,
    rows: &[T],
    bind: impl Fn(Bound<'static>, &T) -> Bound<'static>,
) -> Result<(), sqlx::Error> {
    let tuple = format!("({})", vec!["?"; columns].join(", "));
    let mut rest = rows;
    for size in GROUPS {
        if rest.len() < size {
            continue;
        }
        let values = vec![tuple.as_str(); size].join(", ");
        let text = format!("{prefix} VALUES {values} {suffix}");
        while rest.len() >= size {
            let (group, later) = rest.split_at(size);
            rest = later;
            let mut query = sqlx::query(AssertSqlSafe(text.clone()));
            for row in group {
                query = bind(query, row);
            }
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}
