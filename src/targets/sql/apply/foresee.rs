//! What a batch would do, told without doing it: the first half of a batch, and an answer by table.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, Prepared, failed, groups, prepared_for};
use crate::domain::Action;
use crate::targets::sql::session::{Access, Session};
use crate::targets::{Effect, Foreseen, Removal, TargetError};

/// For each removal, what it would do now. Nothing changes.
pub async fn foresee(
    session: &mut dyn Session,
    prepared: &Prepared,
    removals: &[Removal],
) -> Result<Vec<Foreseen>, TargetError> {
    let mut foreseen = vec![Foreseen { effect: Effect::Absent, tables: Vec::new() }; removals.len()];
    session.begin(Access::Read).await?;
    let result = async {
        for ((entity, action), positions) in groups(removals) {
            let Some((plan, way)) = prepared_for(prepared, entity)? else {
                for position in positions {
                    foreseen[position].effect = failed("entity_unknown", "no table is configured for it");
                }
                continue;
            };
            let mut group = Group::new(plan, &**way, removals, &positions, action);
            group.find(session, Access::Read).await?;
            group.look_beside(session).await?;
            if action == Action::Delete {
                for (position, tables) in group.by_table(session).await? {
                    foreseen[position].tables = tables;
                }
            }
            for (position, effect) in group.settle() {
                foreseen[position].effect = effect;
            }
        }
        Ok(())
    }
    .await;
    session.rollback().await?;
    result.map(|()| foreseen)
}

impl Group<'_> {
    /// The rows that would go with each row that goes; a table that is reached in several ways stands once.
    async fn by_table(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<(usize, Vec<(String, u64)>)>, TargetError> {
        let names = self.plan.tables();
        let mut told = self.way.by_table(session, &self.wanted).await?;
        let going: BTreeSet<usize> = self.going.iter().map(|row| row.n).collect();
        told.retain(|(n, _)| going.contains(n));
        let mut all = Vec::with_capacity(told.len());
        for (n, rows) in told {
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (name, rows) in names.iter().zip(rows) {
                *sums.entry(name).or_default() += rows;
            }
            let mut tables: Vec<(String, u64)> = Vec::with_capacity(sums.len());
            for name in &names {
                tables.extend(sums.remove(name).map(|rows| ((*name).to_owned(), rows)));
            }
            all.push((self.position(n)?, tables));
        }
        Ok(all)
    }
}
