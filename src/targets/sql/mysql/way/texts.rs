//! The texts of a plan's statements, made once for a connection and constant from then on.
//!
//! Each takes one JSON text first, of no more than it needs: reading a value out of it costs 5 µs, which is as much
//! as finding a row.

mod counts;

use super::super::super::catalogue::Affinity;
use super::super::super::key::Arg;
use super::super::super::plan::{Fate, Field, Node, Plan};
use super::super::super::session::Sql;
use super::super::catalogue::columns::{CHARSET, TIME};
use crate::config::target::Value;

/// What tells the row of the argument, by its place.
const PLACE: &str = "SELECT CAST(b.n - 1 AS CHAR) FROM";
const UTF8MB4: &str = "utf8mb4 ";
/// The tables of a join, walked in this order.
const DRIVES: &str = "STRAIGHT_JOIN";
/// What becomes of rows that go along.
const GOING: &[Fate] = &[Fate::Delete, Fate::Cascade];
/// A statement with the JSON text that it takes, and the values that follow.
pub struct Statement {
    pub sql: Sql,
    pub takes: Takes,
    pub values: Vec<Arg>,
}

/// What the JSON text holds of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `[part, …]`
    Keys,
    /// `[part, …, time to write, guard]`
    Rows,
    /// `[value of the reference of that number, time to write, guard]`
    Referred(usize),
    /// The value of the reference of that number.
    Reference(usize),
}

pub struct Texts {
    /// Answers `[n, whether there is a guard, guard, [reference, …]]` for each row, and locks it.
    pub find: Sql,
    /// The same without locks.
    pub look: Sql,
    /// Answers `[n, rows]` with all that goes along; `None` if nothing does.
    pub count: Option<Sql>,
    /// The same with what the database's own foreign keys take.
    pub cascades: Option<Sql>,
    /// Answers `[n, [rows, …]]`, in the order of `Plan::tables`.
    pub by_table: Sql,
    pub delete: Steps,
    /// `None`: deactivations do not concern the table.
    pub deactivate: Option<Steps>,
    /// Each answers with a number of rows.
    pub mirrored: Vec<Sql>,
}

pub struct Steps {
    /// Each answers `[n, rows]` with the rows of a table that go along by `run`.
    pub counts: Vec<Statement>,
    /// In order, children before their parents. The last one is the table's own.
    pub run: Vec<Statement>,
    /// Each answers with the place of each row that is not as it should be afterwards (I12).
    pub standing: Vec<Statement>,
}

struct Writer<'a> {
    plan: &'a Plan,
    /// What children refer to, and what tells a row if that is one column.
    references: Vec<Field>,
}

impl Texts {
    /// `locking` ends a statement that locks the rows `p`.
    pub fn write(plan: &Plan, locking: &str) -> Self {
        let mut references = plan.references.clone();
        if let [only] = plan.locator.as_slice() {
            references.push(only.clone());
        }
        let writer = Writer { plan, references };
        let look = writer.look();
        Self {
            find: format!("{look} {locking}").into(),
            look: look.into(),
            count: writer.count(GOING),
            cascades: writer.count(&[Fate::Cascade]),
            by_table: writer.counted(&format!("JSON_ARRAY({})", writer.terms(GOING).join(", "))),
            delete: writer.delete(),
            deactivate: (!plan.deactivate.is_empty()).then(|| writer.deactivate()),
            mirrored: writer.mirrored(),
        }
    }
}

/// The argument as the table `b`, with a row number and these columns.
fn argument(columns: &[String]) -> String {
    format!("JSON_TABLE(?, '$[*]' COLUMNS (n FOR ORDINALITY, {})) AS b", columns.join(", "))
}

/// Whether what the index serves may be another value than the one that came: a number is cut to the greatest of its
/// type, and a letter that the charset does not have becomes a question mark.
fn changes(field: &Field) -> bool {
    match field.affinity {
        Affinity::Integer | Affinity::Blob => false,
        Affinity::Decimal => field.typed.own != field.typed.cast,
        _ => !field.typed.own.contains(UTF8MB4),
    }
}

/// A value of the argument as the column `k` that the index of `field` serves; if that may be another one, also as
/// `x`, as it came.
fn declared(field: &Field, path: &str, (k, x): (&str, &str)) -> Vec<String> {
    let typed = &field.typed;
    let mut columns = vec![format!("{k} {} PATH '{path}'", typed.own)];
    if changes(field) {
        columns.push(format!("{x} {} PATH '{path}'", typed.cast));
    }
    columns
}

/// `column` holds exactly that value.
fn is(field: &Field, column: &str, (k, x): (&str, &str)) -> String {
    let came = if changes(field) { x } else { k };
    match field.affinity {
        Affinity::Integer | Affinity::Decimal if came == k => format!("{column} = b.{k}"),
        Affinity::Integer | Affinity::Decimal => format!("{column} = b.{k} AND {column} = b.{x}"),
        Affinity::Blob => format!("{column} = UNHEX(b.{k})"),
        _ => format!("{column} = b.{k} AND {} = CAST(b.{came} AS BINARY)", bytes(column)),
    }
}

/// The time to write, as a column of this type reads it.
fn moment(column: &Field) -> &'static str {
    if column.typed.own == TIME { "REPLACE(REPLACE(b.t, 'T', ' '), 'Z', '')" } else { "b.t" }
}

/// The bytes of a text in the one charset in which two texts are compared.
fn bytes(column: &str) -> String {
    format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)")
}

/// `here` of a child holds exactly what `above` of its parent does. The parent's value takes the child's charset and
/// collation, so that the child's index serves.
fn refers(here: &Field, column: &str, above: &str) -> String {
    match here.typed.own.split_once(CHARSET) {
        Some((_, charset)) => {
            let (exact_here, exact_above) = (bytes(column), bytes(above));
            format!(
                "{column} = CONVERT({above} USING {charset} AND {exact_here} = {exact_above}",
                charset = charset.replacen(" COLLATE ", ") COLLATE ", 1)
            )
        }
        None => format!("{column} = {above}"),
    }
}

impl Writer<'_> {
    fn keys(&self) -> Vec<String> {
        let fields = self.plan.key.iter().enumerate();
        fields
            .flat_map(|(place, field)| {
                declared(field, &format!("$[{place}]"), (&format!("k{place}"), &format!("x{place}")))
            })
            .collect()
    }

    fn key_matches(&self) -> String {
        let fields = self.plan.key.iter().enumerate();
        let parts = fields.map(|(place, field)| {
            is(field, &format!("p.{}", field.name), (&format!("k{place}"), &format!("x{place}")))
        });
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// The rows that the keys name.
    fn rows(&self) -> String {
        format!("{} {DRIVES} {} p ON {}", argument(&self.keys()), self.plan.table, self.key_matches())
    }

    fn living(&self) -> String {
        self.plan
            .deleted_at
            .as_ref()
            .map_or(String::new(), |column| format!(" WHERE p.{} IS NULL", column.name))
    }

    fn look(&self) -> String {
        let plan = self.plan;
        let guard = plan.guard.as_ref().map_or(("0".to_owned(), "NULL".to_owned()), |guard| {
            (format!("IF(p.{0} IS NULL, 0, 1)", guard.name), format!("CAST(p.{} AS CHAR)", guard.name))
        });
        let references = self.references.iter().map(|field| match field.affinity {
            // Without the zeroes that a column may show.
            Affinity::Integer | Affinity::Decimal => format!("CAST(p.{} + 0 AS CHAR)", field.name),
            // Bytes need be no text.
            Affinity::Blob => format!("HEX(p.{})", field.name),
            _ => format!("CAST(p.{} AS CHAR)", field.name),
        });
        let references = references.collect::<Vec<_>>().join(", ");
        format!(
            "SELECT JSON_ARRAY(b.n - 1, {}, {}, JSON_ARRAY({references})) FROM {}{}",
            guard.0,
            guard.1,
            self.rows(),
            self.living()
        )
    }

    /// The row itself, and for each table of which rows have one of these fates, how many: both walk the tree as the
    /// plan does.
    fn terms(&self, fates: &[Fate]) -> Vec<String> {
        let mut terms = vec!["1".to_owned()];
        for child in &self.plan.children {
            let rows = (format!("{} c", child.table), counts::belong(child, "c", "p"));
            counts::among(child, fates, "c", (&rows.0, &rows.1), &mut terms);
        }
        terms
    }

    /// All of a row and those; `None` if there are none.
    fn count(&self, fates: &[Fate]) -> Option<Sql> {
        let terms = self.terms(fates);
        (terms.len() > 1).then(|| self.counted(&terms.join(" + ")))
    }

    fn counted(&self, what: &str) -> Sql {
        format!("SELECT JSON_ARRAY(b.n - 1, {what}) FROM {}{}", self.rows(), self.living()).into()
    }

    /// The rows that go, for the table's own statement: by a number that children refer to if every row has one, which
    /// is as a rule the shortest way to a row, or by the key. With the time to write if it is `timed`.
    ///
    /// The guard still is what was judged (I3). The row was locked since; that nothing of ours changed it is seen here.
    fn going(&self, timed: bool) -> (String, Takes) {
        let plan = self.plan;
        let number =
            |field: &Field| field.not_null && matches!(field.affinity, Affinity::Integer | Affinity::Decimal);
        let reference = self.references.iter().position(number);
        let (mut columns, on, after, takes) = match reference {
            Some(place) => {
                let field = &self.references[place];
                let on = is(field, &format!("p.{}", field.name), ("k0", "x0"));
                (declared(field, "$[0]", ("k0", "x0")), on, 1, Takes::Referred(place))
            }
            None => (self.keys(), self.key_matches(), plan.key.len(), Takes::Rows),
        };
        if timed {
            columns.push(format!("t VARCHAR(64){CHARSET}utf8mb4 PATH '$[{after}]'"));
        }
        let same = plan.guard.as_ref().map_or(String::new(), |guard| {
            columns.push(format!("g VARCHAR(128){CHARSET}utf8mb4 PATH '$[{}]'", after + 1));
            format!(" AND CAST(CAST(p.{} AS CHAR) AS BINARY) <=> CAST(b.g AS BINARY)", guard.name)
        });
        (format!("{} {DRIVES} {} p ON {on}{same}", argument(&columns), plan.table), takes)
    }

    fn delete(&self) -> Steps {
        let plan = self.plan;
        let (mut counts, mut run, mut standing) = (Vec::new(), Vec::new(), Vec::new());
        let mut together = counts::Together::default();
        for child in plan.children.iter().filter(|child| child.fate != Fate::Cascade) {
            let (argument, takes, on) = self.children(child);
            let rows = format!("{} c", child.table);
            let from = format!("{argument} {DRIVES} {rows} ON {on}");
            let mut by_join = Vec::new();
            step(child, (&from, takes), "c", (&mut by_join, &mut run));
            if child.is_looked_at() {
                standing.push(plain(format!("{PLACE} {from}"), takes));
            }
            if child.is_led_to() {
                together.add(child, (argument, takes), (&rows, &on));
            } else {
                // For each row by itself, the whole table would be read each time.
                counts.append(&mut by_join);
            }
        }
        counts.extend(together.statements());
        let (going, takes) = self.going(plan.deleted_at.is_some());
        let left = format!("{PLACE} {}", self.rows());
        match &plan.deleted_at {
            None => {
                run.push(plain(format!("DELETE p FROM {going}"), takes));
                standing.push(plain(left, Takes::Keys));
            }
            Some(column) => {
                let set = format!("p.{} = {}{}", column.name, moment(column), self.guard_kept());
                let column = &column.name;
                run.push(plain(format!("UPDATE {going} SET {set} WHERE p.{column} IS NULL"), takes));
                standing.push(plain(format!("{left} WHERE p.{column} IS NULL"), Takes::Keys));
            }
        }
        Steps { counts, run, standing }
    }

    fn deactivate(&self) -> Steps {
        let (mut set, mut differs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (column, value) in &self.plan.deactivate {
            let fixed = match value {
                Value::Now => None,
                Value::Null => Some(Arg::Null),
                Value::Bool(flag) => Some(Arg::Integer(i64::from(*flag))),
                Value::Integer(number) => Some(Arg::Integer(*number)),
                Value::Text(text) => Some(Arg::Text(text.clone())),
            };
            if let Some(fixed) = fixed {
                values.push(fixed);
                set.push(format!("p.{} = ?", column.name));
                differs.push(format!("NOT (p.{} <=> ?)", column.name));
            } else {
                set.push(format!("p.{} = {}", column.name, moment(column)));
                // The column may keep it in its own way, and rounded.
                differs.push(format!("p.{} IS NULL", column.name));
            }
        }
        let (going, takes) = self.going(true);
        let own = format!("UPDATE {going} SET {}{}", set.join(", "), self.guard_kept());
        let left = format!("{PLACE} {} WHERE {}", self.rows(), differs.join(" OR "));
        Steps {
            counts: Vec::new(),
            run: vec![Statement { sql: own.into(), takes, values: values.clone() }],
            standing: vec![Statement { sql: left.into(), takes: Takes::Keys, values }],
        }
    }

    /// A guard ON UPDATE CURRENT_TIMESTAMP would tell of our own mark as of news from upstream.
    fn guard_kept(&self) -> String {
        let kept = self.plan.guard.as_ref().filter(|guard| {
            self.plan.deleted_at.as_ref().is_none_or(|column| column.name != guard.name)
                && !self.plan.deactivate.iter().any(|(column, _)| column.name == guard.name)
        });
        kept.map_or(String::new(), |guard| format!(", p.{0} = p.{0}", guard.name))
    }

    /// The argument that says what the rows `c` of a child of the table refer to, and which of them are meant.
    fn children(&self, child: &Node) -> (String, Takes, String) {
        let (here, above) = (&child.columns[0], &child.link[0].1);
        let place = self.references.iter().position(|field| field.name == *above);
        let place =
            place.expect("a plan lists every column that a configured child refers to, but for the locator");
        let on = is(here, &format!("c.{}", here.name), ("k", "x"));
        (argument(&declared(here, "$", ("k", "x"))), Takes::Reference(place), on)
    }

    fn mirrored(&self) -> Vec<Sql> {
        let living = self
            .plan
            .deleted_at
            .as_ref()
            .map_or(String::new(), |column| format!(" WHERE {} IS NULL", column.name));
        let mut counts =
            vec![format!("SELECT CAST(COUNT(*) AS CHAR) FROM {}{living}", self.plan.table).into()];
        for child in &self.plan.children {
            counts::belonging(child, &mut counts);
        }
        counts
    }
}

fn plain(sql: String, takes: Takes) -> Statement {
    Statement { sql: sql.into(), takes, values: Vec::new() }
}

/// Deepest first: a row goes before the row that it refers to. `from` joins down to the rows of `node`, which are
/// `alias`.
fn step(
    node: &Node,
    (from, takes): (&str, Takes),
    alias: &str,
    (counts, run): (&mut Vec<Statement>, &mut Vec<Statement>),
) {
    for child in &node.children {
        // Only the database's own foreign keys, which it carries out itself, have several columns.
        if let ([here], [(_, above)], true) =
            (child.columns.as_slice(), child.link.as_slice(), child.fate != Fate::Cascade)
        {
            let below = format!("{alias}c");
            let on = refers(here, &format!("{below}.{}", here.name), &format!("{alias}.{above}"));
            let from = format!("{from} {DRIVES} {} {below} ON {on}", child.table);
            step(child, (&from, takes), &below, (counts, run));
        }
    }
    match node.fate {
        Fate::Delete => {
            counts
                .push(plain(format!("SELECT JSON_ARRAY(b.n - 1, COUNT(*)) FROM {from} GROUP BY b.n"), takes));
            run.push(plain(format!("DELETE {alias} FROM {from}"), takes));
        }
        Fate::Nullify => {
            let column = &node.columns[0].name;
            run.push(plain(format!("UPDATE {from} SET {alias}.{column} = NULL"), takes));
        }
        Fate::Keep | Fate::Cascade => {}
    }
}
