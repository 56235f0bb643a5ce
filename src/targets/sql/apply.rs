//! One batch, one transaction: find the rows, judge them, take the children, take the rows, look again.
//!
//! What happened to an id comes from what the database held before and holds after, both read under the
//! lock that keeps others from writing. That says more than the rows of a RETURNING clause, which a trigger
//! or a view can contradict, and needs two answers a batch instead of one row a record.

use std::collections::{BTreeMap, BTreeSet};

use super::guard::{self, Verdict};
use super::key::{self, Arg};
use super::plan::Plan;
use super::session::{Access, Session};
use super::statements::{Statements, Steps};
use crate::config::target::Value;
use crate::domain::{Action, Entity, Timestamp};
use crate::targets::{Effect, RecordFailure, Removal, TargetError};

/// How often a batch is begun again without records that would not go. Each round names all of them, so
/// that a further round means that one record's removal brought another one back.
const ROUNDS_MAX: usize = 3;

/// A plan with its texts, or why there is none.
pub type Prepared = BTreeMap<Entity, Result<(Plan, Statements), String>>;

/// What a round came to.
enum Round {
    Done(Vec<Effect>),
    /// Positions of records that are not as they should be afterwards.
    Standing(Vec<usize>),
}

/// Applies the removals in one commit. On an error nothing has changed, and the transaction is closed.
pub async fn apply(
    session: &mut dyn Session,
    prepared: &Prepared,
    removals: &[Removal],
) -> Result<Vec<Effect>, TargetError> {
    let mut spared = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        session.begin(Access::Write).await?;
        let round = match work(session, prepared, removals, &spared).await {
            Ok(Round::Done(effects)) => session.commit().await.map(|()| Round::Done(effects)),
            other => other,
        };
        match round {
            Ok(Round::Done(effects)) => return Ok(effects),
            Ok(Round::Standing(positions)) => {
                session.rollback().await?;
                spared.extend(positions);
            }
            Err(error) => {
                session.rollback().await?;
                return Err(error);
            }
        }
    }
    Err(TargetError::Refused {
        code: "still_there",
        message: "rows come back while others are deleted; look at the triggers of the tables".to_owned(),
    })
}

/// The rows that each removal would take now.
pub async fn weigh(
    session: &mut dyn Session,
    prepared: &Prepared,
    removals: &[Removal],
) -> Result<Vec<u64>, TargetError> {
    let mut weights = vec![0; removals.len()];
    session.begin(Access::Read).await?;
    let result = async {
        for ((entity, action), positions) in groups(removals) {
            if action != Action::Delete {
                continue;
            }
            let Some((plan, statements)) = prepared_for(prepared, entity)? else { continue };
            let mut group = Group::new(plan, statements, removals, &positions, action);
            group.find(session).await?;
            for (position, rows) in group.going {
                weights[position] = rows;
            }
        }
        Ok(())
    }
    .await;
    session.rollback().await?;
    result.map(|()| weights)
}

async fn work(
    session: &mut dyn Session,
    prepared: &Prepared,
    removals: &[Removal],
    spared: &BTreeSet<usize>,
) -> Result<Round, TargetError> {
    let mut effects: Vec<Effect> = vec![Effect::Absent; removals.len()];
    for &position in spared {
        effects[position] = failed(
            "still_there",
            "the row, or a row that belongs to it, is still there after the statement that takes it; a trigger or a view keeps it",
        );
    }
    let mut standing = Vec::new();
    for ((entity, action), mut positions) in groups(removals) {
        positions.retain(|position| !spared.contains(position));
        let Some((plan, statements)) = prepared_for(prepared, entity)? else {
            fill(&mut effects, &positions, || failed("entity_unknown", "no table is configured for it"));
            continue;
        };
        let steps =
            if action == Action::Delete { Some(&statements.delete) } else { statements.deactivate.as_ref() };
        let Some(steps) = steps else {
            fill(&mut effects, &positions, || failed("deactivate_unset", "no columns are configured for it"));
            continue;
        };
        let mut group = Group::new(plan, statements, removals, &positions, action);
        group.find(session).await?;
        standing.extend(group.take(session, steps).await?);
        for (position, effect) in group.settle() {
            effects[position] = effect;
        }
    }
    Ok(if standing.is_empty() { Round::Done(effects) } else { Round::Standing(standing) })
}

fn fill(effects: &mut [Effect], positions: &[usize], effect: impl Fn() -> Effect) {
    for &position in positions {
        effects[position] = effect();
    }
}

fn failed(code: &'static str, message: &str) -> Effect {
    Effect::Failed(RecordFailure { code, message: message.to_owned(), retry: false })
}

/// Positions of the removals that one set of statements carries out.
fn groups(removals: &[Removal]) -> BTreeMap<(&Entity, Action), Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (position, removal) in removals.iter().enumerate() {
        groups.entry((&removal.entity, removal.action)).or_default().push(position);
    }
    groups
}

fn prepared_for<'a>(
    prepared: &'a Prepared,
    entity: &Entity,
) -> Result<Option<&'a (Plan, Statements)>, TargetError> {
    match prepared.get(entity) {
        None => Ok(None),
        Some(Ok(prepared)) => Ok(Some(prepared)),
        Some(Err(reason)) => Err(TargetError::Misconfigured(format!("{entity}: {reason}"))),
    }
}

/// Removals of one entity and one action.
struct Group<'a> {
    plan: &'a Plan,
    statements: &'a Statements,
    removals: &'a [Removal],
    action: Action,
    /// In key order: parts, time to write, position in the batch.
    wanted: Vec<(Vec<Arg>, Arg, usize)>,
    /// What is known of a position without touching its row.
    told: Vec<(usize, Effect)>,
    /// Positions whose rows go, and how many.
    going: Vec<(usize, u64)>,
}

impl<'a> Group<'a> {
    fn new(
        plan: &'a Plan,
        statements: &'a Statements,
        removals: &'a [Removal],
        positions: &[usize],
        action: Action,
    ) -> Self {
        let (wanted, told, going) = (Vec::with_capacity(positions.len()), Vec::new(), Vec::new());
        let mut group = Self { plan, statements, removals, action, wanted, told, going };
        for &position in positions {
            match group.bind(&removals[position]) {
                Ok((parts, at)) => group.wanted.push((parts, at, position)),
                Err(effect) => group.told.push((position, effect)),
            }
        }
        group.wanted.sort_unstable();
        group
    }

    fn bind(&self, removal: &Removal) -> Result<(Vec<Arg>, Arg), Effect> {
        let (parts, columns) = (removal.key.parts(), &self.plan.key);
        if parts.len() != columns.len() {
            let message = format!("the key has {} parts, its table {}", parts.len(), columns.len());
            return Err(failed("key_parts", &message));
        }
        let mut bound = Vec::with_capacity(parts.len() + 2);
        for (part, column) in parts.iter().zip(columns) {
            bound.push(key::bind(part, column).ok_or_else(|| {
                let message = format!("column {} cannot hold this part exactly as it is", column.name);
                failed("key_type", &message)
            })?);
        }
        Ok((bound, self.time(removal.at)?))
    }

    /// The time of the removal as the table writes times, where the action writes it.
    fn time(&self, at: Timestamp) -> Result<Arg, Effect> {
        let written = match self.action {
            Action::Delete => self.plan.deleted_at.is_some(),
            _ => self.plan.deactivate.iter().any(|(_, value)| *value == Value::Now),
        };
        if !written {
            return Ok(Arg::Null);
        }
        guard::write(at, self.plan.format)
            .ok_or_else(|| failed("time_range", "no calendar shows the time of the deletion"))
    }

    /// Finds the rows and judges them; leaves in the staging table those that go.
    async fn find(&mut self, session: &mut dyn Session) -> Result<(), TargetError> {
        for sql in &self.statements.empty {
            session.run(sql, Vec::new()).await?;
        }
        self.load(session).await?;
        session.run(&self.statements.find, Vec::new()).await?;
        let found = session.json(&self.statements.found, Vec::new()).await?;
        let found: Vec<(usize, u64, Option<String>)> = read(&found)?;
        let mut seen = vec![false; self.wanted.len()];
        let mut spared = Vec::new();
        for (n, rows, guard) in found {
            let Some((_, _, position)) = self.wanted.get(n) else { return Err(unreadable()) };
            if std::mem::replace(&mut seen[n], true) {
                return Err(TargetError::Refused {
                    code: "key_not_unique",
                    message: format!("a key names several rows of {}; nothing was deleted", self.plan.table),
                });
            }
            let at = self.removals[*position].at;
            match guard::judge(guard.as_deref(), self.plan.format, at) {
                Verdict::Goes => self.going.push((*position, rows)),
                Verdict::Stays => {
                    self.told.push((*position, Effect::Newer));
                    spared.push(n);
                }
                Verdict::Unreadable => {
                    let guard = self.plan.guard.as_deref().unwrap_or_default();
                    let message = format!("the value in guard column {guard} is no time that can be read");
                    self.told.push((*position, failed("guard_unreadable", &message)));
                    spared.push(n);
                }
            }
        }
        if !spared.is_empty() {
            session.run(&self.statements.spare, vec![Arg::Text(numbers(&spared))]).await?;
        }
        Ok(())
    }

    async fn load(&self, session: &mut dyn Session) -> Result<(), TargetError> {
        let mut rest: &[(Vec<Arg>, Arg, usize)] = &self.wanted;
        let mut number = 0;
        for (rows, sql) in &self.statements.load {
            while rest.len() >= *rows {
                let (now, later) = rest.split_at(*rows);
                let mut args = Vec::with_capacity(rows * (self.plan.key.len() + 2));
                for (parts, at, _) in now {
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

    /// Carries out the steps on what was found; the positions that are not as they should be afterwards.
    async fn take(&self, session: &mut dyn Session, steps: &Steps) -> Result<Vec<usize>, TargetError> {
        if self.going.is_empty() {
            return Ok(Vec::new());
        }
        let (own, before) = steps.run.split_last().expect("the table's own statement is always there");
        for sql in before {
            session.run(sql, Vec::new()).await?;
        }
        session.run(own, steps.values.clone()).await?;
        let standing: Vec<usize> = read(&session.json(&steps.standing, steps.values.clone()).await?)?;
        standing
            .into_iter()
            .map(|n| self.wanted.get(n).map(|(_, _, position)| *position).ok_or_else(unreadable))
            .collect()
    }

    fn settle(self) -> impl Iterator<Item = (usize, Effect)> {
        let deletes = self.action == Action::Delete;
        let going = self.going.into_iter();
        let going = going.map(move |(position, rows)| {
            (position, if deletes { Effect::Removed { rows } } else { Effect::Deactivated })
        });
        self.told.into_iter().chain(going)
    }
}

fn numbers(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(","))
}

/// Reads what one of our own statements answered.
pub fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, TargetError> {
    serde_json::from_str(json).map_err(|_| unreadable())
}

fn unreadable() -> TargetError {
    TargetError::Unavailable("the database gave an answer that does not belong to the question".to_owned())
}

/// The rows of an entity's table, and of those that go along.
pub async fn mirrored(
    session: &mut dyn Session,
    prepared: &Prepared,
    entity: &Entity,
) -> Result<u64, TargetError> {
    let Some((_, statements)) = prepared_for(prepared, entity)? else { return Ok(0) };
    session.begin(Access::Read).await?;
    let result = async {
        let mut total = 0;
        for sql in &statements.mirrored {
            let counts: Vec<u64> = read(&session.json(sql, Vec::new()).await?)?;
            total += counts.into_iter().sum::<u64>();
        }
        Ok(total)
    }
    .await;
    session.rollback().await?;
    result
}
