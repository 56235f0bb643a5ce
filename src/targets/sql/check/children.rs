//! Findings about what belongs to a table: the configured children, and the foreign keys that they forget.

use super::{Report, remarks, triggers};
use crate::config::target::{Child, OnDelete};
use crate::targets::sql::catalogue::{Catalogue, Column, FkAction, ForeignKey, Relation};

/// `rows_go`: whether rows of `parent` are deleted, and not only marked or kept.
pub fn check(
    report: &mut Report,
    place: &str,
    catalogue: &Catalogue,
    parent: &Relation,
    children: &[Child],
    rows_go: bool,
) {
    for (index, child) in children.iter().enumerate() {
        let place = format!("{place}.children[{index}]");
        let Some(relation) = report.relation(&place, "table", &child.table, catalogue) else { continue };
        link(report, &place, parent, relation, child);
        if rows_go && child.on_delete == OnDelete::Keep {
            kept(report, &place, parent, relation, child);
        }
        triggers(report, &place, relation);
        remarks(report, &place, relation);
        let goes = child.on_delete == OnDelete::Delete;
        check(report, &place, catalogue, relation, &child.children, goes);
    }
    if rows_go {
        for (relation, key) in catalogue.referring(&parent.name) {
            if !children.iter().any(|child| tells(child, relation, key)) {
                forgotten(report, &format!("{place}.children"), parent, relation, key);
            }
        }
    }
}

fn tells(child: &Child, relation: &Relation, key: &ForeignKey) -> bool {
    child.table.eq_ignore_ascii_case(&relation.name) && key.links(&child.column, &child.references)
}

fn link(report: &mut Report, place: &str, parent: &Relation, relation: &Relation, child: &Child) {
    let above = report.column(&format!("{place}.references"), parent, &child.references);
    let Some(here) = report.column(&format!("{place}.column"), relation, &child.column) else { return };
    told_apart(report, &format!("{place}.column"), here);
    if let Some(above) = above {
        told_apart(report, &format!("{place}.references"), above);
        if !here.affinity.agrees(above.affinity) {
            report.fault(
                &format!("{place}.column"),
                format!(
                    "{:?} of type {:?} and {:?} of type {:?} keep equal values differently: rows would be missed, or taken wrongly",
                    child.column, here.declared, child.references, above.declared
                ),
                "give both columns the same type",
            );
        }
        if parent.unique_over(std::slice::from_ref(&child.references)).next().is_none() {
            report.fault(
                &format!("{place}.references"),
                format!(
                    "column {:?} of {:?} is not unique: children of one row would go with another",
                    child.references, parent.name
                ),
                "refer to a column with a unique index",
            );
        }
    }
    if !relation.indexed(&child.column) {
        let create = report.ways.create_index(relation, &[&child.column], false, false);
        report.warning(
            &format!("{place}.column"),
            format!(
                "column {:?} of {:?} has no index: each batch reads the whole table",
                child.column, relation.name
            ),
            create,
        );
    }
    if child.on_delete == OnDelete::Nullify {
        report.written(&format!("{place}.column"), relation, &child.column, true);
    }
}

/// Rows that refer to one value of the column must be told from those that refer to another.
fn told_apart(report: &mut Report, place: &str, column: &Column) {
    if !column.affinity.links() {
        let mend = format!("declare the column {}", report.ways.exact_types);
        report.fault(
            place,
            format!(
                "column {:?} of type {:?} does not tell rows apart exactly: children would be missed, or taken wrongly",
                column.name, column.declared
            ),
            mend,
        );
    }
}

/// Rows that are to be kept while a foreign key of the database says otherwise.
fn kept(report: &mut Report, place: &str, parent: &Relation, relation: &Relation, child: &Child) {
    let mut keys = relation.foreign_keys.iter();
    let key = keys.find(|key| key.parent.eq_ignore_ascii_case(&parent.name) && tells(child, relation, key));
    let place = format!("{place}.on_delete");
    match key.map(|key| key.on_delete) {
        None => {}
        Some(FkAction::Cascade) => report.fault(
            &place,
            format!("rows of {:?} are to be kept, but their foreign key deletes them (ON DELETE CASCADE); deletions are refused", relation.name),
            "say on_delete = \"delete\" or \"nullify\", or change the foreign key",
        ),
        Some(FkAction::SetNull) => report.warning(
            &place,
            format!("rows of {:?} are kept, but their foreign key sets {:?} to NULL", relation.name, child.column),
            "say on_delete = \"nullify\", so that the configuration tells what happens",
        ),
        Some(FkAction::Refuse) => report.fault(
            &place,
            format!("rows of {:?} are to be kept, but their foreign key refuses the deletion of a row that they refer to", relation.name),
            "say on_delete = \"delete\" or \"nullify\", or drop the foreign key",
        ),
    }
}

/// A foreign key that the configuration does not speak of.
fn forgotten(report: &mut Report, place: &str, parent: &Relation, relation: &Relation, key: &ForeignKey) {
    let columns: Vec<&String> = key.columns.iter().map(|(here, _)| here).collect();
    let named = columns.iter().map(|column| format!("{column:?}")).collect::<Vec<_>>().join(", ");
    let what =
        format!("the configuration forgets {:?}, whose {named} refers to {:?}: ", relation.name, parent.name);
    let configure = format!(
        "add a child: {{ table = {:?}, column = {named}, references = {:?}, on_delete = \"…\" }}",
        relation.name,
        key.columns.first().map_or("", |(_, above)| above)
    );
    match key.on_delete {
        FkAction::Cascade if relation.name == parent.name => {
            report.warning(
                place,
                format!("{what}its rows go with the row above them (ON DELETE CASCADE), uncounted"),
                configure,
            );
        }
        FkAction::Cascade => {
            report.warning(place, format!("{what}its rows go too (ON DELETE CASCADE)"), configure);
        }
        FkAction::SetNull => {
            report.warning(
                place,
                format!("{what}its rows stay, and no longer refer to anything (ON DELETE SET NULL)"),
                configure,
            );
        }
        FkAction::Refuse => {
            report.fault(place, format!("{what}a record that such a row refers to is not deleted, since the foreign key refuses it"), configure);
        }
    }
    if let [column] = columns.as_slice()
        && !relation.indexed(column)
    {
        let create = report.ways.create_index(relation, &[column.as_str()], false, false);
        report.warning(
            place,
            format!("column {named} of {:?} has no index: the foreign key reads the whole table for each deleted row", relation.name),
            create,
        );
    }
}
