//! One batch, one transaction: find the rows, judge them, take the children, take the rows, look again.
//!
//! What happened to an id comes from what the database held before and holds after, both read under the
//! lock that keeps others from writing. That says more than the rows of a RETURNING clause, which a trigger
//! or a view can contradict. How rows are found and taken is the dialect's `way`; who is found, judged and
//! told is decided here.

mod beside;
mod foresee;

use std::collections::{BTreeMap, BTreeSet};

use super::guard::{self, Verdict};
use super::key::{self, Arg};
use super::plan::Plan;
use super::session::{Access, Session};
use super::way::{Found, Wanted, Way};
use crate::config::target::Value;
use crate::domain::{Action, Entity, Timestamp};
use crate::targets::{Effect, RecordFailure, Removal, TargetError};

/// How often a batch is begun again without records that would not go. Each round names all of them, so
/// that a further round means that one record's removal brought another one back.
const ROUNDS_MAX: usize = 3;

pub use foresee::foresee;

/// A plan and the way to carry it out.
pub type Planned = (Plan, Box<dyn Way>);
/// The plans of all entities, or why there is none.
pub type Prepared = BTreeMap<Entity, Result<Planned, String>>;

/// What a round came to.
enum Round {
    Done(Vec<Effect>),
    /// Positions of records that are not as they should be afterwards.
    Standing(Vec<usize>),
    /// The table of an entity does not fit, which the database said only when it was asked.
    Unfit(Entity, String),
}

/// What earlier rounds have shown to be left out.
#[derive(Default)]
struct Left {
    standing: BTreeSet<usize>,
    unfit: BTreeMap<Entity, String>,
}

/// Applies the removals in one commit. On an error the transaction is closed.
pub async fn apply(
    session: &mut dyn Session,
    prepared: &Prepared,
    removals: &[Removal],
) -> Result<Vec<Effect>, TargetError> {
    let mut left = Left::default();
    let mut rounds = 0;
    while rounds < ROUNDS_MAX {
        session.begin(Access::Write).await?;
        let round = match work(session, prepared, removals, &left).await {
            Ok(Round::Done(effects)) => session.commit().await.map(|()| Round::Done(effects)),
            other => other,
        };
        match round {
            Ok(Round::Done(effects)) => return Ok(effects),
            Ok(Round::Standing(positions)) => {
                session.rollback().await?;
                left.standing.extend(positions);
                rounds += 1;
            }
            // Each round leaves an entity out, and there are not many.
            Ok(Round::Unfit(entity, reason)) => {
                session.rollback().await?;
                left.unfit.insert(entity, reason);
            }
            // Whoever asks for the outcome must not wait for a connection that is gone.
            Err(error @ TargetError::Unknown(_)) => return Err(error),
            Err(error) => {
                let undone = session.rollback().await;
                // A connection is used again after a refusal alone, and then must have nothing open.
                let refused = matches!(error, TargetError::Refused { .. });
                return Err(undone.err().filter(|_| refused).unwrap_or(error));
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
            let Some((plan, way)) = prepared_for(prepared, entity)? else { continue };
            let mut group = Group::new(plan, &**way, removals, &positions, action);
            group.find(session, Access::Read).await?;
            for row in &group.going {
                weights[group.position(row.n)?] = row.rows;
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
    left: &Left,
) -> Result<Round, TargetError> {
    let mut effects: Vec<Effect> = vec![Effect::Absent; removals.len()];
    for &position in &left.standing {
        effects[position] = Effect::Failed(RecordFailure {
            code: "still_there",
            message: "the row, or a row that belongs to it, is there after the statement that takes it: one was added \
                      meanwhile, or a trigger or a view keeps it"
                .to_owned(),
            // Whoever adds rows to a record that is deleted seldom does so twice in a row.
            retry: true,
        });
    }
    let mut standing = Vec::new();
    for ((entity, action), mut positions) in groups(removals) {
        positions.retain(|position| !left.standing.contains(position));
        let unfit = left.unfit.get(entity).or_else(|| prepared.get(entity)?.as_ref().err());
        if let Some(reason) = unfit {
            fill(&mut effects, &positions, || Effect::Unfit(format!("{entity}: {reason}")));
            continue;
        }
        let Some((plan, way)) = prepared_for(prepared, entity)? else {
            fill(&mut effects, &positions, || failed("entity_unknown", "no table is configured for it"));
            continue;
        };
        if action != Action::Delete && plan.deactivate.is_empty() {
            fill(&mut effects, &positions, || failed("deactivate_unset", "no columns are configured for it"));
            continue;
        }
        let mut group = Group::new(plan, &**way, removals, &positions, action);
        match group.carry_out(session).await {
            Ok(positions) => standing.extend(positions),
            Err(TargetError::Misconfigured(reason)) => return Ok(Round::Unfit(entity.clone(), reason)),
            Err(error) => return Err(error),
        }
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

fn prepared_for<'a>(prepared: &'a Prepared, entity: &Entity) -> Result<Option<&'a Planned>, TargetError> {
    match prepared.get(entity) {
        None => Ok(None),
        Some(Ok(prepared)) => Ok(Some(prepared)),
        Some(Err(reason)) => Err(TargetError::Misconfigured(format!("{entity}: {reason}"))),
    }
}

/// Removals of one entity and one action.
struct Group<'a> {
    plan: &'a Plan,
    way: &'a dyn Way,
    removals: &'a [Removal],
    action: Action,
    /// In key order.
    wanted: Vec<Wanted>,
    /// What is known of a position without touching its row.
    told: Vec<(usize, Effect)>,
    /// Rows that go.
    going: Vec<Found>,
    /// Rows that were found and stay, by `n`.
    spared: Vec<usize>,
}

impl<'a> Group<'a> {
    fn new(
        plan: &'a Plan,
        way: &'a dyn Way,
        removals: &'a [Removal],
        positions: &[usize],
        action: Action,
    ) -> Self {
        let (wanted, told) = (Vec::with_capacity(positions.len()), Vec::new());
        let (going, spared) = (Vec::new(), Vec::new());
        let mut group = Self { plan, way, removals, action, wanted, told, going, spared };
        for &position in positions {
            match group.bind(&removals[position]) {
                Ok((parts, at)) => group.wanted.push(Wanted { parts, at, position }),
                Err(effect) => group.told.push((position, effect)),
            }
        }
        group.wanted.sort_unstable();
        group
    }

    fn position(&self, n: usize) -> Result<usize, TargetError> {
        self.wanted.get(n).map(|wanted| wanted.position).ok_or_else(unreadable)
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

    /// Finds, judges and takes; the positions that are not as they should be afterwards.
    async fn carry_out(&mut self, session: &mut dyn Session) -> Result<Vec<usize>, TargetError> {
        self.find(session, Access::Write).await?;
        self.look_beside(session).await?;
        self.take(session).await
    }

    /// Finds the rows and judges them.
    async fn find(&mut self, session: &mut dyn Session, access: Access) -> Result<(), TargetError> {
        let mut seen = vec![false; self.wanted.len()];
        for row in self.way.find(session, &self.wanted, access).await? {
            let position = self.position(row.n)?;
            if std::mem::replace(&mut seen[row.n], true) {
                return Err(not_unique(self.plan));
            }
            let at = self.removals[position].at;
            match guard::judge(row.guard.as_deref(), self.plan.format, at) {
                Verdict::Goes => self.going.push(row),
                Verdict::Stays => {
                    self.told.push((position, Effect::Newer));
                    self.spared.push(row.n);
                }
                Verdict::Unreadable => {
                    let guard = self.plan.guard.as_ref().map_or("", |guard| &guard.name);
                    let message = format!("the value in guard column {guard} is no time that can be read");
                    self.told.push((position, failed("guard_unreadable", &message)));
                    self.spared.push(row.n);
                }
            }
        }
        Ok(())
    }

    /// Takes what was found; the positions that are not as they should be afterwards.
    async fn take(&mut self, session: &mut dyn Session) -> Result<Vec<usize>, TargetError> {
        if self.going.is_empty() {
            return Ok(Vec::new());
        }
        let way = self.way;
        let standing = way.take(session, self.action, &self.wanted, &mut self.going, &self.spared).await?;
        standing.into_iter().map(|n| self.position(n)).collect()
    }

    fn settle(self) -> impl Iterator<Item = (usize, Effect)> {
        let deletes = self.action == Action::Delete;
        let wanted = self.wanted;
        let going = self.going.into_iter().map(move |Found { n, rows, .. }| {
            (wanted[n].position, if deletes { Effect::Removed { rows } } else { Effect::Deactivated })
        });
        self.told.into_iter().chain(going)
    }
}

/// One key names several rows: which of them was meant cannot be known.
pub fn not_unique(plan: &Plan) -> TargetError {
    TargetError::Refused {
        code: "key_not_unique",
        message: format!("a key names several rows of {}; nothing was deleted", plan.table),
    }
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
    let Some((_, way)) = prepared_for(prepared, entity)? else { return Ok(0) };
    session.begin(Access::Read).await?;
    let result = async {
        let mut total = 0;
        for sql in way.mirrored() {
            let counts: Vec<u64> = read(&session.json(sql, Vec::new()).await?)?;
            total += counts.into_iter().sum::<u64>();
        }
        Ok(total)
    }
    .await;
    session.rollback().await?;
    result
}
