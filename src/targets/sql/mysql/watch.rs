//! Whether the tables still are what the plans were made for, asked within each transaction.
//!
//! The servers keep no number of a schema's version, so that the rows of `information_schema` themselves are
//! compared, by their digest: 2 to 4 ms where a schema has 200 tables. The tables are touched first, which keeps
//! their schema as it is until the transaction ends.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Error};

use super::text;
use crate::targets::sql::catalogue::{Catalogue, FkAction, RelationKind};

#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Statements that follow the beginning of a transaction.
    pub holding: String,
    query: String,
    /// The answer when the catalogue was read.
    pub seen: Vec<String>,
}

impl Watch {
    /// The tables of `database` that the names mean now, those that take the names later, and those whose rows go
    /// with theirs by the database's own foreign keys.
    pub fn over(database: &str, catalogue: &Catalogue, names: &[&str]) -> Self {
        let relations: Vec<_> = names.iter().filter_map(|name| catalogue.relation(name)).collect();
        let tables = relations.iter().filter(|relation| relation.kind == RelationKind::Table);
        let holding: Vec<_> =
            tables.map(|relation| format!("; SELECT 1 FROM {} LIMIT 0", relation.sql)).collect();
        let holding = holding.concat();
        let mut watched: Vec<&str> = relations.iter().map(|relation| relation.name.as_str()).collect();
        add_cascades(catalogue, &mut watched);
        let names =
            watched.into_iter().chain(names.iter().copied()).map(literal).collect::<Vec<_>>().join(", ");
        let database = literal(database);
        // The names in an order of their own: which row comes first is nobody's promise.
        let parts = [
            (
                "TABLES",
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "TABLE_TYPE, coalesce(ENGINE, ''), coalesce(CREATE_OPTIONS, '')",
                "TABLE_NAME",
            ),
            (
                "COLUMNS",
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, EXTRA, coalesce(COLLATION_NAME, '')",
                "TABLE_NAME, ORDINAL_POSITION",
            ),
            (
                "STATISTICS",
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, coalesce(COLUMN_NAME, ''), coalesce(SUB_PART, 0)",
                "TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
            ),
            (
                "TRIGGERS",
                "TRIGGER_SCHEMA",
                "EVENT_OBJECT_TABLE",
                "TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, CREATED, ACTION_STATEMENT",
                "TRIGGER_NAME",
            ),
            (
                "REFERENTIAL_CONSTRAINTS",
                "CONSTRAINT_SCHEMA",
                "REFERENCED_TABLE_NAME",
                "TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE",
                "TABLE_NAME, CONSTRAINT_NAME",
            ),
        ];
        let parts = parts.map(|(view, schema, table, columns, order)| {
            format!(
                "SELECT {table}, {columns} FROM information_schema.{view}
                 WHERE {schema} = {database} AND {table} IN ({names}) ORDER BY {order}"
            )
        });
        Self { holding, query: parts.join(";\n"), seen: Vec::new() }
    }

    /// # Errors
    /// As the driver gives them.
    pub async fn look(&self, connection: &mut MySqlConnection) -> Result<Vec<String>, Error> {
        use sqlx::Row as _;
        let rows = sqlx::raw_sql(AssertSqlSafe(self.query.clone())).fetch_all(connection).await?;
        let line = |row: &sqlx::mysql::MySqlRow| {
            let values = (0..row.len()).map(|column| text(row, column));
            values.collect::<Result<Vec<_>, _>>().map(|values| values.join("\u{1f}"))
        };
        rows.iter().map(line).collect()
    }
}

/// Adds what the cascades of these tables reach, however far. The server holds its schema while it deletes, so that
/// it needs no touch of ours, for which a right might be missing.
fn add_cascades<'a>(catalogue: &'a Catalogue, watched: &mut Vec<&'a str>) {
    let mut next = 0;
    while let Some(&name) = watched.get(next) {
        let cascades = catalogue.referring(name).filter(|(_, key)| key.on_delete == FkAction::Cascade);
        for (relation, _) in cascades {
            if !watched.contains(&relation.name.as_str()) {
                watched.push(&relation.name);
            }
        }
        next += 1;
    }
}

/// Backslashes are no letters of their own in the servers' default mode, and in ours.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
