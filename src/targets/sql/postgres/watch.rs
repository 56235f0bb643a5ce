//! Whether the tables still are what the plans were made for: one query over the rows of the system catalogue
//! that describe them.
//!
//! Each such row has the number of the transaction that wrote it last (`xmin`), which any migration changes.
//! What changes it without changing the schema (a rewrite of the table, a grant) costs a look at the catalogue
//! and nothing else.

use super::super::catalogue::{Catalogue, RelationKind};

#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Keeps the schema of the tables as it is until the transaction ends.
    pub locks: String,
    /// The query.
    pub fingerprint: String,
    /// Its answer when the catalogue was read.
    pub seen: Option<String>,
}

impl Watch {
    /// `oids` belong to the relations of the catalogue, in their order.
    #[must_use]
    pub fn over(catalogue: &Catalogue, oids: &[i64], names: &[&str]) -> Self {
        let lockable = catalogue.relations.iter().filter(|relation| {
            matches!(relation.kind, RelationKind::Table | RelationKind::View) && relation.writable
        });
        let tables: Vec<&str> = lockable.map(|relation| relation.sql.as_str()).collect();
        let locks = if tables.is_empty() {
            String::new()
        } else {
            format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE;", tables.join(", "))
        };
        Self { locks, fingerprint: fingerprint(oids, names), seen: None }
    }
}

/// A new table may take the name that the configuration means, so that the names are looked at too.
fn fingerprint(oids: &[i64], names: &[&str]) -> String {
    let oids = oids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let bare = |name: &&str| name.rsplit('.').next().unwrap_or_default().to_lowercase().replace('\'', "''");
    let names = names.iter().map(|name| format!("'{}'", bare(name))).collect::<Vec<_>>().join(",");
    let rows = |letter: &str, of: &str, column: &str| {
        format!(
            "SELECT '{letter}' || t.oid || ':' || t.xmin AS row FROM pg_catalog.{of} t
             WHERE t.{column} = ANY (w.oids)"
        )
    };
    format!(
        "SELECT pg_catalog.md5(pg_catalog.string_agg(x.row, ',' ORDER BY x.row)) FROM
           (SELECT ARRAY[{oids}]::pg_catalog.oid[] AS oids,
                   ARRAY[{names}]::pg_catalog.text[] AS names) AS w,
         LATERAL ({class}
           UNION ALL SELECT 'n' || t.oid || ':' || t.xmin FROM pg_catalog.pg_class t
             WHERE t.relname = ANY (w.names) AND t.relkind IN ('r', 'p', 'v', 'm', 'f') AND t.relpersistence <> 't'
           UNION ALL SELECT 's' || n.oid || ':' || n.xmin FROM pg_catalog.pg_class t
             JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE t.oid = ANY (w.oids)
           UNION ALL SELECT 'a' || t.attrelid || '.' || t.attnum || ':' || t.xmin FROM pg_catalog.pg_attribute t
             WHERE t.attrelid = ANY (w.oids) AND t.attnum > 0
           UNION ALL SELECT 't' || y.oid || ':' || y.xmin FROM pg_catalog.pg_attribute t
             JOIN pg_catalog.pg_type y ON y.oid = t.atttypid WHERE t.attrelid = ANY (w.oids) AND t.attnum > 0
           UNION ALL SELECT 'e' || e.oid || ':' || e.xmin FROM pg_catalog.pg_attribute t
             JOIN pg_catalog.pg_enum e ON e.enumtypid = t.atttypid WHERE t.attrelid = ANY (w.oids) AND t.attnum > 0
           UNION ALL SELECT 'i' || t.indexrelid || ':' || t.xmin FROM pg_catalog.pg_index t
             WHERE t.indrelid = ANY (w.oids)
           UNION ALL SELECT 'h' || t.inhrelid || ':' || t.inhparent || ':' || t.xmin FROM pg_catalog.pg_inherits t
             WHERE t.inhparent = ANY (w.oids) OR t.inhrelid = ANY (w.oids)
           UNION ALL {constraints} UNION ALL {triggers} UNION ALL {rules} UNION ALL {policies}
           UNION ALL SELECT 'p' || p.oid || ':' || p.xmin FROM pg_catalog.pg_trigger t
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = ANY (w.oids) AND NOT t.tgisinternal
         ) AS x",
        class = rows("c", "pg_class", "oid"),
        constraints = rows("k", "pg_constraint", "conrelid"),
        triggers = rows("g", "pg_trigger", "tgrelid"),
        rules = rows("r", "pg_rewrite", "ev_class"),
        policies = rows("o", "pg_policy", "polrelid"),
    )
}
