//! From another identifier to the key of the record that has it.
//!
//! A read of its own before a deletion, and no part of it: what is deleted is the key that was found, and the
//! journal holds that. It never guesses: an identifier that two records have leads to none of them. The rows are
//! found as those of a deletion are, by a plan whose key is the identifier.

use std::collections::BTreeMap;

use super::apply::Planned;
use super::key;
use super::plan::{Field, Plan};
use super::session::{Access, Session};
use super::way::Wanted;
use crate::domain::{Entity, Key};
use crate::targets::sql::key::Arg;
use crate::targets::{Identified, TargetError};

/// The plan of each identifier of each entity, or why there is none.
pub type Alternates = BTreeMap<(Entity, String), Result<Planned, String>>;

/// The plan that finds the rows by the identifier, and tells their keys where a plan tells references.
pub fn plan(plan: &Plan, identifier: &[Field]) -> Plan {
    Plan {
        key: identifier.to_vec(),
        references: plan.key.clone(),
        children: Vec::new(),
        guard: None,
        deactivate: Vec::new(),
        alternates: BTreeMap::new(),
        ..plan.clone()
    }
}

/// For each identifier, in order, the key of the record that has it.
pub async fn look_up(
    session: &mut dyn Session,
    alternates: &Alternates,
    entity: &Entity,
    alternate: &str,
    identifiers: &[Key],
) -> Result<Vec<Identified>, TargetError> {
    let unfit = |reason: &str| TargetError::Misconfigured(format!("{entity}: {reason}"));
    let (plan, way) = match alternates.get(&(entity.clone(), alternate.to_owned())) {
        Some(Ok(planned)) => planned,
        Some(Err(reason)) => return Err(unfit(reason)),
        None => return Err(unfit(&format!("it has no identifier {alternate:?}"))),
    };
    let mut told = vec![Identified::Unfit; identifiers.len()];
    // One that is asked for twice is looked up once.
    let mut asked: BTreeMap<Vec<Arg>, Vec<usize>> = BTreeMap::new();
    for (position, identifier) in identifiers.iter().enumerate() {
        if let Some(parts) = bound(plan, identifier) {
            asked.entry(parts).or_default().push(position);
            told[position] = Identified::Nobody;
        }
    }
    let positions: Vec<&Vec<usize>> = asked.values().collect();
    let wanted: Vec<Wanted> =
        asked.keys().map(|parts| Wanted { parts: parts.clone(), at: Arg::Null, position: 0 }).collect();
    session.begin(Access::Read).await?;
    let found = way.find(session, &wanted, Access::Read).await;
    session.rollback().await?;
    for row in found? {
        let key = row.references.into_iter().take(plan.references.len()).collect::<Option<Vec<_>>>();
        let identified =
            key.and_then(|parts| Key::new(parts).ok()).map_or(Identified::Unfit, Identified::Key);
        for &position in positions.get(row.n).copied().into_iter().flatten() {
            let first = told[position] == Identified::Nobody;
            told[position] = if first { identified.clone() } else { Identified::Several };
        }
    }
    Ok(told)
}

fn bound(plan: &Plan, identifier: &Key) -> Option<Vec<Arg>> {
    let parts = identifier.parts();
    let bound = parts.iter().zip(&plan.key).map(|(part, field)| key::bind(part, field));
    bound.collect::<Option<Vec<_>>>().filter(|_| parts.len() == plan.key.len())
}
