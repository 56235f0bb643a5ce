//! Columns with their types: domains down to what they are made of, and how a key is compared with each.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Error, Row};

use super::{Column, Relation, Typed, quoted, rows};
use crate::targets::sql::catalogue::Affinity;

const COLUMNS: &str = "WITH RECURSIVE of AS (
      SELECT DISTINCT atttypid AS own, atttypid AS base, -1 AS modifier, false AS not_null FROM pg_catalog.pg_attribute
      WHERE attrelid = ANY ($1::pg_catalog.oid[]) AND attnum > 0 AND NOT attisdropped
      UNION ALL SELECT o.own, y.typbasetype, greatest(o.modifier, y.typtypmod), o.not_null OR y.typnotnull FROM of o
      JOIN pg_catalog.pg_type y ON y.oid = o.base WHERE y.typtype = 'd')
    SELECT a.attrelid::pg_catalog.int8, a.attname::pg_catalog.text,
      pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull OR o.not_null, a.attgenerated <> '',
      coalesce(pg_catalog.array_position(p.indkey::pg_catalog.int2[], a.attnum), -1)::pg_catalog.int8,
      yn.nspname::pg_catalog.text, y.typname::pg_catalog.text,
      bn.nspname::pg_catalog.text, b.typname::pg_catalog.text, b.typtype::pg_catalog.text,
      (SELECT n.nspname FROM pg_catalog.pg_operator e JOIN pg_catalog.pg_namespace n ON n.oid = e.oprnamespace
        WHERE e.oprname = '=' AND e.oprleft = b.oid AND e.oprright = b.oid LIMIT 1)::pg_catalog.text,
      ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid
        ORDER BY e.enumsortorder), greatest(a.atttypmod, o.modifier)::pg_catalog.int8
    FROM pg_catalog.pg_attribute a
    JOIN of o ON o.own = a.atttypid JOIN pg_catalog.pg_type b ON b.oid = o.base AND b.typtype <> 'd'
    JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid JOIN pg_catalog.pg_namespace yn ON yn.oid = y.typnamespace
    LEFT JOIN pg_catalog.pg_index p ON p.indrelid = a.attrelid AND p.indisprimary
    WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

/// # Errors
/// As the driver gives them.
pub async fn columns(
    connection: &mut PgConnection,
    relations: &mut BTreeMap<i64, Relation>,
    oids: &str,
) -> Result<(), Error> {
    for row in rows(connection, COLUMNS, oids.to_owned()).await? {
        let Some(relation) = relations.get_mut(&row.try_get(0)?) else { continue };
        let name: String = row.try_get(1)?;
        let (affinity, typed) = typed(&row)?;
        relation.columns.push(Column {
            sql: quoted(&name),
            name,
            declared: row.try_get(2)?,
            affinity,
            typed,
            not_null: row.try_get(3)?,
            generated: row.try_get(4)?,
            // `indkey` counts from 0.
            primary: row.try_get::<i64, _>(5)? + 1,
        });
    }
    Ok(())
}

/// Whole numbers are compared as the widest of them, so that a key beyond a column's range is absent instead
/// of an error; text without its length, so that nothing is cut.
fn typed(row: &PgRow) -> Result<(Affinity, Typed), Error> {
    let text = |index: usize| row.try_get::<String, _>(index);
    let (schema, base, sort) = (text(8)?, text(9)?, text(10)?);
    let own = format!("{}.{}", quoted(&text(6)?), quoted(&text(7)?));
    let system = schema == "pg_catalog";
    let itself = format!("{}.{}", quoted(&schema), quoted(&base));
    let (affinity, cast) = match base.as_str() {
        "int2" | "int4" | "int8" if system => (Affinity::Integer, "pg_catalog.int8".to_owned()),
        "text" | "varchar" if system => (Affinity::Text, "pg_catalog.text".to_owned()),
        "bpchar" if system => (Affinity::Padded, itself),
        "numeric" if system => (Affinity::Decimal, itself),
        "uuid" if system => (Affinity::Uuid, itself),
        "float4" | "float8" if system => (Affinity::Real, itself),
        "citext" => (Affinity::Text, itself),
        _ if sort == "e" => (Affinity::Label, itself),
        _ => (Affinity::Blob, itself),
    };
    let operators: Option<String> = row.try_get(11)?;
    let operators = operators.unwrap_or_else(|| "pg_catalog".to_owned());
    let equals = format!("OPERATOR({}.=)", quoted(&operators));
    let (declared, labels) = (text(2)?, row.try_get(12)?);
    // A moment's modifier is the number of digits that were asked for.
    let moment = system && ["timestamp", "timestamptz"].contains(&base.as_str());
    let digits = u32::try_from(row.try_get::<i64, _>(13)?).ok().filter(|_| moment);
    Ok((affinity, Typed { own, declared, cast, equals, labels, digits, folds: false }))
}
