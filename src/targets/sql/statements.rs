//! The texts of a plan's statements, made once for a connection and constant from then on.
//!
//! Two staging tables carry a batch. `wanted` holds the keys that came, `n` being the position in key order;
//! `found` holds the rows that they name, by locator, with the guard that was judged and the number of rows
//! that each takes along. Both are emptied at the start of a batch. Keys in key order touch each page of the
//! customer's tables once, which is worth a factor of ten over a random order.

mod by_table;

use super::catalogue::Affinity;
use super::key::Arg;
use super::plan::{Fate, Field, Node, Plan};
use super::session::Sql;
use super::words::{self, ARGUMENT, DRIVES, EXACTLY, NUMBERS, SAME};
use crate::config::target::Value;

/// Keys that one INSERT loads: many at once, at most 256 rows of 10 values, under SQLite's 32,766; and what is
/// left in as few as it takes, a few deletions in one.
const LOAD_MANY: usize = 256;
const LOAD_FEW: usize = 16;
/// Rows that a statement takes as a list, where so many go.
pub const LISTED: usize = 256;

/// What a row of `found` is called beside a customer's table, which may have any name.
const ROW: &str = "expunged_row";

#[derive(Clone, Debug)]
pub struct Statements {
    pub create: Vec<Sql>,
    pub empty: Vec<Sql>,
    /// (keys, statement); arguments of each key: `n`, the parts, the time.
    pub load: Vec<(usize, Sql)>,
    pub find: Sql,
    /// Answers `[n, rows, guard, locator]` for each row that was found; the locator where it is a whole number.
    pub found: Sql,
    /// The same with the values of the columns that children refer to.
    pub looked: Sql,
    /// Tables that lose rows with a record, its own first; a table stands once for each way to it.
    /// Answers `[n, [rows]]` for each row in `found`, the rows in the order of [`Plan::tables`].
    pub by_table: Sql,
    /// Takes the positions in its argument out of `found`.
    pub spare: Sql,
    pub delete: Steps,
    /// `None`: deactivations do not concern the table.
    pub deactivate: Option<Steps>,
    /// Each answers `[rows]`.
    pub mirrored: Vec<Sql>,
}

/// What carries out an action on the rows in `found`.
#[derive(Clone, Debug)]
pub struct Steps {
    /// In order, children before their parents.
    pub children: Vec<Step>,
    pub own: Sql,
    /// Answers `[n]` for each record that is not as it should be afterwards (I12).
    pub standing: Sql,
    /// Arguments of `own`, and of `standing`.
    pub values: Vec<Arg>,
}

/// What happens to the rows of a child.
#[derive(Clone, Debug)]
pub struct Step {
    /// Below all rows in `found`.
    pub all: Sql,
    /// Below [`LISTED`] of them, whose locators it takes, where the child refers to the locator. SQLite takes rows
    /// while it walks a list, and would note them first and go through them again where it walks a query.
    pub listed: Option<Sql>,
}

struct Writer<'a> {
    plan: &'a Plan,
    wanted: String,
    found: String,
}

impl Statements {
    /// `number` tells the staging tables of several plans apart.
    #[must_use]
    pub fn write(plan: &Plan, number: usize) -> Self {
        let writer = Writer {
            plan,
            wanted: words::staging(&format!("expunged_wanted_{number}")),
            found: words::staging(&format!("expunged_found_{number}")),
        };
        let (wanted, found) = (&writer.wanted, &writer.found);
        let references: Vec<String> =
            numbered(&plan.references, reference).map(|name| format!("CAST({name} AS TEXT)")).collect();
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        let looked = words::tuple(&["n", "rows_taken", "CAST(guard AS TEXT)", &words::tuple(&references)]);
        let columns = words::tuple(&["n", "rows_taken", "CAST(guard AS TEXT)", words::WHOLE_LOCATOR]);
        Self {
            create: writer.create(),
            empty: [wanted, found].map(|table| format!("DELETE FROM {table}").into()).to_vec(),
            load: loads().map(|rows| (rows, writer.load(rows))).collect(),
            find: writer.find(),
            found: words::gathered(&columns, found).into(),
            looked: words::gathered(&looked, found).into(),
            by_table: writer.by_table(),
            spare: format!("DELETE FROM {found} WHERE n IN {NUMBERS}").into(),
            delete: writer.delete(),
            deactivate: (!plan.deactivate.is_empty()).then(|| writer.deactivate()),
            mirrored: writer.mirrored(),
        }
    }
}

/// Sizes of the loading statements, largest first.
fn loads() -> impl Iterator<Item = usize> {
    std::iter::once(LOAD_MANY).chain((1..=LOAD_FEW).rev())
}

fn part(index: usize) -> String {
    format!("k{index}")
}

fn place(index: usize) -> String {
    format!("l{index}")
}

fn reference(index: usize) -> String {
    format!("r{index}")
}

fn numbered(fields: &[Field], name: fn(usize) -> String) -> impl Iterator<Item = String> {
    (0..fields.len()).map(name)
}

impl Writer<'_> {
    fn create(&self) -> Vec<Sql> {
        let declare = |fields: &[Field], name: fn(usize) -> String| -> Vec<String> {
            let columns = fields.iter().enumerate();
            columns
                .map(|(index, field)| format!("{} {}", name(index), words::column_type(field.affinity)))
                .collect()
        };
        let plan = self.plan;
        let keys = declare(&plan.key, part).join(", ");
        let mut found = declare(&plan.locator, place);
        found.extend(declare(&plan.references, reference));
        let places = numbered(&plan.locator, place).collect::<Vec<_>>().join(", ");
        vec![
            format!("CREATE TABLE {} (n INTEGER PRIMARY KEY, {keys}, at)", self.wanted).into(),
            format!(
                "CREATE TABLE {} ({}, n INTEGER, at, guard, rows_taken INTEGER, PRIMARY KEY ({places}))",
                self.found,
                found.join(", ")
            )
            .into(),
        ]
    }

    fn load(&self, rows: usize) -> Sql {
        let row = format!("({})", vec![ARGUMENT; self.plan.key.len() + 2].join(", "));
        format!("INSERT INTO {} VALUES {}", self.wanted, vec![row; rows].join(", ")).into()
    }

    /// `p` is the row that the key of `b` names.
    fn key_matches(&self) -> String {
        let fields = self.plan.key.iter().enumerate();
        let parts = fields.map(|(index, field)| format!("p.{} = b.{} {EXACTLY}", field.name, part(index)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    fn find(&self) -> Sql {
        let plan = self.plan;
        let mut columns: Vec<String> =
            numbered(&plan.locator, place).chain(numbered(&plan.references, reference)).collect();
        columns.extend(["n", "at", "guard", "rows_taken"].map(str::to_owned));
        let of_row = plan.locator.iter().chain(&plan.references);
        let mut values: Vec<String> = of_row.map(|field| format!("p.{}", field.name)).collect();
        let guard = plan.guard.as_ref().map_or("NULL".to_owned(), |guard| format!("p.{}", guard.name));
        values.extend(["b.n".to_owned(), "b.at".to_owned(), guard, self.rows_taken()]);
        let living =
            plan.deleted_at.as_ref().map_or(String::new(), |field| format!(" AND p.{} IS NULL", field.name));
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} b {DRIVES} {} p ON {}{living}",
            self.found,
            columns.join(", "),
            values.join(", "),
            self.wanted,
            plan.table,
            self.key_matches(),
        )
        .into()
    }

    /// The row itself and all that go with it. A row that is reached in two ways counts twice.
    fn rows_taken(&self) -> String {
        let mut terms = vec!["1".to_owned()];
        for child in &self.plan.children {
            count(child, "p", ("", ""), &mut terms);
        }
        terms.join(" + ")
    }

    fn delete(&self) -> Steps {
        let plan = self.plan;
        let mut children = Vec::new();
        for child in &plan.children {
            if let ([(_, above)], true) = (child.link.as_slice(), child.fate != Fate::Cascade) {
                let reference = self.reference(above);
                let (mut all, mut listed) = (Vec::new(), Vec::new());
                step(child, &format!("SELECT {reference} FROM {}", self.found), &mut all);
                // An argument has no type that would turn a text into the number that it shows: the column's must.
                let number = matches!(child.columns[0].affinity, Affinity::Integer | Affinity::Numeric);
                if number && reference == place(0) {
                    step(child, &vec![ARGUMENT; LISTED].join(", "), &mut listed);
                }
                let mut listed = listed.into_iter();
                children.extend(all.into_iter().map(|all| Step { all, listed: listed.next() }));
            }
        }
        let (own, standing) = match plan.deleted_at.as_ref().map(|field| &field.name) {
            None => (format!("DELETE FROM {} WHERE {}", plan.table, self.rows_found()), String::new()),
            Some(column) => (
                format!(
                    "UPDATE {} SET {column} = ({}) WHERE {} AND {column} IS NULL",
                    plan.table,
                    self.of_row("at"),
                    self.rows_found()
                ),
                format!(" AND p.{column} IS NULL"),
            ),
        };
        let mut left = vec![self.row_where(&standing)];
        for child in &plan.children {
            // A covered plan's tables have no trigger, and the transaction is the only one that writes: nothing could
            // have brought a child back.
            let looked_at = child.is_looked_at() && !plan.covered;
            if let ([(column, above)], true) = (child.link.as_slice(), looked_at) {
                let (table, reference) = (&child.table, self.reference(above));
                left.push(format!(
                    "EXISTS (SELECT 1 FROM {table} c WHERE c.{column} = f.{reference} {EXACTLY})"
                ));
            }
        }
        let standing = self.standing(&left.join(" OR "));
        Steps { children, own: own.into(), standing, values: Vec::new() }
    }

    fn deactivate(&self) -> Steps {
        let (mut set, mut differs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (Field { name: column, .. }, value) in &self.plan.deactivate {
            let fixed = match value {
                Value::Now => None,
                Value::Null => Some(Arg::Null),
                Value::Bool(flag) => Some(Arg::Integer(i64::from(*flag))),
                Value::Integer(number) => Some(Arg::Integer(*number)),
                Value::Text(text) => Some(Arg::Text(text.clone())),
            };
            let (write, same) = if let Some(fixed) = fixed {
                values.push(fixed);
                (ARGUMENT.to_owned(), ARGUMENT)
            } else {
                (format!("({})", self.of_row("at")), "f.at")
            };
            set.push(format!("{column} = {write}"));
            differs.push(format!("NOT (p.{column} {SAME} {same})"));
        }
        let own = format!("UPDATE {} SET {} WHERE {}", self.plan.table, set.join(", "), self.rows_found());
        let standing = self.row_where(&format!(" AND ({})", differs.join(" OR ")));
        Steps { children: Vec::new(), own: own.into(), standing: self.standing(&standing), values }
    }

    /// The rows that were found and still have the guard that was judged (I3).
    fn rows_found(&self) -> String {
        let guard = self.plan.guard.as_ref();
        let same = |guard: &Field| format!(" AND {} {SAME} ({})", guard.name, self.of_row("guard"));
        let guard = guard.map_or(String::new(), same);
        format!("{}{guard}", self.located())
    }

    /// By IN a column compares as it declares, which may take one key for another (I11). A word that says otherwise
    /// would lose the index where it stands among several columns: there the row itself is asked for as well.
    fn located(&self) -> String {
        let columns: Vec<&str> = self.plan.locator.iter().map(|field| field.name.as_str()).collect();
        let places = numbered(&self.plan.locator, place).collect::<Vec<_>>().join(", ");
        let numbers = self.plan.locator.iter().all(|field| field.affinity == Affinity::Integer);
        let listed = format!("IN (SELECT {places} FROM {})", self.found);
        match columns.as_slice() {
            [number] if numbers => format!("{number} {listed}"),
            [column] => format!("{column} {EXACTLY} {listed}"),
            several if numbers => format!("({}) {listed}", several.join(", ")),
            several => format!("({}) {listed} AND EXISTS ({})", several.join(", "), self.of_row("n")),
        }
    }

    /// What `found` holds for the row that is being written. The row goes by its table's own name: an
    /// INSTEAD OF trigger's view knows no alias.
    fn of_row(&self, column: &str) -> String {
        let locator = self.plan.locator.iter().enumerate();
        let same = locator
            .map(|(index, field)| format!("{ROW}.{} = {}.{}", place(index), self.plan.row, field.name));
        let same = same.collect::<Vec<_>>().join(" AND ");
        format!("SELECT {ROW}.{column} FROM {} {ROW} WHERE {same}", self.found)
    }

    fn row_where(&self, further: &str) -> String {
        format!("EXISTS (SELECT 1 FROM {} p WHERE {}{further})", self.plan.table, self.key_matches())
    }

    fn standing(&self, condition: &str) -> Sql {
        let source = format!("{} f {DRIVES} {} b ON b.n = f.n WHERE {condition}", self.found, self.wanted);
        words::gathered("f.n", &source).into()
    }

    /// The column of `found` that holds what children refer to.
    fn reference(&self, above: &str) -> String {
        if matches!(self.plan.locator.as_slice(), [field] if field.name == above) {
            return place(0);
        }
        let index = self.plan.references.iter().position(|field| field.name == above);
        reference(index.expect("a plan lists every column that a configured child refers to"))
    }

    fn mirrored(&self) -> Vec<Sql> {
        let plan = self.plan;
        let living =
            plan.deleted_at.as_ref().map_or(String::new(), |field| format!(" WHERE {} IS NULL", field.name));
        let mut counts = vec![
            words::gathered("rows", &format!("(SELECT count(*) AS rows FROM {}{living})", plan.table)).into(),
        ];
        for child in &plan.children {
            belonging(child, &mut counts);
        }
        counts
    }
}

/// Deepest first: a row goes before the row that it refers to.
fn step(node: &Node, parents: &str, run: &mut Vec<Sql>) {
    // Only the database's own foreign keys, which it carries out itself, have several columns.
    let [(column, _)] = node.link.as_slice() else { return };
    let concerned = format!("{column} {EXACTLY} IN ({parents})");
    for child in &node.children {
        if let [(_, above)] = child.link.as_slice() {
            let rows = format!("SELECT {above} FROM {} WHERE {concerned}", node.table);
            step(child, &rows, run);
        }
    }
    match node.fate {
        Fate::Delete => run.push(format!("DELETE FROM {} WHERE {concerned}", node.table).into()),
        Fate::Nullify => {
            run.push(format!("UPDATE {} SET {column} = NULL WHERE {concerned}", node.table).into());
        }
        Fate::Keep | Fate::Cascade => {}
    }
}

/// Adds the number of rows under the row `above`, and under those, to `terms`. `tables` and `condition` are
/// the join so far, from the children of the table down.
fn count(node: &Node, above: &str, (tables, condition): (&str, &str), terms: &mut Vec<String>) {
    let alias = format!("{above}c");
    let link = node.link.iter();
    let on = link.map(|(here, there)| format!("{alias}.{here} = {above}.{there} {EXACTLY}"));
    let on = on.collect::<Vec<_>>().join(" AND ");
    let (tables, condition) = if tables.is_empty() {
        (format!("{} {alias}", node.table), on)
    } else {
        (format!("{tables} {DRIVES} {} {alias} ON {on}", node.table), condition.to_owned())
    };
    if node.fate.goes() {
        terms.push(format!("(SELECT count(*) FROM {tables} WHERE {condition})"));
    }
    for child in &node.children {
        count(child, &alias, (&tables, &condition), terms);
    }
}

/// Rows that refer to some parent. Whether that parent exists is not asked: it would cost a look-up a row.
fn belonging(node: &Node, counts: &mut Vec<Sql>) {
    if node.fate.goes()
        && let Some((column, _)) = node.link.first()
    {
        let source = format!("(SELECT count({column}) AS rows FROM {})", node.table);
        counts.push(words::gathered("rows", &source).into());
    }
    for child in &node.children {
        belonging(child, counts);
    }
}
