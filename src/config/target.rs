//! What one target holds, and what a deletion does there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::api::Api;
use crate::domain::{Entity, timestamp::TimeFormat};

/// A place where copies live.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Sql(Sql),
    Tantivy(Tantivy),
    Api(Box<Api>),
}

impl Target {
    /// The entities that live here, and whether a deactivation means something for each.
    #[must_use]
    pub fn entities(&self) -> BTreeMap<Entity, bool> {
        match &self.kind {
            Kind::Sql(sql) => sql
                .entities
                .iter()
                .map(|(entity, table)| (entity.clone(), !table.deactivate.is_empty()))
                .collect(),
            Kind::Tantivy(index) => index
                .entities
                .iter()
                .map(|(entity, document)| (entity.clone(), document.delete_on_deactivate))
                .collect(),
            Kind::Api(api) => api
                .entities
                .iter()
                .map(|(entity, records)| (entity.clone(), records.delete_on_deactivate))
                .collect(),
        }
    }
}

impl Target {
    /// Other identifiers of an entity that can be looked up here: their columns, by their names.
    #[must_use]
    pub fn alternates(&self, entity: &Entity) -> &BTreeMap<String, Vec<String>> {
        static NONE: BTreeMap<String, Vec<String>> = BTreeMap::new();
        match &self.kind {
            Kind::Sql(sql) => sql.entities.get(entity).map_or(&NONE, |table| &table.alternates),
            Kind::Tantivy(_) | Kind::Api(_) => &NONE,
        }
    }

    /// Parts of an entity's key, as far as they can be told from here.
    #[must_use]
    pub fn key_parts(&self, entity: &Entity) -> Option<usize> {
        match &self.kind {
            Kind::Sql(sql) => sql.entities.get(entity).map(|table| table.key.len()),
            Kind::Tantivy(_) | Kind::Api(_) => None,
        }
    }
}

/// A replica in a SQL database.
#[derive(Clone, Debug, PartialEq)]
pub struct Sql {
    /// `sqlite://…`, `postgres://…` or `mysql://…`; may carry a password, and is therefore a secret.
    pub url: Secret,
    pub limits: Limits,
    pub entities: BTreeMap<Entity, Table>,
}

/// How much of a database server deletions may take from its other users. An SQLite file has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a transaction is to take; batches get as large as fits. Three times as long while nobody else is at work.
    pub batch_time: Duration,
    /// After a batch, rest so many times as long as it took while others are at work on the server; 0: never.
    pub rest: u32,
    /// Rows that may go in a second, children included; `None`: as many as can.
    pub rows_per_second: Option<u32>,
    /// Nothing is deleted while a standby is further behind than this.
    pub replication_lag: Duration,
    /// Nothing is deleted while more requests than this wait for locks.
    pub lock_waits: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What a user who waits behind us does not notice.
            batch_time: Duration::from_millis(100),
            // On two cores that others keep busy, a batch costs them up to three quarters of what they would have done
            // meanwhile (0.14 in all at a rest of 4 times): at work for a ninth of the time, we cost them a twelfth.
            rest: 8,
            rows_per_second: None,
            // A standby that answers readers with what is older is one that they notice.
            replication_lag: Duration::from_secs(10),
            // Some are usual on a busy server; more are a queue.
            lock_waits: 20,
        }
    }
}

/// The table that mirrors an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub table: String,
    /// Columns of the key, in the order of the key's parts.
    pub key: Vec<String>,
    /// Other identifiers by which an operator's program may name a record: their columns, by their names.
    pub alternates: BTreeMap<String, Vec<String>>,
    /// The upstream's modification time of a row.
    pub guard: Option<Guard>,
    /// `None`: the row is deleted. Otherwise this column gets the time of the deletion, unless it has one.
    pub deleted_at: Option<String>,
    /// Columns that a deactivation sets, with their values; empty: deactivations don't concern this table.
    pub deactivate: Vec<(String, Value)>,
    pub children: Vec<Child>,
}

impl Table {
    /// What names a record by its key, beside the names of `alternates`.
    pub const BY_KEY: &str = "key";
}

#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    pub column: String,
    /// `None`: ISO 8601 in a text column; a number column must say what it counts.
    pub format: Option<TimeFormat>,
}

/// A value that a deactivation writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    /// The time of the deactivation, as the guard column writes times (ISO 8601 without a guard).
    Now,
}

/// A table whose rows belong to rows of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub table: String,
    /// The column that refers to the parent.
    pub column: String,
    /// The parent's column that it refers to.
    pub references: String,
    pub on_delete: OnDelete,
    pub children: Vec<Child>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    Delete,
    Nullify,
    Keep,
}

/// An embedded search index.
#[derive(Clone, Debug, PartialEq)]
pub struct Tantivy {
    /// The folder; created, with an index of the key fields, if there is none.
    pub path: PathBuf,
    pub entities: BTreeMap<Entity, Document>,
}

/// How an entity's documents are named.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The field that holds the document's name; must be indexed raw.
    pub field: String,
    /// The name, from the key's parts: `{0}:{1}`.
    pub id: Template,
    /// The upstream's modification time of a document.
    pub guard: Option<FieldGuard>,
    /// Whether a deactivated record's document goes; otherwise a deactivation does not concern the index.
    pub delete_on_deactivate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldGuard {
    /// A FAST field.
    pub field: String,
    /// `None`: a field of dates; a number field must say what it counts.
    pub format: Option<TimeFormat>,
}

/// Text with places for the parts of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePiece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePiece {
    Text(String),
    /// Part of the key, counted from 0; checked against the key's length when the configuration is read.
    Part(usize),
}

impl Template {
    /// `None` if the key has fewer parts than the template names.
    #[must_use]
    pub fn render(&self, parts: &[String]) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                TemplatePiece::Text(fixed) => text.push_str(fixed),
                TemplatePiece::Part(index) => text.push_str(parts.get(*index)?),
            }
        }
        Some(text)
    }
}
