//! The way by arrays: a batch of keys is one list a column, and no table of ours is needed.
//!
//! Parents are locked first, in key order, then children go, then parents: separate statements at READ
//! COMMITTED, since one statement for all of it looks at the children as they were before it had the lock, and
//! a child that came in between refuses the deletion.
//!
//! Each list comes as text and is cast to the type of its column, so that the column's index serves. Columns of
//! text are compared byte for byte beside that: a type or a collation may call two keys equal that are not
//! (I11).

mod texts;

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::super::apply::{not_unique, read};
use super::super::key::Arg;
use super::super::plan::Plan;
use super::super::session::{Access, Session, Sql};
use super::super::way::{Found, Wanted, Way};
use super::catalogue::list;
use crate::domain::Action;
use crate::targets::TargetError;
use texts::Texts;

pub struct Arrays {
    plan: Plan,
    texts: Texts,
}

/// A step below the table, with what its arguments are.
#[derive(Clone, Debug)]
pub struct Step {
    pub sql: Sql,
    /// Which of the table's references it begins at.
    pub reference: usize,
}

impl Arrays {
    #[must_use]
    pub fn write(plan: &Plan) -> Self {
        Self { plan: plan.clone(), texts: Texts::write(plan) }
    }

    /// `n` and the parts of the key, one list each.
    fn keys<'a>(&self, rows: &(impl Iterator<Item = (usize, &'a Wanted)> + Clone)) -> Vec<Arg> {
        let mut args = vec![numbers(rows.clone().map(|(n, _)| n))];
        for part in 0..self.plan.key.len() {
            args.push(texts(rows.clone().map(|(_, wanted)| &wanted.parts[part])));
        }
        args
    }
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Arg {
    let texts: Vec<String> = numbers.map(|number| number.to_string()).collect();
    Arg::Text(list(texts.iter().map(|text| Some(text.as_str()))))
}

fn texts<'a>(values: impl Iterator<Item = &'a Arg>) -> Arg {
    let texts: Vec<Option<String>> = values
        .map(|value| match value {
            Arg::Null => None,
            Arg::Integer(number) => Some(number.to_string()),
            Arg::Text(text) => Some(text.clone()),
        })
        .collect();
    Arg::Text(list(texts.iter().map(Option::as_deref)))
}

fn optional<'a>(values: impl Iterator<Item = &'a Option<String>>) -> Arg {
    Arg::Text(list(values.map(Option::as_deref)))
}

#[async_trait]
impl Way for Arrays {
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
        let sql = match access {
            Access::Read => &self.texts.look,
            Access::Write => &self.texts.lock,
        };
        let keys = self.keys(&wanted.iter().enumerate());
        let rows: Vec<(usize, Option<String>, Vec<Option<String>>)> =
            read(&session.json(sql, keys.clone()).await?)?;
        let mut found: Vec<Found> =
            rows.into_iter().map(|(n, guard, references)| Found { n, rows: 1, guard, references }).collect();
        // What only a deletion takes along is not counted for a row that is marked.
        let counts = match access {
            Access::Read => &self.texts.weigh,
            Access::Write => &self.texts.cascades,
        };
        for sql in counts {
            if !found.is_empty() {
                add(&mut found, read(&session.json(sql, keys.clone()).await?)?);
            }
        }
        Ok(found)
    }

    async fn by_table(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
    ) -> Result<Vec<(usize, Vec<u64>)>, TargetError> {
        let keys = self.keys(&wanted.iter().enumerate());
        let own: Vec<(usize, Option<String>, Vec<Option<String>>)> =
            read(&session.json(&self.texts.look, keys.clone()).await?)?;
        let mut told: Vec<(usize, Vec<u64>)> = own.into_iter().map(|(n, _, _)| (n, vec![1])).collect();
        for sql in &self.texts.weigh {
            let counted: Vec<(usize, u64)> = read(&session.json(sql, keys.clone()).await?)?;
            let counted: BTreeMap<usize, u64> = counted.into_iter().collect();
            for (n, rows) in &mut told {
                rows.push(counted.get(n).copied().unwrap_or(0));
            }
        }
        Ok(told)
    }

    async fn take(
        &self,
        session: &mut dyn Session,
        action: Action,
        wanted: &[Wanted],
        going: &mut [Found],
        _: &[usize],
    ) -> Result<Vec<usize>, TargetError> {
        let mut args = self.keys(&going.iter().map(|row| (row.n, &wanted[row.n])));
        let keys = args.clone();
        args.push(optional(going.iter().map(|row| &row.guard)));
        args.push(texts(going.iter().map(|row| &wanted[row.n].at)));
        let mut values = Vec::new();
        let (own, standing) = if action == Action::Delete {
            for Step { sql, reference } in &self.texts.children {
                let references = optional(going.iter().map(|row| &row.references[*reference]));
                let taken = session.json(sql, vec![keys[0].clone(), references]).await?;
                add(going, read(&taken)?);
            }
            (&self.texts.delete, &self.texts.standing)
        } else {
            values.clone_from(&self.texts.values);
            (&self.texts.deactivate, &self.texts.unmarked)
        };
        args.extend(values.iter().cloned());
        let taken: Vec<usize> = read(&session.json(own, args).await?)?;
        if taken.len() > going.len() {
            return Err(not_unique(&self.plan));
        }
        let mut args = keys;
        args.push(texts(going.iter().map(|row| &wanted[row.n].at)));
        if action == Action::Delete {
            for reference in 0..self.texts.references {
                args.push(optional(going.iter().map(|row| &row.references[reference])));
            }
        }
        args.extend(values);
        read(&session.json(standing, args).await?)
    }
}

/// Adds rows that were counted to those that take them along. Both are in the order of `n`.
fn add(found: &mut [Found], counted: Vec<(usize, u64)>) {
    for (n, rows) in counted {
        if let Ok(place) = found.binary_search_by_key(&n, |row| row.n) {
            found[place].rows += rows;
        }
    }
}
