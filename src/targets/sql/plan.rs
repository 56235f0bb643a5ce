//! One entity's table as the configuration and the catalogue agree on it: real names, types, the tree of
//! what goes along.
//!
//! Made anew whenever the schema changes. A plan that would delete by guesswork is not made: the reason is
//! given instead, for a person.

use std::collections::BTreeMap;

use super::catalogue::{Affinity, Catalogue, Column, FkAction, ForeignKey, Relation, RelationKind, Typed};
use super::coverage;
use crate::config::target::{Child, OnDelete, Table, Value};
use crate::domain::timestamp::TimeFormat;

/// Names in a plan are quoted, and exist.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The table's own name, for people.
    pub name: String,
    pub table: String,
    /// What a statement on the table calls one of its rows.
    pub row: String,
    pub key: Vec<Field>,
    /// Other identifiers of a record by their names, or what is wrong with one: deletions by key go on.
    pub alternates: BTreeMap<String, Result<Vec<Field>, String>>,
    /// The shortest way to a row: its row number, or else its key.
    pub locator: Vec<Field>,
    /// Columns of the table that children refer to, unless it is the locator.
    pub references: Vec<Field>,
    pub guard: Option<Field>,
    pub format: Notation,
    pub deleted_at: Option<Field>,
    pub deactivate: Vec<(Field, Value)>,
    pub children: Vec<Node>,
    /// No statement of the plan needs the database's own foreign keys to look after it.
    pub covered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub affinity: Affinity,
    pub typed: Typed,
    /// Every row has a value here.
    pub not_null: bool,
}

/// How a table writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notation {
    pub format: TimeFormat,
    /// Digits of a second that the guard has room for, where the database rounds a time to them.
    pub digits: Option<u32>,
}

/// A table whose rows belong to rows above it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The table's own name, for people.
    pub name: String,
    pub table: String,
    /// (column here, column above)
    pub link: Vec<(String, String)>,
    /// The columns here, in the same order.
    pub columns: Vec<Field>,
    pub fate: Fate,
    /// An index leads from a row above to the rows here.
    pub indexed: bool,
    /// The database's own foreign key vouches that no row here refers to a row that is gone.
    pub vouched: bool,
    pub children: Vec<Node>,
}

impl Node {
    /// Whether indexes lead to all rows here and below.
    #[must_use]
    pub fn is_led_to(&self) -> bool {
        self.indexed && self.children.iter().all(Self::is_led_to)
    }

    /// Whether it is to be looked at again once the rows above are gone (I12).
    #[must_use]
    pub fn is_looked_at(&self) -> bool {
        matches!(self.fate, Fate::Delete | Fate::Nullify) && !self.vouched
    }
}

/// What becomes of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Delete,
    Nullify,
    Keep,
    /// The database's own foreign key takes them; we only count.
    Cascade,
}

impl Fate {
    #[must_use]
    pub fn goes(self) -> bool {
        matches!(self, Self::Delete | Self::Cascade)
    }
}

impl Plan {
    /// The tables whose rows go with a row, its own first, for people: one for each place in the tree.
    #[must_use]
    pub fn tables(&self) -> Vec<&str> {
        fn below<'a>(nodes: &'a [Node], tables: &mut Vec<&'a str>) {
            for node in nodes {
                if node.fate.goes() {
                    tables.push(&node.name);
                }
                below(&node.children, tables);
            }
        }
        let mut tables = vec![self.name.as_str()];
        below(&self.children, &mut tables);
        tables
    }

    /// # Errors
    /// Says what of the configuration the database does not have, or how the two contradict each other.
    pub fn make(table: &Table, catalogue: &Catalogue) -> Result<Self, String> {
        let relation = relation(catalogue, &table.table)?;
        if relation.kind == RelationKind::Materialized {
            return Err(format!(
                "{:?} is a materialized view: nothing can be deleted from it",
                relation.name
            ));
        }
        let key = table.key.iter().map(|name| field(relation, name)).collect::<Result<Vec<_>, _>>()?;
        for field in &key {
            if !field.affinity.exact() {
                return Err(format!(
                    "key column {}.{} has no exact type: declare it {}",
                    relation.sql, field.name, catalogue.ways.exact_types
                ));
            }
        }
        let deactivate = table.deactivate.iter();
        let deactivate = deactivate.map(|(name, value)| Ok((field(relation, name)?, value.clone())));
        let guard = table.guard.as_ref();
        let format = guard.and_then(|guard| guard.format).unwrap_or(TimeFormat::Iso8601);
        let guard = guard.map(|guard| field(relation, &guard.column)).transpose()?;
        let rows_go = table.deleted_at.is_none();
        let locator = locator(catalogue, relation, &key);
        let mut references = Vec::new();
        for child in &table.children {
            let field = above(relation, &child.references)?;
            let is_locator = matches!(locator.as_slice(), [only] if only.name == field.name);
            if !references.contains(&field) && !is_locator {
                references.push(field);
            }
        }
        let alternates = table.alternates.iter().map(|(name, columns)| {
            let fields = columns.iter().map(|column| field(relation, column));
            (name.clone(), fields.collect::<Result<Vec<_>, _>>())
        });
        Ok(Self {
            alternates: alternates.collect(),
            name: relation.name.clone(),
            table: relation.sql.clone(),
            row: (catalogue.ways.quote)(&relation.name),
            locator,
            format: Notation { format, digits: guard.as_ref().and_then(|guard| guard.typed.digits) },
            guard,
            deleted_at: table.deleted_at.as_ref().map(|name| field(relation, name)).transpose()?,
            deactivate: deactivate.collect::<Result<_, String>>()?,
            children: nodes(catalogue, relation, &table.children, rows_go, &mut Vec::new())?,
            covered: coverage::covers(catalogue, relation, table),
            references,
            key,
        })
    }
}

fn relation<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Relation, String> {
    let relation = catalogue.relation(name).ok_or_else(|| format!("there is no table {name:?}"))?;
    relation.barred.as_ref().map_or(Ok(relation), |(why, _)| Err(why.clone()))
}

fn field(relation: &Relation, name: &str) -> Result<Field, String> {
    let column =
        relation.column(name).ok_or_else(|| format!("table {:?} has no column {name:?}", relation.name))?;
    let Column { sql, affinity, typed, not_null, .. } = column;
    Ok(Field { name: sql.clone(), affinity: *affinity, typed: typed.clone(), not_null: *not_null })
}

/// A column that children refer to. Where it names several rows, the children of one would go with another.
fn above(parent: &Relation, name: &str) -> Result<Field, String> {
    let field = field(parent, name)?;
    if parent.kind == RelationKind::Table && parent.unique_over(&[name.to_owned()]).next().is_none() {
        return Err(format!(
            "{:?}.{} is not unique, so its children are not one row's",
            parent.name, field.name
        ));
    }
    Ok(field)
}

/// The key backwards: SQLite's planner uses all columns of an index for `(b, a) IN (…)`, and only the first
/// for `(a, b) IN (…)` over an index on (a, b).
fn locator(catalogue: &Catalogue, relation: &Relation, key: &[Field]) -> Vec<Field> {
    match &relation.row_id {
        Some(name) if relation.kind == RelationKind::Table => {
            let name = (catalogue.ways.quote)(name);
            vec![Field { name, affinity: Affinity::Integer, typed: Typed::default(), not_null: true }]
        }
        _ => key.iter().rev().cloned().collect(),
    }
}

/// The children that are configured, and those that the database's own cascades add where rows really go.
fn nodes(
    catalogue: &Catalogue,
    parent: &Relation,
    children: &[Child],
    rows_go: bool,
    path: &mut Vec<String>,
) -> Result<Vec<Node>, String> {
    path.push(parent.name.clone());
    let mut made = Vec::new();
    for child in children {
        made.push(node(catalogue, parent, child, rows_go, path)?);
    }
    if rows_go {
        for (relation, key) in catalogue.referring(&parent.name) {
            let told = children.iter().any(|child| {
                child.table.eq_ignore_ascii_case(&relation.name)
                    && key.links(&child.column, &child.references)
            });
            // A cascade that comes back to a table above it is left uncounted; `check` tells of it.
            if key.on_delete == FkAction::Cascade && !told && !path.contains(&relation.name) {
                let here = key.columns.iter().map(|(here, _)| field(relation, here));
                let columns = here.collect::<Result<Vec<_>, _>>()?;
                let above = key.columns.iter().map(|(_, above)| field(parent, above));
                let above = above.collect::<Result<Vec<_>, _>>()?;
                let names = columns.iter().zip(above);
                made.push(Node {
                    name: relation.name.clone(),
                    table: relation.sql.clone(),
                    link: names.map(|(here, above)| (here.name.clone(), above.name)).collect(),
                    columns,
                    fate: Fate::Cascade,
                    indexed: key.columns.first().is_some_and(|(here, _)| relation.indexed(here)),
                    vouched: key.enforced,
                    children: nodes(catalogue, relation, &[], true, path)?,
                });
            }
        }
    }
    path.pop();
    Ok(made)
}

fn node(
    catalogue: &Catalogue,
    parent: &Relation,
    child: &Child,
    rows_go: bool,
    path: &mut Vec<String>,
) -> Result<Node, String> {
    let relation = relation(catalogue, &child.table)?;
    let here = field(relation, &child.column)?;
    let above = above(parent, &child.references)?;
    tell_apart(catalogue.ways.exact_types, (relation, &here), (parent, &above))?;
    let links = |key: &&ForeignKey| {
        key.parent.eq_ignore_ascii_case(&parent.name) && key.links(&child.column, &child.references)
    };
    let keys: Vec<&ForeignKey> = relation.foreign_keys.iter().filter(links).collect();
    let cascades = keys.iter().any(|key| key.on_delete == FkAction::Cascade);
    let fate = match child.on_delete {
        OnDelete::Keep if cascades && rows_go => {
            return Err(format!(
                "rows of {:?} are to be kept, but the foreign key on {} would delete them (ON DELETE CASCADE)",
                relation.name, here.name
            ));
        }
        OnDelete::Delete => Fate::Delete,
        OnDelete::Nullify => Fate::Nullify,
        OnDelete::Keep => Fate::Keep,
    };
    Ok(Node {
        name: relation.name.clone(),
        table: relation.sql.clone(),
        link: vec![(here.name.clone(), above.name)],
        columns: vec![here],
        fate,
        indexed: relation.indexed(&child.column),
        vouched: rows_go && keys.iter().any(|key| key.enforced),
        children: nodes(catalogue, relation, &child.children, fate == Fate::Delete, path)?,
    })
}

/// A child's column and the one that it refers to must tell the rows that refer to one value from all others.
fn tell_apart(
    exact_types: &str,
    child: (&Relation, &Field),
    parent: (&Relation, &Field),
) -> Result<(), String> {
    for (relation, field) in [child, parent] {
        if !field.affinity.links() {
            return Err(format!(
                "{:?}.{} has no exact type, so children would be missed, or taken wrongly: declare it {exact_types}",
                relation.name, field.name
            ));
        }
    }
    let ((relation, here), (parent, above)) = (child, parent);
    if here.affinity.agrees(above.affinity) {
        return Ok(());
    }
    Err(format!(
        "{:?}.{} and {:?}.{} keep equal values differently: give both the same type",
        relation.name, here.name, parent.name, above.name
    ))
}
