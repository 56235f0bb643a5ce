//! Reads the catalogue of a PostgreSQL database: the tables that the configuration names, and all that refer to
//! them, however far.

mod remarks;
mod types;

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};

use super::beside::Neighbours;
use crate::targets::sql::catalogue::{
    Catalogue, Column, FkAction, ForeignKey, Index, Relation, RelationKind, Typed, Ways,
};

/// A name is cut after this many bytes (`NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// The kind of a relation whose rows are in its partitions.
const PARTITIONED: &str = "p";

/// What a name without a schema means is what it means to the role by its path. `pg_table_is_visible` would say so
/// too, but for temporary tables, which another client of a pooler may have left on our connection.
const RELATIONS: &str = "WITH RECURSIVE path AS (
      SELECT n.oid, s.place FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s(name, place)
      JOIN pg_catalog.pg_namespace n ON n.nspname = s.name WHERE n.nspname !~ '^pg_'),
    visible AS (
      SELECT DISTINCT ON (c.relname) c.oid FROM pg_catalog.pg_class c JOIN path ON path.oid = c.relnamespace
      ORDER BY c.relname, path.place),
    named AS (
      SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND (pg_catalog.lower(c.relname) = ANY ($1::pg_catalog.text[]) AND c.oid IN (SELECT v.oid FROM visible v)
             OR pg_catalog.lower(n.nspname || '.' || c.relname) = ANY ($1::pg_catalog.text[]))),
    reached AS (
      SELECT oid FROM named UNION SELECT k.conrelid FROM pg_catalog.pg_constraint k
      JOIN reached r ON k.confrelid = r.oid WHERE k.contype = 'f' AND k.conparentid = 0)
    SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
      c.relkind::pg_catalog.text, c.oid IN (SELECT v.oid FROM visible v),
      pg_catalog.has_table_privilege(c.oid, 'DELETE, UPDATE')
    FROM reached r JOIN pg_catalog.pg_class c ON c.oid = r.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 2, 3";

const INDEXES: &str = "SELECT i.indrelid::pg_catalog.int8, i.indexrelid::pg_catalog.int8, i.indisunique,
      i.indpred IS NOT NULL OR NOT i.indisvalid OR m.amname NOT IN ('btree', 'hash'),
      a.attname::pg_catalog.text,
      CASE WHEN y.typname = 'citext' THEN 'citext' WHEN l.collisdeterministic THEN NULL ELSE l.collname END::pg_catalog.text
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_am m ON m.oid = c.relam
    CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS s(place)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[s.place]
      AND i.indkey[s.place] <> 0
    LEFT JOIN pg_catalog.pg_attribute x ON x.attrelid = i.indexrelid AND x.attnum = s.place + 1
    LEFT JOIN pg_catalog.pg_type y ON y.oid = x.atttypid
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = i.indcollation[s.place]
    WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) ORDER BY 1, 2, s.place";

/// The last column: whether it refuses, and all four triggers are at work that it is enforced by, two on either side. An
/// owner may switch them off, and parts of tables have their own. What a cascade would do, a trigger can keep from
/// happening, and the row stays.
const FOREIGN_KEYS: &str =
    "SELECT k.conrelid::pg_catalog.int8, k.confrelid::pg_catalog.int8, k.oid::pg_catalog.int8,
      k.confdeltype::pg_catalog.text, h.attname::pg_catalog.text, t.attname::pg_catalog.text,
      k.confdeltype IN ('a', 'r') AND pg_catalog.current_setting('session_replication_role') <> 'replica' AND 4 =
        (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled IN ('O', 'A'))
    FROM pg_catalog.pg_constraint k
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey))
      WITH ORDINALITY AS u(here, there, place)
    JOIN pg_catalog.pg_attribute h ON h.attrelid = k.conrelid AND h.attnum = u.here
    JOIN pg_catalog.pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = u.there
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1::pg_catalog.oid[])
      AND k.confrelid = ANY ($1::pg_catalog.oid[]) ORDER BY k.conrelid, k.conname, u.place";

/// Triggers of deletions and updates, those of foreign keys aside.
const TRIGGERS: &str = "SELECT t.tgrelid::pg_catalog.int8, t.tgname::pg_catalog.text
    FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype & 24) <> 0
      AND t.tgrelid = ANY ($1::pg_catalog.oid[]) ORDER BY 1, 2";

/// A name as SQL reads it, whatever it holds.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Values as one argument, which the statement casts to an array.
pub fn list<'a>(values: impl Iterator<Item = Option<&'a str>>) -> String {
    let mut list = String::from("{");
    for value in values {
        if list.len() > 1 {
            list.push(',');
        }
        match value {
            None => list.push_str("NULL"),
            Some(text) => {
                list.push('"');
                for letter in text.chars() {
                    if matches!(letter, '"' | '\\') {
                        list.push('\\');
                    }
                    list.push(letter);
                }
                list.push('"');
            }
        }
    }
    list.push('}');
    list
}

/// What was read.
pub struct Reading {
    pub catalogue: Catalogue,
    /// The object ids of its relations, in their order.
    pub oids: Vec<i64>,
    pub neighbours: Neighbours,
}

/// # Errors
/// As the driver gives them.
pub async fn read(connection: &mut PgConnection, names: &[&str]) -> Result<Reading, Error> {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let configured = list(lower.iter().map(|name| Some(name.as_str())));
    let mut relations = BTreeMap::new();
    let (mut order, mut partitioned) = (Vec::new(), Vec::new());
    for row in rows(connection, RELATIONS, configured.clone()).await? {
        let oid: i64 = row.try_get(0)?;
        let relation = relation(&row)?;
        if row.try_get::<&str, _>(3)? == PARTITIONED {
            partitioned.push(relation.sql.clone());
        }
        relations.insert(oid, relation);
        order.push(oid);
    }
    let oids = order.iter().map(ToString::to_string).collect::<Vec<_>>();
    let oids = list(oids.iter().map(|oid| Some(oid.as_str())));
    types::columns(connection, &mut relations, &oids).await?;
    indexes(connection, &mut relations, &oids).await?;
    foreign_keys(connection, &mut relations, &oids).await?;
    for row in rows(connection, TRIGGERS, oids.clone()).await? {
        if let Some(relation) = relations.get_mut(&row.try_get(0)?) {
            relation.triggers.push(row.try_get(1)?);
        }
    }
    remarks::read(connection, &mut relations, &oids, &configured).await?;
    let ways = Ways {
        quote: quoted,
        exact_types: "a whole number, text, uuid or numeric",
        name_bytes_max: Some(NAME_BYTES_MAX),
        exactly: "COLLATE \"C\"",
        indexed: |relation| relation.sql.clone(),
        concurrently: " CONCURRENTLY",
    };
    let relations = order.iter().filter_map(|oid| relations.remove(oid)).collect();
    let neighbours = Neighbours { partitioned, configured };
    Ok(Reading { catalogue: Catalogue { relations, ways }, oids: order, neighbours })
}

async fn rows(connection: &mut PgConnection, sql: &str, argument: String) -> Result<Vec<PgRow>, Error> {
    sqlx::query(AssertSqlSafe(sql)).bind(argument).persistent(false).fetch_all(connection).await
}

fn relation(row: &PgRow) -> Result<Relation, Error> {
    let (schema, table): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let qualified = format!("{schema}.{table}");
    let sql = format!("{}.{}", quoted(&schema), quoted(&table));
    let visible: bool = row.try_get(4)?;
    let kind = match row.try_get::<&str, _>(3)? {
        "v" => RelationKind::View,
        "m" => RelationKind::Materialized,
        "f" => RelationKind::Foreign,
        _ => RelationKind::Table,
    };
    let (columns, indexes, foreign_keys, triggers, remarks) = Default::default();
    Ok(Relation {
        name: if visible { table } else { qualified.clone() },
        qualified: Some(qualified),
        sql,
        writable: row.try_get(5)?,
        barred: None,
        kind,
        row_id: None,
        columns,
        indexes,
        foreign_keys,
        triggers,
        remarks,
    })
}

async fn indexes(
    connection: &mut PgConnection,
    relations: &mut BTreeMap<i64, Relation>,
    oids: &str,
) -> Result<(), Error> {
    let mut last = 0;
    for row in rows(connection, INDEXES, oids.to_owned()).await? {
        let Some(relation) = relations.get_mut(&row.try_get(0)?) else { continue };
        let index: i64 = row.try_get(1)?;
        if std::mem::replace(&mut last, index) != index {
            let (unique, partial) = (row.try_get(2)?, row.try_get(3)?);
            relation.indexes.push(Index { unique, partial, columns: Vec::new() });
        }
        let collation: Option<String> = row.try_get(5)?;
        if let Some(index) = relation.indexes.last_mut() {
            index.columns.push((row.try_get(4)?, collation.unwrap_or_else(|| Index::BYTES.to_owned())));
        }
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut PgConnection,
    relations: &mut BTreeMap<i64, Relation>,
    oids: &str,
) -> Result<(), Error> {
    let mut last = 0;
    for row in rows(connection, FOREIGN_KEYS, oids.to_owned()).await? {
        let Some(parent) = relations.get(&row.try_get(1)?).map(|parent| parent.name.clone()) else {
            continue;
        };
        let Some(relation) = relations.get_mut(&row.try_get(0)?) else { continue };
        let key: i64 = row.try_get(2)?;
        if std::mem::replace(&mut last, key) != key {
            let on_delete = match row.try_get::<&str, _>(3)? {
                "c" => FkAction::Cascade,
                "n" => FkAction::SetNull,
                _ => FkAction::Refuse,
            };
            let (columns, enforced) = (Vec::new(), row.try_get(6)?);
            relation.foreign_keys.push(ForeignKey { parent, columns, on_delete, enforced });
        }
        if let Some(key) = relation.foreign_keys.last_mut() {
            key.columns.push((row.try_get(4)?, row.try_get(5)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_a_list_holds_any_text_as_it_is() {
        let values = [Some("a"), None, Some("NULL"), Some(""), Some(" {,\"\\é'} ")];
        assert_eq!(list(values.into_iter()), r#"{"a",NULL,"NULL",""," {,\"\\é'} "}"#);
        assert_eq!(list(std::iter::empty()), "{}");
    }
}
