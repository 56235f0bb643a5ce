//! What `check` says of a SQL replica: where the configuration and the database do not fit, what that means
//! for a deletion, and what to do. Reads the catalogue, and no row.

mod children;

use std::collections::BTreeMap;

use super::catalogue::{Affinity, Catalogue, Column, Index, Relation, RelationKind, SELF_CHANGING, Ways};
use crate::config::target::{Guard, Table, Value};
use crate::domain::Entity;
use crate::targets::{Finding, Severity, tells_of_copying};

/// Findings in the order of the configuration.
#[must_use]
pub fn findings(target: &str, entities: &BTreeMap<Entity, Table>, catalogue: &Catalogue) -> Vec<Finding> {
    let mut report = Report { findings: Vec::new(), ways: catalogue.ways };
    for (entity, table) in entities {
        let place = format!("targets.{target}.entities.{entity}");
        let Some(relation) = report.relation(&place, "table", &table.table, catalogue) else { continue };
        key(&mut report, &format!("{place}.key"), relation, &table.key);
        alternates(&mut report, &format!("{place}.alternates"), relation, &table.alternates);
        guard(&mut report, &format!("{place}.guard"), relation, table.guard.as_ref());
        marks(&mut report, &place, relation, table);
        triggers(&mut report, &place, relation);
        remarks(&mut report, &place, relation);
        let rows_go = table.deleted_at.is_none();
        children::check(&mut report, &place, catalogue, relation, &table.children, rows_go);
    }
    report.findings
}

struct Report {
    findings: Vec<Finding>,
    ways: Ways,
}

impl Report {
    fn add(&mut self, severity: Severity, place: &str, what: String, mend: impl Into<String>) {
        self.findings.push(Finding { severity, place: place.to_owned(), what, mend: mend.into() });
    }

    fn fault(&mut self, place: &str, what: String, mend: impl Into<String>) {
        self.add(Severity::Fault, place, what, mend);
    }

    fn warning(&mut self, place: &str, what: String, mend: impl Into<String>) {
        self.add(Severity::Warning, place, what, mend);
    }

    fn relation<'a>(
        &mut self,
        place: &str,
        field: &str,
        name: &str,
        catalogue: &'a Catalogue,
    ) -> Option<&'a Relation> {
        let place = format!("{place}.{field}");
        let Some(relation) = catalogue.relation(name) else {
            let cut = catalogue.ways.name_bytes_max.filter(|max| name.len() > *max);
            let why = cut.map_or(String::new(), |max| {
                format!("; the database cuts names after {max} bytes, and the cut one may be another table's")
            });
            self.fault(
                &place,
                format!("there is no table {name:?}, so no deletion of this entity can be carried out{why}"),
                "correct the name, or create the table",
            );
            return None;
        };
        if let Some((why, mend)) = &relation.barred {
            self.fault(&place, why.clone(), *mend);
        }
        let not_there = match relation.kind {
            RelationKind::Table => return Some(relation),
            RelationKind::View | RelationKind::Other => {
                "is a view or a virtual table: a deletion from it may leave the row where it lives"
            }
            RelationKind::Materialized => {
                "is a materialized view: it holds copies, and nothing can be deleted from it"
            }
            RelationKind::Foreign => {
                "is a foreign table: another server deletes, which may do so without our transaction"
            }
        };
        self.fault(&place, format!("{name:?} {not_there}"), "name the table that holds the rows");
        Some(relation)
    }

    fn column<'a>(&mut self, place: &str, relation: &'a Relation, name: &str) -> Option<&'a Column> {
        let column = relation.column(name);
        if column.is_none() {
            self.fault(
                place,
                format!(
                    "table {:?} has no column {name:?}, so no deletion can be carried out",
                    relation.name
                ),
                "correct the name, or add the column",
            );
        }
        column
    }

    /// A column that we write.
    fn written(&mut self, place: &str, relation: &Relation, name: &str, null: bool) {
        let Some(column) = self.column(place, relation, name) else { return };
        if column.generated {
            self.fault(
                place,
                format!("column {name:?} is computed by the database and cannot be set"),
                "name a column that can be written",
            );
        }
        if null && column.not_null {
            self.fault(
                place,
                format!("column {name:?} is NOT NULL: setting it to NULL is refused, and the record with it"),
                "allow NULL in the column, or choose another value",
            );
        }
    }
}

fn key(report: &mut Report, place: &str, relation: &Relation, key: &[String]) {
    let mut whole = true;
    for name in key {
        let Some(column) = report.column(place, relation, name) else {
            whole = false;
            continue;
        };
        if !column.affinity.exact() {
            let mend = format!("declare the column {}", report.ways.exact_types);
            report.fault(
                place,
                format!(
                    "column {name:?} of type {:?} does not hold keys exactly, so rows would not be found",
                    column.declared
                ),
                mend,
            );
        }
        if column.typed.folds {
            report.warning(
                place,
                format!(
                    "column {name:?} takes keys that differ in case or accents for one ({}): the table holds one of them, and a deletion finds it only by the key that it was written with",
                    column.declared
                ),
                "give the column a collation that tells all keys apart, such as utf8mb4_bin",
            );
        }
    }
    if !whole {
        return;
    }
    let names: Vec<&str> = key.iter().map(String::as_str).collect();
    let listed = names.iter().map(|name| (report.ways.quote)(name)).collect::<Vec<_>>().join(", ");
    if relation.unique_over(key).next().is_none() {
        let create = report.ways.create_index(relation, &names, true, false);
        report.fault(
            place,
            format!(
                "no unique index holds exactly {listed}: one key may name several rows, which is refused, and each batch reads the whole table"
            ),
            create,
        );
    } else if !relation.unique_over(key).any(exact) {
        let create = report.ways.create_index(relation, &names, true, true);
        report.fault(
            place,
            format!(
                "the index on {listed} does not compare byte for byte, so it cannot serve, and keys that differ in case alone are one to it"
            ),
            create,
        );
    }
}

fn exact(index: &Index) -> bool {
    index.columns.iter().all(|(_, collation)| collation == Index::BYTES)
}

fn alternates(
    report: &mut Report,
    place: &str,
    relation: &Relation,
    alternates: &BTreeMap<String, Vec<String>>,
) {
    for (name, columns) in alternates {
        let place = format!("{place}.{name}");
        for column in columns {
            let Some(column) = report.column(&place, relation, column) else { continue };
            if !column.affinity.exact() {
                report.fault(
                    &place,
                    format!("column {:?} has no exact type: nothing is ever found by it", column.name),
                    "declare it INTEGER or TEXT",
                );
            }
        }
        let there = columns.iter().all(|column| relation.column(column).is_some());
        if there && columns.iter().all(|column| !relation.indexed(column)) {
            report.warning(
                &place,
                "no index begins with any of its columns: each look-up reads the whole table".to_owned(),
                "create an index on them",
            );
        }
    }
}

fn guard(report: &mut Report, place: &str, relation: &Relation, guard: Option<&Guard>) {
    let Some(guard) = guard else {
        report.warning(
            place,
            "without a guard, a late notice deletes a record that was listed again since".to_owned(),
            "name the column that holds the upstream's own modification time",
        );
        return;
    };
    let Some(column) = report.column(place, relation, &guard.column) else { return };
    let declared = column.declared.to_ascii_uppercase();
    let number = match column.affinity {
        Affinity::Integer | Affinity::Real | Affinity::Decimal => true,
        // DATETIME and TIMESTAMP are NUMERIC to SQLite, and hold text.
        Affinity::Numeric => !declared.contains("DATE") && !declared.contains("TIME"),
        _ => false,
    };
    if number && guard.format.is_none() {
        report.fault(
            place,
            format!(
                "column {:?} holds numbers, and the configuration does not say what they count: every record would fail",
                guard.column
            ),
            "add format = \"unix_seconds\" or \"unix_millis\"",
        );
    }
    if without_zone(column) {
        report.add(
            Severity::Note,
            place,
            format!(
                "column {:?} is {}, which has no time zone: what it holds is taken for UTC. Local times would shield records that were deleted, or let some go that were listed again",
                guard.column, column.declared
            ),
            "nothing, if it holds UTC; else give it a type with a time zone",
        );
    }
    if tells_of_copying(&guard.column) || column.declared.ends_with(SELF_CHANGING) {
        report.warning(
            place,
            format!(
                "column {:?} looks like the time of our own copying, which would shield every row",
                guard.column
            ),
            "name the column that holds the upstream's own modification time",
        );
    }
}

/// Whether it is a time of the database's own that does not say where; a text says so itself.
fn without_zone(column: &Column) -> bool {
    let strict = !column.typed.own.is_empty();
    column.declared.ends_with("without time zone") || strict && column.declared.starts_with("datetime")
}

fn marks(report: &mut Report, place: &str, relation: &Relation, table: &Table) {
    if let Some(name) = &table.deleted_at {
        report.written(&format!("{place}.deleted_at"), relation, name, false);
        if relation.column(name).is_some_and(|column| column.not_null) {
            report.fault(
                &format!("{place}.deleted_at"),
                format!("column {name:?} is NOT NULL: every row would count as deleted already"),
                "allow NULL in the column",
            );
        }
    }
    for (name, value) in &table.deactivate {
        report.written(&format!("{place}.deactivate"), relation, name, *value == Value::Null);
    }
}

fn triggers(report: &mut Report, place: &str, relation: &Relation) {
    if !relation.triggers.is_empty() {
        report.warning(
            place,
            format!(
                "table {:?} has triggers ({}): they run within the deletion, may refuse it, and what they change is not counted",
                relation.name,
                relation.triggers.join(", ")
            ),
            "see that none of them keeps rows, or changes the guard column when a child goes",
        );
    }
}

fn remarks(report: &mut Report, place: &str, relation: &Relation) {
    for remark in &relation.remarks {
        report.add(remark.severity, place, remark.what.clone(), remark.mend.clone());
    }
}
