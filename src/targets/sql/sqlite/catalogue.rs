//! Reads the catalogue of an SQLite database: `sqlite_schema` and the pragmas as tables.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use crate::targets::sql::catalogue::{
    Affinity, Catalogue, Column, FkAction, ForeignKey, Index, Relation, RelationKind, Typed, Ways,
};
use crate::targets::sql::words;

/// The names of the row number; a column of that name hides it.
const ROW_IDS: [&str; 3] = ["rowid", "_rowid_", "oid"];

const RELATIONS: &str = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
// Tables, and the names in the argument. A view that refers to nothing, or a virtual table whose module is
// not loaded, cannot be described, and is not asked for unless it is one of ours.
const DESCRIBED: &str = "(SELECT name FROM pragma_table_list WHERE schema = 'main'
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    AND (type = 'table' OR lower(name) IN (SELECT lower(value) FROM json_each(?1))))";

/// # Errors
/// As the driver gives them.
pub async fn read(connection: &mut SqliteConnection, names: &[&str]) -> Result<Catalogue, Error> {
    let mut relations = BTreeMap::new();
    for row in rows(connection, RELATIONS, None).await? {
        let name: String = row.try_get(0)?;
        let kind = match row.try_get::<&str, _>(1)? {
            "table" => RelationKind::Table,
            "view" => RelationKind::View,
            _ => RelationKind::Other,
        };
        // Until the columns are known, any name says that there are row numbers.
        let row_id =
            (kind == RelationKind::Table && row.try_get::<i64, _>(2)? == 0).then(|| ROW_IDS[0].to_owned());
        let (columns, indexes, foreign_keys, triggers, remarks) = Default::default();
        let sql = words::table(&name);
        relations.insert(
            name.clone(),
            Relation {
                name,
                qualified: None,
                sql,
                writable: true,
                barred: None,
                kind,
                row_id,
                columns,
                indexes,
                foreign_keys,
                triggers,
                remarks,
            },
        );
    }
    let names = serde_json::Value::from(names).to_string();
    columns(connection, &mut relations, &names).await?;
    indexes(connection, &mut relations, &names).await?;
    foreign_keys(connection, &mut relations, &names).await?;
    triggers(connection, &mut relations).await?;
    let mut relations: Vec<Relation> = relations.into_values().collect();
    relations.iter_mut().for_each(row_numbers);
    complete_foreign_keys(&mut relations);
    let ways = Ways {
        quote: words::quoted,
        exact_types: "INTEGER or TEXT",
        name_bytes_max: None,
        exactly: words::EXACTLY,
        indexed: |relation| words::quoted(&relation.name),
        concurrently: "",
    };
    Ok(Catalogue { relations, ways })
}

async fn rows(
    connection: &mut SqliteConnection,
    sql: &str,
    names: Option<&str>,
) -> Result<Vec<SqliteRow>, Error> {
    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
    match names {
        Some(names) => query.bind(names).fetch_all(connection).await,
        None => query.fetch_all(connection).await,
    }
}

async fn triggers(
    connection: &mut SqliteConnection,
    relations: &mut BTreeMap<String, Relation>,
) -> Result<(), Error> {
    let sql = "SELECT tbl_name, name FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1, 2";
    for row in rows(connection, sql, None).await? {
        let table: &str = row.try_get(0)?;
        let found = relations.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(table));
        if let Some((_, relation)) = found {
            relation.triggers.push(row.try_get(1)?);
        }
    }
    Ok(())
}

async fn columns(
    connection: &mut SqliteConnection,
    relations: &mut BTreeMap<String, Relation>,
    names: &str,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT m.name, c.name, c.type, c.\"notnull\", c.hidden, c.pk
         FROM {DESCRIBED} m CROSS JOIN pragma_table_xinfo(m.name, 'main') c ORDER BY 1, c.cid"
    );
    for row in rows(connection, &sql, Some(names)).await? {
        let Some(relation) = relations.get_mut(row.try_get::<&str, _>(0)?) else { continue };
        let (name, declared): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        relation.columns.push(Column {
            sql: words::quoted(&name),
            typed: Typed::default(),
            name,
            affinity: affinity(&declared),
            declared,
            not_null: row.try_get::<i64, _>(3)? != 0,
            generated: row.try_get::<i64, _>(4)? != 0,
            primary: row.try_get(5)?,
        });
    }
    Ok(())
}

async fn indexes(
    connection: &mut SqliteConnection,
    relations: &mut BTreeMap<String, Relation>,
    names: &str,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT m.name, i.seq, i.\"unique\", i.partial, x.name, coalesce(x.coll, 'BINARY'), x.seqno
         FROM {DESCRIBED} m CROSS JOIN pragma_index_list(m.name, 'main') i
         CROSS JOIN pragma_index_xinfo(i.name, 'main') x WHERE x.key ORDER BY 1, 2, x.seqno"
    );
    for row in rows(connection, &sql, Some(names)).await? {
        let Some(relation) = relations.get_mut(row.try_get::<&str, _>(0)?) else { continue };
        if row.try_get::<i64, _>(6)? == 0 {
            relation.indexes.push(Index {
                unique: row.try_get::<i64, _>(2)? != 0,
                partial: row.try_get::<i64, _>(3)? != 0,
                columns: Vec::new(),
            });
        }
        let collation: String = row.try_get(5)?;
        if let Some(index) = relation.indexes.last_mut() {
            index.columns.push((row.try_get(4)?, collation.to_ascii_uppercase()));
        }
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut SqliteConnection,
    relations: &mut BTreeMap<String, Relation>,
    names: &str,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT m.name, f.\"table\", f.\"from\", coalesce(f.\"to\", ''), f.on_delete, f.seq
         FROM {DESCRIBED} m CROSS JOIN pragma_foreign_key_list(m.name, 'main') f ORDER BY 1, f.id, f.seq"
    );
    for row in rows(connection, &sql, Some(names)).await? {
        let Some(relation) = relations.get_mut(row.try_get::<&str, _>(0)?) else { continue };
        if row.try_get::<i64, _>(5)? == 0 {
            relation.foreign_keys.push(ForeignKey {
                parent: row.try_get(1)?,
                columns: Vec::new(),
                on_delete: match row.try_get::<&str, _>(4)? {
                    "CASCADE" => FkAction::Cascade,
                    "SET NULL" => FkAction::SetNull,
                    _ => FkAction::Refuse,
                },
                // Left aside where the statements of a plan take care of all that refers.
                enforced: false,
            });
        }
        if let Some(key) = relation.foreign_keys.last_mut() {
            key.columns.push((row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(())
}

/// A foreign key without column names refers to the primary key.
fn complete_foreign_keys(relations: &mut [Relation]) {
    let primary: BTreeMap<String, Vec<String>> = relations
        .iter()
        .map(|relation| (relation.name.to_ascii_lowercase(), primary_key(relation)))
        .collect();
    for key in relations.iter_mut().flat_map(|relation| &mut relation.foreign_keys) {
        let Some(names) = primary.get(&key.parent.to_ascii_lowercase()) else { continue };
        for ((_, to), name) in key.columns.iter_mut().zip(names) {
            if to.is_empty() {
                to.clone_from(name);
            }
        }
    }
}

fn primary_key(relation: &Relation) -> Vec<String> {
    let mut columns: Vec<&Column> = relation.columns.iter().filter(|column| column.primary > 0).collect();
    columns.sort_by_key(|column| column.primary);
    columns.into_iter().map(|column| column.name.clone()).collect()
}

/// Finds a free name for the row number, and makes the index visible that an INTEGER PRIMARY KEY is.
fn row_numbers(relation: &mut Relation) {
    if relation.row_id.is_none() {
        return;
    }
    let free = |name: &&str| relation.column(name).is_none();
    relation.row_id = ROW_IDS.into_iter().find(free).map(str::to_owned);
    if let [name] = primary_key(relation).as_slice()
        && relation.column(name).is_some_and(|column| column.declared.eq_ignore_ascii_case("INTEGER"))
    {
        let columns = vec![(Some(name.clone()), Index::BYTES.to_owned())];
        relation.indexes.push(Index { unique: true, partial: false, columns });
        relation.row_id = Some(name.clone());
    }
}

/// The rules in their order: <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>.
fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if declared.is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}
