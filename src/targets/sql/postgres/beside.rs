//! Tables beside a partitioned one that may hold its records: a partition that was detached keeps its rows, and the
//! partitioned table answers as if they were gone.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Error, Row as _};

use super::catalogue::list;
use crate::targets::sql::session::Beside;

/// Told by their look: in the same schema, with all columns of the partitioned one, of no other table, and not what
/// the configuration names for itself. One whose detaching is under way (CONCURRENTLY, since 14) is hidden already;
/// its mark is asked for as JSON, since 13 has no such column.
const BESIDE: &str = "SELECT p.oid::pg_catalog.int8, pg_catalog.format('%I.%I', n.nspname, c.relname),
      pg_catalog.has_table_privilege(c.oid, 'SELECT')
    FROM pg_catalog.pg_class p JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
    JOIN pg_catalog.pg_class c ON c.relnamespace = p.relnamespace AND c.relkind IN ('r', 'p') AND c.oid <> p.oid
    WHERE p.relkind = 'p' AND p.oid = ANY ($1::pg_catalog.regclass[]::pg_catalog.oid[])
      AND (NOT c.relispartition OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid
        AND (pg_catalog.to_jsonb(h) OPERATOR(pg_catalog.->>) 'inhdetachpending')::pg_catalog.bool))
      AND NOT pg_catalog.lower(c.relname) = ANY ($2::pg_catalog.text[])
      AND NOT pg_catalog.lower(n.nspname || '.' || c.relname) = ANY ($2::pg_catalog.text[])
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = p.oid AND a.attnum > 0
        AND NOT a.attisdropped AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute b
          WHERE b.attrelid = c.oid AND b.attname = a.attname AND b.atttypid = a.atttypid
            AND NOT b.attisdropped))
    ORDER BY 1, 2";

/// What is known of a connection's tables.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Tables of partitions, as SQL writes them.
    pub partitioned: Vec<String>,
    /// The names of the configuration, in small letters, as one argument.
    pub configured: String,
}

impl Neighbours {
    /// The tables beside this one; `None` if it is no table of partitions.
    pub async fn of(&self, connection: &mut PgConnection, table: &str) -> Result<Option<Vec<Beside>>, Error> {
        if self.partitioned.iter().all(|partitioned| partitioned != table) {
            return Ok(None);
        }
        let found = look(connection, list(std::iter::once(Some(table))), &self.configured).await?;
        Ok(Some(found.into_iter().map(|(_, beside)| beside).collect()))
    }
}

/// The tables beside these, which are names or object ids, with the object id of the one that each is beside.
pub async fn look(
    connection: &mut PgConnection,
    tables: String,
    configured: &str,
) -> Result<Vec<(i64, Beside)>, Error> {
    let query = sqlx::query(AssertSqlSafe(BESIDE)).bind(tables).bind(configured).persistent(false);
    let rows = query.fetch_all(connection).await?;
    let beside =
        |row: &PgRow| Ok((row.try_get(0)?, Beside { table: row.try_get(1)?, readable: row.try_get(2)? }));
    rows.iter().map(beside).collect()
}
