//! Records that their table does not show, and that may live all the same: a part of the table that was taken out
//! of it keeps its rows (I12). What is found there waits for a person, who puts the part back, or away.

use std::collections::BTreeMap;

use super::{Access, Group};
use crate::targets::sql::plan::Plan;
use crate::targets::sql::session::{Beside, Session};
use crate::targets::sql::way::Wanted;
use crate::targets::{Effect, TargetError};

impl Group<'_> {
    /// Looks for what was not found in the tables beside.
    pub async fn look_beside(&mut self, session: &mut dyn Session) -> Result<(), TargetError> {
        let absent = self.absent();
        if absent.is_empty() {
            return Ok(());
        }
        let Some(tables) = session.beside(&self.plan.table).await? else { return Ok(()) };
        // By the place in the batch: a record in two tables waits once.
        let mut waiting = BTreeMap::new();
        for beside in &tables {
            let reason = reason(beside);
            for position in self.held(session, &absent, beside).await? {
                waiting.insert(position, reason.clone());
            }
        }
        // What was put back meanwhile is beside no more, and nobody has looked into it.
        if !self.way.find(session, &absent, Access::Read).await?.is_empty() {
            return Err(TargetError::Unavailable("a partition was attached meanwhile".to_owned()));
        }
        self.told.extend(waiting.into_iter().map(|(position, reason)| {
            let entity = &self.removals[position].entity;
            (position, Effect::Unfit(format!("{entity}: {reason}")))
        }));
        Ok(())
    }

    fn absent(&self) -> Vec<Wanted> {
        let mut found = vec![false; self.wanted.len()];
        for n in self.going.iter().map(|row| row.n).chain(self.spared.iter().copied()) {
            found[n] = true;
        }
        let absent = self.wanted.iter().zip(found).filter(|(_, found)| !found);
        absent.map(|(wanted, _)| wanted.clone()).collect()
    }

    /// Positions of the records that are in a table beside, or of all if that cannot be told.
    async fn held(
        &self,
        session: &mut dyn Session,
        absent: &[Wanted],
        beside: &Beside,
    ) -> Result<Vec<usize>, TargetError> {
        if !beside.readable {
            return Ok(absent.iter().map(|wanted| wanted.position).collect());
        }
        let table = beside.table.clone();
        let plan = Plan { table, guard: None, children: Vec::new(), ..self.plan.clone() };
        let found = session.way(&plan, 0).find(session, absent, Access::Read).await?;
        Ok(found.iter().filter_map(|row| absent.get(row.n)).map(|wanted| wanted.position).collect())
    }
}

fn reason(Beside { table, readable }: &Beside) -> String {
    let (why, or) =
        if *readable { ("its row is in", "") } else { ("its row may be in", ", or let this user read it") };
    format!(
        "{why} {table}, which looks like a partition that was detached: attach it again, drop it or move it to another schema{or}"
    )
}
