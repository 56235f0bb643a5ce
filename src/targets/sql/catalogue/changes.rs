//! What has changed between two readings of a catalogue, in words: a person who is told that deletions wait
//! wants to know which migration it was.

use super::{Catalogue, Column, Relation};

impl Catalogue {
    /// Changes since `before`, the names of the relations first. Empty if nothing that is read has changed.
    #[must_use]
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for old in &before.relations {
            match self.relations.iter().find(|new| new.name == old.name) {
                None => changes.push(format!("{:?} is gone", old.name)),
                Some(new) => relation(&mut changes, old, new),
            }
        }
        for new in &self.relations {
            if !before.relations.iter().any(|old| old.name == new.name) {
                changes.push(format!("{:?} is new", new.name));
            }
        }
        changes
    }
}

fn relation(changes: &mut Vec<String>, old: &Relation, new: &Relation) {
    let name = &new.name;
    if old.kind != new.kind || old.row_id != new.row_id {
        changes.push(format!("{name:?} is of another kind: {:?}, now {:?}", old.kind, new.kind));
    }
    for before in &old.columns {
        match new.columns.iter().find(|after| after.name == before.name) {
            None => changes.push(format!("column {name:?}.{:?} is gone", before.name)),
            Some(after) => column(changes, name, before, after),
        }
    }
    for after in &new.columns {
        if !old.columns.iter().any(|before| before.name == after.name) {
            changes.push(format!("column {name:?}.{:?} is new", after.name));
        }
    }
    for (what, differs) in [
        ("the indexes", old.indexes != new.indexes),
        ("the foreign keys", old.foreign_keys != new.foreign_keys),
        ("the triggers", old.triggers != new.triggers),
        ("rules, row security or partitions", old.remarks != new.remarks),
    ] {
        if differs {
            changes.push(format!("{what} of {name:?} changed"));
        }
    }
}

fn column(changes: &mut Vec<String>, table: &str, before: &Column, after: &Column) {
    if before == after {
        return;
    }
    let name = format!("column {table:?}.{:?}", after.name);
    if before.declared != after.declared {
        changes.push(format!("{name} is {}, was {}", after.declared, before.declared));
    } else if before.not_null != after.not_null {
        let now = if after.not_null { "refuses NULL now" } else { "takes NULL now" };
        changes.push(format!("{name} {now}"));
    } else {
        changes.push(format!("{name} is declared otherwise"));
    }
}
