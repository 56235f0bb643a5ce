//! The way by JSON: the keys of a batch are one argument, and so are the rows that were found by them.
//!
//! `b` is the argument as a table, `p` the row that a key of it names, `c`, `cc`, … the rows that belong to it.
//! Every join says which side is walked first: the servers guess that a JSON text has 40 rows, and would read whole
//! tables for more of them.

mod texts;

use async_trait::async_trait;

use super::super::apply::{not_unique, read};
use super::super::key::Arg;
use super::super::plan::Plan;
use super::super::session::{Access, Session, Sql};
use super::super::way::{Found, Wanted, Way};
use crate::domain::Action;
use crate::targets::TargetError;
use texts::{Statement, Takes, Texts};

/// Answers with the rows that the statement before it changed.
const CHANGED: &str = "SELECT CAST(ROW_COUNT() AS CHAR)";

pub struct JsonWay {
    plan: Plan,
    texts: Texts,
    changed: Sql,
}

impl JsonWay {
    pub fn write(plan: &Plan, locking: &str) -> Self {
        Self { texts: Texts::write(plan, locking), plan: plan.clone(), changed: CHANGED.into() }
    }
}

#[async_trait]
impl Way for JsonWay {
    fn create(&self) -> &[Sql] {
        &[]
    }

    fn mirrored(&self) -> &[Sql] {
        &self.texts.mirrored
    }

    async fn find(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
        access: Access,
    ) -> Result<Vec<Found>, TargetError> {
        let keys = keys(wanted);
        let find = if access == Access::Write { &self.texts.find } else { &self.texts.look };
        let answer = session.json(find, vec![keys.clone()]).await?;
        let mut found = read::<Vec<(usize, u8, Option<String>, Vec<Option<String>>)>>(&answer)?
            .into_iter()
            .map(|(n, guarded, guard, references)| {
                // What is there and no text is no time either, and must not count as none.
                let guard = (guarded == 1).then(|| guard.unwrap_or_default());
                Found { n, rows: 1, guard, references }
            })
            .collect::<Vec<_>>();
        // What only a deletion takes along is not counted for a row that is marked.
        let count = if access == Access::Write { &self.texts.cascades } else { &self.texts.count };
        if let (Some(count), false) = (count, found.is_empty()) {
            // A statement of its own: what the first one sees of other tables is older than its locks.
            let counts: Vec<(usize, u64)> = read(&session.json(count, vec![keys]).await?)?;
            let mut rows = vec![1; wanted.len()];
            for (n, count) in counts {
                if let Some(place) = rows.get_mut(n) {
                    *place = count;
                }
            }
            for row in &mut found {
                row.rows = rows.get(row.n).copied().unwrap_or(1);
            }
        }
        Ok(found)
    }

    async fn by_table(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
    ) -> Result<Vec<(usize, Vec<u64>)>, TargetError> {
        read(&session.json(&self.texts.by_table, vec![keys(wanted)]).await?)
    }

    async fn take(
        &self,
        session: &mut dyn Session,
        action: Action,
        wanted: &[Wanted],
        going: &mut [Found],
        _: &[usize],
    ) -> Result<Vec<usize>, TargetError> {
        // In key order again, in which they were found: the servers walk the first table of a join.
        going.sort_unstable_by_key(|row| row.n);
        let steps = match action {
            Action::Delete => &self.texts.delete,
            _ => self.texts.deactivate.as_ref().expect("asked for only where it is configured"),
        };
        for statement in &steps.counts {
            let args = Rows { wanted, going }.args(statement);
            let counted: Vec<(usize, u64)> = read(&session.json(&statement.sql, args).await?)?;
            for (index, count) in counted {
                if let Some(row) = going.get_mut(index) {
                    row.rows += count;
                }
            }
        }
        let rows = Rows { wanted, going };
        for statement in &steps.run {
            session.run(&statement.sql, rows.args(statement)).await?;
        }
        // The last one was the table's own. What has no unique index may hold a second row since the first was locked.
        let changed: Vec<usize> = read(&session.json(&self.changed, Vec::new()).await?)?;
        if changed.iter().sum::<usize>() > rows.going.len() {
            return Err(not_unique(&self.plan));
        }
        let mut standing = Vec::new();
        for statement in &steps.standing {
            let answer = session.json(&statement.sql, rows.args(statement)).await?;
            standing.extend(read::<Vec<usize>>(&answer)?);
        }
        standing.sort_unstable();
        standing.dedup();
        Ok(standing.into_iter().filter_map(|index| going.get(index)).map(|row| row.n).collect())
    }
}

fn keys(wanted: &[Wanted]) -> Arg {
    let keys: Vec<serde_json::Value> = wanted.iter().map(|wanted| parts(wanted).into()).collect();
    Arg::Text(serde_json::Value::from(keys).to_string())
}

fn parts(wanted: &Wanted) -> Vec<serde_json::Value> {
    wanted.parts.iter().map(value).collect()
}

/// The rows that go, in key order.
struct Rows<'a> {
    wanted: &'a [Wanted],
    going: &'a [Found],
}

impl Rows<'_> {
    fn args(&self, statement: &Statement) -> Vec<Arg> {
        let lines = self.going.iter().map(|row| line(&self.wanted[row.n], row, statement.takes));
        let text = serde_json::Value::Array(lines.collect()).to_string();
        std::iter::once(Arg::Text(text)).chain(statement.values.iter().cloned()).collect()
    }
}

fn line(wanted: &Wanted, found: &Found, takes: Takes) -> serde_json::Value {
    let reference = |place: usize| serde_json::Value::from(found.references.get(place).cloned().flatten());
    let mut line = match takes {
        Takes::Reference(place) => return reference(place),
        Takes::Keys => return parts(wanted).into(),
        Takes::Rows => parts(wanted),
        Takes::Referred(place) => vec![reference(place)],
    };
    line.extend([value(&wanted.at), found.guard.clone().into()]);
    line.into()
}

fn value(arg: &Arg) -> serde_json::Value {
    match arg {
        Arg::Null => serde_json::Value::Null,
        Arg::Integer(number) => (*number).into(),
        Arg::Text(text) => text.as_str().into(),
    }
}
