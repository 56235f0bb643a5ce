//! The texts that count rows: those under a row, and all that a mirror holds.

use super::super::super::super::plan::{Fate, Node};
use super::super::super::super::session::Sql;
use super::{DRIVES, Statement, Takes, plain, refers};

/// Children that are counted by the same argument are counted by one statement, which halves the time.
#[derive(Default)]
pub struct Together(Vec<(String, Takes, Vec<String>)>);

impl Together {
    /// What goes along by statements of ours of the rows `c` of `node` and under them.
    pub fn add(&mut self, node: &Node, (argument, takes): (String, Takes), rows: (&str, &str)) {
        let mut terms = Vec::new();
        among(node, &[Fate::Delete], "c", rows, &mut terms);
        match self.0.iter_mut().find(|other| other.0 == argument && other.1 == takes) {
            Some((_, _, others)) => others.append(&mut terms),
            None => self.0.push((argument, takes, terms)),
        }
    }

    pub fn statements(self) -> impl Iterator<Item = Statement> {
        let counted = self.0.into_iter().filter(|(_, _, terms)| !terms.is_empty());
        counted.map(|(argument, takes, terms)| {
            plain(format!("SELECT JSON_ARRAY(b.n - 1, {}) FROM {argument}", terms.join(" + ")), takes)
        })
    }
}

/// Adds the number of rows of one of these fates among the rows `alias` of `node`, and under those, to `terms`.
/// `tables` joins down to them, and `condition` says whose they are.
pub fn among(
    node: &Node,
    fates: &[Fate],
    alias: &str,
    (tables, condition): (&str, &str),
    terms: &mut Vec<String>,
) {
    if fates.contains(&node.fate) {
        terms.push(format!("(SELECT COUNT(*) FROM {tables} WHERE {condition})"));
    }
    for child in &node.children {
        let below = format!("{alias}c");
        let on = belong(child, &below, alias);
        let tables = format!("{tables} {DRIVES} {} {below} ON {on}", child.table);
        among(child, fates, &below, (&tables, condition), terms);
    }
}

/// The rows `alias` of `node` refer to the row `above`.
pub fn belong(node: &Node, alias: &str, above: &str) -> String {
    let link = node.link.iter().zip(&node.columns);
    let on = link.map(|((_, there), here)| {
        refers(here, &format!("{alias}.{}", here.name), &format!("{above}.{there}"))
    });
    on.collect::<Vec<_>>().join(" AND ")
}

/// Rows that refer to some parent. Whether that parent exists is not asked: it would cost a look-up a row.
pub fn belonging(node: &Node, counts: &mut Vec<Sql>) {
    if node.fate.goes()
        && let Some((column, _)) = node.link.first()
    {
        counts.push(format!("SELECT CAST(COUNT({column}) AS CHAR) FROM {}", node.table).into());
    }
    for child in &node.children {
        belonging(child, counts);
    }
}
