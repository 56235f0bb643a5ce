//! Reads the catalogue of a MariaDB or MySQL database: `information_schema`, whose columns both servers share.
//!
//! Every text is asked for as `CHAR`, since MySQL gives some of them as bytes, and every name with an alias, since
//! it gives names of columns in capitals.

pub mod columns;

use std::collections::BTreeMap;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Error, Row};

use super::text;
use crate::targets::Severity;
use crate::targets::sql::catalogue::{
    Catalogue, FkAction, ForeignKey, Index, Relation, RelationKind, Remark, Ways,
};

const RELATIONS: &str = "SELECT CAST(TABLE_NAME AS CHAR), CAST(TABLE_TYPE AS CHAR),
    CAST(coalesce(ENGINE, '') AS CHAR), CAST(coalesce(CREATE_OPTIONS, '') AS CHAR)
    FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY 1";
const COLUMNS: &str = "SELECT CAST(TABLE_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR), CAST(COLUMN_TYPE AS CHAR),
    CAST(DATA_TYPE AS CHAR), CAST(IS_NULLABLE AS CHAR), CAST(EXTRA AS CHAR),
    CAST(coalesce(CHARACTER_SET_NAME, '') AS CHAR), CAST(coalesce(COLLATION_NAME, '') AS CHAR),
    CAST(coalesce(NUMERIC_SCALE, 0) AS SIGNED), CAST(coalesce(DATETIME_PRECISION, 0) AS SIGNED)
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, ORDINAL_POSITION";
const INDEXES: &str = "SELECT CAST(TABLE_NAME AS CHAR), CAST(INDEX_NAME AS CHAR), CAST(NON_UNIQUE AS SIGNED),
    CAST(SEQ_IN_INDEX AS SIGNED), CAST(COLUMN_NAME AS CHAR), CAST(coalesce(SUB_PART, 0) AS SIGNED),
    CAST(INDEX_TYPE AS CHAR)
    FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX";
/// Both views with a schema that is told: without one, the servers read the tables of all databases.
const FOREIGN_KEYS: &str = "SELECT CAST(k.TABLE_SCHEMA AS CHAR), CAST(k.TABLE_NAME AS CHAR),
    CAST(k.CONSTRAINT_NAME AS CHAR), CAST(k.ORDINAL_POSITION AS SIGNED), CAST(k.COLUMN_NAME AS CHAR),
    CAST(k.REFERENCED_TABLE_NAME AS CHAR), CAST(k.REFERENCED_COLUMN_NAME AS CHAR), CAST(r.DELETE_RULE AS CHAR)
    FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
      ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME
      AND r.TABLE_NAME = k.TABLE_NAME
    WHERE k.TABLE_SCHEMA = ? AND r.CONSTRAINT_SCHEMA = ? AND k.REFERENCED_TABLE_SCHEMA = k.TABLE_SCHEMA
    ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION";
/// A trigger that only an INSERT fires has nothing to do with a deletion.
const TRIGGERS: &str = "SELECT CAST(EVENT_OBJECT_TABLE AS CHAR), CAST(TRIGGER_NAME AS CHAR)
    FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ? AND EVENT_MANIPULATION <> 'INSERT' ORDER BY 1, 2";

/// # Errors
/// As the driver gives them.
pub async fn read(connection: &mut MySqlConnection, database: &str) -> Result<Catalogue, Error> {
    let mut relations = BTreeMap::new();
    for row in rows(connection, RELATIONS, database).await? {
        let relation = relation(&row, database)?;
        relations.insert(relation.name.clone(), relation);
    }
    for row in rows(connection, COLUMNS, database).await? {
        let Some(relation) = relations.get_mut(&text(&row, 0)?) else { continue };
        relation.columns.push(columns::column(&row)?);
    }
    indexes(connection, &mut relations, database).await?;
    foreign_keys(connection, &mut relations, database).await?;
    for row in rows(connection, TRIGGERS, database).await? {
        if let Some(relation) = relations.get_mut(&text(&row, 0)?) {
            relation.triggers.push(text(&row, 1)?);
        }
    }
    Ok(Catalogue { relations: relations.into_values().collect(), ways: ways() })
}

fn ways() -> Ways {
    Ways {
        quote: quoted,
        exact_types: "BIGINT, DECIMAL or VARCHAR",
        // Names that are longer are refused, not cut.
        name_bytes_max: None,
        exactly: "",
        indexed: |relation| quoted(&relation.name),
        concurrently: "",
    }
}

/// A name as SQL reads it, whatever it holds.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `sql` asks about `database`, wherever it asks. The statement is kept: to close one has no answer, and the next word
/// after it waits 40 ms for the server to acknowledge it.
async fn rows(connection: &mut MySqlConnection, sql: &str, database: &str) -> Result<Vec<MySqlRow>, Error> {
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = sql.matches('?').fold(query, |query, _| query.bind(database));
    query.fetch_all(connection).await
}

fn relation(row: &MySqlRow, database: &str) -> Result<Relation, Error> {
    let (name, kind, engine, options) = (text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?);
    let mut remarks = Vec::new();
    let mut remark = |severity, what: String, mend: &str| {
        remarks.push(Remark { severity, what, mend: mend.to_owned() });
    };
    let table = kind == "BASE TABLE" || kind == "SYSTEM VERSIONED";
    let transactional = !table || engine.eq_ignore_ascii_case("InnoDB");
    let barred = (!transactional).then(|| {
        let why = format!(
            "table {name:?} is kept by {engine}, which knows no transactions: half a batch could not be taken back"
        );
        (why, "ALTER TABLE … ENGINE = InnoDB")
    });
    if kind == "SYSTEM VERSIONED" {
        remark(
            Severity::Warning,
            format!("table {name:?} is WITH SYSTEM VERSIONING: what is deleted stays in it as history"),
            "DELETE HISTORY from the table on a schedule, or drop its versioning",
        );
    }
    if options.contains("partitioned") {
        remark(
            Severity::Note,
            format!(
                "table {name:?} is partitioned: where the key does not tell the partition, each record is looked for in all of them"
            ),
            "have the column that tells the partition in the key, if the upstream gives it",
        );
    }
    Ok(Relation {
        sql: format!("{}.{}", quoted(database), quoted(&name)),
        kind: match kind.as_str() {
            _ if table => RelationKind::Table,
            "VIEW" => RelationKind::View,
            _ => RelationKind::Other,
        },
        name,
        qualified: None,
        writable: table,
        barred,
        row_id: None,
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
        remarks,
    })
}

async fn indexes(
    connection: &mut MySqlConnection,
    relations: &mut BTreeMap<String, Relation>,
    database: &str,
) -> Result<(), Error> {
    for row in rows(connection, INDEXES, database).await? {
        let Some(relation) = relations.get_mut(&text(&row, 0)?) else { continue };
        let (index, position): (String, i64) = (text(&row, 1)?, row.try_get(3)?);
        if position == 1 {
            // Words of a text, or shapes: no way to one value.
            let partial = !["BTREE", "HASH"].contains(&text(&row, 6)?.as_str());
            relation.indexes.push(Index {
                unique: row.try_get::<i64, _>(2)? == 0,
                partial,
                columns: Vec::new(),
            });
        }
        let name: Option<String> = row.try_get(4)?;
        if let Some(entry) = relation.indexes.last_mut() {
            // The beginnings of values alone: two keys may be one to it.
            entry.partial |= row.try_get::<i64, _>(5)? > 0;
            // The index serves whatever its collation, since statements ask for equal bytes beside it.
            entry.columns.push((name.clone(), Index::BYTES.to_owned()));
        }
        if index == "PRIMARY"
            && let Some(column) =
                relation.columns.iter_mut().find(|column| Some(&column.name) == name.as_ref())
        {
            column.primary = position;
        }
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut MySqlConnection,
    relations: &mut BTreeMap<String, Relation>,
    database: &str,
) -> Result<(), Error> {
    for row in rows(connection, FOREIGN_KEYS, database).await? {
        let Some(relation) = relations.get_mut(&text(&row, 1)?) else { continue };
        if row.try_get::<i64, _>(3)? == 1 {
            relation.foreign_keys.push(ForeignKey {
                parent: text(&row, 5)?,
                columns: Vec::new(),
                on_delete: match text(&row, 7)?.as_str() {
                    "CASCADE" => FkAction::Cascade,
                    "SET NULL" => FkAction::SetNull,
                    _ => FkAction::Refuse,
                },
                // By our settings of the session; what a foreign key does itself fires no trigger.
                enforced: true,
            });
        }
        if let Some(key) = relation.foreign_keys.last_mut() {
            key.columns.push((text(&row, 4)?, text(&row, 6)?));
        }
    }
    Ok(())
}
