//! Whether the statements of a plan take care of every row that refers to one they delete.
//!
//! If they do, the database's own foreign keys have nothing left to do, and looking again for each row costs as
//! much as deleting it. In doubt the answer is no: then the database looks.

use super::catalogue::{Affinity, Catalogue, Relation};
use crate::config::target::{Child, OnDelete, Table};

/// Whether no statement on this table, or on what belongs to it, can break a foreign key.
#[must_use]
pub fn covers(catalogue: &Catalogue, relation: &Relation, table: &Table) -> bool {
    let written = table.deactivate.iter().map(|(name, _)| name).chain(&table.deleted_at);
    let rows_go = table.deleted_at.is_none();
    written.into_iter().all(|name| is_plain(catalogue, relation, name))
        && (!rows_go || rows_go_clean(catalogue, relation, &table.children))
        && children_go_clean(catalogue, relation, &table.children)
}

/// Whether the children that are configured are all that may refer to rows of `parent`.
fn rows_go_clean(catalogue: &Catalogue, parent: &Relation, children: &[Child]) -> bool {
    parent.triggers.is_empty()
        && catalogue.referring(&parent.name).all(|(relation, key)| {
            children.iter().any(|child| {
                child.table.eq_ignore_ascii_case(&relation.name)
                    && child.on_delete != OnDelete::Keep
                    && key.links(&child.column, &child.references)
            })
        })
}

fn children_go_clean(catalogue: &Catalogue, parent: &Relation, children: &[Child]) -> bool {
    children.iter().all(|child| {
        let Some(relation) = catalogue.relation(&child.table) else { return false };
        // A text may be equal for a foreign key, by the collation of the column above, and not for us.
        let whole = |relation: &Relation, column: &str| {
            relation.column(column).is_some_and(|column| column.affinity == Affinity::Integer)
        };
        let clean = match child.on_delete {
            OnDelete::Keep => true,
            OnDelete::Nullify => {
                relation.triggers.is_empty() && !is_referred_to(catalogue, relation, &child.column)
            }
            OnDelete::Delete => rows_go_clean(catalogue, relation, &child.children),
        };
        whole(relation, &child.column)
            && whole(parent, &child.references)
            && clean
            && children_go_clean(catalogue, relation, &child.children)
    })
}

/// Whether writing the column concerns no foreign key.
fn is_plain(catalogue: &Catalogue, relation: &Relation, name: &str) -> bool {
    let mut own = relation.foreign_keys.iter().flat_map(|key| &key.columns);
    relation.triggers.is_empty()
        && !own.any(|(here, _)| here.eq_ignore_ascii_case(name))
        && !is_referred_to(catalogue, relation, name)
}

fn is_referred_to(catalogue: &Catalogue, relation: &Relation, name: &str) -> bool {
    catalogue
        .referring(&relation.name)
        .any(|(_, key)| key.columns.iter().any(|(_, above)| above.eq_ignore_ascii_case(name)))
}
