//! Reads a target: a database's tables, an index's documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use url::Url;

use super::super::file::Value as Toml;
use super::super::target::{
    Child, Document, FieldGuard, Guard, Kind, Limits, OnDelete, Sql, Table, Tantivy, Template, TemplatePiece,
    Value,
};
use super::super::{Secret, Target, presets};
use super::source::TIME_FORMATS;
use super::{Field, Section, api};
use crate::domain::{Entity, Key, timestamp::TimeFormat};

/// Levels of children below a table: deeper trees have not been seen in replicas.
const CHILD_LEVELS_MAX: usize = 8;

/// Rests may be so many times as long as work: a hundredth of the server's time is as little as makes sense.
const REST_MAX: i64 = 100;

#[derive(Clone, Copy)]
enum Sort {
    Sql,
    Tantivy,
    Api,
}

const KINDS: [(&str, Sort); 3] = [("sql", Sort::Sql), ("tantivy", Sort::Tantivy), ("api", Sort::Api)];

const ON_DELETE: [(&str, OnDelete); 3] =
    [("delete", OnDelete::Delete), ("nullify", OnDelete::Nullify), ("keep", OnDelete::Keep)];

pub(super) fn target(name: &str, field: &Field<'_>) -> Option<Target> {
    field.check_own_name(name);
    field.section(|section| {
        if section.get("preset").is_some() {
            // It lies under this table already; without it, what is missing can't be told.
            let presets: Vec<_> = presets::target_names().map(|name| (name, ())).collect();
            section.chosen("preset", "", &presets)?;
        }
        let mend = "write kind = \"sql\", kind = \"tantivy\" or kind = \"api\", or name a preset";
        let kind = match section.chosen("kind", mend, &KINDS)? {
            Sort::Sql => sql(section).map(Kind::Sql),
            Sort::Tantivy => tantivy(section).map(Kind::Tantivy),
            Sort::Api => api::api(section).map(|api| Kind::Api(Box::new(api))),
        };
        Some(Target { name: name.to_owned(), kind: kind? })
    })
}

fn sql(section: &Section<'_>) -> Option<Sql> {
    let mend = "name the database: url = \"sqlite://data/replica.db\", \"postgres://…\", { env = \"NAME\" } or { file = \"…\" }";
    let url = section.required("url", mend, url);
    let limits =
        section.or("limits", Limits::default(), |field| field.section(|section| Some(limits(section))));
    let entities = entities(section, table);
    Some(Sql { url: url?, limits, entities: entities? })
}

fn limits(section: &Section<'_>) -> Limits {
    let usual = Limits::default();
    let rows = section.optional("rows_per_second", |field| field.integer(1..=i64::from(u32::MAX)));
    Limits {
        batch_time: section.or("batch_time", usual.batch_time, Field::duration),
        rest: section.or("rest", usual.rest, |field| field.integer(0..=REST_MAX)),
        rows_per_second: rows,
        replication_lag: section.or("replication_lag", usual.replication_lag, Field::duration),
        lock_waits: section
            .or("lock_waits", usual.lock_waits, |field| field.integer(1..=i64::from(u32::MAX))),
    }
}

/// Inline where it holds no password, else a secret.
fn url(field: &Field<'_>) -> Option<Secret> {
    let secret = match &field.node.value {
        Toml::Text(text) => {
            let secret =
                |url: Url| url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password");
            if Url::parse(text).is_ok_and(secret) {
                let mend = "write url = { env = \"NAME\" } or { file = \"…\" } instead";
                return field.fault("holds a password", mend);
            }
            Secret::new(text.as_str())
        }
        Toml::Table(_) => field.secret()?,
        _ => {
            let mend = "write url = \"sqlite://…\", \"postgres://…\", { env = \"NAME\" } or { file = \"…\" }";
            return field.unexpected("a string or a table", mend);
        }
    };
    field.database_url(secret.expose_str().unwrap_or_default())?;
    Some(secret)
}

fn tantivy(section: &Section<'_>) -> Option<Tantivy> {
    let mend = "name the index's folder, like path = \"data/search\"";
    let path = section.required("path", mend, path);
    let entities = entities(section, document);
    Some(Tantivy { path: path?, entities: entities? })
}

pub(super) fn path(field: &Field<'_>) -> Option<PathBuf> {
    match field.text()? {
        "" => field.fault("is empty", "give the path"),
        text => Some(PathBuf::from(text)),
    }
}

pub(super) fn entities<T>(
    section: &Section<'_>,
    read: impl Fn(&Section<'_>) -> Option<T>,
) -> Option<BTreeMap<Entity, T>> {
    let mend = "say what lives here, like [targets.NAME.entities.listing]";
    let entities = section.required("entities", mend, Field::entries)?;
    if entities.is_empty() {
        return section.fault("entities", "is empty, so nothing would ever be deleted here", mend);
    }
    let entities: Vec<_> = entities
        .into_iter()
        .map(|(name, field)| {
            field.check_own_name(name);
            Some((Entity::new(name), field.section(&read)?))
        })
        .collect();
    entities.into_iter().collect()
}

fn document(section: &Section<'_>) -> Option<Document> {
    let mend = "name the field that holds a document's name, like field = \"id\"";
    let field = section.required("field", mend, Field::name);
    let whole = Template(vec![TemplatePiece::Part(0)]);
    let id = section.or("id", whole, Field::template);
    let guard = section.optional("guard", |field| guard(field, "field"));
    let guard = guard.map(|(field, format)| FieldGuard { field, format });
    let delete_on_deactivate = section.or("delete_on_deactivate", false, Field::boolean);
    Some(Document { field: field?, id, guard, delete_on_deactivate })
}

fn table(section: &Section<'_>) -> Option<Table> {
    let name = section.required("table", "name the table, like table = \"listings\"", Field::name);
    let mend = "name the columns of the key, like key = [\"board_id\", \"mls_number\"]";
    let key = section.required("key", mend, columns);
    let alternates = section.or("alternates", BTreeMap::new(), alternates);
    let guard = section.optional("guard", |field| guard(field, "column"));
    let guard = guard.map(|(column, format)| Guard { column, format });
    let deleted_at = section.optional("deleted_at", Field::name);
    let deactivate = section.or("deactivate", Vec::new(), assignments);
    let children = section.or("children", Vec::new(), |field| children(field, 1));
    check_writes(section, key.as_deref().unwrap_or_default(), deleted_at.as_deref(), &deactivate);
    Some(Table { table: name?, key: key?, alternates, guard, deleted_at, deactivate, children })
}

/// The columns of each other identifier, one or several.
fn alternates(field: &Field<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let alternates: Vec<_> = field
        .entries()?
        .into_iter()
        .map(|(name, field)| {
            field.check_own_name(name);
            if name == Table::BY_KEY {
                return field.fault("has the name of the key itself", "give the identifier another name");
            }
            Some((name.to_owned(), columns(&field)?))
        })
        .collect();
    alternates.into_iter().collect()
}

fn columns(field: &Field<'_>) -> Option<Vec<String>> {
    let columns = field.all(Field::name)?;
    if columns.len() > Key::PARTS_MAX {
        return field.fault(format!("a key has 1 to {} parts", Key::PARTS_MAX), "name fewer columns");
    }
    if columns.iter().collect::<BTreeSet<_>>().len() < columns.len() {
        return field.fault("names a column twice", "name each part's own column");
    }
    Some(columns)
}

/// The name of a column or field (`what`) that needs no format, or a table with the name and what it counts.
fn guard(field: &Field<'_>, what: &'static str) -> Option<(String, Option<TimeFormat>)> {
    if !matches!(field.node.value, Toml::Table(_)) {
        return Some((field.name()?, None));
    }
    field.section(|section| {
        let mend = format!("name the {what} with the upstream's modification time");
        let name = section.required(what, &mend, Field::name);
        let format = section.optional("format", |field| field.choice(&TIME_FORMATS));
        Some((name?, format))
    })
}

fn assignments(field: &Field<'_>) -> Option<Vec<(String, Value)>> {
    let assignments: Vec<_> = field
        .entries()?
        .into_iter()
        .map(|(column, field)| Some((column.to_owned(), value(&field)?)))
        .collect();
    assignments.into_iter().collect()
}

/// A plain value, or `{ now = true }`, or `{ null = true }`, since TOML has neither.
fn value(field: &Field<'_>) -> Option<Value> {
    let mend = "write a string, an integer, a boolean, { now = true } or { null = true }";
    match &field.node.value {
        Toml::Text(text) => Some(Value::Text(text.clone())),
        Toml::Integer(number) => Some(Value::Integer(*number)),
        Toml::Bool(on) => Some(Value::Bool(*on)),
        Toml::Table(_) => field.section(|section| {
            let now = section.optional("now", Field::boolean);
            let null = section.optional("null", Field::boolean);
            match (now, null) {
                (Some(true), None) => Some(Value::Now),
                (None, Some(true)) => Some(Value::Null),
                _ => field.fault("says neither now nor null", mend),
            }
        }),
        _ => field.unexpected("a value", mend),
    }
}

fn children(field: &Field<'_>, level: usize) -> Option<Vec<Child>> {
    let items = field.items()?;
    if level > CHILD_LEVELS_MAX {
        let mend = "name the deeper tables as children of a nearer one";
        return field.fault(format!("children go deeper than {CHILD_LEVELS_MAX} levels"), mend);
    }
    let children: Vec<_> = items.iter().map(|item| item.section(|section| child(section, level))).collect();
    let mut seen = BTreeSet::new();
    for (item, child) in items.iter().zip(&children) {
        if child.as_ref().is_some_and(|child| !seen.insert((&child.table, &child.column))) {
            item.fault::<()>("names the same table and column as another child", "leave one of them out");
        }
    }
    children.into_iter().collect()
}

fn child(section: &Section<'_>, level: usize) -> Option<Child> {
    let table = section.required("table", "name the child's table", Field::name);
    let column = section.required("column", "name the child's column that refers to the parent", Field::name);
    let references = section.required(
        "references",
        "name the parent's column that it refers to, like \"id\"",
        Field::name,
    );
    let mend = "say what becomes of the rows: \"delete\", \"nullify\" or \"keep\"";
    let on_delete = section.required("on_delete", mend, |field| field.choice(&ON_DELETE));
    let children = section.or("children", Vec::new(), |field| children(field, level + 1));
    Some(Child { table: table?, column: column?, references: references?, on_delete: on_delete?, children })
}

/// A mark may not be written into a column of the key: the record would get another name.
fn check_writes(
    section: &Section<'_>,
    key: &[String],
    deleted_at: Option<&str>,
    deactivate: &[(String, Value)],
) {
    let mend = "name a column that is not part of the key";
    if deleted_at.is_some_and(|column| key.iter().any(|part| part == column)) {
        section.fault::<()>("deleted_at", "is a column of the key", mend);
    }
    for (column, _) in deactivate {
        if key.contains(column) {
            section.fault::<()>("deactivate", format!("would write {column:?}, a column of the key"), mend);
        }
    }
}
