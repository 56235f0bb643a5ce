//! The texts of the way by arrays. `p` is a row of the table, `b` a row of the batch, `c0`, `c1`, … the rows
//! below, from the table down.

use super::Step;
use crate::config::target::Value;
use crate::targets::sql::catalogue::Affinity;
use crate::targets::sql::key::Arg;
use crate::targets::sql::plan::{Fate, Field, Node, Plan};
use crate::targets::sql::session::Sql;

const INTS: &str = "pg_catalog.int8[]";
const TEXTS: &str = "pg_catalog.text[]";
const TEXT: &str = "pg_catalog.text";
const BYTES: &str = "COLLATE pg_catalog.\"C\"";

/// Each answers with JSON. Arguments: `n`, then one list for each part of the key (`keys`).
pub struct Texts {
    /// keys → `[n, guard, references]` for each row, locked in key order.
    pub lock: Sql,
    /// The same without locks.
    pub look: Sql,
    /// keys → `[n, rows]`; one for each table below whose rows go.
    pub weigh: Vec<Sql>,
    /// The same for what the database's own foreign keys take.
    pub cascades: Vec<Sql>,
    /// Columns that children refer to, if children are looked at again.
    pub references: usize,
    /// `n`, the reference → `[n, rows]` that went; deepest first.
    pub children: Vec<Step>,
    /// keys, guard, time → `[n]` that went.
    pub delete: Sql,
    /// keys, time, references → `[n]` that are still there.
    pub standing: Sql,
    /// keys, guard, time, values → `[n]` that were marked.
    pub deactivate: Sql,
    /// keys, time, values → `[n]` that are not marked.
    pub unmarked: Sql,
    /// What a deactivation writes.
    pub values: Vec<Arg>,
    /// Each answers `[rows]`.
    pub mirrored: Vec<Sql>,
}

impl Texts {
    pub fn write(plan: &Plan) -> Self {
        let (deactivate, unmarked, values) = deactivate(plan);
        let counted = |fates: &[Fate]| {
            let mut texts = Vec::new();
            for child in &plan.children {
                count(plan, fates, &mut vec![child], &mut texts);
            }
            texts
        };
        let (mut children, references) = (Vec::new(), references(plan));
        let looks_below = plan.children.iter().any(Node::is_looked_at);
        let looked_at = if looks_below { references.as_slice() } else { &[] };
        for child in &plan.children {
            if let ([(_, above)], true) = (child.link.as_slice(), child.fate != Fate::Cascade) {
                let reference = place(&references, above);
                step(reference, &mut vec![child], &mut children);
            }
        }
        Self {
            lock: find(plan, " ORDER BY b.n FOR UPDATE OF p"),
            look: find(plan, ""),
            weigh: counted(&[Fate::Delete, Fate::Cascade]),
            cascades: counted(&[Fate::Cascade]),
            children,
            delete: delete(plan),
            standing: standing(plan, looked_at),
            references: looked_at.len(),
            deactivate,
            unmarked,
            values,
            mirrored: mirrored(plan),
        }
    }
}

/// Columns that children refer to. A plan leaves the locator out, which other ways have at hand anyway.
fn references(plan: &Plan) -> Vec<Field> {
    let mut references = plan.references.clone();
    let refers = |field: &&Field| {
        plan.children.iter().any(|child| child.link.iter().any(|(_, above)| *above == field.name))
    };
    references.extend(plan.locator.iter().filter(refers).cloned());
    references
}

fn place(references: &[Field], above: &str) -> usize {
    let place = references.iter().position(|field| field.name == above);
    place.expect("a plan lists every column that a configured child refers to")
}

/// `expression` over `source` as one JSON array.
fn gathered(expression: &str, source: &str) -> Sql {
    format!(
        "SELECT coalesce(pg_catalog.json_agg({expression} ORDER BY x.n), '[]')::{TEXT} FROM ({source}) AS x"
    )
    .into()
}

/// The lists as rows: `n` as numbers, then `columns` as text.
fn batch(columns: &[String]) -> String {
    let mut lists = vec![format!("$1::{INTS}")];
    lists.extend((0..columns.len()).map(|index| format!("${}::{TEXTS}", index + 2)));
    let lists = lists.iter().map(|list| format!("pg_catalog.unnest({list})")).collect::<Vec<_>>();
    format!(
        "ROWS FROM ({}) AS b(n{})",
        lists.join(", "),
        columns.iter().fold(String::new(), |all, name| all + ", " + name)
    )
}

fn names(letter: &str, number: usize) -> Vec<String> {
    (0..number).map(|index| format!("{letter}{index}")).collect()
}

/// The batch's keys, with `more` columns.
fn keys(plan: &Plan, more: &[String]) -> String {
    let mut columns = names("k", plan.key.len());
    columns.extend_from_slice(more);
    batch(&columns)
}

/// Whether `value`, of the type text, is what the column of `alias` holds: found by the column's index, and the
/// same byte for byte.
fn is(alias: &str, field: &Field, value: &str) -> String {
    let column = format!("{alias}.{}", field.name);
    let indexed = format!("{column} {} {value}::{}", field.typed.equals, field.typed.cast);
    match field.affinity {
        Affinity::Text | Affinity::Padded => {
            format!("{indexed} AND {column}::{TEXT} {BYTES} OPERATOR(pg_catalog.=) {value}")
        }
        _ => indexed,
    }
}

/// `p` is the row that the key of `b` names.
fn key_matches(plan: &Plan) -> String {
    let parts = plan.key.iter().enumerate();
    let parts = parts.map(|(index, field)| is("p", field, &format!("b.k{index}")));
    parts.collect::<Vec<_>>().join(" AND ")
}

/// The guard as text that the reader of times knows: without an offset, which is UTC then.
fn guard(plan: &Plan) -> String {
    match &plan.guard {
        None => format!("NULL::{TEXT}"),
        Some(field) if field.typed.cast == "\"pg_catalog\".\"timestamptz\"" => {
            format!("pg_catalog.timezone('UTC', p.{})::{TEXT}", field.name)
        }
        Some(field) => format!("p.{}::{TEXT}", field.name),
    }
}

/// The row still has the guard that was judged (I3).
fn same_guard(plan: &Plan) -> String {
    if plan.guard.is_none() {
        return String::new();
    }
    format!(" AND {} {BYTES} IS NOT DISTINCT FROM b.guard", guard(plan))
}

fn living(plan: &Plan) -> String {
    let column = plan.deleted_at.as_ref();
    column.map_or(String::new(), |column| format!(" AND p.{} IS NULL", column.name))
}

fn find(plan: &Plan, locked: &str) -> Sql {
    let references = references(plan);
    let references = references.iter().map(|field| format!("p.{}::{TEXT}", field.name));
    let references = references.collect::<Vec<_>>().join(", ");
    let references = format!("ARRAY[{references}]::{TEXTS} AS refs");
    let source = format!(
        "SELECT b.n, {} AS guard, {references} FROM {} JOIN {} AS p ON {}{}{locked}",
        guard(plan),
        keys(plan, &[]),
        plan.table,
        key_matches(plan),
        living(plan)
    );
    gathered("pg_catalog.json_build_array(x.n, x.guard, pg_catalog.array_to_json(x.refs))", &source)
}

/// How the rows of the last node hang on a row of `above`: tables and conditions.
fn chain(path: &[&Node]) -> (Vec<String>, Vec<String>) {
    let mut tables = Vec::new();
    let mut conditions = Vec::new();
    for (depth, node) in path.iter().enumerate() {
        tables.push(format!("{} AS c{depth}", node.table));
        if depth > 0 {
            conditions.push(joined(node, &format!("c{depth}"), &format!("c{}", depth - 1)));
        }
    }
    (tables, conditions)
}

/// A row below and the row above it, in columns of types that agree.
fn joined(node: &Node, here: &str, above: &str) -> String {
    let parts = node.link.iter().zip(&node.columns).map(|((_, there), field)| {
        let value = format!("{above}.{there}");
        let column = format!("{here}.{}", field.name);
        let typed = &field.typed;
        let indexed = format!("{column} {} {value}::{}", typed.equals, typed.cast);
        match field.affinity {
            Affinity::Text | Affinity::Padded => {
                format!("{indexed} AND {column}::{TEXT} {BYTES} OPERATOR(pg_catalog.=) {value}::{TEXT}")
            }
            _ => indexed,
        }
    });
    parts.collect::<Vec<_>>().join(" AND ")
}

/// Counts the rows of the last node of the path, if its fate is one of `fates`, and then of those below.
fn count(plan: &Plan, fates: &[Fate], path: &mut Vec<&Node>, texts: &mut Vec<Sql>) {
    let node = *path.last().expect("never empty");
    if fates.contains(&node.fate) {
        let (tables, mut conditions) = chain(path);
        conditions.push(joined(path[0], "c0", "p"));
        conditions.push(key_matches(plan));
        let source = format!(
            "SELECT b.n, pg_catalog.count(*) AS rows FROM {} CROSS JOIN {} AS p CROSS JOIN {} WHERE {}{} GROUP BY b.n",
            keys(plan, &[]),
            plan.table,
            tables.join(" CROSS JOIN "),
            conditions.join(" AND "),
            living(plan)
        );
        texts.push(gathered("pg_catalog.json_build_array(x.n, x.rows)", &source));
    }
    for child in &node.children {
        path.push(child);
        count(plan, fates, path, texts);
        path.pop();
    }
}

/// Deepest first: a row goes before the row that it refers to.
fn step(reference: usize, path: &mut Vec<&Node>, steps: &mut Vec<Step>) {
    let node = *path.last().expect("never empty");
    for child in &node.children {
        if child.link.len() == 1 && child.fate != Fate::Cascade {
            path.push(child);
            step(reference, path, steps);
            path.pop();
        }
    }
    let (mut tables, mut conditions) = chain(path);
    let own = tables.pop().expect("never empty");
    let alias = format!("c{}", path.len() - 1);
    conditions.push(is("c0", &path[0].columns[0], "b.r"));
    let using = tables.into_iter().chain([batch(&["r".to_owned()])]).collect::<Vec<_>>().join(", ");
    let conditions = conditions.join(" AND ");
    let changed = match node.fate {
        Fate::Delete => format!("DELETE FROM {own} USING {using} WHERE {conditions} RETURNING b.n"),
        // A row that stays is not counted.
        Fate::Nullify => format!(
            "UPDATE {own} SET {} = NULL FROM {using} WHERE {conditions} AND {alias}.{} IS NOT NULL RETURNING NULL::pg_catalog.int8 AS n",
            node.columns[0].name, node.columns[0].name
        ),
        Fate::Keep | Fate::Cascade => return,
    };
    let source = "SELECT g.n, pg_catalog.count(*) AS rows FROM gone AS g WHERE g.n IS NOT NULL GROUP BY g.n";
    let answer = gathered("pg_catalog.json_build_array(x.n, x.rows)", source);
    steps.push(Step { sql: format!("WITH gone AS ({changed}) {answer}").into(), reference });
}

fn delete(plan: &Plan) -> Sql {
    let (keys, matches, guard) =
        (keys(plan, &["guard".to_owned(), "at".to_owned()]), key_matches(plan), same_guard(plan));
    let changed = match &plan.deleted_at {
        None => format!("DELETE FROM {} AS p USING {keys} WHERE {matches}{guard} RETURNING b.n", plan.table),
        Some(column) => format!(
            "UPDATE {} AS p SET {} = b.at::{} FROM {keys} WHERE {matches}{guard} AND p.{} IS NULL RETURNING b.n",
            plan.table, column.name, column.typed.own, column.name
        ),
    };
    format!("WITH gone AS ({changed}) {}", gathered("x.n", "SELECT g.n FROM gone AS g")).into()
}

/// One part for each table, since a whole reading of one that has no index must not be made for each row.
fn standing(plan: &Plan, references: &[Field]) -> Sql {
    let mut more = vec!["at".to_owned()];
    more.extend(names("r", references.len()));
    let batch = keys(plan, &more);
    let mut parts = vec![format!(
        "SELECT b.n FROM {batch} JOIN {} AS p ON {}{}",
        plan.table,
        key_matches(plan),
        living(plan)
    )];
    for child in &plan.children {
        if let ([(_, above)], true) = (child.link.as_slice(), child.is_looked_at()) {
            let reference = format!("b.r{}", place(references, above));
            let is = is("c", &child.columns[0], &reference);
            parts.push(format!("SELECT b.n FROM {batch} JOIN {} AS c ON {is}", child.table));
        }
    }
    gathered("x.n", &parts.join(" UNION "))
}

fn deactivate(plan: &Plan) -> (Sql, Sql, Vec<Arg>) {
    let (mut set, mut differs, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let own = plan.key.len() + 4;
    let after = plan.key.len() + 3;
    for (column, value) in &plan.deactivate {
        let text = match value {
            Value::Now => None,
            Value::Null => Some(Arg::Null),
            Value::Bool(flag) => Some(Arg::Text(flag.to_string())),
            Value::Integer(number) => Some(Arg::Text(number.to_string())),
            Value::Text(text) => Some(Arg::Text(text.clone())),
        };
        let (write, same) = if let Some(text) = text {
            let place = values.len();
            values.push(text);
            (format!("${}::{TEXT}", own + place), format!("${}::{TEXT}", after + place))
        } else {
            ("b.at".to_owned(), "b.at".to_owned())
        };
        let (name, own) = (&column.name, &column.typed.own);
        set.push(format!("{name} = {write}::{own}"));
        // What was cut or rounded to fit the column is what the column's own type makes of it.
        let declared = &column.typed.declared;
        differs.push(format!("p.{name}::{TEXT} {BYTES} IS DISTINCT FROM {same}::{declared}::{TEXT}"));
    }
    let matches = key_matches(plan);
    let changed = format!(
        "UPDATE {} AS p SET {} FROM {} WHERE {matches}{} RETURNING b.n",
        plan.table,
        set.join(", "),
        keys(plan, &["guard".to_owned(), "at".to_owned()]),
        same_guard(plan)
    );
    let unmarked = format!(
        "SELECT b.n FROM {} JOIN {} AS p ON {matches} WHERE {}",
        keys(plan, &["at".to_owned()]),
        plan.table,
        differs.join(" OR ")
    );
    let changed = format!("WITH gone AS ({changed}) {}", gathered("x.n", "SELECT g.n FROM gone AS g"));
    (changed.into(), gathered("x.n", &unmarked), values)
}

fn mirrored(plan: &Plan) -> Vec<Sql> {
    let count = |expression: &str, source: &str| -> Sql {
        format!("SELECT pg_catalog.json_build_array(pg_catalog.count({expression}))::{TEXT} FROM {source}")
            .into()
    };
    let living = living(plan).replacen(" AND ", " WHERE ", 1);
    let mut counts = vec![count("*", &format!("{} AS p{living}", plan.table))];
    let mut below: Vec<&Node> = plan.children.iter().collect();
    while let Some(node) = below.pop() {
        if node.fate.goes()
            && let Some(field) = node.columns.first()
        {
            counts.push(count(&format!("c.{}", field.name), &format!("{} AS c", node.table)));
        }
        below.extend(&node.children);
    }
    counts
}
