//! The way by staging tables: the keys are loaded into one, the rows that they name are found into another,
//! and every later statement goes by that.

use async_trait::async_trait;

use super::apply::read;
use super::key::Arg;
use super::session::{Access, Session, Sql};
use super::statements::{LISTED, Statements};
use super::way::{Found, Wanted, Way};
use crate::domain::Action;
use crate::targets::TargetError;

#[async_trait]
impl Way for Statements {
    fn create(&self) -> &[Sql] {
        &self.create
    }

    fn mirrored(&self) -> &[Sql] {
        &self.mirrored
    }

    async fn find(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
        access: Access,
    ) -> Result<Vec<Found>, TargetError> {
        for sql in &self.empty {
            session.run(sql, Vec::new()).await?;
        }
        load(self, session, wanted).await?;
        session.run(&self.find, Vec::new()).await?;
        if access == Access::Read {
            let found: Vec<(usize, u64, Option<String>, Vec<Option<String>>)> =
                read(&session.json(&self.looked, Vec::new()).await?)?;
            let found = found.into_iter();
            return Ok(found
                .map(|(n, rows, guard, references)| Found { n, rows, guard, references })
                .collect());
        }
        let found = session.json(&self.found, Vec::new()).await?;
        let found: Vec<(usize, u64, Option<String>, Option<i64>)> = read(&found)?;
        let row = |(n, rows, guard, locator): (usize, u64, Option<String>, Option<i64>)| Found {
            n,
            rows,
            guard,
            references: vec![locator.map(|locator| locator.to_string())],
        };
        Ok(found.into_iter().map(row).collect())
    }

    async fn by_table(
        &self,
        session: &mut dyn Session,
        _: &[Wanted],
    ) -> Result<Vec<(usize, Vec<u64>)>, TargetError> {
        read(&session.json(&self.by_table, Vec::new()).await?)
    }

    async fn take(
        &self,
        session: &mut dyn Session,
        action: Action,
        _: &[Wanted],
        going: &mut [Found],
        spared: &[usize],
    ) -> Result<Vec<usize>, TargetError> {
        if !spared.is_empty() {
            session.run(&self.spare, vec![Arg::Text(numbers(spared))]).await?;
        }
        let steps = match action {
            Action::Delete => &self.delete,
            _ => self.deactivate.as_ref().expect("asked for only where it is configured"),
        };
        let lists = if going.len() < LISTED { None } else { lists(going) };
        for step in &steps.children {
            let (Some(sql), Some(lists)) = (&step.listed, &lists) else {
                session.run(&step.all, Vec::new()).await?;
                continue;
            };
            for list in lists {
                session.run(sql, list.clone()).await?;
            }
        }
        session.run(&steps.own, steps.values.clone()).await?;
        read(&session.json(&steps.standing, steps.values.clone()).await?)
    }
}

async fn load(
    statements: &Statements,
    session: &mut dyn Session,
    wanted: &[Wanted],
) -> Result<(), TargetError> {
    let mut rest = wanted;
    let mut number = 0;
    for (rows, sql) in &statements.load {
        while rest.len() >= *rows {
            let (now, later) = rest.split_at(*rows);
            let mut args = Vec::with_capacity(rows * (now[0].parts.len() + 2));
            for Wanted { parts, at, .. } in now {
                args.push(Arg::Integer(number));
                args.extend_from_slice(parts);
                args.push(at.clone());
                number += 1;
            }
            session.run(sql, args).await?;
            rest = later;
        }
    }
    Ok(())
}

/// The locators of the rows in lists of [`LISTED`], the last one filled up with its last one; `None` if one of them
/// is no whole number.
fn lists(going: &[Found]) -> Option<Vec<Vec<Arg>>> {
    let locator = |row: &Found| row.references.first()?.as_ref()?.parse().ok().map(Arg::Integer);
    let locators = going.iter().map(locator).collect::<Option<Vec<Arg>>>()?;
    let list = |rows: &[Arg]| {
        let mut list = rows.to_vec();
        list.resize_with(LISTED, || rows[rows.len() - 1].clone());
        list
    };
    Some(locators.chunks(LISTED).map(list).collect())
}

fn numbers(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(","))
}
