//! The texts that count rows: those under a row, and all that a mirror holds.

use super::super::super::super::plan::{Fate, Node};
use super::super::super::super::session::Sql;
use super::{DRIVES, refers};

/// Adds the number of rows of one of these fates under the row `above`, and under those, to `terms`. `tables` and
/// `condition` are the join so far, from the children of the table down.
pub fn under(
    node: &Node,
    fates: &[Fate],
    above: &str,
    (tables, condition): (&str, &str),
    terms: &mut Vec<String>,
) {
    let alias = format!("{above}c");
    let link = node.link.iter().zip(&node.columns);
    let on = link.map(|((_, there), here)| {
        refers(here, &format!("{alias}.{}", here.name), &format!("{above}.{there}"))
    });
    let on = on.collect::<Vec<_>>().join(" AND ");
    let (tables, condition) = if tables.is_empty() {
        (format!("{} {alias}", node.table), on)
    } else {
        (format!("{tables} {DRIVES} {} {alias} ON {on}", node.table), condition.to_owned())
    };
    if fates.contains(&node.fate) {
        terms.push(format!("(SELECT COUNT(*) FROM {tables} WHERE {condition})"));
    }
    for child in &node.children {
        under(child, fates, &alias, (&tables, &condition), terms);
    }
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
