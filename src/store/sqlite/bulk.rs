//! Inserting many rows with few statements.
//!
//! A statement a row costs a trip to the connection's thread each; one statement of any length is prepared
//! anew each time. So rows go in groups of a few fixed sizes, whose texts the connection's cache knows.

use sqlx::SqliteConnection;

use super::script::Script;
use crate::store::StoreError;

/// Rows a statement: powers of two, so that any number takes few statements. 64 × the widest row stays far
/// below SQLite's 32,766 parameters.
const GROUPS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Adds `{prefix} VALUES (?, …), (?, …) {suffix}` for all rows, `bind` giving each row's parameters; what is worth a
/// trip is run at once.
pub async fn insert<T>(
    connection: &mut SqliteConnection,
    script: &mut Script,
    (prefix, columns, suffix): (&str, usize, &str),
    rows: &[T],
    bind: impl Fn(&mut Script, &T),
) -> Result<(), StoreError> {
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
            script.push(&text);
            for row in group {
                bind(script, row);
            }
            if script.is_long() {
                script.run(connection).await?;
            }
        }
    }
    Ok(())
}
